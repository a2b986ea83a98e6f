"""What two groups lose or gain in a continuum solvent by being together.

E(A and B) - E(A) - E(B) of the System's implicit-solvent forces, each for these particles alone in
the solvent at the coordinates of the frame, as in the single-trajectory approach of MM/GBSA. The
surface term is part of it where the force has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from openmm import unit

from .contexts import evaluation_context, put_frame
from .groups import GroupPair

__all__ = ["SolvationDifference", "has_solvation_force"]

_IMPLICIT = (openmm.GBSAOBCForce, openmm.CustomGBForce)


def has_solvation_force(system: openmm.System) -> bool:
    """Whether a System has a force of a generalised Born model."""
    return any(isinstance(force, _IMPLICIT) for force in system.getForces())


class SolvationDifference:
    """Solvation's part of interaction energies.

    Parameters
    ----------
    system : openmm.System
    pairs : sequence of GroupPair
    platform : openmm.Platform or str or None
    threads : int or None
        Of the CPU platform.
    """

    def __init__(
        self,
        system: openmm.System,
        pairs: Sequence[GroupPair],
        platform: openmm.Platform | str | None = None,
        threads: int | None = None,
    ) -> None:
        self._parts: list[list[tuple[np.ndarray, openmm.Context]]] = [
            [
                (atoms, evaluation_context(_subsystem(system, atoms), platform, threads))
                for atoms in (np.union1d(pair.first, pair.second), pair.first, pair.second)
            ]
            for pair in pairs
        ]

    def __call__(self, positions_nm: np.ndarray) -> list[float]:
        """Energies (kJ/mol) of the pairs in a frame [P,3]."""
        found = []
        for parts in self._parts:
            both, first, second = (_energy(context, positions_nm[a]) for a, context in parts)
            found.append(both - first - second)
        return found


def _energy(context: openmm.Context, positions_nm: np.ndarray) -> float:
    put_frame(context, positions_nm)
    state = context.getState(energy=True)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def _subsystem(system: openmm.System, atoms: np.ndarray) -> openmm.System:
    """Some particles with the implicit-solvent forces alone."""
    result = openmm.System()
    for i in atoms.tolist():
        result.addParticle(system.getParticleMass(i))
    for force in system.getForces():
        if isinstance(force, openmm.GBSAOBCForce):
            result.addForce(_some_of_obc(force, atoms))
        elif isinstance(force, openmm.CustomGBForce):
            result.addForce(_some_of_custom(force, atoms))
    return result


def _some_of_obc(force: openmm.GBSAOBCForce, atoms: np.ndarray) -> openmm.GBSAOBCForce:
    part = openmm.GBSAOBCForce()
    for what in (
        "SoluteDielectric",
        "SolventDielectric",
        "SurfaceAreaEnergy",
        "NonbondedMethod",
        "CutoffDistance",
    ):
        getattr(part, f"set{what}")(getattr(force, f"get{what}")())
    for i in atoms.tolist():
        part.addParticle(*force.getParticleParameters(i))
    return part


def _some_of_custom(force: openmm.CustomGBForce, atoms: np.ndarray) -> openmm.CustomGBForce:
    part = openmm.CustomGBForce()
    part.setNonbondedMethod(force.getNonbondedMethod())
    part.setCutoffDistance(force.getCutoffDistance())
    for k in range(force.getNumPerParticleParameters()):
        part.addPerParticleParameter(force.getPerParticleParameterName(k))
    for k in range(force.getNumGlobalParameters()):
        part.addGlobalParameter(
            force.getGlobalParameterName(k), force.getGlobalParameterDefaultValue(k)
        )
    for k in range(force.getNumTabulatedFunctions()):
        function: Any = openmm.XmlSerializer.clone(force.getTabulatedFunction(k))
        part.addTabulatedFunction(force.getTabulatedFunctionName(k), function)
    for k in range(force.getNumComputedValues()):
        part.addComputedValue(*force.getComputedValueParameters(k))
    for k in range(force.getNumEnergyTerms()):
        part.addEnergyTerm(*force.getEnergyTermParameters(k))
    for i in atoms.tolist():
        part.addParticle(force.getParticleParameters(i))
    place = {int(atom): k for k, atom in enumerate(atoms)}
    for k in range(force.getNumExclusions()):
        i, j = force.getExclusionParticles(k)
        if i in place and j in place:
            part.addExclusion(place[i], place[j])
    return part
