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

from .broken_bonds import LONGEST_PEPTIDE_BOND_NM, bond_faults
from .coordinate_files import COORDINATE_SUFFIXES
from .errors import FeatureError, MissingAtomsError, raise_all
from .features import MoleculeFeatures, features_from_topology, fit_residues
from .ligand_files import (
    SDF_SUFFIXES,
    add_bonds,
    append_ligand,
    mismatch,
    perceived_graph,
    read_ligands,
    select_records,
    title,
)
from .ligand_perception import molecule_from_smiles
from .ligands import chain_forms
from .modified import modified_molecule
from .parameter_files import read_parameter_files
from .peptides import build_peptide, parse_sequence
from .residue_graph import residue_graphs
from .residues import find_template
from .selection import describe_left_out, is_left_out, select_solute
from .structure_files import CIF_SUFFIXES, PDB_SUFFIXES, is_structure, read_structure_file
from .system_file import GivenSystem, check_system_fits, read_system_file

FloatArray = npt.NDArray[np.float64]


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
    stereochemistry; one that is not there is added in the place of its own coordinates. Hydrogens
    are left as they are in the files.

    Parameters
    ----------
    paths : path, or sequence of paths
        at most one structure file, and any number of SDF or MOL files
    records : sequence of str or int, optional
        which molecules to take of SDF files with several, by title or number from 0
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
    molecules = {
        name: molecule_from_smiles(mol, name) if isinstance(mol, str) else mol
        for name, mol in (molecules or {}).items()
    }
    parametrised = read_parametrised(given, records, molecules)
    if parametrised is not None:
        return parametrised
    structure, sdfs = _sort_paths(given)
    notes: list[str] = []
    from openmm import app

    topology: Any = app.Topology()
    positions = np.zeros((0, 3))
    if structure is not None:
        file = read_structure_file(structure)
        topology, positions = file.topology, file.positions_nm
        notes += file.notes
    ligands = select_records([(path, read_ligands(path)) for path in sdfs], records)
    chemistry = dict(molecules or {})
    positions = _place_ligands(topology, positions, ligands, chemistry, notes)
    faults = bond_faults(topology, positions)
    try:
        graphs = residue_graphs(topology, select_solute(topology, None))
        fit_residues(graphs, chemistry, False)
    except FeatureError as error:
        faults.append(error)
    raise_all(faults)
    name = (structure or sdfs[0]).stem
    return Molecule(topology, positions, chemistry, name, _and_left_out(notes, topology))


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
        or a ligand fits no residue.
    """
    if ligands:
        return read_molecule([path, *ligands])
    file = read_structure_file(path)
    faults = bond_faults(file.topology, file.positions_nm)
    # Whatever else is wrong shows in the energy; missing residues may not.
    raise_all([fault for fault in faults if isinstance(fault, MissingAtomsError)])
    return Molecule(file.topology, file.positions_nm, {}, path.stem, file.notes)


def build_sequence(sequence: str) -> Molecule:
    """Build a peptide, e.g. ACE-ALA-NME.

    Raises
    ------
    ValueError
        The sequence names residues that cannot be built.
    """
    topology, positions = build_peptide(sequence)
    return Molecule(topology, positions, {}, "-".join(parse_sequence(sequence)))


def read_parametrised(
    paths: Sequence[Path],
    records: Sequence[str | int] | None = None,
    molecules: Mapping[str, Any] | None = None,
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
    sdfs = [p for p in paths if p.suffix.lower() in SDF_SUFFIXES]
    rest = [p for p in paths if p not in systems and p not in sdfs]
    files = read_parameter_files(rest)
    if files is None and not systems:
        return None
    if len(systems) > (files is None):
        raise FeatureError(
            f"{systems[-1]} holds a System, and {rest[0] if files else systems[0]} brings one too; "
            "give one of them."
        )
    if files is None:
        return _with_system(systems[0], rest, sdfs, records, molecules)
    topology, positions, notes = files.topology, files.positions_nm, list(files.notes)
    chemistry = dict(molecules or {})
    ligands = select_records([(path, read_ligands(path)) for path in sdfs], records)
    if ligands:
        positions = _place_ligands(topology, positions, ligands, chemistry, notes)
        if topology.getNumAtoms() != files.parameters.topology.getNumAtoms():
            raise FeatureError(
                f"{', '.join(path.name for path in sdfs)}: a molecule is none of those in "
                f"{files.parameters.label}, which has no parameters for it."
            )
    perceived, told = files.chemistry(chemistry)
    chemistry |= perceived
    notes += told
    if len(positions):
        raise_all(bond_faults(topology, positions))
    return Molecule(
        topology, positions, chemistry, files.name, _and_left_out(notes, topology), files.parameters
    )


def _with_system(
    path: Path,
    structures: Sequence[Path],
    sdfs: Sequence[Path],
    records: Sequence[str | int] | None,
    molecules: Mapping[str, Any] | None,
) -> Molecule:
    """A structure, and the System of an XML file beside it."""
    system = read_system_file(path)
    if len(structures) != 1:
        raise FeatureError(
            f"{path} holds a System; give the one structure (PDB or mmCIF) that it was made of."
        )
    if sdfs or molecules:
        molecule = read_molecule([structures[0], *sdfs], records=records, molecules=molecules)
    else:
        molecule = read_structure(structures[0])
    check_system_fits(system, molecule.topology, path.name)
    return replace(molecule, parameters=GivenSystem(system, path.name))


def _and_left_out(notes: Sequence[str], topology: Any) -> tuple[str, ...]:
    """Notes, and what stays out of the solute."""
    left_out = describe_left_out(topology)
    return (*notes, f"Not part of the solute: {left_out}.") if left_out else tuple(notes)


def _sort_paths(given: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """Split paths into the structure and the SDF files."""
    structures = [p for p in given if p.suffix.lower() in PDB_SUFFIXES + CIF_SUFFIXES]
    sdfs = [p for p in given if p.suffix.lower() in SDF_SUFFIXES]
    rest = [p for p in given if p not in structures and p not in sdfs]
    if rest:
        known = ", ".join(PDB_SUFFIXES + CIF_SUFFIXES + SDF_SUFFIXES)
        if rest[0].suffix.lower() in COORDINATE_SUFFIXES:
            known += "; coordinates of other programs go with their topology: prmtop, top or psf"
        raise FeatureError(f"{rest[0]} is none of the files that are read here ({known}).")
    if len(structures) > 1:
        raise FeatureError(
            f"{structures[0]} and {structures[1]} are both structures; give one, with all "
            "molecules but those in SDF files."
        )
    if not given:
        raise FeatureError("paths is empty; name a structure or an SDF file.")
    return (structures[0] if structures else None), sdfs


def _place_ligands(
    topology: Any,
    positions: FloatArray,
    ligands: list[tuple[Path, Any]],
    chemistry: dict[str, Any],
    notes: list[str],
) -> FloatArray:
    """Match ligands to residues without template, add the others; return all positions."""
    residues = [
        r
        for r in topology.residues()
        if modified_molecule(r.name) is not None
        or (not is_left_out(r) and find_template(r.name) is None)
    ]
    bonds: dict[int, list[Any]] = {r.index: [] for r in residues}
    for bond in topology.bonds():
        for owner in {bond[0].residue.index, bond[1].residue.index} & bonds.keys():
            bonds[owner].append(bond)
    used: set[int] = set()
    reasons: list[str] = []
    for residue in residues:
        graph = perceived_graph(residue, bonds[residue.index], positions)
        known = chemistry.get(residue.name) or modified_molecule(residue.name)
        if known is not None:
            # Only bonds may be lacking.
            _complete_bonds(topology, residue, graph, known, positions)
            continue
        fitting = (k for k, (_, mol) in enumerate(ligands) if add_bonds(topology, graph, mol))
        number = next(fitting, None)
        if number is None:
            if ligands:
                why = "; ".join(mismatch(graph, mol) for _, mol in ligands)
                reasons.append(f"{graph.label()} is none of the ligands given. {why}.")
            continue
        path, mol = ligands[number]
        used.add(number)
        chemistry[residue.name] = mol
        notes.append(f"{graph.label()} is {title(mol) or 'the molecule'} of {path.name}.")
    rest = [ligand for k, ligand in enumerate(ligands) if k not in used]
    if reasons and rest:
        raise FeatureError(" ".join(reasons) + " Give each ligand as it is in the structure.")
    names = {r.name for r in topology.residues()} | chemistry.keys()
    for path, mol in rest:
        name = next(n for n in ("LIG", *(f"L{k:02d}" for k in range(1, 100))) if n not in names)
        names.add(name)
        positions = append_ligand(topology, positions, mol, name)
        chemistry[name] = mol
        notes.append(f"{title(mol) or 'The molecule'} of {path.name} is added as residue {name}.")
    return positions


def _complete_bonds(
    topology: Any, residue: Any, graph: Any, molecule: Any, positions: FloatArray
) -> None:
    """Give a residue of known chemistry the bonds that its file does not have."""
    if any(add_bonds(topology, graph, form) for form, *_ in chain_forms(molecule)):
        _link_to_neighbours(topology, residue, graph, positions)


def _link_to_neighbours(topology: Any, residue: Any, graph: Any, positions: FloatArray) -> None:
    """Add the peptide bonds of a modified amino acid where atoms are in reach of each other."""
    chain = list(residue.chain.residues())
    place = chain.index(residue)
    atoms = {a.name: a for a in residue.atoms()}
    bonded = {here for here, _ in graph.partners}
    for step, ours, theirs in ((-1, "N", "C"), (1, "C", "N")):
        if not 0 <= place + step < len(chain) or ours not in atoms:
            continue
        other = next((a for a in chain[place + step].atoms() if a.name == theirs), None)
        if other is None or atoms[ours].index in bonded:
            continue
        pair = atoms[ours], other
        there = {frozenset((b[0].index, b[1].index)) for b in topology.bonds()}
        ends = positions[[a.index for a in pair]]
        near = np.linalg.norm(ends[0] - ends[1]) < LONGEST_PEPTIDE_BOND_NM
        if near and frozenset(a.index for a in pair) not in there:
            topology.addBond(*pair)
