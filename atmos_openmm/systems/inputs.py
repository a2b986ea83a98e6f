"""Structure and ligand files, or a sequence, to a Topology, positions and chemistry, checked.

The one way in: what the readers of OpenMM and RDKit give, with alternate locations and
models resolved, ligands matched to their residues, and everything that would make a molecule other
than the file's author meant found and told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .broken_bonds import bond_faults
from .errors import FeatureError, raise_all
from .features import MoleculeFeatures, features_from_topology, fit_residues
from .ligand_files import SDF_SUFFIXES, choose_ligands, split_record
from .ligand_placing import place_ligands
from .peptides import build_peptide, parse_sequence
from .residue_graph import residue_graphs
from .selection import describe_left_out, select_solute
from .structure_files import CIF_SUFFIXES, PDB_SUFFIXES, is_structure, read_structure_file

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Molecule:
    """What structure and ligand files say, or what a sequence stands for.

    Attributes
    ----------
    topology : openmm.app.Topology
        everything in the files, with bonds
    positions_nm : array [all atoms, 3]
    molecules : dict of str to RDKit Mol
        chemistry of ligands by residue name, as `features_from_topology` and `AtmosPropagator`
        take it
    name : str
        the stem of the first file, or the sequence
    notes : tuple of str
        choices that were made while reading, and what is no part of the solute
    """

    topology: Any
    positions_nm: FloatArray
    molecules: dict[str, Any]
    name: str
    notes: tuple[str, ...] = ()

    def features(self, atoms: Literal["all", "heavy"] = "all", **options: Any) -> MoleculeFeatures:
        """Make the features, see `features_from_topology`."""
        return features_from_topology(
            self.topology, atoms, positions=self.positions_nm, molecules=self.molecules, **options
        )


def read_molecule(
    paths: str | Path | Sequence[str | Path],
    *,
    records: Sequence[str | int] | None = None,
    molecules: Mapping[str, Any] | None = None,
) -> Molecule:
    """Read a structure (PDB, mmCIF) and ligands (SDF, MOL).

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
    molecules : mapping from residue name to RDKit Mol, optional
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
    structure, sdfs = _sort_paths(paths)
    notes: list[str] = []
    from openmm import app

    topology: Any = app.Topology()
    positions = np.zeros((0, 3))
    if structure is not None:
        file = read_structure_file(structure)
        topology, positions = file.topology, file.positions_nm
        notes += file.notes
    chemistry = dict(molecules or {})
    ligands = choose_ligands(sdfs, records)
    positions = place_ligands(topology, positions, ligands, chemistry, notes)
    faults = bond_faults(topology, positions)
    try:
        graphs = residue_graphs(topology, select_solute(topology, None, chemistry))
        fit_residues(graphs, chemistry, False)
    except FeatureError as error:
        faults.append(error)
    raise_all(faults)
    left_out = describe_left_out(topology, chemistry)
    if left_out:
        notes.append(f"Not part of the solute: {left_out}.")
    name = (structure or sdfs[0][0]).stem
    return Molecule(topology, positions, chemistry, name, tuple(notes))


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


def _sort_paths(
    paths: str | Path | Sequence[str | Path],
) -> tuple[Path | None, list[tuple[Path, str | None]]]:
    """Split paths into the structure and the SDF files, each with the record that it names."""
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    structures = [Path(p) for p in given if is_structure(p)]
    named = [split_record(p) for p in given if not is_structure(p)]
    strange = [path for path, _ in named if path.suffix.lower() not in SDF_SUFFIXES]
    if strange:
        known = ", ".join(PDB_SUFFIXES + CIF_SUFFIXES + SDF_SUFFIXES)
        raise FeatureError(f"{strange[0]} is none of the files that are read here ({known}).")
    if len(structures) > 1:
        raise FeatureError(
            f"{structures[0]} and {structures[1]} are both structures; give one, with all "
            "molecules but those in SDF files."
        )
    if not given:
        raise FeatureError("paths is empty; name a structure or an SDF file.")
    return (structures[0] if structures else None), named
