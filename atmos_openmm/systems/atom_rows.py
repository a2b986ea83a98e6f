"""The atoms of a structure file, row by row, whatever its format, and the Topology of some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.text import listed
from .errors import FeatureError
from .openmm_names import OpenMMNames
from .residues import SOLVENT, element_symbol, find_template

__all__ = [
    "SHOWN",
    "AtomRow",
    "as_hydrogen",
    "build_topology",
    "check_rows",
    "is_element",
    "residue_runs",
    "row_label",
]

SHOWN = 10
"""Atoms or residues that a message names."""


class AtomRow(NamedTuple):
    """An atom of a file.

    Attributes
    ----------
    where : str
        its place in the file, for messages: a line or a row
    segment : tuple of str
        a chain of the Topology begins where this changes
    chain, label : str
        the chain's name in the Topology, and what the file calls it (label_asym_id in mmCIF)
    number, code, resname, name, altloc : str
    occupancy : float
    symbol : str
        an element's, '' where the file says none, EP for a virtual site
    position_nm : tuple of 3 floats
    serial : str
    charge : int or None
        formal charge
    """

    where: str
    segment: tuple[str, ...]
    chain: str
    label: str
    number: str
    code: str
    resname: str
    name: str
    altloc: str
    occupancy: float
    symbol: str
    position_nm: tuple[float, float, float]
    serial: str
    charge: int | None = None

    @property
    def place(self) -> tuple[str, ...]:
        """What alternate locations of a residue share."""
        return (*self.segment, self.label, self.number, self.code)

    @property
    def hydrogen(self) -> bool:
        """Whether it is a hydrogen or deuterium; by its name where the file has no element."""
        symbol = self.symbol or self.name.lstrip("0123456789")[:1]
        return symbol.upper() in ("H", "D")


def row_label(row: AtomRow, *, atom: bool = True, chain: bool = True) -> str:
    """An atom of a file, or its residue alone, as messages name it."""
    of_chain = f" of chain {row.chain.strip()}" if chain and row.chain.strip() else ""
    residue = f"{row.resname} {row.number.strip()}{row.code.strip()}{of_chain}"
    return f"{row.name} of {residue}" if atom else residue


def is_element(symbol: str) -> bool:
    """Whether a text is the symbol of an element that OpenMM knows."""
    from openmm.app import Element

    try:
        Element.getBySymbol(symbol)
    except KeyError:
        return False
    return True


def as_hydrogen(rows: Sequence[AtomRow], notes: list[str]) -> list[AtomRow]:
    """Rows with deuterium turned into hydrogen, which chemistry and force fields take it for."""
    changed = 0
    made = []
    for row in rows:
        if row.symbol.upper() == "D":
            name = (
                row.name.replace("D", "H", 1)
                if row.name.lstrip("0123456789")[:1] == "D"
                else row.name
            )
            row = row._replace(symbol="H", name=name)
            changed += 1
        if row.resname == "DOD":
            row = row._replace(resname="HOH")
        made.append(row)
    if changed:
        notes.append(f"{changed} deuterium atoms are read as hydrogen.")
    return made


def check_rows(rows: Sequence[AtomRow]) -> None:
    """Refuse elements that contradict names, two atoms of one name, and scattered residues.

    Raises
    ------
    FeatureError
    """
    runs = residue_runs(rows)
    twice = []
    for run in runs:
        if run[0].resname.upper() in SOLVENT:
            continue
        seen: set[str] = set()
        for row in run:
            if row.name in seen:
                twice.append(row_label(row))
            seen.add(row.name)
    if twice:
        raise FeatureError(
            f"it has two atoms of the same name in a residue: {listed(twice, SHOWN)}. "
            "Give them names of their own; or take a ligand out of the file and give it as SDF, "
            "with coordinates."
        )
    _check_elements(rows)
    _check_contiguity(runs)


def _check_elements(rows: Sequence[AtomRow]) -> None:
    """Refuse atoms of standard residues whose element is another than their name's."""
    wrong = []
    for row in rows:
        template = find_template(row.resname) if row.symbol else None
        if template is None:
            continue
        bare = row.name.lstrip("0123456789")
        if row.name in template.names:
            wanted = element_symbol(row.name)
        elif bare.startswith("H"):
            wanted = "H"
        else:
            continue
        if row.symbol.upper() != wanted.upper():
            wrong.append(f"{row_label(row)} ({row.where}): {row.symbol}, expected {wanted}")
    if wrong:
        raise FeatureError(
            f"the elements of atoms contradict their names: {listed(wrong, SHOWN)}. Mend the "
            "elements (columns 77 to 78 of a PDB file, type_symbol of mmCIF)."
        )


