"""What a System is like, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openmm import System
    from openmm.app import Topology

__all__ = ["describe_system"]


def describe_system(system: System, topology: Topology) -> dict[str, str]:
    """What a System is like, read off itself: nonbonded method, constraints, masses, solvent."""
    import openmm

    found: dict[str, str] = {}
    forces = system.getForces()
    nonbonded = next((f for f in forces if isinstance(f, openmm.NonbondedForce)), None)
    if nonbonded is not None:
        method = nonbonded.getNonbondedMethod()
        names = ("NoCutoff", "CutoffNonPeriodic", "CutoffPeriodic", "Ewald", "PME", "LJPME")
        cutoff = nonbonded.getCutoffDistance()._value
        found["nonbonded"] = names[method] + (f", cutoff {cutoff:g} nm" if method else "")
    found["constraints"] = _described_constraints(system, topology)
    masses = sorted(
        {
            round(system.getParticleMass(a.index)._value, 3)
            for a in topology.atoms()
            if a.element is not None and a.element.atomic_number == 1 and a.residue.name != "HOH"
        }
    )
    if masses:
        found["hydrogen mass"] = " and ".join(f"{mass:g}" for mass in masses[:3]) + " dalton"
    solvents = [f for f in forces if isinstance(f, (openmm.GBSAOBCForce, openmm.CustomGBForce))]
    found["implicit solvent"] = type(solvents[0]).__name__ if solvents else "none"
    return found


def _described_constraints(system: System, topology: Topology) -> str:
    """Which bonds are constrained, by their number, water apart."""
    atoms = list(topology.atoms())
    light = heavy = 0
    for k in range(system.getNumConstraints()):
        ends = [atoms[i] for i in system.getConstraintParameters(k)[:2]]
        if any(a.residue.name == "HOH" for a in ends):
            continue
        hydrogens = sum(a.element is not None and a.element.atomic_number == 1 for a in ends)
        light += hydrogens > 0
        heavy += hydrogens == 0
    if not light + heavy:
        return "none but those of rigid water" if system.getNumConstraints() else "none"
    return f"{light} to hydrogens, {heavy} between others"
