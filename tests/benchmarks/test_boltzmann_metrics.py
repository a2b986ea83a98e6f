"""The figures of benchmarks/boltzmann_averages.py on samples whose answers are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from boltzmann import metrics  # noqa: E402


def autoregressive(rho, count, chains, seed=1):
    """Chains of variance 1 whose statistical inefficiency is (1 + rho)/(1 - rho)."""
    random = np.random.default_rng(seed)
    x = np.empty((chains, count))
    x[:, 0] = random.normal(size=chains)
    for k in range(1, count):
        x[:, k] = rho * x[:, k - 1] + np.sqrt(1 - rho**2) * random.normal(size=chains)
    return x


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_effective_samples_of_a_correlated_series(rho):
    x = autoregressive(rho, 20000, 8)
    found = metrics.effective_samples(x, np.zeros_like(x), 0.0, 1.0)
    # Eight chains of 500 or more independent samples: 10 % is three standard errors.
    assert found == pytest.approx(20000 * (1 - rho) / (1 + rho), rel=0.1)


def test_a_chain_that_never_leaves_one_side_counts_for_its_error():
    x = np.ones((3, 1000))
    found = metrics.effective_samples(x, np.zeros_like(x), 0.5, 0.25)
    # The mean is off by 0.5, as that of one sample.
    assert found == pytest.approx(1.0, rel=0.01)


def test_weights_cost_what_kish_says():
    random = np.random.default_rng(1)
    # Drawn from N(0.5, 1), weighted to N(0, 1).
    x = random.normal(0.5, 1.0, (4, 20000))
    log_weights = -0.5 * x + 0.125
    found = metrics.effective_samples(x, log_weights, 0.0, 1.0)
    # E_p[x^2 w] with w = exp(-x/2 + 1/8) is exp(1/4) (1 + 1/4) over p = N(0, 1).
    assert found == pytest.approx(20000 / (1.25 * np.exp(0.25)), rel=0.1)


def test_angle_samples_do_not_see_the_cut():
    random = np.random.default_rng(2)
    angles = (np.pi + random.normal(0, 0.3, (4, 5000)) + np.pi) % (2 * np.pi) - np.pi
    truth = (np.pi + random.normal(0, 0.3, 200000) + np.pi) % (2 * np.pi) - np.pi
    found = metrics.angle_samples(angles, np.zeros_like(angles), truth)
    assert found == pytest.approx(5000, rel=0.15)


def test_populations_and_their_free_energy_error():
    found = metrics.populations(np.array([0, 0, 1, 2]), np.array([1.0, 1.0, 1.0, 3.0]), 4)
    assert found.tolist() == pytest.approx([1 / 3, 1 / 6, 1 / 2, 0.0])
    truth = np.array([1 / 3, 1 / 3, 1 / 3])
    assert metrics.free_energy_error(found[:3], truth, 2.0) == pytest.approx(2.0 * np.log(2))
    assert metrics.free_energy_error(found[[0, 1, 3]], truth, 2.0) == np.inf


def test_settled_is_the_last_entry():
    times = np.array([1.0, 2.0, 3.0, 4.0])
    assert metrics.settled(times, np.array([0.05, 0.5, 0.05, 0.02]), 0.1) == 3.0
    assert np.isnan(metrics.settled(times, np.array([0.05, 0.05, 0.05, 0.5]), 0.1))
    assert np.isnan(metrics.settled(times, np.full(4, np.inf), 0.1))


def test_energy_wasserstein_of_shifted_and_scaled_samples():
    x = np.random.default_rng(3).normal(size=5000)
    assert metrics.energy_wasserstein(x, x + 2.0) == pytest.approx(2.0)
    # Of normals: the root of (difference of means)^2 + (difference of widths)^2.
    expected = np.sqrt(3.0**2 + 0.5**2)
    assert metrics.energy_wasserstein(x, 1.5 * x + 3.0) == pytest.approx(expected, rel=0.02)


def test_cloud_wasserstein_takes_the_shorter_way_round():
    first = np.array([[3.1, 0.0], [-3.1, 1.0]])
    second = np.array([[-3.1, 0.2], [3.1, 1.2]])
    # Each point goes to the one across the cut: not to the one 1.2 away in the second angle.
    gap = 2 * np.pi - 6.2
    expected = np.sqrt(gap**2 + 0.2**2)
    assert metrics.cloud_wasserstein(first, second, torus=True) == pytest.approx(expected)
    # Without the torus it is cheaper to exchange the second coordinates.
    assert metrics.cloud_wasserstein(first, second) == pytest.approx(np.sqrt(1.04), rel=0.2)
    with pytest.raises(ValueError, match="equal sizes"):
        metrics.cloud_wasserstein(first, second[:1])


def test_resampling_keeps_weights():
    log_weights = np.log(np.array([1.0, 2.0, 5.0])) + 700.0
    chosen = metrics.resample(log_weights, 8000, seed=1)
    assert np.bincount(chosen).tolist() == pytest.approx([1000, 2000, 5000], abs=1)
