"""Statistics of correlated series, against processes whose answers are known."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from atmos_openmm.core import statistics


def autoregressive(phi, chains, length, seed=1):
    """Stationary AR(1) chains of unit variance: correlation phi^t, inefficiency (1+phi)/(1-phi)."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal((chains, length)) * math.sqrt(1 - phi**2)
    first = random.standard_normal((chains, 1))
    return lfilter([1.0], [1.0, -phi], noise, axis=1, zi=phi * first)[0]


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("chains", [1, 4])
def test_inefficiency_and_errors_of_an_autoregressive_process(phi, chains):
    length = 40000 // chains
    x = autoregressive(phi, chains, length)
    known = (1 + phi) / (1 - phi)
    # The inefficiency's own error is about sqrt(2 (2 M + 1) / N) of it, with a window of M ~ 5 g.
    tolerance = 3 * known * math.sqrt(2 * (10 * max(known, 1) + 1) / x.size)
    assert statistics.statistical_inefficiency(x) == pytest.approx(known, abs=tolerance)
    error = math.sqrt(known / x.size)
    assert statistics.standard_error(x) == pytest.approx(error, rel=tolerance / known)
    # The spread of b means is known to 1 / sqrt(2 (b - 1)).
    assert statistics.batch_means_error(x) == pytest.approx(error, rel=3 / math.sqrt(38))
    assert statistics.batch_means_error(x, 200) == pytest.approx(error, rel=3 / math.sqrt(398))
    assert statistics.split_r_hat(x) == pytest.approx(1, abs=3 * known / length * 2 + 1e-3)


def test_errors_hold_what_they_promise():
    """Means of 400 runs deviate from the true one, 0, by one of their own errors."""
    runs = autoregressive(0.8, 400, 4000, seed=4)
    for error_of in (statistics.standard_error, statistics.batch_means_error):
        deviations = np.array([run.mean() / error_of(run) for run in runs])
        # Student's t with 19 degrees of freedom for batches: a variance of 19 / 17. Over 400 runs
        # the spread is known to 1 / sqrt(800).
        assert deviations.std() == pytest.approx(1.03, abs=0.11)


def test_an_indicator_with_a_known_correlation():
    """Two states with rates a and b: correlation (1 - a - b)^t, population a / (a + b)."""
    random = np.random.default_rng(5)
    a, b, length = 0.02, 0.06, 100000
    state, states, u = 0, np.empty(length), random.random(length)
    for k in range(length):
        state = int(u[k] < a) if state == 0 else int(u[k] >= b)
        states[k] = state
    known = (2 - a - b) / (a + b)
    # Known to 7 % by the formula above; three times that.
    assert statistics.statistical_inefficiency(states) == pytest.approx(known, rel=0.21)
    error = statistics.standard_error(states)
    assert error == pytest.approx(math.sqrt(0.25 * 0.75 * known / length), rel=0.11)
    assert abs(states.mean() - 0.25) < 3 * error


def test_chains_that_disagree_are_found():
    same = autoregressive(0.5, 4, 2000)
    assert statistics.split_r_hat(same) < 1.01
    # Two of four shifted by one: between-chain variance 1/3, and R-hat^2 near (1 + 1/3) before
    # ranks, which change it little for normal values.
    apart = same + np.array([0.0, 0, 1, 1])[:, None]
    assert statistics.split_r_hat(apart) == pytest.approx(math.sqrt(1 + 2 / 7), abs=0.03)
    assert statistics.effective_sample_size(apart) < 40
    assert statistics.effective_sample_size(same) > 1800
    # A chain of another width has the same mean: only the folded values tell.
    wide = same * np.array([1.0, 1, 1, 3])[:, None]
    assert statistics.split_r_hat(wide) > 1.05
    # A chain that drifts disagrees with itself.
    assert statistics.split_r_hat(np.linspace(0, 1, 100)) > 1.5


def test_ranks_tame_a_distribution_without_variance():
    cauchy = np.tan(np.pi * (np.random.default_rng(2).random((4, 1000)) - 0.5))
    assert statistics.split_r_hat(cauchy) < 1.02


def test_what_cannot_be_known_is_nan():
    constant = np.ones((2, 100))
    assert math.isnan(statistics.effective_sample_size(constant))
    assert math.isnan(statistics.split_r_hat(constant))
    assert statistics.batch_means_error(constant) == 0
    stuck = np.repeat([[0.0], [1.0]], 100, axis=1)
    assert statistics.split_r_hat(stuck) == math.inf
    assert statistics.effective_sample_size(stuck) == pytest.approx(2, abs=0.1)
    for function in (
        statistics.effective_sample_size,
        statistics.statistical_inefficiency,
        statistics.standard_error,
        statistics.split_r_hat,
        statistics.batch_means_error,
    ):
        assert math.isnan(function(np.arange(3.0)))
    with pytest.raises(ValueError, match="not finite"):
        statistics.split_r_hat([1.0] * 9 + [math.nan])
    with pytest.raises(ValueError, match="3 dimensions"):
        statistics.split_r_hat(np.zeros((2, 2, 9)))
