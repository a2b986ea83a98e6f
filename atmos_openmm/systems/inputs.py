"""Structure and ligand files, or a sequence, to a Topology, positions and chemistry, checked.

The one way in: what the readers of OpenMM and RDKit give, with alternate locations and
models resolved, ligands matched to their residues, and everything that would make a molecule other
than the file's author meant found and told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .broken_bonds import bond_faults
from .coordinate_files import COORDINATE_SUFFIXES
from .errors import FeatureError, raise_all
from .features import MoleculeFeatures, features_from_topology, fit_residues
from .ligand_files import SDF_SUFFIXES, choose_ligands, split_record
from .ligand_perception import molecule_from_smiles
from .ligand_placing import place_ligands
from .parameter_files import read_parameter_files
from .peptides import build_peptide, parse_sequence
from .residue_graph import residue_graphs
from .selection import describe_left_out, select_solute
from .structure_files import CIF_SUFFIXES, PDB_SUFFIXES, is_structure, read_structure_file
from .system_file import GivenSystem, check_system_fits, read_system_file

FloatArray = npt.NDArray[np.float64]
Records = Sequence[tuple[Path, str | None]]
"""SDF files, and which record of each is meant; see `ligand_files.split_record`."""


@dataclass(frozen=True)
class Molecule:
    """What structure and ligand files say, or what a sequence stands for.

    Attributes
    ----------
    topology : openmm.app.Topology
        everything in the files, with bonds
    positions_nm : array [all atoms, 3]
        [0, 3] where a topology file came without coordinates
    molecules : dict of str to RDKit Mol
        chemistry of ligands by residue name, as `features_from_topology` and `AtmosPropagator`
        take it
    name : str
        the stem of the first file, or the sequence
    notes : tuple of str
        choices that were made while reading, and what is no part of the solute
    parameters : object, optional
        what makes the System where the files hold it or its parameters: it has a `label` and
        `create_system(options)`; see `systems.forcefield.make_system`
    """

    topology: Any
    positions_nm: FloatArray
    molecules: dict[str, Any]
    name: str
    notes: tuple[str, ...] = ()
    parameters: Any = None

    def features(self, atoms: Literal["all", "heavy"] = "all", **options: Any) -> MoleculeFeatures:
        """Make the features, see `features_from_topology`."""
        positions = self.positions_nm if len(self.positions_nm) else None
        return features_from_topology(
            self.topology, atoms, positions=positions, molecules=self.molecules, **options
        )


def read_molecule(
    paths: str | Path | Sequence[str | Path],
    *,
    records: Sequence[str | int] | None = None,
    molecules: Mapping[str, Any] | None = None,
) -> Molecule:
    """Read a structure (PDB, mmCIF) and ligands (SDF, MOL), or files with parameters.

    Those are AMBER's prmtop, parm7 or top with inpcrd, rst7, crd or nc; GROMACS's top with gro;
    CHARMM's psf with parameter files and crd; each also with the coordinates of a PDB or mmCIF
    file, or without coordinates. Beside a structure, the XML file of an OpenMM System holds the
    parameters. `systems.forcefield.make_system` makes the System of any of them.

    A ligand that is a residue of the structure already is matched to it by elements and bonds (by
    distances where the file has no bonds) and gives it bonds with their orders, charges and
    stereochemistry; see `ligand_placing`. One that is not there is added in the place of its own
    coordinates. Hydrogens are left as they are in the files.

    Parameters
    ----------
    paths : path, or sequence of paths
        at most one structure file, and any number of SDF or MOL files. One record of several is
        named after a colon, by title or number from 0: ``ligands.sdf:benzamidine``
    records : sequence of str or int, optional
        which molecules to take of the other SDF files with several, by title or number from 0
    molecules : mapping from residue name to RDKit Mol or SMILES, optional
        chemistry of residues of the structure, in place of SDF files

    Returns
    -------
    Molecule

    Raises
    ------
    FeatureError
        (a ValueError) for files that cannot be read, unknown residues, ligands that fit no
        residue, residues without bonds or with missing heavy atoms, and chain breaks; all faults
        of the molecule are told together. Missing hydrogens are no fault here, since heavy-atom
        models need none
    """
    given = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(p) for p in paths]
    chemistry = {
        name: molecule_from_smiles(mol, name) if isinstance(mol, str) else mol
        for name, mol in (molecules or {}).items()
    }
    sdfs = [split_record(p) for p in given if _is_ligand(p)]
    others = [p for p in given if not _is_ligand(p)]
    parametrised = _read_parametrised(others, sdfs, records, chemistry)
    if parametrised is not None:
        return parametrised
    structure = _only_structure(others)
    if structure is None and not sdfs:
        raise FeatureError("paths is empty; name a structure or an SDF file.")
    return _read_with_ligands(structure, sdfs, records, chemistry)


def read_input(
    paths: str | Path | Sequence[str | Path],
    *,
    records: Sequence[str | int] | None = None,
    molecules: Mapping[str, Any] | None = None,
) -> Molecule:
    """Read a molecule that only has to suit a force field, from files of any kind.

    As `read_molecule`, but for a structure alone: residues of it that this package does not know
    are no fault here.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if len(given) == 1 and not molecules and is_structure(given[0]):
        return read_structure(Path(given[0]))
    return read_molecule(given, records=records, molecules=molecules)


