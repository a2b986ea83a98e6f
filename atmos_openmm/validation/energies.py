"""The potential energy of a frame, split by force, and checked to sum to the total."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
from openmm import unit

from ..core.units import positions_in_nm
from .contexts import check_positions, evaluation_context, put_frame

__all__ = ["EnergyDecomposer", "EnergyDecomposition", "EnergySumError", "decomposeEnergy"]

#: An OpenMM Context tells 32 force groups apart.
NUM_FORCE_GROUPS = 32

#: Forces that act on velocities or on the box and have no potential energy.
_WITHOUT_ENERGY = (
    "CMMotionRemover",
    "AndersenThermostat",
    "MonteCarloBarostat",
    "MonteCarloAnisotropicBarostat",
    "MonteCarloMembraneBarostat",
    "MonteCarloFlexibleBarostat",
)


#: Of Systems with so many particles or more, the energy of the costliest force is what the others
#: leave of the total, and the sum is checked for the first and then for every so many frames.
LARGE_SYSTEM = 500
CHECKED_FRAMES = 100

#: Forces whose evaluation costs most, costliest first.
_COSTLY = ("CustomGBForce", "GBSAOBCForce", "NonbondedForce", "CustomNonbondedForce")


class EnergySumError(RuntimeError):
    """The energies of the single forces do not sum to the energy of the System."""


@dataclass(frozen=True)
class EnergyDecomposition:
    """The potential energy of one frame, by force.

    Attributes
    ----------
    energies_kj_per_mol : dict of str to float
        one entry a Force that has an energy, in the order of the System. The key is the Force's
        name; Forces that share a name get their index in the System, as in ``NonbondedForce#3``.
    total_kj_per_mol : float
        the potential energy of the whole System, from an evaluation of its own.
    tolerance_kj_per_mol : float
        how far the sum was allowed to be from the total.
    """

    energies_kj_per_mol: dict[str, float]
    total_kj_per_mol: float
    tolerance_kj_per_mol: float

    def getEnergy(self, name: str) -> unit.Quantity:
        """The energy of one force (kJ/mol).

        Raises
        ------
        KeyError
            when the System has no force with an energy of that name.
        """
        if name not in self.energies_kj_per_mol:
            raise KeyError(f"no force {name!r}; there are {list(self.energies_kj_per_mol)}")
        return self.energies_kj_per_mol[name] * unit.kilojoule_per_mole

    def getTotal(self) -> unit.Quantity:
        """The potential energy of the System (kJ/mol)."""
        return self.total_kj_per_mol * unit.kilojoule_per_mole


def force_labels(system: openmm.System) -> dict[int, str]:
    """Name the Forces that have an energy.

    Returns
    -------
    dict of int to str
        index of the Force in the System -> its name, made unique.
    """
    names = {
        i: force.getName()
        for i, force in enumerate(system.getForces())
        if type(force).__name__ not in _WITHOUT_ENERGY
    }
    shared = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {i: f"{name}#{i}" if name in shared else name for i, name in names.items()}


def _costliest(system: openmm.System, labels: dict[int, str]) -> str | None:
    """The force of a large System that is not evaluated twice."""
    if system.getNumParticles() < LARGE_SYSTEM:
        return None
    kinds = {type(system.getForce(i)).__name__: label for i, label in reversed(labels.items())}
    return next((kinds[kind] for kind in _COSTLY if kind in kinds), None)


def _set_group(force: openmm.Force, group: int) -> None:
    force.setForceGroup(group)
    # A NonbondedForce can evaluate its reciprocal space in a group of its own; -1 keeps it whole.
    if isinstance(force, openmm.NonbondedForce):
        force.setReciprocalSpaceForceGroup(-1)


def regroup(system: openmm.System, indices: list[int]) -> openmm.System:
    """Copy a System, with the Forces named by `indices` in groups 0, 1, ... and the rest in 31."""
    if len(indices) >= NUM_FORCE_GROUPS:
        raise ValueError(f"{len(indices)} forces were given; one copy tells at most 31 apart")
    groups = {index: group for group, index in enumerate(indices)}
    result = copy.deepcopy(system)
    for i, force in enumerate(result.getForces()):
        _set_group(force, groups.get(i, NUM_FORCE_GROUPS - 1))
    return result


class EnergyDecomposer:
    """Splits the energies of many frames of one System.

    The System is copied, each Force gets a force group of its own in the copy, and the groups are
    evaluated one by one. Where there are more Forces than a Context has groups, there are several
    copies; all of them hold all Forces, since a Force may depend on another one's parameters.
    The total comes from one more Context of the System with the force groups it came with. In a
    large System the costliest force is not evaluated a second time: its energy is what the others
    leave of the total, and it is evaluated to check that for the first frame and every hundredth.

    Parameters
    ----------
    system : openmm.System
        not changed, and not used afterwards.
    platform : openmm.Platform or str or None
        Reference when None.
    threads : int or None
        of the CPU platform; its own choice when None.

    Attributes
    ----------
    labels : tuple of str
        the names of the Forces, in the order of the System.
    context : openmm.Context
        the Context of the whole System.
    """

    def __init__(
        self,
        system: openmm.System,
        platform: openmm.Platform | str | None = None,
        threads: int | None = None,
    ) -> None:
        labels = force_labels(system)
        self.labels: tuple[str, ...] = tuple(labels.values())
        self.num_particles: int = system.getNumParticles()
        self.context = evaluation_context(copy.deepcopy(system), platform, threads)
        self._is_double = self.context.getPlatform().getName() == "Reference"
        self._frames = 0
        self._costly = _costliest(system, labels)
        self._parts: list[tuple[openmm.Context, list[str]]] = []
        indices = list(labels)
        room = NUM_FORCE_GROUPS - 1
        for first in range(0, len(indices), room):
            some = indices[first : first + room]
            part = evaluation_context(regroup(system, some), platform, threads)
            self._parts.append((part, [labels[i] for i in some]))

    def _energies(
        self, positions_nm: np.ndarray, box_nm: np.ndarray | None, left_out: str | None
    ) -> Iterator[tuple[str, float]]:
        for context, labels in self._parts:
            put_frame(context, positions_nm, box_nm)
            for group, label in enumerate(labels):
                if label == left_out:
                    yield label, 0.0
                    continue
                state = context.getState(energy=True, groups={group})
                yield (
                    label,
                    state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
                )

    def tolerance(self, energies: np.ndarray) -> float:
        """How far the sum of `energies` may be from the total, in kJ/mol.

        Both evaluations run the same arithmetic within each Force, so what differs is how the
        parts are added. Adding F numbers leaves an error of at most F eps sum|E| (Higham, Accuracy
        and Stability of Numerical Algorithms, 2nd ed., section 4.2), with eps of double precision
        on Reference. Other platforms add the terms of all Forces in one buffer and in an order
        that changes, in single or mixed precision: there the terms that |E| is made of count,
        which cancel in part; 100 kJ/mol a particle is put in for what the cancellation hides.
        """
        magnitude = float(np.sum(np.abs(energies)))
        if self._is_double:
            eps = float(np.finfo(np.float64).eps)
            return 4 * max(1, len(energies)) * eps * max(magnitude, 1.0)
        per_particle = 100.0 * self.num_particles
        eps = float(np.finfo(np.float32).eps)
        return 4 * max(1, len(energies)) * eps * (magnitude + per_particle)

    def _check_sum(self, energies: dict[str, float], total: float) -> None:
        parts = np.array(list(energies.values()))
        # Coincident particles give an energy that is not finite; there is no sum to check then.
        if not np.isfinite(total) and not np.isfinite(parts).all():
            return
        tolerance = self.tolerance(parts)
        difference = abs(float(np.sum(parts)) - total)
        if not difference <= tolerance:
            raise EnergySumError(
                f"the energies of the {len(parts)} forces sum to {np.sum(parts):.9g} kJ/mol "
                f"and the System's energy is {total:.9g} kJ/mol; they differ by "
                f"{difference:.3g}, and {tolerance:.3g} is what rounding explains. A force "
                f"depends on something that is not a function of the positions: {energies}"
            )

    def decompose(self, positions: Any, box_nm: np.ndarray | None = None) -> EnergyDecomposition:
        """Split the energy of one frame.

        Parameters
        ----------
        positions : Quantity or array
            P x 3 (nm), one row a particle of the System. Virtual sites are computed anew.
        box_nm : array [3,3] or None
            periodic box vectors (nm) in OpenMM's reduced form; the System's own when None.

        Returns
        -------
        EnergyDecomposition

        Raises
        ------
        ValueError
            when the shape is wrong or a coordinate is NaN or infinite.
        EnergySumError
            when the parts do not sum to the total.
        """
        return self.evaluate(positions, box_nm)[0]

    def evaluate(
        self, positions: Any, box_nm: np.ndarray | None = None
    ) -> tuple[EnergyDecomposition, np.ndarray]:
        """Split the energy of one frame, as `decompose` does, and give its forces.

        Returns
        -------
        EnergyDecomposition
        array [P,3], kJ/mol/nm
        """
        values = check_positions(positions, self.num_particles)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise ValueError(
                f"the coordinates of {len(bad)} particles are not finite (the first is particle "
                f"{bad[0]}: {values[bad[0]].tolist()}); such a frame has no energy"
            )
        checked = self._costly is None or self._frames % CHECKED_FRAMES == 0
        self._frames += 1
        left_out = None if checked else self._costly
        energies = dict(self._energies(values, box_nm, left_out))
        put_frame(self.context, values, box_nm)
        state = self.context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(
            unit.kilojoule_per_mole / unit.nanometer
        )
        total = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        if checked:
            self._check_sum(energies, total)
        if self._costly is not None:
            energies[self._costly] = 0.0
            energies[self._costly] = total - sum(energies.values())
        tolerance = self.tolerance(np.array(list(energies.values())))
        return EnergyDecomposition(energies, total, tolerance), forces


def decomposeEnergy(
    system: openmm.System,
    positions: Any,
    *,
    platform: openmm.Platform | str | None = None,
    periodicBoxVectors: Any = None,
) -> EnergyDecomposition:
    """Split the potential energy of a frame by force, and check that the parts sum to the total.

    Works on copies of the System, so that its force groups stay as they are. For many frames of
    one System use `EnergyDecomposer`, which creates its Contexts once.

    Parameters
    ----------
    system : openmm.System
        any number of Forces (32 and more too).
    positions : Quantity or array
        P x 3 (nm).
    platform : openmm.Platform or str or None
        Reference (double precision) when None.
    periodicBoxVectors : Quantity or array or None
        3 x 3 (nm); the System's default box when None.

    Returns
    -------
    EnergyDecomposition

    Raises
    ------
    ValueError
        when the positions have the wrong shape or are not finite.
    EnergySumError
        when the parts do not sum to the total.

    >>> import openmm
    >>> system = openmm.System()
    >>> _ = system.addParticle(1.0), system.addParticle(1.0)
    >>> bond = openmm.HarmonicBondForce()
    >>> _ = bond.addBond(0, 1, 0.1, 1000.0)
    >>> _ = system.addForce(bond)
    >>> split = decomposeEnergy(system, [[0, 0, 0], [0.2, 0, 0]])
    >>> round(split.energies_kj_per_mol["HarmonicBondForce"], 6)
    5.0
    """
    box = None if periodicBoxVectors is None else positions_in_nm(periodicBoxVectors)
    return EnergyDecomposer(system, platform).decompose(positions, box)
