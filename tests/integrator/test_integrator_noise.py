"""The noise of the jumps: known answers and moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atmos_openmm import atmos

MASK = 2**64 - 1


def _mix(z):
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_mix_is_the_published_splitmix64():
    # The first outputs of SplitMix64 from the state 0, as published with the generator.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [_mix(k * 0x9E3779B97F4A7C15 & MASK) for k in range(3)] == published


@pytest.mark.parametrize("seed, stream, attempt", [(1, 0, 0), (2**53 - 1, 1, 12), (99, 2, 2**40)])
def test_numbers_follow_the_formulas(seed, stream, attempt):
    key = _mix(_mix(_mix(seed) ^ stream) ^ attempt)
    u = [((_mix((key + k) & MASK) >> 11) + 0.5) * 2.0**-53 for k in range(8)]
    assert list(atmos.uniforms(seed, stream, attempt, 7)) == u[:7]
    radius = [math.sqrt(-2.0 * math.log(u[k])) for k in range(0, 8, 2)]
    angle = [2.0 * math.pi * u[k] for k in range(1, 8, 2)]
    n = [f(a) * r for r, a in zip(radius, angle, strict=True) for f in (math.cos, math.sin)]
    assert list(atmos.gaussians(seed, stream, attempt, 7)) == n[:7]


def test_python_and_compiled_noise_are_equal():
    from atmos_openmm.jump import noise

    for attempt in (0, 1, 77):
        compiled = np.array(atmos.gaussians(5, 1, attempt, 31))
        np.testing.assert_array_equal(compiled, noise.normal(5, 1, attempt, 31))


def test_gaussians_are_normal_and_streams_independent():
    count = 20000
    a = np.array(atmos.gaussians(3, 0, 0, count))
    b = np.array(atmos.gaussians(3, 0, 1, count))
    c = np.array(atmos.gaussians(3, 1, 0, count))
    # Five standard errors: of a mean 1/sqrt(n), of a variance sqrt(2/n), of a fourth moment
    # sqrt(96/n).
    error = 1.0 / math.sqrt(count)
    for x in (a, b, c):
        assert abs(x.mean()) < 5 * error
        assert abs(x.var() - 1) < 5 * math.sqrt(2) * error
        assert abs((x**4).mean() - 3) < 5 * math.sqrt(96) * error
    assert abs((a * b).mean()) < 5 * error
    assert abs((a * c).mean()) < 5 * error
