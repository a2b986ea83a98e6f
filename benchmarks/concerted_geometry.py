"""Rotations of a few residues between fixed ends, and their weights (for concerted_rotations.py).

Moves are exact for exp(-U/kT) of positions. `Rigid` is a rotation about an axis that it leaves
fixed: symmetric, of Jacobian 1. `Closed` samples the manifold of torsions t that keep the end of
the chain in place, g(t) = 0, on which the torsions' uniform measure has the density
det(J J^T)^(-1/2), J = dg/dt (Dodd, Boone and Theodorou, Mol. Phys. 78, 961 (1993)): a Gaussian step
along the null space of J, back to the manifold along the rows of J, and the same way back, which
must lead to where it came from (Zappa, Holmes-Cerf and Goodman, Commun. Pure Appl. Math. 71, 2609
(2018)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atmos_openmm.systems.torsions import Torsions

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_ITERATIONS = 12
TOLERANCE = 1e-10
SAME = 1e-7
"""How near the way back must come, in radians."""


@dataclass(frozen=True)
class Rigid:
    """Atoms between two CA, which are the axis."""

    axis: tuple[int, int]
    atoms: IntArray
    width: float = 0.0

    def propose(self, x: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, float]:
        """New positions and the log of the ratio of weights."""
        a, b = x[list(self.axis)]
        turn = _screws((b - a)[None], a[None], np.array([self.width * rng.normal()]))[0]
        new = x.copy()
        new[self.atoms] = x[self.atoms] @ turn[:3, :3].T + turn[:3, 3]
        return new, 0.0


@dataclass(frozen=True)
class Closed:
    """Consecutive torsions: bonds [n, 2], and the atoms between each and the next."""

    bonds: IntArray
    bodies: tuple[IntArray, ...]
    width: float = 0.0

    def propose(self, x: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, float] | None:
        """New positions and the log of the ratio of weights; None without a way there and back."""
        origins = x[self.bonds[:, 1]]
        axes = origins - x[self.bonds[:, 0]]
        step = closed_step(axes, origins, self.width, rng)
        if step is None:
            return None
        changes, log_ratio = step
        turns = np.eye(4)
        new = x.copy()
        for atoms, turn in zip(self.bodies, _screws(axes, origins, changes)[:-1], strict=True):
            turns = turns @ turn
            new[atoms] = x[atoms] @ turns[:3, :3].T + turns[:3, 3]
        return new, log_ratio


def closed_step(
    axes: FloatArray, origins: FloatArray, width: float, rng: np.random.Generator
) -> tuple[FloatArray, float] | None:
    """Changes of torsions [n] that keep the end in place, and the log of the ratio of weights.

    `width` is the root of the mean square change of each torsion.
    """
    origins = origins - origins.mean(0)
    count = len(axes)
    sigma = width * np.sqrt(count / (count - 6))
    before = jacobian(axes, origins, np.zeros(count))
    step = _along(before, sigma * rng.normal(size=count))
    changes = _closed(axes, origins, step, before)
    if changes is None:
        return None
    after = jacobian(axes, origins, changes)
    # The bonds where they are after the move.
    turns = _products(_screws(axes, origins, changes))
    new_axes, new_origins = _moved(axes, origins, turns)
    back = _along(after, -changes)
    returned = _closed(new_axes, new_origins, back, after)
    if returned is None or np.abs(returned + changes).max() > SAME:
        return None
    log_ratio = (step @ step - back @ back) / (2 * sigma**2)
    log_ratio += log_weight(after) - log_weight(before)
    return changes, float(log_ratio)


def log_weight(matrix: FloatArray) -> float:
    """Log of the density of the torsions' uniform measure on the manifold."""
    return float(-0.5 * np.linalg.slogdet(matrix @ matrix.T)[1])


def jacobian(axes: FloatArray, origins: FloatArray, changes: FloatArray) -> FloatArray:
    """How the end turns and moves (at the origin) with each torsion [6, n], after changes."""
    return _columns(axes, origins, _products(_screws(axes, origins, changes)))


