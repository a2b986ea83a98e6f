"""TICA, Markov models, paths and decorrelation against deeptime and closed forms."""

import itertools

import numpy as np
import pytest
from evaluation_cases import ornstein_uhlenbeck, two_states

from atmos_openmm.evaluation.decorrelation import (
    autocorrelation,
    decorrelation_time,
    raw_autocorrelation,
    torsion_autocorrelation,
)
from atmos_openmm.evaluation.msm import (
    estimate_markov_model,
    fit_states,
    flux_matrix,
    k_means,
    markov_model,
)
from atmos_openmm.evaluation.paths import bridge_probabilities, cut_paths, sample_bridges
from atmos_openmm.evaluation.tica import fit_tica, most_directions


@pytest.fixture(scope="module")
def slow_and_fast():
    """Two trajectories of six mixed coordinates that forget in 60 and in 2 frames."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((6, 6))
    trajectories = []
    for frames in (3000, 2000):
        slow = ornstein_uhlenbeck(random, frames, 1, 60.0, 1.0)
        fast = ornstein_uhlenbeck(random, frames, 5, 2.0, 1.0)
        trajectories.append(np.concatenate([slow, fast], axis=1) @ mixing)
    return trajectories


def test_tica_agrees_with_deeptime(slow_and_fast):
    from deeptime.decomposition import TICA

    lag = 10
    theirs = TICA(lagtime=lag, scaling="kinetic_map")
    # One trajectory: deeptime's data sets of several weight the ends of each in another way.
    model = theirs.fit(slow_and_fast[0]).fetch_model()
    ours = fit_tica(slow_and_fast[:1], lag)
    np.testing.assert_allclose(ours.eigenvalues, model.singular_values, rtol=1e-6)
    mine, other = ours.transform(slow_and_fast[0], 6), model.transform(slow_and_fast[0])
    for k in range(6):
        assert abs(np.corrcoef(mine[:, k], other[:, k])[0, 1]) == pytest.approx(1, abs=1e-8)
        assert mine[:, k].std() == pytest.approx(other[:, k].std(), rel=1e-3)


def test_tica_finds_the_slow_coordinate_and_its_time(slow_and_fast):
    """-lag/ln(eigenvalue) is the time of an Ornstein-Uhlenbeck process; 5000 frames hold about
    5000/(2 60) = 40 independent pieces, hence 4/sqrt(40) of itself as the tolerance."""
    model = fit_tica(slow_and_fast, 10)
    assert model.timescales()[0] == pytest.approx(60, rel=0.64)
    assert model.timescales()[1] < 6
    assert model.dimension == 1


def test_tica_with_more_features_than_frames_loses_nothing():
    random = np.random.default_rng(1)
    few = ornstein_uhlenbeck(random, 60, 3, 8.0, 1.0)
    embedding = np.linalg.qr(random.standard_normal((200, 3)))[0].T
    wide, narrow = fit_tica([few @ embedding], 4), fit_tica([few], 4)
    np.testing.assert_allclose(wide.eigenvalues[:3], narrow.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(
        np.abs(wide.transform(few @ embedding, 3)), np.abs(narrow.transform(few, 3)), atol=1e-6
    )


def test_tica_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="longest has 5 frames"):
        fit_tica([np.zeros((5, 2))], 5)
    with pytest.raises(ValueError, match="frozen"):
        fit_tica([np.ones((50, 2))], 5)
    assert most_directions(500) == 50 and most_directions(3) == 2


def discrete_paths(transition, lengths, seed):
    random = np.random.default_rng(seed)
    paths = []
    for length in lengths:
        path = np.zeros(length, np.int64)
        draws = random.random(length)
        for t in range(1, length):
            path[t] = np.searchsorted(np.cumsum(transition[path[t - 1]]), draws[t])
        paths.append(np.minimum(path, len(transition) - 1))
    return paths


RING = np.array(
    [
        [0.90, 0.08, 0.00, 0.02],
        [0.04, 0.90, 0.06, 0.00],
        [0.00, 0.10, 0.85, 0.05],
        [0.03, 0.00, 0.09, 0.88],
    ]
)


def test_a_markov_model_counts_every_start_within_each_trajectory():
    """Any model of two states is reversible: its rows are the counts themselves, normalised."""
    paths = [two_states(np.random.default_rng(k), n, 0.9) for k, n in enumerate((400, 300, 2))]
    counts = np.zeros((2, 2))
    for path in paths:
        for now, then in zip(path, path[3:], strict=False):
            counts[now, then] += 1
    model = markov_model(paths, 3, 2)
    np.testing.assert_allclose(
        model.transition, counts / counts.sum(axis=1, keepdims=True), atol=1e-9
    )
    with pytest.raises(ValueError, match="lag 3 may exceed"):
        markov_model(paths[2:], 3, 2)


def test_fluxes_are_balanced_in_detail():
    model = markov_model(discrete_paths(RING, (4000, 3000), 2), 3, 4)
    flux = model.stationary[:, None] * model.transition
    np.testing.assert_allclose(flux, flux.T, atol=1e-9)
    np.testing.assert_allclose(flux_matrix(model), flux, atol=1e-9)
    assert flux.sum() == pytest.approx(1)


def test_two_states_have_the_closed_form():
    counts = np.array([[80.0, 20.0], [10.0, 90.0]])
    model = estimate_markov_model(counts)
    np.testing.assert_allclose(model.transition, [[0.8, 0.2], [0.1, 0.9]], atol=1e-9)
    np.testing.assert_allclose(model.stationary, [1 / 3, 2 / 3], atol=1e-9)


def test_states_that_are_not_connected_are_left_out():
    counts = np.diag([5.0, 900.0, 900.0])
    counts[1, 2] = counts[2, 1] = 3
    counts[0, 1] = 1  # a way out of state 0, none back
    model = estimate_markov_model(counts)
    assert model.active.tolist() == [1, 2]
    assert model.full_stationary()[0] == 0
    assert model.full_transition()[0].tolist() == [1, 0, 0]
    # One way through three states: no state is come back to, and none has a share.
    with pytest.raises(ValueError, match="leave every state for good"):
        estimate_markov_model(np.diag([1.0, 1.0], k=1))


def test_k_means_finds_separate_groups_and_leaves_out_empty_clusters():
    random = np.random.default_rng(3)
    places = np.array([[0, 0], [10, 0], [0, 10], [10, 10.0]])
    points = np.concatenate([p + random.standard_normal((50, 2)) for p in places])
    centres, labels = k_means(points, 4)
    assert all(len(set(labels[50 * k : 50 * (k + 1)])) == 1 for k in range(4))
    np.testing.assert_allclose(centres[labels[::50]], points.reshape(4, 50, 2).mean(axis=1))
    centres, labels = k_means(np.repeat(places, 5, axis=0), 6)
    assert len(centres) == 4 and set(labels.tolist()) == {0, 1, 2, 3}


def test_states_of_two_wells_are_the_wells():
    """Two wells left with probability 0.01 a frame: the coarse model's eigenvalue at lag 5 is
    (1 - 0.02)^5, within 4 standard errors of about 60 jumps."""
    random = np.random.default_rng(4)
    paths, wells = [], []
    for _ in range(2):
        well = two_states(random, 3000, 0.99)
        wells.append(well)
        paths.append(well[:, None] * 4 + 0.4 * random.standard_normal((3000, 2)))
    model = fit_states(paths, 5, clusters=20, macrostates=2)
    states = np.concatenate([model.assign(p) for p in paths])
    agreement = (states == np.concatenate(wells)).mean()
    assert max(agreement, 1 - agreement) > 0.999
    eigenvalue = np.trace(model.macro.transition) - 1
    assert eigenvalue == pytest.approx(0.98**5, abs=4 * 5 * 0.02 / np.sqrt(60))


def test_bridges_have_the_probabilities_of_all_paths():
    """Summed over every way between two ends the probability is 1; MDGen's product of conditional
    steps is the same number."""
    length, start, end = 5, 0, 2
    ways = np.array(
        [(start, *middle, end) for middle in itertools.product(range(4), repeat=length - 2)]
    )
    found = bridge_probabilities(ways, RING)
    assert found.sum() == pytest.approx(1)
    possible = found > 0
    assert 0 < possible.sum() < len(ways)
    for way, probability in zip(ways[possible], found[possible], strict=True):
        product = 1.0
        for t in range(1, length):
            power = np.linalg.matrix_power
            product *= (
                power(RING, length - t - 1)[way[t], end]
                * RING[way[t - 1], way[t]]
                / power(RING, length - t)[way[t - 1], end]
            )
        assert probability == pytest.approx(product, abs=1e-12)


def test_sampled_bridges_follow_these_probabilities():
    count = 4000
    drawn = sample_bridges(0, 2, 4, RING, count)
    assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 2).all()
    ways, seen = np.unique(drawn, axis=0, return_counts=True)
    expected = bridge_probabilities(ways, RING)
    assert expected.sum() > 0.99
    error = np.sqrt(expected * (1 - expected) / count)
    assert (np.abs(seen / count - expected) < 5 * error + 1e-9).all()
    with pytest.raises(ValueError, match="no path"):
        sample_bridges(0, 2, 2, RING, 3)


def test_paths_are_cut_at_the_lag_and_have_two_ends():
    path = np.array([0, 9, 0, 9, 1, 9, 2, 9, 2, 9])
    assert cut_paths([path, path[:3]], 3, 2).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    assert cut_paths([path], 9, 2).shape == (0, 9)


def test_autocorrelation_is_the_direct_sum_over_all_trajectories():
    random = np.random.default_rng(5)
    trajectories = [random.standard_normal((n, 2)) for n in (40, 25)]
    found = raw_autocorrelation(trajectories, 30)
    for lag in (0, 1, 7, 24, 30):
        products = [x[: len(x) - lag] * x[lag:] for x in trajectories if len(x) > lag]
        expected = np.concatenate(products).mean(axis=0)
        np.testing.assert_allclose(found[lag], expected, atol=1e-12)


def test_decorrelation_of_known_processes():
    """exp(-t/tau) falls to 1/e at tau. The relative error of an estimate from N frames is about
    sqrt(2 tau/N) (Zwanzig, Ailawadi 1969): four of these."""
    random = np.random.default_rng(6)
    tau, frames = 20.0, 20000
    x = ornstein_uhlenbeck(random, frames, 3, tau, 1.0)
    curves = autocorrelation([x], 100)
    assert curves[0] == pytest.approx(1)
    tolerance = 4 * np.sqrt(2 * tau / frames)
    assert np.abs(decorrelation_time(curves) / tau - 1).max() < tolerance
    # A torsion of small amplitude is linear in x.
    times = decorrelation_time(torsion_autocorrelation([0.05 * x + 2.0], 100))
    assert np.abs(times / tau - 1).max() < tolerance


def test_what_never_moves_never_decorrelates():
    still = np.full((50, 1), 1.3)
    assert (torsion_autocorrelation([still], 10) == 1).all()
    assert np.isinf(decorrelation_time(torsion_autocorrelation([still], 10)))
    # 1 at lag 0 and 0 from lag 1 on: the straight line meets 1/e at 1 - 1/e.
    assert decorrelation_time(np.array([[1.0], [0.0]]))[0] == pytest.approx(1 - np.exp(-1))
