"""The energy window and its running statistics."""

import math

import numpy as np
import pytest

from atmos_openmm.jump.acceptance import EnergyWindow, RunningStatistics


def test_welford_equals_two_passes_far_from_zero():
    values = np.random.default_rng(5).normal(loc=-1e6, scale=20, size=1000)
    running = RunningStatistics()
    for value in values:
        running.add(float(value))
    assert running.mean == pytest.approx(values.mean(), rel=1e-14)
    assert running.standard_deviation == pytest.approx(values.std(ddof=1), rel=1e-9)
    running.add(math.nan)
    assert running.count == 1000


def test_window_is_one_sided():
    window = EnergyWindow(6.0, 3, RunningStatistics())
    for value in (-1.0, 0.0, 1.0):
        assert not window.ready
        window.statistics.add(value)
    assert window.ready
    assert window.limit_kj_per_mol == pytest.approx(6.0)
    assert window.contains(-1e9) and window.contains(6.0)
    assert not window.contains(6.001)
    assert not window.contains(math.nan) and not window.contains(-math.inf)