def _moved(
    axes: FloatArray, origins: FloatArray, turns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Unit axes and origins of bonds, each after the turns of those before it."""
    axes = axes / np.sqrt((axes * axes).sum(1))[:, None]
    rotations = turns[: len(axes), :3, :3]
    origins = (rotations @ origins[:, :, None])[:, :, 0] + turns[: len(axes), :3, 3]
    return (rotations @ axes[:, :, None])[:, :, 0], origins


def _columns(axes: FloatArray, origins: FloatArray, turns: FloatArray) -> FloatArray:
    u, o = _moved(axes, origins, turns)
    result = np.empty((6, len(u)))
    result[:3] = u.T
    result[3] = o[:, 1] * u[:, 2] - o[:, 2] * u[:, 1]
    result[4] = o[:, 2] * u[:, 0] - o[:, 0] * u[:, 2]
    result[5] = o[:, 0] * u[:, 1] - o[:, 1] * u[:, 0]
    return result


def _along(matrix: FloatArray, step: FloatArray) -> FloatArray:
    """The part of a step in the null space."""
    return step - matrix.T @ np.linalg.solve(matrix @ matrix.T, matrix @ step)


def _closed(
    axes: FloatArray, origins: FloatArray, step: FloatArray, rows: FloatArray
) -> FloatArray | None:
    """The step, led back to closure along the rows of a Jacobian."""
    changes = step.copy()
    for _ in range(MOST_ITERATIONS):
        turns = _products(_screws(axes, origins, changes))
        end = turns[-1]
        skew = end[:3, :3] - end[:3, :3].T
        missed = np.concatenate([0.5 * np.array([skew[2, 1], skew[0, 2], skew[1, 0]]), end[:3, 3]])
        if np.abs(missed).max() < TOLERANCE:
            return changes if np.trace(end[:3, :3]) > 0 else None
        here = _columns(axes, origins, turns)
        try:
            changes = changes - rows.T @ np.linalg.solve(here @ rows.T, missed)
        except np.linalg.LinAlgError:
            return None
        if np.abs(changes).max() > np.pi:
            return None
    return None


def _screws(axes: FloatArray, origins: FloatArray, angles: FloatArray) -> FloatArray:
    """Turns [n, 4, 4] about lines."""
    u = axes / np.sqrt((axes * axes).sum(1))[:, None]
    count = len(u)
    cross = np.zeros((count, 3, 3))
    cross[:, 0, 1], cross[:, 0, 2], cross[:, 1, 2] = -u[:, 2], u[:, 1], -u[:, 0]
    cross[:, 1, 0], cross[:, 2, 0], cross[:, 2, 1] = u[:, 2], -u[:, 1], u[:, 0]
    change = np.sin(angles)[:, None, None] * cross
    change += (1 - np.cos(angles))[:, None, None] * (cross @ cross)
    result = np.zeros((count, 4, 4))
    result[:, :3, :3] = change + np.eye(3)
    result[:, :3, 3] = -(change @ origins[:, :, None])[:, :, 0]
    result[:, 3, 3] = 1
    return result


def _products(turns: FloatArray) -> FloatArray:
    """The unit, the first, the first times the second ... [n + 1, 4, 4]."""
    result = np.empty((len(turns) + 1, 4, 4))
    result[0] = np.eye(4)
    for k, turn in enumerate(turns):
        result[k + 1] = result[k] @ turn
    return result


def rigid_segments(topology: Any, length: int) -> list[Rigid]:
    """Segments from CA(i) to CA(i + length); none ends at a proline."""
    result = []
    for chain in topology.chains():
        residues = list(chain.residues())
        names = [{atom.name: atom.index for atom in residue.atoms()} for residue in residues]
        for i, j in zip(range(len(names)), range(length, len(names)), strict=False):
            if "CA" not in names[i] or "CA" not in names[j] or residues[j].name == "PRO":
                continue
            atoms = [names[i]["C"], names[i]["O"]]
            atoms += [atom for between in names[i + 1 : j] for atom in between.values()]
            atoms += [names[j][name] for name in ("N", "H")]
            result.append(Rigid((names[i]["CA"], names[j]["CA"]), np.array(atoms)))
    return result


def closed_windows(topology: Any, torsions: Torsions, count: int) -> list[Closed]:
    """Windows of consecutive phi and psi of a single chain."""
    names = [atom.name for atom in topology.atoms()]
    everything = set(range(len(names)))
    bonds, beyond = [], []
    for k in np.flatnonzero(torsions.backbone):
        b, c = (int(atom) for atom in torsions.atoms[k, 1:3])
        group = {int(atom) for atom in torsions.groups[k]}
        if (names[b], names[c]) in (("CA", "N"), ("C", "CA")):  # the side before it turns
            b, c, group = c, b, everything - group - {b, c}
        bonds.append((b, c))
        beyond.append(group)
    bodies = [np.array(sorted(a - b)) for a, b in zip(beyond[:-1], beyond[1:], strict=True)]
    return [
        Closed(np.array(bonds[k : k + count]), tuple(bodies[k : k + count - 1]))
        for k in range(len(bonds) - count + 1)
    ]


def stationarity(count: int, chains: int, steps: int, weighted: bool = True) -> float:
    """Probability that moves of free torsions leave their distribution as it was.

    Torsions of a polypeptide's backbone are drawn uniformly and moved with their ends in place;
    what is compared (Kolmogorov and Smirnov) is the log weight of the manifold before and after.
    """
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(1)
    before, after = [], []
    for _ in range(chains):
        axes, origins = _free_chain(count, rng)
        before.append(log_weight(jacobian(axes, origins, np.zeros(count))))
        for _ in range(steps):
            moved = closed_step(axes, origins, np.radians(20), rng)
            if moved is None:
                continue
            changes, log_ratio = moved
            turns = _products(_screws(axes, origins, changes))
            new_axes, new_origins = _moved(axes, origins, turns)
            if not weighted:
                log_ratio -= log_weight(jacobian(new_axes, new_origins, np.zeros(count)))
                log_ratio += log_weight(jacobian(axes, origins, np.zeros(count)))
            if np.log(rng.uniform()) < log_ratio:
                axes, origins = new_axes, new_origins
        after.append(log_weight(jacobian(axes, origins, np.zeros(count))))
    return float(ks_2samp(before, after).pvalue)


def _free_chain(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Bonds of phi and psi in turn, amides trans, uniform torsions."""
    lengths, angles = (0.146, 0.153, 0.133), np.radians((110.0, 117.0, 122.0))
    frame, points, kept = np.eye(4), [], []
    number = 0
    while len(kept) < count:
        kind = number % 3
        turns = kind != 2
        frame = (
            frame
            @ _screws(
                np.array([[1.0, 0, 0]]),
                np.zeros((1, 3)),
                np.array([rng.uniform(-np.pi, np.pi) if turns else np.pi]),
            )[0]
        )
        start = frame[:3, 3].copy()
        frame = frame @ np.block([[np.eye(3), np.array([[lengths[kind]], [0], [0]])], [0, 0, 0, 1]])
        points.append((start, frame[:3, 3].copy()))
        if turns:
            kept.append(points[-1])
        frame = (
            frame
            @ _screws(np.array([[0, 0, 1.0]]), np.zeros((1, 3)), np.array([np.pi - angles[kind]]))[
                0
            ]
        )
        number += 1
    ends = np.array(kept)
    return ends[:, 1] - ends[:, 0], ends[:, 1]
