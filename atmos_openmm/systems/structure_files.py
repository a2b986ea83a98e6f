"""PDB and mmCIF files through OpenMM's readers, with what these readers pass over in silence.

OpenMM keeps one of several alternate locations, one of two atoms of the same name, and all models.
Here the choice is made before it reads, and said.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import FeatureError
from .residues import ALIASES, ANIONIC_NAMES, SOLVENT, find_template

PDB_SUFFIXES = (".pdb", ".ent")
CIF_SUFFIXES = (".cif", ".mmcif", ".pdbx")


@dataclass(frozen=True)
class StructureFile:
    """What a structure file holds.

    Attributes
    ----------
    topology: openmm.app.Topology
        with bonds: standard residues', disulfides, and those that the file names
    positions_nm: array [atoms, 3]
        the first model
    notes: tuple of str
        choices made while reading: models, alternate locations, atoms without element
    """

    topology: Any
    positions_nm: npt.NDArray[np.float64]
    notes: tuple[str, ...]


class _Record(NamedTuple):
    """An atom's line: where it stands, residue (chain, number, insertion code), names, altloc."""

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
    suffix = path.suffix.lower()
    if suffix not in PDB_SUFFIXES + CIF_SUFFIXES:
        raise FeatureError(
            f"{path} ends in {path.suffix or 'nothing'}; structures are read from "
            f"PDB or mmCIF files ({', '.join(PDB_SUFFIXES + CIF_SUFFIXES)})."
        )
    notes: list[str] = []
    try:
        # Remarks may be in any encoding; what is read here is ASCII.
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        if suffix in PDB_SUFFIXES:
            lines, records = _first_pdb_model(lines, notes)
        else:
            lines, records = _first_cif_model(lines, notes)
        dropped = _other_locations(records, notes)
        text = "\n".join(line for k, line in enumerate(lines) if k not in dropped) + "\n"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            file = _parse(text, suffix)
    except FeatureError:
        raise
    except Exception as error:  # the readers raise bare errors of many kinds on bad lines
        raise FeatureError(f"{path} cannot be read as {suffix[1:]}: {error}") from error
    records = [r for r in records if r.line not in dropped]
    _check_names(path, records)
    _note_protonation(records, notes)
    _restore_names(file.topology, records)
    notes += [str(w.message).removeprefix("WARNING: ") for w in caught]
    from openmm import unit

    positions = np.array(file.getPositions(asNumpy=True).value_in_unit(unit.nanometer), float)
    if len(positions) == 0:
        raise FeatureError(f"{path} holds no atoms.")
    atoms = list(file.topology.atoms())
    bad = [atoms[k] for k in np.flatnonzero(~np.isfinite(positions).all(axis=1))]
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
    return StructureFile(file.topology, positions, tuple(notes))


def _parse(text: str, suffix: str) -> Any:
    from openmm import app

    if suffix in PDB_SUFFIXES:
        return app.PDBFile(io.StringIO(text))
    file = app.PDBxFile(io.StringIO(text))
    # The reader takes disulfides from struct_conn alone, which many programs do not write.
    file.topology.createDisulfideBonds(file.positions)
    return file


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


_CIF_VALUE = re.compile(r"'(?:[^']|'(?=\S))*'(?=\s|$)|\"(?:[^\"]|\"(?=\S))*\"(?=\s|$)|\S+")


def _first_cif_model(lines: list[str], notes: list[str]) -> tuple[list[str], list[_Record]]:
    """Keep the first model's rows of atom_site; alternate locations are blanked."""
    columns, rows = _atom_site(lines)
    records: list[_Record] = []
    kept = list(lines)
    models: list[str] = []
    others: set[int] = set()

    def value(row: list[str], *names: str) -> str:
        for name in names:
            if name in columns:
                text = row[columns[name]].strip("'\"")
                return "" if text in (".", "?") else text
        return ""

    for line, row in rows:
        model = value(row, "pdbx_PDB_model_num")
        if model not in models:
            models.append(model)
        if model != models[0]:
            others.add(line)
            continue
        residue = (
            value(row, "label_asym_id", "auth_asym_id"),
            value(row, "auth_seq_id", "label_seq_id"),
            value(row, "pdbx_PDB_ins_code"),
        )
        records.append(
            _Record(
                line,
                residue,
                value(row, "auth_comp_id", "label_comp_id"),
                value(row, "auth_atom_id", "label_atom_id"),
                value(row, "label_alt_id"),
                float(value(row, "occupancy") or 1.0),
                value(row, "type_symbol").upper() in ("H", "D"),
            )
        )
        for column in ("auth_comp_id", "label_comp_id"):
            if column in columns:
                row[columns[column]] = _standard_name(row[columns[column]])
        if "label_alt_id" in columns:
            row[columns["label_alt_id"]] = "."
        kept[line] = " ".join(row)
    if len(models) > 1:
        notes.append(f"The file holds {len(models)} models; the first is taken.")
    for line in others:
        kept[line] = ""
    return kept, records


def _atom_site(lines: list[str]) -> tuple[dict[str, int], Iterator[tuple[int, list[str]]]]:
    """Return the columns of mmCIF's atom_site loop and its rows with their line numbers.

    Rows that are spread over several lines, which nothing known writes, are refused.
    """
    first = next((k for k, line in enumerate(lines) if line.startswith("_atom_site.")), None)
    if first is None:
        raise FeatureError("There is no atom_site category, hence no atoms.")
    columns: dict[str, int] = {}
    k = first
    while k < len(lines) and lines[k].startswith("_atom_site."):
        columns[lines[k].split()[0].removeprefix("_atom_site.")] = len(columns)
        k += 1

    def rows() -> Iterator[tuple[int, list[str]]]:
        for n in range(k, len(lines)):
            line = lines[n].strip()
            if not line:
                continue
            if line.startswith(("#", "_", "loop_", "data_")):
                return
            row = _CIF_VALUE.findall(line)
            if len(row) != len(columns):
                raise FeatureError(
                    f"line {n + 1} has {len(row)} values where atom_site has {len(columns)} "
                    "columns; write one atom a line."
                )
            yield n, row

    return columns, rows()


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


def _check_names(path: Path, records: list[_Record]) -> None:
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
