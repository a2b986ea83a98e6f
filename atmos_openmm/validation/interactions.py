"""Interaction energies between groups of particles, Coulomb and Lennard-Jones.

They are the cross terms of the System's NonbondedForce, so that with its self terms they sum to the
force's energy. Without Ewald sums they are sums over the pairs of the two groups, with the cutoff,
reaction field and switching function of the force, and the parameters of exceptions. With Ewald,
PME or LJPME they are E(A and B) - E(A) - E(B) of that force with all other charges and well depths
set to 0, in the frame's box: each with its own images and neutralising background.
CustomNonbondedForces, which hold the Lennard-Jones energies of some force fields, are evaluated for
the pairs of the two groups alone. A continuum solvent has no pairs: its part is what
`SolvationDifference` gives.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import openmm
from openmm import unit

from ..core.geometry import minimum_image
from .contexts import evaluation_context, put_frame
from .groups import GroupPair

__all__ = ["COULOMB_CONSTANT", "InteractionEnergies"]

#: 1 / (4 pi epsilon0) in kJ/mol nm/e^2, as OpenMM has it.
COULOMB_CONSTANT = 138.93545764438198

_EWALD = (openmm.NonbondedForce.Ewald, openmm.NonbondedForce.PME, openmm.NonbondedForce.LJPME)

#: At most so many pairs are in memory at a time.
_BLOCK = 1 << 20


class InteractionEnergies:
    """Interaction energies of pairs of groups, frame by frame.

    Parameters
    ----------
    system : openmm.System
        With one NonbondedForce.
    pairs : sequence of GroupPair
    platform : openmm.Platform or str or None
        Where Ewald sums are computed.
    threads : int or None
        Of the CPU platform.

    Attributes
    ----------
    names : tuple of str
        Of the pairs; none where the System has no NonbondedForce, or several.
    parts : tuple of str
        What each is split into.
    """

    def __init__(
        self,
        system: openmm.System,
        pairs: Sequence[GroupPair],
        platform: openmm.Platform | str | None = None,
        threads: int | None = None,
    ) -> None:
        forces = [f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)]
        # Ewald sums of charges that parameters shift would need a Context for each value.
        simple = len(forces) == 1 and not (
            forces[0].getNonbondedMethod() in _EWALD and forces[0].getNumGlobalParameters()
        )
        self._pairs = list(pairs) if simple else []
        self.names: tuple[str, ...] = tuple(pair.name for pair in self._pairs)
        self.parts: tuple[str, ...] = ("coulomb", "lennard_jones", "total")
        if not self._pairs:
            return
        force = forces[0]
        self._custom = [_custom_pairs(system, p, platform, threads) for p in self._pairs]
        if self._custom[0] is not None:
            self.parts = ("coulomb", "lennard_jones", "custom", "total")
        self._ewald: list[openmm.Context] = []
        if force.getNonbondedMethod() in _EWALD:
            self._ewald = [
                evaluation_context(_switched(system, force, p), platform, threads)
                for p in self._pairs
            ]
            self._exceptions = [_CrossExceptions(force, pair) for pair in self._pairs]
            return
        self._direct = [_DirectPairs(force, pair) for pair in self._pairs]

    def __call__(
        self, positions_nm: np.ndarray, box_nm: np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Energies (kJ/mol) by pair: ``coulomb``, ``lennard_jones``, where there are custom forces
        ``custom``, and their ``total``.

        Parameters
        ----------
        positions_nm : array [P,3]
        box_nm : array [3,3] or None
            Reduced box vectors.
        """
        result = {}
        for k, name in enumerate(self.names):
            if self._ewald:
                scaled = self._exceptions[k](positions_nm)
                summed = _ewald_difference(self._ewald[k], positions_nm, box_nm)
                coulomb, lennard_jones = np.add(summed, scaled).tolist()
            else:
                coulomb, lennard_jones = self._direct[k](positions_nm, box_nm)
            parts = {"coulomb": coulomb, "lennard_jones": lennard_jones}
            custom = self._custom[k]
            if custom is not None:
                put_frame(custom, positions_nm, box_nm)
                parts["custom"] = _energy(custom)
            result[name] = {**parts, "total": sum(parts.values())}
        return result


