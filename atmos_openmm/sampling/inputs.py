"""From a structure file or a sequence to a Topology, positions and a System."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

DEFAULT_FORCE_FIELD = ("amber14-all.xml", "implicit/gbn2.xml")
HYDROGEN_MASS_DA = 1.5


@dataclass(frozen=True)
class Structure:
    """A molecule as it was read or built.

    Topology, positions [P, 3] in nm, a name, what was chosen while reading, and the chemistry of
    ligands (RDKit molecules by residue name).
    """

    topology: Topology
    positions_nm: NDArray[np.float64]
    name: str
    notes: tuple[str, ...] = ()
    molecules: dict[str, Any] = field(default_factory=dict)


def read_structure(path: Path, ligands: Sequence[Path] = ()) -> Structure:
    """Read the first model of a PDB or mmCIF file, see `systems.structure_files`.

    Parameters
    ----------
    path: Path
        the structure
    ligands: sequence of Path
        SDF files of its ligands, see `systems.read_molecule`

    Raises
    ------
    ValueError
        if there is no such file, it is not what its suffix says, a chain is broken, or a ligand
        fits no residue
    """
    if ligands:
        from ..systems.inputs import read_molecule

        read = read_molecule([path, *ligands])
        return Structure(
            read.topology, read.positions_nm, path.stem, read.notes, dict(read.molecules)
        )
    from ..systems.broken_bonds import bond_faults
    from ..systems.errors import MissingAtomsError, raise_all
    from ..systems.structure_files import read_structure_file

    file = read_structure_file(path)
    faults = bond_faults(file.topology, file.positions_nm)
    # Whatever else is wrong shows in the energy; missing residues may not.
    raise_all([fault for fault in faults if isinstance(fault, MissingAtomsError)])
    return Structure(file.topology, file.positions_nm, path.stem, file.notes)


def build_sequence(sequence: str) -> Structure:
    """Build a peptide, e.g. ACE-ALA-NME.

    Raises
    ------
    ValueError
        if the sequence names residues that cannot be built
    """
    from ..systems.peptides import build_peptide, parse_sequence

    topology, positions = build_peptide(sequence)
    return Structure(topology, positions, "-".join(parse_sequence(sequence)))


def create_system(
    topology: Topology,
    force_field: Sequence[str] = DEFAULT_FORCE_FIELD,
    hydrogen_mass_da: float = HYDROGEN_MASS_DA,
) -> openmm.System:
    """Make a System for dynamics with 4 fs steps.

    Bonds to hydrogen and water are rigid, hydrogens carry a part of their neighbours' mass. A
    Topology with a box gets PME (or a cutoff where the force field has no charges to sum), one
    without has no cutoff.

    Parameters
    ----------
    topology: openmm.app.Topology
        with all hydrogens
    force_field: sequence of str
        OpenMM force field files
    hydrogen_mass_da: float
        mass of hydrogens in dalton; 0 leaves the force field's

    Raises
    ------
    ValueError
        if a file is missing or broken, or the force field does not know a residue; the message
        says which, and what to do
    """
    from openmm import app, unit

    try:
        field = app.ForceField(*force_field)
    except Exception as error:
        raise ValueError(
            f"The force field {', '.join(force_field)} cannot be loaded: {error} Give names of "
            "files that come with OpenMM, or paths (--forcefield)."
        ) from error
    arguments: dict[str, Any] = {"constraints": app.HBonds, "rigidWater": True}
    if hydrogen_mass_da > 0:
        arguments["hydrogenMass"] = hydrogen_mass_da * unit.dalton
    if topology.getPeriodicBoxVectors() is not None:
        arguments["nonbondedMethod"] = app.PME
        shortest = min(topology.getUnitCellDimensions().value_in_unit(unit.nanometer))
        arguments["nonbondedCutoff"] = min(1.0, 0.49 * shortest) * unit.nanometer
    else:
        arguments["nonbondedMethod"] = app.NoCutoff
    try:
        return field.createSystem(topology, **arguments)
    except ValueError as error:
        raise ValueError(
            f"The force field {', '.join(force_field)} does not fit the molecule: {error} "
            f"{_advice(topology)}"
        ) from error


def _advice(topology: Topology) -> str:
    """What most often is wrong when a force field finds no template."""
    hydrogens = sum(
        atom.element is not None and atom.element.atomic_number == 1 for atom in topology.atoms()
    )
    if hydrogens == 0:
        return (
            "The structure has no hydrogens: add them first, e.g. with "
            "openmm.app.Modeller.addHydrogens or PDBFixer."
        )
    return (
        "Residues that are not standard need a force field file of their own (--forcefield, "
        "given again for each file); missing atoms can be added with PDBFixer."
    )
