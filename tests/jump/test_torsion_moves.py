"""Moves of torsions: kinds, targets, and the exact ratio of their densities."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from atmos_openmm.density.block_density import BlockDensity
from atmos_openmm.density.torsion_density import TorsionDensity
from atmos_openmm.density.wrapped_normal import wrap
from atmos_openmm.jump.noise import MOVE_STREAM, NoiseStream, normal, uniform
from atmos_openmm.jump.torsion_moves import MOVE_KINDS, TorsionMoves
from atmos_openmm.systems.torsions import Torsions

SIZES, PREVIOUS = (3, 2, 1), (-1, 0, 1)
BACKBONE = [True, True, False, True, False, True]


def torsions(sizes=SIZES, previous=PREVIOUS, backbone=BACKBONE):
    """Torsions without a molecule."""
    count = sum(sizes)
    return Torsions(
        tuple(f"R{k}" for k in range(count)),
        np.zeros((count, 4), np.int64),
        tuple(np.zeros(0, np.int64) for _ in range(count)),
        np.array(backbone, bool),
        sizes,
        tuple(f"B{k}" for k in range(len(sizes))),
        previous,
    )


def density(local=True, seed=3):
    """Blocks with gates in both directions and local components."""
    rng = np.random.default_rng(seed)
    blocks = []
    for block, size in enumerate(SIZES):
        start = sum(SIZES[:block])
        gates = np.array([k for k in range(6) if not start <= k < start + size][:3])
        rows = 2 + local
        conditional = rng.normal(size=(rows, 1 + 2 * len(gates)))
        sequential = rng.normal(size=conditional.shape)
        for g, torsion in enumerate(gates):
            if torsion >= start:
                sequential[:, 1 + 2 * g : 3 + 2 * g] = 0.0
        factors = 0.2 * rng.normal(size=(3, size, size)) / math.sqrt(size)
        covariances = factors @ factors.swapaxes(1, 2) + 0.25 * np.eye(size)
        blocks.append(
            BlockDensity(
                rng.uniform(-math.pi, math.pi, (2, size)),
                covariances[:2],
                gates,
                sequential,
                conditional,
                covariances[2] if local else None,
            )
        )
    names = torsions().names
    return TorsionDensity(names, SIZES, PREVIOUS, tuple(blocks), 0.3)


@pytest.mark.parametrize("kind", MOVE_KINDS)
def test_a_move_changes_its_targets_and_nothing_else(kind):
    moves = TorsionMoves(torsions(), density(), {kind: 1.0})
    allowed = {
        "all": [set(range(6))],
        "residue": [{0, 1, 2}, {3, 4}, {5}],
        "neighbours": [{0, 1, 2, 3, 4}, {3, 4, 5}],
        "backbone": [{0, 1}, {3}],
        "sidechain": [{2}, {4}],
        "torsion": [{k} for k in range(6)],
        "small": [{k} for k in range(6)],
    }[kind]
    angles = np.array([0.1, -2.0, 3.0, 1.0, -1.0, 2.0])
    seen = set()
    for attempt in range(60):
        move = moves.propose(angles, 5, attempt)
        changed = frozenset(np.flatnonzero(move.angles != angles).tolist())
        assert move.kind == kind and changed == set(move.changed) and changed in allowed
        assert (np.abs(move.angles) <= math.pi).all()
        seen.add(changed)
    assert len(seen) == len(allowed)


@pytest.mark.parametrize("kind", MOVE_KINDS)
@pytest.mark.parametrize("local", [False, True])
def test_the_ratio_balances_the_two_directions(kind, local):
    # Accepted by the ratio alone, moves leave the uniform density as it is and are as frequent in
    # either direction.
    moves = TorsionMoves(torsions(), density(local), {kind: 1.0})
    rng = np.random.default_rng(11)
    count = 3000
    old = rng.uniform(-math.pi, math.pi, (count, 6))
    drawn = [moves.propose(t, 1, k) for k, t in enumerate(old)]
    new = np.array([m.angles for m in drawn])
    accepted = np.array(
        [math.log(u) < m.log_ratio for m, u in zip(drawn, rng.random(count), strict=True)]
    )
    assert accepted.mean() > 0.03
    for k in range(6):
        # What changes its sign with the direction has the mean zero.
        for f in (np.sin(new[:, k]) - np.sin(old[:, k]), np.cos(new[:, k]) - np.cos(old[:, k])):
            terms = np.where(accepted, f, 0.0)
            spread = terms.std() / math.sqrt(count)
            assert abs(terms.mean()) <= 5 * spread


def test_noise_is_drawn_in_the_order_that_both_languages_share():
    draws = NoiseStream(7, MOVE_STREAM, 9)
    u = uniform(7, MOVE_STREAM, 9, 6)
    assert [draws.uniform() for _ in range(2)] == u[:2].tolist()
    assert draws.normal() == math.sqrt(-2 * math.log(u[2])) * math.cos(2 * math.pi * u[3])
    assert NoiseStream(7, MOVE_STREAM, 9).normal() == normal(7, MOVE_STREAM, 9, 1)[0]
    # Kind, target, then the density's draw: a small move shows all of it.
    moves = TorsionMoves(torsions(), density(), {"small": 1.0}, small_width_rad=0.2)
    move = moves.propose(np.zeros(6), 7, 9)
    torsion = int(u[1] * 6)
    step = math.sqrt(-2 * math.log(u[2])) * math.cos(2 * math.pi * u[3])
    assert move.changed == (torsion,) and move.angles[torsion] == pytest.approx(0.2 * step)


def test_kinds_are_tried_in_proportion_to_their_shares():
    moves = TorsionMoves(torsions(), density())
    kinds = [moves.propose(np.zeros(6), 3, k).kind for k in range(4000)]
    shares = {"all": 1, "residue": 2, "neighbours": 1, "backbone": 2, "sidechain": 2, "torsion": 2}
    for kind in MOVE_KINDS:
        p = shares.get(kind, 0) / 10
        assert abs(kinds.count(kind) / 4000 - p) <= 5 * math.sqrt(p * (1 - p) / 4000)


def test_kinds_without_a_target_are_left_out():
    lone = torsions((2,), (-1,), [True, True])
    uniform_density = TorsionDensity.uniform(lone.names, (2,), (-1,))
    moves = TorsionMoves(lone, uniform_density)
    assert {moves.propose(np.zeros(2), 1, k).kind for k in range(200)} == {
        "all", "residue", "torsion"
    }  # fmt: skip
    five = torsions((1,) * 5, (-1,) * 5, [True] * 5)
    moves = TorsionMoves(five, TorsionDensity.uniform(five.names, (1,) * 5, (-1,) * 5))
    assert {moves.propose(np.zeros(5), 1, k).kind for k in range(200)} == {"residue", "torsion"}


def test_faults_are_named():
    with pytest.raises(ValueError, match="Unknown kind of move 'chi'"):
        TorsionMoves(torsions(), density(), {"chi": 1})
    with pytest.raises(ValueError, match="use 0 or more"):
        TorsionMoves(torsions(), density(), {"all": -1})
    with pytest.raises(ValueError, match="leave nothing to move"):
        TorsionMoves(torsions(), density(), {"all": 0})
    with pytest.raises(ValueError, match="more than 0"):
        TorsionMoves(torsions(), density(), small_width_rad=0)
    with pytest.raises(ValueError, match="another molecule"):
        TorsionMoves(torsions(), TorsionDensity.uniform(("x",), (1,), (-1,)))
    with pytest.raises(ValueError, match="no torsion to move"):
        TorsionMoves(torsions((), (), []), SimpleNamespace(check=lambda n: None, block_sizes=()))
    with pytest.raises(ValueError, match="blocks of"):
        other = TorsionDensity.uniform(torsions().names, (2, 3, 1), PREVIOUS)
        TorsionMoves(torsions(), other)


def test_small_moves_are_symmetric_and_wrap():
    moves = TorsionMoves(torsions(), density(), {"small": 1.0}, small_width_rad=0.5)
    angles = np.full(6, math.pi)
    drawn = [moves.propose(angles, 2, k) for k in range(50)]
    assert all(m.log_ratio == 0 for m in drawn)
    assert min(m.angles.min() for m in drawn) < 0
    steps = [float(wrap(m.angles - angles)[list(m.changed)][0]) for m in drawn]
    assert 0 < min(map(abs, steps)) and max(map(abs, steps)) < 2.5