def _particles(force: openmm.NonbondedForce) -> np.ndarray:
    """Charges, sigmas and epsilons [P,3] with what offsets add at their default parameters."""
    rows = np.array(
        [
            [value._value for value in force.getParticleParameters(i)]
            for i in range(force.getNumParticles())
        ]
    ).reshape(-1, 3)
    defaults = {
        force.getGlobalParameterName(k): force.getGlobalParameterDefaultValue(k)
        for k in range(force.getNumGlobalParameters())
    }
    for k in range(force.getNumParticleParameterOffsets()):
        name, particle, *scales = force.getParticleParameterOffset(k)
        rows[particle] += defaults[name] * np.array([getattr(s, "_value", s) for s in scales])
    return rows


class _CrossExceptions:
    """Exceptions between two groups: what is excluded, and what scaled."""

    def __init__(self, force: openmm.NonbondedForce, pair: GroupPair) -> None:
        row = np.full(force.getNumParticles(), -1)
        row[pair.first] = np.arange(len(pair.first))
        column = np.full(force.getNumParticles(), -1)
        column[pair.second] = np.arange(len(pair.second))
        #: Row among the first group and column among the second of each.
        self.places: list[tuple[int, int]] = []
        rows = []
        for k in range(force.getNumExceptions()):
            i, j, *values = force.getExceptionParameters(k)
            for a, b in ((i, j), (j, i)):
                if row[a] >= 0 and column[b] >= 0:
                    self.places.append((int(row[a]), int(column[b])))
                    rows.append((a, b, *(value._value for value in values)))
        self._rows = np.array(rows, dtype=np.float64).reshape(-1, 5)

    def __call__(self, positions_nm: np.ndarray) -> tuple[float, float]:
        """Their Coulomb and Lennard-Jones energy (kJ/mol)."""
        atoms = self._rows[:, :2].astype(np.int64)
        r = np.linalg.norm(positions_nm[atoms[:, 1]] - positions_nm[atoms[:, 0]], axis=1)
        product, sigma, epsilon = self._rows[:, 2:].T
        sixth = (sigma / r) ** 6
        return (
            COULOMB_CONSTANT * float(np.sum(product / r)),
            float(np.sum(4 * epsilon * (sixth**2 - sixth))),
        )


