"""The molecule of an OpenMM Simulation that exists."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .inputs import Molecule
from .openmm_bridge import atom_positions_in_nm
from .perceived_residues import partial_charges, perceive_residues, unknown_residues
from .system_file import GivenSystem, check_system_fits

__all__ = ["molecule_of_simulation"]


def molecule_of_simulation(simulation: Any, molecules: Mapping[str, Any] | None = None) -> Molecule:
    """Take Topology, System and positions from a Simulation.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With positions.
    molecules : mapping from residue name to RDKit Mol, optional
        Residues that are not standard; those whose bonds have no orders in the Topology are told
        from elements, bonds and hydrogens where they are not among these.

    Returns
    -------
    Molecule
        Its `parameters` give the Simulation's own System, or a copy of it with the box that the
        Simulation has.

    Raises
    ------
    ValueError
        The Simulation has no positions, or its System is of other atoms than its Topology.
    """
    topology, system = simulation.topology, simulation.system
    check_system_fits(system, topology, "The Simulation's System")
    state = simulation.context.getState(positions=True)
    positions = atom_positions_in_nm(state.getPositions(asNumpy=True))
    if not positions.any():  # a Context without positions answers with zeros
        raise ValueError(
            "The Simulation has no positions. Call simulation.context.setPositions() first."
        )
    if system.usesPeriodicBoundaryConditions():
        system = copy.deepcopy(system)  # with the box of now, and the Simulation's left as it is
        system.setDefaultPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    known = dict(molecules or {})
    ordered = {
        end.residue.name
        for bond in topology.bonds()
        if bond.order is not None or bond.type is not None
        for end in (bond[0], bond[1])
    }
    molecule = Molecule(
        topology, positions, known, "simulation", (), GivenSystem(system, "the Simulation")
    )
    skip = dict.fromkeys((*known, *ordered))
    charges = partial_charges(system)
    if charges is None or not unknown_residues(topology, skip):
        return molecule
    found, notes = perceive_residues(topology, positions, charges, skip)
    return replace(molecule, molecules={**known, **found}, notes=tuple(notes))
