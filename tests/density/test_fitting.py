"""Fits recover what the frames were drawn from, as far as so many frames can say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from density_cases import covariance, one_block, two_residues, ungated

from atmos_openmm.density import TorsionDensity, held_out_score
from atmos_openmm.density.fitting import time_pieces
from atmos_openmm.density.gate_fit import fit_gates, gated_log_density, harmonics
from atmos_openmm.density.mixture_fit import MOST_WIDE, bounded, effective_counts, fit_mixture
from atmos_openmm.density.wrapped_normal import LARGEST_SD, wrap


def fitted(frames, like, **options):
    return TorsionDensity.from_angles(
        frames, like.names, like.block_sizes, like.previous, **options
    )


def test_a_known_mixture_is_recovered():
    """Components that do not overlap: errors are those of the mean and variance of a normal.

    The prior adds d = 2 frames of 0.25 rad to some 2,000, and shrinks correlations by 2 %.
    """
    truth = ungated(
        [0.4, 0.6],
        [[math.pi - 0.05, 1.0], [0.2, -2.0]],
        [covariance([0.3, 0.2], 0.5), covariance([0.25, 0.4], -0.6)],
    )
    count = 4000
    frames = one_block(truth, 0.02).draw(count, seed=1)
    found = fit_mixture(frames, np.ones(count), 2, 0.02, seed=2, starts=3)
    order = np.argsort(found.weights)
    for k, (share, row) in enumerate(zip([0.4, 0.6], order, strict=True)):
        number = 0.98 * share * count
        assert abs(found.weights[row] - share) < 5 * math.sqrt(0.24 / count)
        sd = np.sqrt(np.diagonal(truth.covariances[k]))
        assert (np.abs(wrap(found.means[row] - truth.means[k])) < 5 * sd / math.sqrt(number)).all()
        error = np.abs(found.covariances[row] - truth.covariances[k])
        bound = 5 * np.outer(sd, sd) * math.sqrt(2 / number) + 2 * 0.25**2 / number
        assert (error < bound).all()


def test_weights_of_frames_count():
    """One state has twice the frames and half the weight each; the populations are equal."""
    rng = np.random.default_rng(0)
    frames = np.concatenate([rng.normal(-1, 0.2, (2000, 1)), rng.normal(1, 0.2, (1000, 1))])
    weights = np.repeat([0.5, 1.0], [2000, 1000])
    found = fit_mixture(frames, effective_counts(weights, 3000), 2, 0.02, seed=1)
    assert found.weights == pytest.approx([0.5, 0.5], abs=0.01)
    assert effective_counts(weights, 3000).sum() == pytest.approx(2000**2 / 1500)


def test_widths_are_bounded():
    wide = bounded(np.array([covariance([2.0] * 6, 0.5), covariance([0.1] * 6, 0.5)]))
    sd = np.sqrt(np.diagonal(wide, axis1=1, axis2=2))
    assert (sd <= LARGEST_SD).all()
    assert (sd[0] > math.pi / 9).sum() == MOST_WIDE
    assert sd[1] == pytest.approx(0.1)
    assert wide[0, 0, 1] / (sd[0, 0] * sd[0, 1]) == pytest.approx(0.5)
    frames = np.random.default_rng(0).uniform(-math.pi, math.pi, (2000, 1))
    found = TorsionDensity.from_angles(frames, ("a",), (1,), (-1,))
    # A flat torsion is described to within what 2,000 frames tell of few components.
    assert held_out_score(found, frames).mean == pytest.approx(-math.log(2 * math.pi), abs=0.03)


def test_held_out_likelihood_chooses_the_number_of_components():
    """A fit of p numbers to N frames loses p / 2N on others; no more than 20 parameters each."""
    for components, least in ((1, 1), (4, 3)):
        means = [[-2.5 + 1.6 * k, 2.8 - 1.5 * k] for k in range(components)]
        block = ungated([1] * components, means, [covariance([0.25, 0.2], 0.4)] * components)
        truth = one_block(block)
        frames, others = truth.draw(1500, seed=1), truth.draw(4000, seed=2)
        found = fitted(frames, truth)
        count = len(found.blocks[0].means)
        assert least <= count <= 3 * components + 1
        lost = held_out_score(truth, others).mean - held_out_score(found, others).mean
        assert -0.01 < lost < 6 * count / (2 * 1500) + 0.02


def test_a_full_covariance_describes_a_ridge():
    block = ungated([1], [[3.0, 0.0]], [covariance([0.5, 0.5], 0.9)])
    truth = one_block(block)
    found = fitted(truth.draw(1500, seed=1), truth, max_components=1)
    others = truth.draw(4000, seed=2)
    # A diagonal one loses -log(1 - 0.81) / 2 = 0.83.
    lost = held_out_score(truth, others).mean - held_out_score(found, others).mean
    assert lost < 5 / (2 * 1500) + 0.02


def test_gates_are_found_and_help():
    truth = two_residues(strength=3.0)
    frames, others = truth.draw(2500, seed=1), truth.draw(4000, seed=2)
    gated, plain = fitted(frames, truth), fitted(frames, truth, gates=False)
    assert 1 in gated.blocks[1].gate_torsions
    assert len(gated.blocks[0].gate_torsions)
    assert not gated.blocks[0].sequential[:, 1:].any()
    assert not any(len(block.gate_torsions) for block in plain.blocks)
    best, with_gates, without = (held_out_score(d, others) for d in (truth, gated, plain))
    assert best.mean - without.mean > 0.2
    assert best.mean - with_gates.mean < 0.3 * (best.mean - without.mean)
    # The earlier block knows of the later one too, when it is moved alone.
    assert with_gates.given_all[0] > without.given_all[0] + 0.05
    assert with_gates.blocks.sum() == pytest.approx(with_gates.mean)


def test_gates_without_a_gain_are_not_kept():
    truth = two_residues(strength=0.0)
    blocks = tuple(
        ungated(np.exp(b.sequential[:, 0]), b.means, b.covariances) for b in truth.blocks
    )
    truth = TorsionDensity(truth.names, truth.block_sizes, truth.previous, blocks)
    found = fitted(truth.draw(2000, seed=3), truth)
    plain = fitted(truth.draw(2000, seed=3), truth, gates=False)
    others = truth.draw(4000, seed=4)
    lost = held_out_score(plain, others).given_all - held_out_score(found, others).given_all
    assert (lost < 0.005).all()


def test_the_slope_of_the_gates_is_right():
    """Where the fit ends no small step is likelier, by the density that is used."""
    truth = two_residues(strength=2.0)
    frames = truth.draw(3000, seed=5)
    block = truth.blocks[1]
    kernels = block.kernels.log_densities(wrap(frames[None, :, 2:] - block.means[:, None]))
    features = harmonics(frames[:, [1]])
    counts = np.ones(len(frames))
    found = fit_gates(np.array([0.4, 0.3, 0.3]), kernels, features, counts, 3, 0.02)
    # Differences between rows are what counts; by maximum likelihood they have errors of about
    # 1 / sqrt(N w (1 - w) / 2) = 0.06, and the ridge of 3 frames pulls by 0.02.
    slopes = (found - found[0])[:, 1:]
    assert slopes == pytest.approx(block.sequential[:, 1:], abs=0.4)

    def score(gates):
        return gated_log_density(gates, kernels, features, 3, 0.02).mean()

    assert score(found) > score(np.array(block.sequential)) - 1e-3


def test_pieces_of_time_lie_within_trajectories():
    pieces = time_pieces([500, 7, 500])
    assert len(pieces) == 1007
    assert (np.diff(pieces) >= 0).all() and set(np.diff(pieces)) == {0, 1}
    assert pieces[499] != pieces[500] and pieces[506] != pieces[507]
    sizes = np.bincount(pieces)
    assert sizes.max() <= 1007 // 24
    assert len(time_pieces([3])) == 3


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_frames_give_a_density(count):
    truth = two_residues()
    found = fitted(truth.draw(count, seed=1), truth)
    assert np.isfinite(found.log_density(truth.draw(10, seed=2))).all()


def test_the_same_seed_gives_the_same_density():
    truth = two_residues()
    frames = truth.draw(300, seed=1)
    first, second = (fitted(frames, truth, seed=4) for _ in range(2))
    for a, b in zip(first.blocks, second.blocks, strict=True):
        assert (a.means == b.means).all() and (a.conditional == b.conditional).all()


FAULTS = {
    "shape": ({"angles": np.zeros((5, 4))}, r"expected \[frames, 5\]"),
    "none": ({"angles": np.zeros((0, 5))}, "at least one frame"),
    "nan": ({"angles": np.full((2, 5), np.nan)}, "2 of 2 frames"),
    "trajectories": ({"trajectories": [3, 1]}, "sum to 2"),
    "weights": ({"weights": [1.0, -1.0]}, "none negative"),
    "components": ({"max_components": 0}, "at least 1"),
    "backbone": ({"backbone": [True]}, "1 entries for 5"),
}


@pytest.mark.parametrize(("changed", "message"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_fitted_is_refused(changed, message):
    options = {"angles": np.zeros((2, 5)), **changed}
    with pytest.raises(ValueError, match=message):
        fitted(options.pop("angles"), two_residues(), **options)