class _DirectPairs:
    """Sums over the pairs of two groups."""

    def __init__(self, force: openmm.NonbondedForce, pair: GroupPair) -> None:
        parameters = _particles(force)
        self._first, self._second = pair.first, pair.second
        self._of_first, self._of_second = parameters[pair.first], parameters[pair.second]
        self._exceptions = _CrossExceptions(force, pair)
        method = force.getNonbondedMethod()
        self._periodic = method == openmm.NonbondedForce.CutoffPeriodic
        self._cutoff = np.inf
        self._field = self._shift = 0.0
        self._switch = np.inf
        if method != openmm.NonbondedForce.NoCutoff:
            self._cutoff = force.getCutoffDistance().value_in_unit(unit.nanometer)
            dielectric = force.getReactionFieldDielectric()
            self._field = (dielectric - 1) / (2 * dielectric + 1) / self._cutoff**3
            self._shift = 3 * dielectric / (2 * dielectric + 1) / self._cutoff
            if force.getUseSwitchingFunction():
                self._switch = force.getSwitchingDistance().value_in_unit(unit.nanometer)

    def __call__(self, positions_nm: np.ndarray, box_nm: np.ndarray | None) -> tuple[float, float]:
        coulomb = lennard_jones = 0.0
        rows = max(1, _BLOCK // max(1, len(self._second)))
        for begin in range(0, len(self._first), rows):
            block = slice(begin, begin + rows)
            c, lj = self._block(positions_nm, box_nm, block)
            coulomb, lennard_jones = coulomb + c, lennard_jones + lj
        c, lj = self._exceptions(positions_nm)
        return coulomb + c, lennard_jones + lj

    def _block(
        self, positions_nm: np.ndarray, box_nm: np.ndarray | None, block: slice
    ) -> tuple[float, float]:
        first, second = positions_nm[self._first[block]], positions_nm[self._second]
        delta = second[None] - first[:, None]
        if self._periodic and box_nm is not None:
            delta = minimum_image(delta, box_nm)
        squares = np.einsum("ijd,ijd->ij", delta, delta)
        counted = squares < self._cutoff**2
        stop = self._first[block].shape[0]
        for i, j in self._exceptions.places:
            if 0 <= i - block.start < stop:
                counted[i - block.start, j] = False
        rows, columns = np.nonzero(counted)
        r = np.sqrt(squares[rows, columns])
        a, b = self._of_first[block][rows], self._of_second[columns]
        products = a[:, 0] * b[:, 0]
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            coulomb = products * (1 / r + self._field * r**2 - self._shift)
            sixth = (0.5 * (a[:, 1] + b[:, 1]) / r) ** 6
            lennard_jones = 4 * np.sqrt(a[:, 2] * b[:, 2]) * (sixth**2 - sixth)
            if np.isfinite(self._switch):
                t = np.clip((r - self._switch) / (self._cutoff - self._switch), 0, 1)
                lennard_jones *= 1 + t**3 * (-10 + t * (15 - 6 * t))
        return COULOMB_CONSTANT * float(np.sum(coulomb)), float(np.sum(lennard_jones))


def _bare(system: openmm.System) -> openmm.System:
    """The particles of a System, virtual sites included, without forces."""
    result = copy.deepcopy(system)
    for k in reversed(range(result.getNumForces())):
        result.removeForce(k)
    return result


def _energy(context: openmm.Context) -> float:
    state = context.getState(energy=True)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def _custom_pairs(
    system: openmm.System,
    pair: GroupPair,
    platform: openmm.Platform | str | None,
    threads: int | None,
) -> openmm.Context | None:
    """The CustomNonbondedForces of a System between two groups alone; None without any."""
    result = _bare(system)
    for force in system.getForces():
        # Interaction groups of its own say already what it is for.
        if isinstance(force, openmm.CustomNonbondedForce) and not force.getNumInteractionGroups():
            between = copy.deepcopy(force)
            between.addInteractionGroup(pair.first.tolist(), pair.second.tolist())
            between.setUseLongRangeCorrection(False)
            result.addForce(between)
    return evaluation_context(result, platform, threads) if result.getNumForces() else None


_SWITCHES = ("charge_first", "charge_second", "depth_first", "depth_second")


def _switched(
    system: openmm.System, force: openmm.NonbondedForce, pair: GroupPair
) -> openmm.System:
    """A System of the NonbondedForce alone, in which parameters switch the groups on and off."""
    result = _bare(system)
    switched = copy.deepcopy(force)
    for name in _SWITCHES:
        switched.addGlobalParameter(name, 0.0)
    group = np.zeros(system.getNumParticles(), dtype=np.int64)
    group[pair.first], group[pair.second] = 1, 2
    for i in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(i)
        switched.setParticleParameters(i, 0.0, sigma, 0.0)
        if group[i]:
            side = "first" if group[i] == 1 else "second"
            switched.addParticleParameterOffset(f"charge_{side}", i, charge._value, 0, 0)
            switched.addParticleParameterOffset(f"depth_{side}", i, 0, 0, epsilon._value)
    for k in range(force.getNumExceptions()):
        i, j, product, sigma, epsilon = force.getExceptionParameters(k)
        switched.setExceptionParameters(k, i, j, 0.0, sigma, 0.0)
        if group[i] and group[i] == group[j]:
            side = "first" if group[i] == 1 else "second"
            switched.addExceptionParameterOffset(f"charge_{side}", k, product._value, 0, 0)
            switched.addExceptionParameterOffset(f"depth_{side}", k, 0, 0, epsilon._value)
    result.addForce(switched)
    return result


def _ewald_difference(
    context: openmm.Context, positions_nm: np.ndarray, box_nm: np.ndarray | None
) -> tuple[float, float]:
    put_frame(context, positions_nm, box_nm)

    def energy(*values: int) -> float:
        for name, value in zip(_SWITCHES, values, strict=True):
            context.setParameter(name, value)
        return _energy(context)

    return (
        energy(1, 1, 0, 0) - energy(1, 0, 0, 0) - energy(0, 1, 0, 0),
        energy(0, 0, 1, 1) - energy(0, 0, 1, 0) - energy(0, 0, 0, 1),
    )