def _check_contiguity(runs: Sequence[Sequence[AtomRow]]) -> None:
    """Refuse residues whose atoms stand in several places of the file."""
    first: dict[tuple[str, ...], Sequence[AtomRow]] = {}
    apart = []
    for run in runs:
        row = run[0]
        if row.resname.upper() in SOLVENT:
            continue
        key = (row.chain, row.label, row.number, row.code, row.resname)
        before = first.setdefault(key, run)
        # A number that comes again for a whole residue is that of another one.
        if before is not run and not {r.name for r in before} & {r.name for r in run}:
            ends = f"from {before[0].where} on, and from {row.where} on"
            apart.append(f"{row_label(row, atom=False)} ({ends})")
    if apart:
        raise FeatureError(
            f"the atoms of residues stand in two places of the file: {listed(apart, SHOWN)}. "
            "Write the atoms of each residue one after the other, added hydrogens too."
        )


def residue_runs(rows: Sequence[AtomRow]) -> list[list[AtomRow]]:
    """Rows grouped into residues, as they follow each other.

    A residue ends where its place or name changes; for water, and for residues that have no
    number, also where an atom's name comes again.
    """
    runs: list[list[AtomRow]] = []
    last: tuple[Any, ...] | None = None
    there: set[str] = set()
    for row in rows:
        key = (row.place, row.resname)
        repeats = row.name in there and (not row.number or row.resname.upper() in SOLVENT)
        if key != last or repeats:
            runs.append([])
            there = set()
            last = key
        there.add(row.name)
        runs[-1].append(row)
    return runs


def build_topology(rows: Sequence[AtomRow]) -> tuple[Any, NDArray[np.float64], tuple[str, ...]]:
    """The Topology of rows without alternate locations, without bonds.

    Returns
    -------
    topology : openmm.app.Topology
        Atoms in the order of the rows, residues and atoms by OpenMM's names.
    positions_nm : array [rows, 3]
    labels : tuple of str
        What the file calls each chain.
    """
    from openmm import app

    topology: Any = app.Topology()
    names = OpenMMNames()
    labels: list[str] = []
    segment: tuple[str, ...] | None = None
    chain: Any = None
    for run in residue_runs(rows):
        row = run[0]
        if row.segment != segment:
            segment = row.segment
            chain = topology.addChain(row.chain)
            labels.append(row.label)
        name = names.residue(_standard_name(row.resname))
        residue = topology.addResidue(name, chain, row.number, row.code)
        for row in run:
            topology.addAtom(
                names.atom(name, row.name), _element(row, len(run)), residue, row.serial,
                formalCharge=row.charge,
            )  # fmt: skip
    positions = np.array([row.position_nm for row in rows], float).reshape(-1, 3)
    return topology, positions, tuple(labels)


def _standard_name(name: str) -> str:
    """The wwPDB's name of a standard residue, for OpenMM to know it.

    OpenMM knows some of the dialects' names (HID, CYX); not NALA, HSE, CYM or LYN.
    """
    template = find_template(name)
    return name if template is None else template.name


# What an atom without an element is by the beginning of its name, as OpenMM's reader guesses.
_BY_NAME = {"CL": "Cl", "NA": "Na", "MG": "Mg", "BE": "Be", "LI": "Li", "K": "K", "ZN": "Zn"}


def _element(row: AtomRow, num_atoms: int) -> Any:
    """The element of an atom of a residue of so many, None for a virtual site."""
    from openmm.app import Element

    if row.symbol == "EP":
        return None
    if row.symbol:
        return Element.getBySymbol(row.symbol)
    upper = row.name.upper()
    bare = upper.lstrip("0123456789") or upper[-1:]
    for start, symbol in _BY_NAME.items():
        if bare.startswith(start):
            return Element.getBySymbol(symbol)
    if num_atoms == 1 and bare.startswith("CA"):
        return Element.getBySymbol("Ca")
    try:
        return Element.getBySymbol(bare[:1])
    except KeyError:
        return None