def read_structure(path: Path, ligands: Sequence[Path] = ()) -> Molecule:
    """Read a structure that only has to suit a force field, or also its ligands.

    Parameters
    ----------
    path : Path
        PDB or mmCIF file; of several models the first is taken.
    ligands : sequence of Path
        SDF files. With them all is as `read_molecule` has it; without, residues that the
        package does not know are no fault.

    Raises
    ------
    FeatureError
        (a ValueError) There is no such file, it is not what its suffix says, a chain is broken,
        bonds are longer than any is, or a ligand fits no residue.
    """
    if ligands:
        return read_molecule([path, *ligands])
    file = read_structure_file(path)
    notes = list(file.notes)
    place_ligands(file.topology, file.positions_nm, [], {}, notes)
    # Atoms on top of each other show in the energy; missing residues and swapped names may not.
    raise_all(bond_faults(file.topology, file.positions_nm, shortest_nm=0.0))
    return Molecule(file.topology, file.positions_nm, {}, path.stem, tuple(notes))


def build_sequence(sequence: str) -> Molecule:
    """Build a peptide, e.g. ACE-ALA-NME.

    Raises
    ------
    ValueError
        The sequence names residues that cannot be built.
    """
    topology, positions = build_peptide(sequence)
    return Molecule(topology, positions, {}, "-".join(parse_sequence(sequence)))


def _is_ligand(path: Path) -> bool:
    return split_record(path)[0].suffix.lower() in SDF_SUFFIXES


def _only_structure(paths: Sequence[Path]) -> Path | None:
    """The structure among files without parameters, of which there is one at most."""
    strange = [path for path in paths if not is_structure(path)]
    if strange:
        known = ", ".join(PDB_SUFFIXES + CIF_SUFFIXES + SDF_SUFFIXES)
        if strange[0].suffix.lower() in COORDINATE_SUFFIXES:
            known += "; coordinates of other programs go with their topology: prmtop, top or psf"
        raise FeatureError(f"{strange[0]} is none of the files that are read here ({known}).")
    if len(paths) > 1:
        raise FeatureError(
            f"{paths[0]} and {paths[1]} are both structures; give one, with all "
            "molecules but those in SDF files."
        )
    return paths[0] if paths else None


