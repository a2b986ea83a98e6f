"""Values and draws of densities, against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from density_cases import (
    NONE,
    Draws,
    by_brute_force,
    covariance,
    one_block,
    two_residues,
    ungated,
)
from scipy.stats import chi2

from atmos_openmm.density import BlockDensity, TorsionDensity
from atmos_openmm.density.wrapped_normal import LARGEST_SD, wrap

ONE_IN_A_MILLION = 1e-6


def grid(points):
    return -math.pi + 2 * math.pi * (np.arange(points) + 0.5) / points


def random_frames(count, torsions, seed=0):
    return np.random.default_rng(seed).uniform(-math.pi, math.pi, (count, torsions))


def test_wrap_has_one_end():
    assert wrap([math.pi, -math.pi, 3 * math.pi]).tolist() == [math.pi] * 3
    assert wrap(0.25) == 0.25
    x = wrap(np.random.default_rng(0).uniform(-50, 50, 10000))
    assert (x > -math.pi).all() and (x <= math.pi).all()


@pytest.mark.parametrize("sd", [0.05, 0.3, LARGEST_SD])
@pytest.mark.parametrize("mean", [0.4, math.pi, -3.1])
def test_one_torsion_is_normalised(sd, mean):
    """The rectangle rule on a circle is exact but for frequencies above the number of points.

    A wrapped normal has exp(-n^2 sd^2 / 2) of frequency n: below 1e-300 at n = 1000. What is cut
    off beyond 9 sd holds 2e-19 of the weight.
    """
    density = one_block(ungated([0.3, 0.7], [[mean], [-1.0]], [[[sd**2]], [[0.04]]]))
    total = np.exp(density.log_density(grid(1000)[:, None])).sum() * 2 * math.pi / 1000
    assert total == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize("sd", [(0.1, 0.15), (0.1, LARGEST_SD), (LARGEST_SD, LARGEST_SD)])
def test_two_torsions_are_normalised(sd):
    block = ungated([1, 2], [[3.1, -3.1], [0, 1]], [covariance(sd, 0.6), covariance([0.2, 0.3])])
    g = grid(400)
    frames = np.stack(np.meshgrid(g, g), axis=-1).reshape(-1, 2)
    total = np.exp(one_block(block).log_density(frames)).sum() * (2 * math.pi / 400) ** 2
    # Narrowest direction 0.08 rad: exp(-400^2 0.08^2 / 2) is below 1e-200.
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("gates", ["sequential", "conditional"])
@pytest.mark.parametrize("local", [False, True])
def test_blocks_are_what_they_are_defined_as(gates, local):
    density = two_residues(local=local)
    frames, others = random_frames(20, 5), random_frames(20, 5, seed=1)
    for at, to in zip(frames, others, strict=True):
        for number, where in enumerate(density.block_slices):
            expected = by_brute_force(density, number, to[where], at, gates)
            found = density.log_block(number, to[where], at, gates)
            # Images beyond 9 sd hold 1e-17 of a peak of at most 40, over a uniform part of 8e-5.
            assert found == pytest.approx(expected, abs=1e-10)


def test_the_joint_density_is_the_product_of_blocks_in_turn():
    density = two_residues()
    frames = random_frames(50, 5)
    in_turn = [
        sum(density.log_block(b, t[where], t) for b, where in enumerate(density.block_slices))
        for t in frames
    ]
    assert density.log_density(frames) == pytest.approx(in_turn, abs=1e-12)
    assert density.log_blocks(frames, "sequential").sum(axis=1) == pytest.approx(in_turn)
    given = [density.log_block(0, t[:2], t, "conditional") for t in frames]
    assert density.log_blocks(frames)[:, 0] == pytest.approx(given, abs=1e-12)


def test_periods_do_not_matter():
    density = two_residues()
    frames = random_frames(20, 5)
    turns = 2 * math.pi * np.random.default_rng(2).integers(-3, 4, frames.shape)
    assert density.log_density(frames + turns) == pytest.approx(density.log_density(frames))


def test_long_files_are_taken_in_parts(monkeypatch):
    density, frames = two_residues(), random_frames(101, 5)
    whole = density.log_density(frames)
    monkeypatch.setattr("atmos_openmm.density.block_density._CHUNK", 64)
    assert density.log_density(frames) == pytest.approx(whole, rel=1e-14)


def test_the_local_component_is_left_out_of_the_joint_density_and_symmetric():
    plain, local = two_residues(), two_residues(local=True)
    frames = random_frames(20, 5)
    assert (plain.log_density(frames) == local.log_density(frames)).all()
    only = one_block(
        BlockDensity(
            np.zeros((0, 2)),
            np.zeros((0, 2, 2)),
            NONE,
            np.zeros((1, 1)),
            np.zeros((1, 1)),
            covariance([0.2, LARGEST_SD], 0.3),
        )
    )
    for a, b in zip(random_frames(20, 2), random_frames(20, 2, seed=1), strict=True):
        assert only.log_block(0, a, b) == pytest.approx(only.log_block(0, b, a), abs=1e-12)
    assert only.log_density(frames[:, :2]) == pytest.approx(-2 * math.log(2 * math.pi))


def test_uniform():
    density = TorsionDensity.uniform(("a", "b", "c"), (1, 2), (-1, 0))
    level = -math.log(2 * math.pi)
    assert density.log_density(random_frames(3, 3)) == pytest.approx(3 * level)
    at = np.array([0.1, 0.2, 0.3])
    assert density.log_block(1, [3.0, 1.0], at, "conditional") == pytest.approx(2 * level)
    draws = Draws(0)
    drawn = np.array([density.draw_block(1, [1], at, draws) for _ in range(5000)])
    assert (drawn[:, 0] == 0.2).all()
    counts = np.histogram(drawn[:, 1], 20, (-math.pi, math.pi))[0]
    assert ((counts - 250.0) ** 2 / 250.0).sum() < chi2.isf(ONE_IN_A_MILLION, 19)
    assert np.abs(density.draw(1000, seed=1).mean(axis=0)).max() < 5 * 1.82 / math.sqrt(1000)


CONDITIONALS = {
    "psi given phi": (0, [1], [-1.25, 2.0, 2.9, 0.5, 1.0], "conditional"),
    "phi given psi, local": (0, [0], [2.9, -3.0, -1.0, -2.0, 1.0], "conditional"),
    "chi given a wide phi and psi": (1, [2], [1.0, 1.5, 3.0, -1.0, 1.0], "sequential"),
    "psi between both": (1, [1], [1.0, -0.2, -1.3, 0.0, 3.1], "conditional"),
    "far from all components": (1, [0], [1.0, -0.2, 0.0, -3.0, 0.1], "conditional"),
}


@pytest.mark.parametrize(("number", "free", "at", "gates"), CONDITIONALS.values(), ids=CONDITIONALS)
def test_conditional_draws_have_the_density_they_claim(number, free, at, gates):
    density = two_residues(local=True)
    where, count, bins, fine = density.block_slices[number], 8000, 30, 40
    draws, at = Draws(7), np.array(at)
    drawn = np.array([density.draw_block(number, free, at, draws, gates) for _ in range(count)])
    fixed = [j for j in range(drawn.shape[1]) if j not in free]
    assert (drawn[:, fixed] == at[where][fixed]).all()
    to = np.tile(at[where], (bins * fine, 1))
    to[:, free[0]] = grid(bins * fine)
    p = np.exp([density.log_block(number, row, at, gates) for row in to])
    expected = count * p.reshape(bins, fine).sum(axis=1) / p.sum()
    found = np.histogram(drawn[:, free[0]], bins, (-math.pi, math.pi))[0]
    big = expected > 5
    rest = expected[~big].sum(), found[~big].sum()
    value = ((found - expected)[big] ** 2 / expected[big]).sum()
    value += (rest[1] - rest[0]) ** 2 / max(rest[0], 1.0)
    assert value < chi2.isf(ONE_IN_A_MILLION, big.sum())


@pytest.mark.parametrize("how", ["blocks in turn", "draw"])
def test_joint_draws_have_the_density_they_claim(how):
    """E of log q over draws of q equals the integral; so do the populations of each torsion."""
    density = two_residues()
    count = 6000
    if how == "draw":
        drawn = density.draw(count, seed=3)
    else:
        draws, drawn = Draws(3), np.zeros((count, 5))
        for row in drawn:
            for number, where in enumerate(density.block_slices):
                row[where] = density.draw_block(number, range(where.stop - where.start), row, draws)
    # Importance sampling from the uniform density, and its error.
    other = random_frames(200_000, 5, seed=4)
    p = np.exp(density.log_density(other)) * (2 * math.pi) ** 5
    for torsion in range(5):
        for low, high in ((-math.pi, -1.3), (-1.3, 0.5), (0.5, math.pi)):
            inside = (other[:, torsion] > low) & (other[:, torsion] < high)
            expected, error = (p * inside).mean(), (p * inside).std() / math.sqrt(len(p))
            found = ((drawn[:, torsion] > low) & (drawn[:, torsion] < high)).mean()
            spread = math.hypot(error, math.sqrt(max(found, 1e-3) / count))
            assert abs(found - expected) < 5 * spread


def test_draws_use_numbers_in_the_order_that_is_written_down():
    class Counted:
        def __init__(self, *numbers):
            self.numbers = list(numbers)

        def uniform(self):
            kind, value = self.numbers.pop(0)
            assert kind == "u"
            return value

        def normal(self):
            kind, value = self.numbers.pop(0)
            assert kind == "n"
            return value

    cov = covariance([0.3, 0.2], 0.5)
    density = one_block(ungated([0.25, 0.75], [[0.5, -0.5], [3.1, 2.0]], [cov, cov]))
    at = np.array([1.0, 1.0])
    whole = density.draw_block(0, [0, 1], at, Counted(("u", 0.2), ("n", 1.0), ("n", -1.0)))
    assert whole == pytest.approx([0.5 + 0.3, -0.5 + 0.1 - 0.2 * math.sqrt(0.75)])
    second = density.draw_block(0, [0, 1], at, Counted(("u", 0.9), ("n", 1.0), ("n", 0.0)))
    assert second == pytest.approx([3.1 + 0.3 - 2 * math.pi, 2.1])
    uniform = density.draw_block(0, [0, 1], at, Counted(("u", 0.99), ("u", 0.5), ("u", 1.0)))
    assert uniform == pytest.approx([0.0, math.pi])
    given = density.draw_block(0, [1], at, Counted(("u", 1e-9), ("n", 2.0)))
    # mean + gain * 0.5 + sd: gain = 0.5 * 0.2 / 0.3, conditional sd = 0.2 sqrt(1 - 0.25)
    assert given == pytest.approx([1.0, -0.5 + 0.5 / 3 + 2 * 0.2 * math.sqrt(0.75)])


FAULTS = {
    "shape": (lambda: ungated([1], [[0.0]], [covariance([0.1, 0.2])]), r"covariances has shape"),
    "nan": (lambda: ungated([1], [[np.nan]], [[[0.1]]]), "not finite"),
    "width": (lambda: ungated([1], [[0.0]], [[[0.49]]]), "0.700 rad"),
    "definite": (lambda: ungated([1], [[0, 0]], [covariance([0.1, 0.1], 1.1)]), "positive"),
    "symmetric": (lambda: ungated([1], [[0, 0]], [[[0.1, 0.05], [0, 0.1]]]), "symmetric"),
    "gates": (
        lambda: BlockDensity([[0.0]], [[[0.1]]], [1, 1], np.zeros((1, 5)), np.zeros((1, 5))),
        "different torsions",
    ),
    "later": (lambda: gated(1, 0.5), "later block"),
    "own": (lambda: gated(0, 0.0), "outside"),
    "beyond": (lambda: gated(2, 0.0), "outside"),
    "weight": (lambda: one_block(ungated([1], [[0.0]], [[[0.1]]]), 0.0), "above 0"),
    "sizes": (lambda: TorsionDensity.uniform(("a", "b"), (1,), (-1,)), "number of torsions"),
    "names": (lambda: TorsionDensity.uniform(("a", "a"), (2,), (-1,)), "one name: a"),
    "links": (lambda: TorsionDensity.uniform(("a", "b"), (1, 1), (-1, 1)), r"previous\[1\]"),
}


def gated(torsion, slope):
    table = [[0.0, slope, 0.0]]
    block = BlockDensity([[0.0]], [[[0.1]]], [torsion], table, table)
    return TorsionDensity(("a", "b"), (1, 1), (-1, 0), (block, BlockDensity.uniform(1)))


@pytest.mark.parametrize(("make", "message"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_frames_of_another_number_of_torsions_are_refused():
    with pytest.raises(ValueError, match=r"expected \[frames, 5\]"):
        two_residues().log_density(np.zeros((3, 4)))


def test_a_molecule_without_torsions_has_a_density_of_one():
    density = TorsionDensity.uniform((), (), ())
    assert density.log_density(np.zeros((3, 0))).tolist() == [0.0] * 3
