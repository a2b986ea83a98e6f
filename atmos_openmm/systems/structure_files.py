"""PDB and mmCIF files, with what OpenMM's readers pass over in silence.

OpenMM keeps one of several alternate locations, one of two atoms of the same name, and all models.
Here the choice is made before a Topology is, and said.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..core.units import positions_in_nm
from .errors import FeatureError
from .mmcif import AtomSite, read_block
from .residues import ALIASES, ANIONIC_NAMES, SOLVENT, find_template

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


class _Record(NamedTuple):
    """An atom's line or row, its residue (chain, number, insertion code), names and location."""

    line: int
    residue: tuple[str, ...]
    resname: str
    name: str
    altloc: str
    occupancy: float
    hydrogen: bool


def read_structure_file(path: str | Path) -> StructureFile:
    """Read the first model of a PDB or mmCIF file.

    Of alternate locations, each residue keeps the one of highest mean occupancy, the first of
    equals.

    Raises
    ------
    FeatureError
        for files that do not exist, have another suffix, cannot be parsed, hold no atoms, two
        atoms of one name in a residue, or coordinates that are not finite
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
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            file, records = (_read_cif if mmcif else _read_pdb)(text, notes)
    except FeatureError as error:
        raise FeatureError(f"{path}: {error}") from error
    except Exception as error:  # the readers raise bare errors of many kinds on bad lines
        kind = "cif" if mmcif else "pdb"
        raise FeatureError(f"{path} cannot be read as {kind}: {error}") from error
    _check_names(path, records)
    _note_protonation(records, notes)
    _restore_names(file.topology, records)
    notes += [str(w.message).removeprefix("WARNING: ") for w in caught]
    atoms = list(file.topology.atoms())
    bad = [atoms[k] for k in np.flatnonzero(~np.isfinite(file.positions_nm).all(axis=1))]
    if bad:
        raise FeatureError(
            f"{path} has coordinates that are not finite: {_some(map(_describe, bad))}. Take "
            "another frame, or remove and rebuild these atoms."
        )
    bare = [a for a in atoms if a.element is None and a.residue.name.strip().upper() not in SOLVENT]
    if bare:
        notes.append(
            "Atoms without a known element are taken for virtual sites: "
            f"{_some(map(_describe, bare))}."
        )
    return replace(file, notes=tuple(notes))


def _read_pdb(text: str, notes: list[str]) -> tuple[StructureFile, list[_Record]]:
    from openmm import app

    lines, records = _first_pdb_model(text.splitlines(), notes)
    if not any(line.startswith(("ATOM", "HETATM")) for line in lines):
        raise FeatureError("it holds no atoms.")
    dropped = _other_locations(records, notes)
    kept = "\n".join(line for k, line in enumerate(lines) if k not in dropped) + "\n"
    file = app.PDBFile(io.StringIO(kept))
    chains = tuple(chain.id for chain in file.topology.chains())
    made = StructureFile(file.topology, positions_in_nm(file.getPositions(True)), chains)
    return made, [r for r in records if r.line not in dropped]


def _read_cif(text: str, notes: list[str]) -> tuple[StructureFile, list[_Record]]:
    from openmm import unit

    block = read_block(text)
    site = AtomSite(block)
    if not len(site):
        raise FeatureError("it holds no atoms: there is no atom_site category, or it is empty.")
    records = _first_cif_model(site, notes)
    dropped = _other_locations(records, notes)
    records = [r for r in records if r.line not in dropped]
    rows = [r.line for r in records]
    topology, labels = site.topology(rows, [_standard_name(r.resname) for r in records])
    positions = site.positions_nm(rows)
    # struct_conn has the disulfides, but many programs do not write it.
    topology.createDisulfideBonds(positions * unit.nanometer)
    return StructureFile(topology, positions, tuple(labels), block), records


def _describe(atom: Any) -> str:
    return f"{atom.name} of {atom.residue.name} {atom.residue.id} (atom {atom.index})"


def _some(items: Iterable[str], count: int = 10) -> str:
    listed = list(items)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def _first_pdb_model(lines: list[str], notes: list[str]) -> tuple[list[str], list[_Record]]:
    """Keep the first model; alternate locations are blanked once they have been read."""
    kept: list[str] = []
    records: list[_Record] = []
    models = sum(line.startswith("MODEL ") for line in lines)
    over = False
    for line in lines:
        command = line[:6].rstrip()
        if command in ("MODEL", "ENDMDL", "ANISOU", "SIGATM", "SIGUIJ"):
            over = over or command == "ENDMDL"
            continue
        atom = command in ("ATOM", "HETATM")
        if over and (atom or command == "TER"):
            continue
        if atom and len(line) > 53:
            occupancy = line[54:60].strip()
            element = line[76:78].strip().upper() or line[12:16].strip().lstrip("0123456789")[:1]
            records.append(
                _Record(
                    len(kept),
                    (line[21], line[22:26], line[26]),
                    line[17:21].strip(),
                    line[12:16].strip(),
                    line[16].strip(),
                    float(occupancy) if occupancy else 1.0,
                    element in ("H", "D"),
                )
            )
            line = line[:16] + " " + _standard_name(line[17:21]) + line[21:]
        kept.append(line)
    if models > 1:
        notes.append(f"The file holds {models} models; the first is taken.")
    return kept, records


def _standard_name(name: str) -> str:
    """Return the wwPDB's name of a standard residue, of the same width, for OpenMM to know it.

    OpenMM knows some of the dialects' names (HID, CYX); not NALA, HSE, CYM or LYN.
    """
    template = find_template(name)
    if template is None or name.strip() == template.name:
        return name
    return template.name.ljust(len(name))


def _first_cif_model(site: AtomSite, notes: list[str]) -> list[_Record]:
    """The atoms of the first model; their lines are rows of atom_site."""
    models = site.column("pdbx_PDB_model_num")
    count = len(set(models))
    if count > 1:
        notes.append(f"The file holds {count} models; the first is taken.")
    columns = zip(
        models,
        site.column("label_asym_id", "auth_asym_id"),
        site.column("auth_seq_id", "label_seq_id"),
        site.column("pdbx_PDB_ins_code"),
        site.column("auth_comp_id", "label_comp_id"),
        site.column("auth_atom_id", "label_atom_id"),
        site.column("label_alt_id"),
        site.column("occupancy"),
        site.column("type_symbol"),
        strict=True,
    )
    return [
        _Record(
            row,
            (chain, number, code),
            resname,
            name,
            location,
            float(occupancy or 1.0),
            element.upper() in ("H", "D"),
        )
        for row, (model, chain, number, code, resname, name, location, occupancy, element) in (
            enumerate(columns)
        )
        if model == models[0]
    ]


def _other_locations(records: list[_Record], notes: list[str]) -> set[int]:
    """Choose among alternate locations; return the lines to leave out."""
    residues: dict[tuple[str, ...], list[_Record]] = defaultdict(list)
    for record in records:
        residues[record.residue].append(record)
    dropped: set[int] = set()
    chosen: dict[str, list[str]] = defaultdict(list)
    for residue, members in residues.items():
        letters = sorted({r.altloc for r in members if r.altloc})
        if not letters:
            continue

        def weight(letter: str, members: list[_Record] = members) -> float:
            return float(np.mean([r.occupancy for r in members if r.altloc == letter]))

        best = max(letters, key=lambda letter: (round(weight(letter), 3), -letters.index(letter)))
        resname = next(r.resname for r in members if r.altloc == best)
        have = {r.name for r in members if r.altloc in ("", best) and r.resname == resname}
        for r in members:
            if r.altloc in ("", best) and r.resname == resname:
                continue
            # A heavy atom that only another location has is better than none.
            if r.resname == resname and not r.hydrogen and r.name not in have:
                have.add(r.name)
                continue
            dropped.add(r.line)
        label = f"{resname} {residue[1].strip()}{residue[2].strip()} of chain {residue[0]}"
        chosen[best].append(label)
    for letter, labels in sorted(chosen.items()):
        notes.append(f"Alternate location {letter} is taken for {_some(labels)}.")
    return dropped


def _note_protonation(records: list[_Record], notes: list[str]) -> None:
    """Say where a name asked for a protonation state that no hydrogens show."""
    bare: dict[tuple[str, ...], str] = {}
    for record in records:
        if record.hydrogen:
            bare[record.residue] = ""
        elif record.resname in ALIASES and record.resname not in ("CYX", "NMA", "NHE"):
            bare.setdefault(record.residue, record.resname)
    named = [f"{name} {residue[1].strip()}" for residue, name in bare.items() if name]
    if named:
        notes.append(
            f"{_some(named)} without hydrogens are read as standard residues; to keep the "
            "protonation that their names say, add hydrogens in that state first."
        )


def _restore_names(topology: Any, records: list[_Record]) -> None:
    """Give residues their names back where these tell of hydrogens that are meant to be missing."""
    runs = [
        record.resname
        for k, record in enumerate(records)
        if k == 0
        or (records[k - 1].residue, records[k - 1].resname) != (record.residue, record.resname)
    ]
    residues = list(topology.residues())
    if len(runs) != len(residues):
        return  # waters that share a number; no protein is written so
    for name, residue in zip(runs, residues, strict=True):
        light = any(a.element is not None and a.element.atomic_number == 1 for a in residue.atoms())
        if light and name in (*ANIONIC_NAMES, "ARN"):
            residue.name = name


def _check_names(path: str | Path, records: list[_Record]) -> None:
    """Refuse two atoms of one name in a residue."""
    twice: list[str] = []
    seen: set[str] = set()
    last: tuple[Any, ...] | None = None
    for record in records:
        key = (record.residue, record.resname)
        if key != last:
            last, seen = key, set()
        if record.name in seen and record.resname.upper() not in SOLVENT:
            chain, number, code = record.residue
            twice.append(
                f"{record.name} of {record.resname} {number.strip()}{code.strip()} of chain {chain}"
            )
        seen.add(record.name)
    if twice:
        raise FeatureError(
            f"{path} has two atoms of the same name in a residue: {_some(twice)}. Give them names "
            "of their own; or take a ligand out of the file and give it as SDF, with coordinates."
        )