def _read_with_ligands(
    structure: Path | None,
    sdfs: Records,
    records: Sequence[str | int] | None,
    chemistry: dict[str, Any],
) -> Molecule:
    """A structure and ligands, of which everything has to be known; see `read_molecule`."""
    from openmm import app

    notes: list[str] = []
    topology: Any = app.Topology()
    positions = np.zeros((0, 3))
    if structure is not None:
        file = read_structure_file(structure)
        topology, positions = file.topology, file.positions_nm
        notes += file.notes
    ligands = choose_ligands(sdfs, records)
    positions = place_ligands(topology, positions, ligands, chemistry, notes)
    faults = bond_faults(topology, positions)
    try:
        graphs = residue_graphs(topology, select_solute(topology, None, chemistry))
        fit_residues(graphs, chemistry, False)
    except FeatureError as error:
        faults.append(error)
    raise_all(faults)
    name = (structure or sdfs[0][0]).stem
    return Molecule(topology, positions, chemistry, name, _and_left_out(notes, topology, chemistry))


def _read_parametrised(
    paths: Sequence[Path],
    sdfs: Records,
    records: Sequence[str | int] | None,
    chemistry: dict[str, Any],
) -> Molecule | None:
    """Read files of which one holds parameters or a System, see `read_molecule`.

    Residues that this package does not know are no fault, since the parameters know them.

    Returns
    -------
    Molecule or None
        None where no file holds parameters.

    Raises
    ------
    FeatureError
        (a ValueError) Files cannot be read, contradict each other or are of no use together, or
        bonds are longer than bonds are.
    ForceFieldError
        (a ValueError) A System is one of other atoms.
    """
    systems = [p for p in paths if p.suffix.lower() == ".xml"]
    rest = [p for p in paths if p not in systems]
    files = read_parameter_files(rest)
    if files is None and not systems:
        return None
    if len(systems) > (files is None):
        raise FeatureError(
            f"{systems[-1]} holds a System, and {rest[0] if files else systems[0]} brings one too; "
            "give one of them."
        )
    if files is None:
        return _with_system(systems[0], rest, sdfs, records, chemistry)
    topology, positions, notes = files.topology, files.positions_nm, list(files.notes)
    ligands = choose_ligands(sdfs, records)
    if ligands:
        positions = place_ligands(topology, positions, ligands, chemistry, notes)
        if topology.getNumAtoms() != files.parameters.topology.getNumAtoms():
            raise FeatureError(
                f"{', '.join(path.name for path, _ in sdfs)}: a molecule is none of those in "
                f"{files.parameters.label}, which has no parameters for it."
            )
    perceived, told = files.chemistry(chemistry)
    chemistry |= perceived
    notes += told
    if len(positions):
        raise_all(bond_faults(topology, positions))
    return Molecule(
        topology,
        positions,
        chemistry,
        files.name,
        _and_left_out(notes, topology, chemistry),
        files.parameters,
    )


def molecule_with_system_file(molecule: Molecule, path: Path) -> Molecule:
    """A molecule whose System is that of an OpenMM XML file.

    Raises
    ------
    FileNotFoundError
    ValueError
        The file holds no System, or one of other atoms.
    """
    system = read_system_file(path)
    check_system_fits(system, molecule.topology, path.name)
    return replace(molecule, parameters=GivenSystem(system, path.name))


def _with_system(
    path: Path,
    structures: Sequence[Path],
    sdfs: Records,
    records: Sequence[str | int] | None,
    chemistry: dict[str, Any],
) -> Molecule:
    """A structure, and the System of an XML file beside it."""
    if len(structures) != 1:
        read_system_file(path)  # what it is comes first, where it is none
        raise FeatureError(
            f"{path} holds a System; give the one structure (PDB or mmCIF) that it was made of."
        )
    if sdfs or chemistry:
        molecule = _read_with_ligands(_only_structure(structures), sdfs, records, chemistry)
    else:
        molecule = read_structure(structures[0])
    return molecule_with_system_file(molecule, path)


def _and_left_out(
    notes: Sequence[str], topology: Any, chemistry: Mapping[str, Any]
) -> tuple[str, ...]:
    """Notes, and what stays out of the solute."""
    left_out = describe_left_out(topology, chemistry)
    return (*notes, f"Not part of the solute: {left_out}.") if left_out else tuple(notes)
