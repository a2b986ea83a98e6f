"""Where the walkers of an exact run start: in different basins, so that their agreement counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import MIN_CHIRAL_VOLUME, chiral_volumes, torsion_angles
from ..jump.context_state import potential_energy, state_positions
from .exact_walker import ExactWalker
from .moving_walker import thermostat_seed
from .run_mode import Sampled
from .start import make_ready

if TYPE_CHECKING:
    from openmm.app import Topology

    from ..density import TorsionDensity
    from ..systems.torsions import Torsions

#: Conformations drawn for each walker, and how many of them are tried.
_DRAWN = 40
_TRIED = 8
#: How far bonds may be from where they were: one that was drawn through a ring is longer.
_BOND_TOLERANCE_NM = 0.05
_LEAST_PLANAR = 0.7


class Stereochemistry:
    """What dynamics does not change in a molecule: bonds, hands, cis and trans.

    Parameters
    ----------
    topology : openmm.app.Topology
    torsions : Torsions
        Those that turn freely.
    positions_nm : array [P, 3]
        Where all of it is right.
    """

    def __init__(
        self, topology: Topology, torsions: Torsions, positions_nm: NDArray[np.floating[Any]]
    ) -> None:
        bonds = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]
        near: dict[int, list[int]] = {}
        for i, j in bonds:
            near.setdefault(i, []).append(j)
            near.setdefault(j, []).append(i)
        self._bonds = np.array(bonds, dtype=np.int64).reshape(-1, 2)
        free = {frozenset((int(b), int(c))) for _, b, c, _ in torsions.atoms}
        heavy = {
            atom.index
            for atom in topology.atoms()
            if atom.element is not None and atom.element.atomic_number > 1
        }
        # Two hydrogens that change places make no other molecule.
        centers = [
            (i, *sorted(others)[:3])
            for i, others in near.items()
            if len(others) == 4 and len(heavy.intersection(others)) >= 3
        ]
        self._centers = np.array(centers, dtype=np.int64).reshape(-1, 4)
        stiff = []
        for i, j in bonds:
            a = [k for k in near[i] if k != j and k in heavy]
            d = [k for k in near[j] if k != i and k in heavy]
            if a and d and frozenset((i, j)) not in free:
                stiff.append((min(a), i, j, min(d)))
        self._stiff = np.array(stiff, dtype=np.int64).reshape(-1, 4)
        self._lengths, self._volumes, angles = self._measure(positions_nm)
        planar = np.abs(np.cos(angles)) > _LEAST_PLANAR
        self._stiff, self._angles = self._stiff[planar], angles[planar]

    def is_kept(self, positions_nm: NDArray[np.floating[Any]]) -> bool:
        """Whether a frame [P, 3] has the same bonds, hands, cis and trans forms."""
        lengths, volumes, angles = self._measure(positions_nm)
        return bool(
            np.isfinite(positions_nm).all()
            and (np.abs(lengths - self._lengths) < _BOND_TOLERANCE_NM).all()
            and (volumes * np.sign(self._volumes) > MIN_CHIRAL_VOLUME).all()
            and (np.cos(angles - self._angles) > 0).all()
        )

    def _measure(self, positions_nm: NDArray[np.floating[Any]]) -> tuple[NDArray[Any], ...]:
        x = np.asarray(positions_nm, dtype=np.float64)
        lengths = np.linalg.norm(x[self._bonds[:, 0]] - x[self._bonds[:, 1]], axis=1)
        return lengths, chiral_volumes(x[None], self._centers)[0], torsion_angles(x, self._stiff)


def make_starts(
    walkers: list[ExactWalker], sampled: Sampled, torsions: Torsions, density: TorsionDensity | None
) -> list[str]:
    """Minimise and equilibrate the walkers; those after the first where a density says.

    Conformations are drawn from the density and turned out of the given one. Of the half that
    clashes least each walker takes the one that is farthest from the starts of those before it. It
    is refused where minimisation or dynamics has changed the stereochemistry.

    Parameters
    ----------
    walkers : list of ExactWalker
        With their start positions set.
    sampled : Sampled
    torsions : Torsions
    density : TorsionDensity or None
        What the starts are drawn from; None for those that were given.

    Returns
    -------
    list of str
        Where each walker starts: "given", or "drawn".

    Raises
    ------
    ValueError
        A given start has no finite energy, or dynamics breaks down.
    """
    taken: list[NDArray[np.float64]] = []
    result = []
    for walker in walkers:
        start = sampled.starts_nm[walker.index]
        found = "given"
        if density is not None and walker.index > 0:
            same = Stereochemistry(sampled.topology, torsions, start)
            for candidate in _candidates(walker, start, torsions, density, taken, sampled):
                if _is_made_ready(walker, sampled, candidate, same):
                    found = "drawn"
                    break
        if found == "given":
            walker.context.setPositions(start)
            _make_ready(walker, sampled)
        taken.append(torsions.measure(state_positions(walker.context.getState(positions=True))))
        result.append(found)
    return result


def _candidates(
    walker: ExactWalker,
    start: NDArray[np.float64],
    torsions: Torsions,
    density: TorsionDensity,
    taken: list[NDArray[np.float64]],
    sampled: Sampled,
) -> Iterator[NDArray[np.float64]]:
    """Conformations [P, 3], the one farthest from what is taken first."""
    here = torsions.measure(start)
    drawn = density.draw(_DRAWN, thermostat_seed(sampled.plan.seed, walker.index))
    frames, energies = [], []
    for angles in drawn:
        changes = {k: float(change) for k, change in enumerate(angles - here)}
        frames.append(torsions.rotated(start, changes))
        walker.context.setPositions(frames[-1])
        walker.context.computeVirtualSites()
        energies.append(_finite_energy(walker))
    best = np.argsort(energies)[: _DRAWN // 2]
    others = np.array(taken)
    # Angles are compared by the mean of 1 - cos of their differences.
    apart = (1 - np.cos(drawn[best][:, None] - others[None])).mean(axis=-1).min(axis=1)
    for number in np.argsort(-apart)[:_TRIED]:
        yield frames[best[number]]


def _finite_energy(walker: ExactWalker) -> float:
    """The potential energy, infinite where atoms stand on top of each other."""
    energy = potential_energy(walker.context, walker.integrator.getIntegrationForceGroups())
    return energy if np.isfinite(energy) else np.inf


def _is_made_ready(
    walker: ExactWalker, sampled: Sampled, start: NDArray[np.float64], same: Stereochemistry
) -> bool:
    walker.context.setPositions(start)
    walker.context.computeVirtualSites()
    try:
        _make_ready(walker, sampled)
    except ValueError:
        return False
    except Exception as error:
        if "NaN" in str(error):
            return False
        raise
    return same.is_kept(state_positions(walker.context.getState(positions=True)))


def _make_ready(walker: ExactWalker, sampled: Sampled) -> None:
    make_ready(
        walker.context,
        sampled.plan.dynamics,
        thermostat_seed(sampled.plan.seed, walker.index),
        sampled.topology,
        sampled.properties,
    )
