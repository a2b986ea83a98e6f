"""Numbers out of Quantities, and times in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from openmm import Vec3, unit

from atmos_openmm.core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from atmos_openmm.core.progress import Pace, duration
from atmos_openmm.core.units import plain, positions_in_nm


def test_quantities_and_bare_numbers():
    assert plain(10 * unit.angstrom, unit.nanometer) == pytest.approx(1.0)
    assert plain(1, unit.nanometer) == 1.0
    value = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    assert pytest.approx(value, rel=1e-15) == GAS_CONSTANT_KJ_PER_MOL_K


@pytest.mark.parametrize(
    "positions",
    [
        [[1.0, 2.0, 3.0]],
        np.array([[10.0, 20.0, 30.0]]) * unit.angstrom,
        [Vec3(1, 2, 3)] * unit.nanometer,
        [Vec3(10, 20, 30) * unit.angstrom],
    ],
)
def test_positions_of_every_kind(positions):
    found = positions_in_nm(positions)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[1.0, 2.0, 3.0]])


def test_positions_are_a_copy():
    given = np.zeros((1, 3))
    positions_in_nm(given)[0] = 1.0
    assert not given.any()


def test_times_that_are_not_known():
    assert duration(math.nan) == "?" and Pace(None).eta() == ""
    assert math.isnan(Pace(10.0, done=3.0).remaining_s)


def test_work_done_before_says_nothing_of_the_speed(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("atmos_openmm.core.progress.time.monotonic", lambda: now[0])
    pace = Pace(20.0, done=10.0)
    now[0], pace.done = 102.0, 14.0
    assert pace.per_second == 2.0 and pace.remaining_s == 3.0 and pace.eta() == "ETA 3 s"
