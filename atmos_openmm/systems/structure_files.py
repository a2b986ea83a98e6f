"""PDB and mmCIF files, with what OpenMM's readers pass over in silence.

OpenMM keeps one of several alternate locations, one of two atoms of the same name, and all models,
and makes bonds as residues follow each other. Here choices are made before a Topology is, and said.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.text import listed
from .alternates import choose_locations
from .atom_rows import (
    SHOWN,
    AtomRow,
    as_hydrogen,
    build_topology,
    check_rows,
    residue_runs,
    row_label,
)
from .errors import FeatureError
from .file_bonds import set_bonds
from .labels import atom_label
from .mmcif import AtomSite, read_block
from .pdb_file import PdbFile
from .residues import ALIASES, ANIONIC_NAMES, DISULFIDE_NAMES, SOLVENT

PDB_SUFFIXES = (".pdb", ".ent")
CIF_SUFFIXES = (".cif", ".mmcif", ".pdbx")


@dataclass(frozen=True)
class StructureFile:
    """What a structure file holds.

    Attributes
    ----------
    topology : openmm.app.Topology
        with bonds: standard residues', disulfides, and those that the file names
    positions_nm : array [atoms, 3]
        the first model
    chain_names : tuple of str
        what the file calls each chain of the Topology: label_asym_id in mmCIF
    block : gemmi.cif.Block or None
        all that an mmCIF file holds
    notes : tuple of str
        choices made while reading: models, alternate locations, atoms without element
    """

    topology: Any
    positions_nm: npt.NDArray[np.float64]
    chain_names: tuple[str, ...]
    block: Any = None
    notes: tuple[str, ...] = ()


def read_structure_file(path: str | Path) -> StructureFile:
    """Read the first model of a PDB or mmCIF file.

    Of alternate locations, each residue keeps one, see `alternates.choose_locations`.

    Raises
    ------
    FeatureError
        for files that do not exist, have another suffix, cannot be parsed (with line and
        columns), hold no atoms, two atoms of one name in a residue, residues in two places,
        elements that contradict names, or coordinates that are not finite
    """
    path = Path(path)
    if not path.exists():
        raise FeatureError(f"There is no file {path}; check the path.")
    if not is_structure(path):
        raise FeatureError(
            f"{path} ends in {path.suffix or 'nothing'}; structures are read from PDB or mmCIF "
            f"files ({', '.join(PDB_SUFFIXES + CIF_SUFFIXES)}, and these with .gz)."
        )
    return read_structure(read_text(path), path)


def is_structure(path: str | Path) -> bool:
    """Whether a file's name is that of a PDB or mmCIF file, compressed or not."""
    return _suffix(path) in PDB_SUFFIXES + CIF_SUFFIXES


def _suffix(path: str | Path) -> str:
    """The end of a file's name that tells the format."""
    return Path(Path(path).name.lower().removesuffix(".gz")).suffix


def read_text(path: str | Path) -> str:
    """The text of a structure file, compressed or not."""
    opener = gzip.open if Path(path).suffix.lower() == ".gz" else open
    # Remarks may be in any encoding; what is read here is ASCII.
    with opener(path, "rt", encoding="utf-8", errors="replace") as file:
        return file.read()


def read_structure(text: str, path: str | Path) -> StructureFile:
    """Read the first model of the text of a file, see `read_structure_file`.

    Parameters
    ----------
    text : str
    path : path
        The file's name, which tells the format.
    """
    mmcif = _suffix(path) in CIF_SUFFIXES
    notes: list[str] = []
    try:
        file = (_read_cif if mmcif else _read_pdb)(text, notes)
    except FeatureError as error:
        raise FeatureError(f"{path}: {error}") from error
    except Exception as error:  # bad lines make errors of many kinds
        kind = "cif" if mmcif else "pdb"
        raise FeatureError(f"{path} cannot be read as {kind}: {error}") from error
    atoms = list(file.topology.atoms())
    bad = [atoms[k] for k in np.flatnonzero(~np.isfinite(file.positions_nm).all(axis=1))]
    if bad:
        raise FeatureError(
            f"{path} has coordinates that are not finite: {listed(map(_described, bad), SHOWN)}. "
            "Take another frame, or remove and rebuild these atoms."
        )
    bare = [a for a in atoms if a.element is None and a.residue.name.strip().upper() not in SOLVENT]
    if bare:
        notes.append(
            "Atoms without a known element are taken for virtual sites: "
            f"{listed(map(_described, bare), SHOWN)}."
        )
    return replace(file, notes=tuple(notes))


def _described(atom: Any) -> str:
    return f"{atom_label(atom)} (atom {atom.index})"


def _read_pdb(text: str, notes: list[str]) -> StructureFile:
    file = PdbFile(text)
    if not file.rows:
        raise FeatureError("it holds no atoms.")
    rows = _settled(file.rows, file.num_models, notes)

    def named(topology: Any) -> list[tuple[Any, Any]]:
        atoms = list(topology.atoms())
        return [(atoms[i], atoms[j]) for i, j in file.bonds(rows, notes)]

    return _made(rows, named, file.box(), notes)


def _read_cif(text: str, notes: list[str]) -> StructureFile:
    block = read_block(text)
    site = AtomSite(block)
    if not site.rows:
        raise FeatureError("it holds no atoms: there is no atom_site category, or it is empty.")
    rows = _settled(site.rows, site.num_models, notes)
    made = _made(rows, lambda topology: site.bonds(topology, rows), site.box(), notes)
    return replace(made, block=block)


def _settled(found: Sequence[AtomRow], num_models: int, notes: list[str]) -> list[AtomRow]:
    """One location of each atom of the first model, checked."""
    if num_models > 1:
        notes.append(f"The file holds {num_models} models; the first is taken.")
    rows = choose_locations(as_hydrogen(found, notes), notes)
    check_rows(rows)
    _note_protonation(rows, notes)
    return rows


def _made(
    rows: Sequence[AtomRow],
    named: Callable[[Any], Iterable[Sequence[Any]]],
    box: Any | None,
    notes: list[str],
) -> StructureFile:
    """The Topology of rows with its bonds and box."""
    # A Topology loses no bonds again: what names imply is looked at before it is taken over.
    by_names, _, _ = build_topology(rows)
    by_names.createStandardBonds()
    standard = [(b[0].index, b[1].index) for b in by_names.bonds()]
    topology, positions, labels = build_topology(rows)
    for run, residue in zip(residue_runs(rows), topology.residues(), strict=True):
        # Names that tell of hydrogens which are meant to be missing, or of bonds.
        bare = run[0].resname in (*ANIONIC_NAMES, "ARN") and any(r.hydrogen for r in run)
        if bare or run[0].resname in DISULFIDE_NAMES:
            residue.name = run[0].resname
    set_bonds(topology, positions, named(topology), standard, notes)
    if box is not None:
        topology.setPeriodicBoxVectors(box)
    return StructureFile(topology, positions, labels, notes=())


def _note_protonation(rows: Sequence[AtomRow], notes: list[str]) -> None:
    """Say where a name asked for a protonation state that no hydrogens show."""
    named = [
        row_label(run[0], atom=False, chain=False)
        for run in residue_runs(rows)
        if run[0].resname in ALIASES
        and run[0].resname not in ("CYX", "NMA", "NHE")
        and not any(r.hydrogen for r in run)
    ]
    if named:
        notes.append(
            f"{listed(named, SHOWN)} without hydrogens are read as standard residues; to keep the "
            "protonation that their names say, add hydrogens in that state first."
        )
