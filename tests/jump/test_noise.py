"""The stateless noise: known answers from a C++ program, and its distribution."""

import math

import numpy as np
import pytest
from scipy import stats

from atmos_openmm.jump import noise


def test_mixer_is_splitmix64():
    # The published first outputs of SplitMix64 for seed 1234567; output k hashes seed + k * gamma.
    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [noise.mix((1234567 + k * gamma) & mask) for k in range(3)] == expected


def test_bitwise_equal_to_cpp():
    # Printed with %a by a C++ program (gcc 12 -O2, glibc) that follows docs/architecture.md.
    assert noise.noise_key(20240517, 1, 3) == 10074398155187157180
    uniform = ["0x1.cfc87a179aecap-3", "0x1.344941cb83ec8p-1", "0x1.4df2d1cca575dp-2"]
    assert [x.hex() for x in noise.uniform(20240517, 1, 3, 3).tolist()] == uniform
    normal = [
        "-0x1.6175c05278456p+0",
        "-0x1.0812a33c50f21p+0",
        "0x1.9313fc70c3e6cp-1",
        "0x1.45f44ed4caff6p+0",
        "-0x1.1b1dd4f7661e1p+0",
        "-0x1.a8b99f09f2c76p-7",
    ]
    assert [x.hex() for x in noise.normal(20240517, 1, 3, 6).tolist()] == normal
    total = 0.0
    for value in noise.normal(7, 0, 11, 10000).tolist():
        total += value
    assert total.hex() == "0x1.1c14ea14894d2p+3"


def test_prefix_does_not_depend_on_count():
    assert np.array_equal(noise.normal(5, 0, 2, 7), noise.normal(5, 0, 2, 100)[:7])


def test_seeds_wrap_to_64_bits():
    assert noise.noise_key(-1, 0, 0) == noise.noise_key(2**64 - 1, 0, 0)


def test_proposal_noise_is_stream_zero_in_single_precision():
    values = noise.proposal_noise(3, 8, 50)
    assert values.dtype == np.float32
    assert np.array_equal(values, noise.normal(3, 0, 8, 50).astype(np.float32))


def test_normal_deviates_are_standard_normal():
    count = 100_000
    values = noise.normal(1, 0, 0, count)
    # Five standard errors of the first four moments of a standard normal.
    assert abs(values.mean()) < 5 / math.sqrt(count)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / count)
    assert abs((values**3).mean()) < 5 * math.sqrt(15 / count)
    assert abs((values**4).mean() - 3) < 5 * math.sqrt(96 / count)
    assert stats.kstest(values, "norm").pvalue > 1e-4


@pytest.mark.parametrize("field", ["seed", "stream", "attempt", "neighbour"])
def test_neighbouring_keys_are_uncorrelated(field):
    # First number of many keys that differ by one in one field, and consecutive numbers of one key.
    count = 20_000
    if field == "neighbour":
        values = noise.normal(9, 1, 0, count)
    else:
        base = {"seed": 1, "stream": 0, "attempt": 0}
        values = np.array(
            [noise.normal(**{**base, field: base[field] + k}, count=2)[0] for k in range(count)]
        )
    correlation = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(correlation) < 5 / math.sqrt(count)
    assert stats.kstest(values, "norm").pvalue > 1e-4
