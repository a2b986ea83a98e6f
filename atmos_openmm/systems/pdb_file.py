"""PDB files: the first model's atoms, and the bonds that the file names.

Serials are read as text, so that any way of counting beyond five columns will do.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .atom_rows import AtomRow, is_element

__all__ = ["PdbFile"]

_FIELDS = (("x", 30, 38), ("y", 38, 46), ("z", 46, 54))
_TWO_LETTERS = ("CL", "BR")
"""Elements that a lost second letter turns into another one."""

Key = tuple[str, str, str, str]
"""Chain, residue number, insertion code and name of an atom, as LINK and SSBOND have them."""


class PdbFile:
    """What the lines of a PDB file say.

    Parameters
    ----------
    text : str

    Attributes
    ----------
    rows : list of AtomRow
        Atoms of the first model, alternate locations included.
    num_models : int
        Models, by MODEL records or by END between them.

    Raises
    ------
    ValueError
        A line that cannot be read, with its number and columns.
    """

    def __init__(self, text: str) -> None:
        self.rows: list[AtomRow] = []
        self.num_models = 0
        self._cell = ""
        self._connections: list[str] = []
        self._named: list[tuple[Key, Key]] = []
        self._keys: list[Key] = []
        self._read(text.splitlines())

    def _read(self, lines: Sequence[str]) -> None:
        ended, pieces = True, 0
        numbers = _ResidueNumbers()
        for count, line in enumerate(lines, start=1):
            line = line.ljust(80)
            command = line[:6].rstrip()
            if command in ("ATOM", "HETATM") or line[:5] == "ATOM " and line[5:6].isdigit():
                self.num_models += ended
                ended = False
                if self.num_models == 1:
                    self.rows.append(_atom(line, count, pieces, numbers))
                    self._keys.append(
                        (line[21], line[22:26].strip(), line[26].strip(), line[12:16].strip())
                    )
            elif command in ("MODEL", "ENDMDL", "END"):
                ended = True
            elif command[:3] == "TER":
                pieces += 1
                numbers.restart()
            elif command == "CRYST1":
                self._cell = line
            elif line.startswith("CONECT"):
                self._connections.append(line)
            elif command == "LINK" and line[59:65].strip() == line[66:72].strip():
                self._named.append((_key(line, 12, 21), _key(line, 42, 51)))
            elif command == "SSBOND" and line[59:65].strip() == line[66:72].strip():
                self._named.append((_key(line, None, 15, 17), _key(line, None, 29, 31)))

    def bonds(self, kept: Sequence[AtomRow], notes: list[str]) -> list[tuple[int, int]]:
        """Bonds of CONECT, LINK and SSBOND records between some of the rows, by their numbers.

        Parameters
        ----------
        kept : sequence of AtomRow
        notes : list of str
            Gains what cannot be told.
        """
        number = {row.where: k for k, row in enumerate(kept)}
        places: dict[Key, list[int]] = defaultdict(list)
        for row, key in zip(self.rows, self._keys, strict=True):
            if row.where in number:
                places[key].append(number[row.where])
        found = [
            (places[one][0], places[two][0])
            for one, two in self._named
            if len(places[one]) == 1 and len(places[two]) == 1
        ]
        return [*found, *self._connected(kept, notes)]

    def _connected(self, kept: Sequence[AtomRow], notes: list[str]) -> list[tuple[int, int]]:
        by_serial: dict[str, list[int]] = defaultdict(list)
        for k, row in enumerate(kept):
            if not row.serial.startswith("*"):
                by_serial[row.serial].append(k)
        every = {row.serial for row in self.rows if not row.serial.startswith("*")}
        pairs, unclear = [], 0
        for line in self._connections:
            serials = _split_serials(line[6:].rstrip(), every)
            if serials is None:
                unclear += 1
                continue
            for other in serials[1:]:
                pair = _nearest(kept, by_serial.get(serials[0], []), by_serial.get(other, []))
                if pair is not None:
                    pairs.append(pair)
        if unclear:
            notes.append(
                f"{unclear} CONECT records name no atoms of the file, and are left out: serials "
                "of stars, or another way of counting than that of the atoms."
            )
        return pairs

    def box(self) -> Any | None:
        """Box vectors of CRYST1; None without it, and for the unit cube of 1 angstrom."""
        from openmm.app.internal.unitcell import computePeriodicBoxVectors

        if not self._cell:
            return None
        ends = (6, 15, 24, 33, 40, 47, 54)
        try:
            values = [float(self._cell[a:b]) for a, b in zip(ends, ends[1:], strict=False)]
        except ValueError:
            raise ValueError(f"its CRYST1 record is no cell: {self._cell.strip()!r}") from None
        # NMR entries have a cell of 1 angstrom, which stands for none.
        if 0 in values[:3] or max(values[:3]) <= 1.0:
            return None
        lengths = [0.1 * x for x in values[:3]]
        return computePeriodicBoxVectors(*lengths, *(math.radians(x) for x in values[3:]))


def _key(line: str, name: int | None, chain: int, number: int | None = None) -> Key:
    """An atom by the columns of its name, chain and number; without those of a name, SG."""
    atom = "SG" if name is None else line[name : name + 4].strip()
    start = chain + 1 if number is None else number
    return line[chain], line[start : start + 4].strip(), line[start + 4].strip(), atom


class _ResidueNumbers:
    """Numbers of residues: decimal, hexadecimal as OpenMM's beyond 9999, or counted for stars."""

    def __init__(self) -> None:
        self._last = 0
        self.restart()

    def restart(self) -> None:
        """A chain begins."""
        self._name = ""
        self._atoms: set[str] = set()

    def read(self, text: str, resname: str, atom: str) -> str:
        """The number of an atom's residue."""
        try:
            self._last = int(text)
        except ValueError:
            try:
                self._last = int(text, 16) - 0xA000 + 10000
            except ValueError:
                if "*" not in text:
                    return text.strip()
                if resname != self._name or atom in self._atoms:
                    self._last += 1
                    self._atoms = set()
                self._name = resname
                self._atoms.add(atom)
        return str(self._last)


def _atom(line: str, count: int, pieces: int, numbers: _ResidueNumbers) -> AtomRow:
    """Read an ATOM or HETATM line.

    Raises
    ------
    ValueError
    """
    position = _position(line, count)
    # A serial of six digits takes the blank beside its columns.
    start, end = (5 if line[5].isdigit() else 6), (12 if line[11].isdigit() else 11)
    name, resname = line[12:16].strip(), line[17:21].strip()
    symbol = _symbol(line, count, name, resname)
    occupancy = line[54:60].strip()
    try:
        weight = float(occupancy) if occupancy else 1.0
    except ValueError:
        raise ValueError(
            f"line {count}, columns 55 to 60: {occupancy!r} is no occupancy. {_SHIFTED}"
        ) from None
    chain = line[21]
    charge = line[78:80].strip()
    signed = re.fullmatch(r"(\d)([+-])|([+-])(\d)|(\d)", charge)
    return AtomRow(
        f"line {count}",
        (chain, str(pieces), "" if chain.strip() else line[72:76].strip()),
        chain,
        chain,
        numbers.read(line[22:26], resname, name),
        line[26],
        resname,
        name,
        line[16].strip(),
        weight,
        symbol,
        position,
        line[start:end].strip(),
        int("".join(sorted(charge))) if signed else None,
    )


_SHIFTED = "Are the columns of this line shifted?"


def _position(line: str, count: int) -> tuple[float, float, float]:
    try:
        x, y, z = (0.1 * float(line[a:b]) for _, a, b in _FIELDS)
    except ValueError:
        usual = re.compile(r" *-?\d+\.\d{3}")
        axis, a, b = next(
            (f for f in _FIELDS if not usual.fullmatch(line[f[1] : f[2]])), _FIELDS[0]
        )
        raise ValueError(
            f"line {count}, columns {a + 1} to {b}: {line[a:b]!r} is no coordinate ({axis}, in "
            f"angstrom with three decimals). {_SHIFTED}"
        ) from None
    return x, y, z


def _symbol(line: str, count: int, name: str, resname: str) -> str:
    """The element of a line, refused where it is cut off by its columns.

    What is no element (old files have serials in these columns) is as good as nothing.
    """
    symbol = line[76:78].strip()
    behind = line[78:80].strip()
    # A name of two letters at the first of its columns is that of an element of two letters.
    longer = line[12:14].upper() in _TWO_LETTERS and not line[12:16].strip()[2:3].isalpha()
    halved = longer and len(line[12:16].strip()) < 4 and symbol.upper() == line[12].upper()
    if halved or (symbol.isalpha() and behind[:1].isalpha()):
        raise ValueError(
            f"line {count}, columns 77 to 78: the element {symbol!r} contradicts the name "
            f"{name} of {resname} {line[22:27].strip()}"
            + (f", and {behind!r} follows it" if behind else "")
            + f". {_SHIFTED}"
        )
    return symbol if symbol == "EP" or is_element(symbol) else ""


def _split_serials(text: str, known: set[str]) -> list[str] | None:
    """Serials of a CONECT record: by columns of five, else by blanks where longer ones touch."""
    fixed = [text[k : k + 5].strip() for k in range(0, len(text), 5)]
    fixed = [part for part in fixed if part]
    if all(part in known for part in fixed):
        return fixed
    loose = [_cut(part, known) for part in text.split()]
    if all(parts is not None for parts in loose):
        return [serial for parts in loose for serial in parts or ()]
    # Bonds to atoms that were taken out of the file are no reason to lose the others.
    return fixed if fixed and fixed[0] in known else None


def _cut(text: str, known: set[str]) -> list[str] | None:
    """Cut digits without blanks into known serials of five or six."""
    if not text or text in known:
        return [text] if text else []
    for width in (5, 6):
        rest = _cut(text[width:], known) if text[:width] in known else None
        if rest is not None:
            return [text[:width], *rest]
    return None


def _nearest(
    rows: Sequence[AtomRow], ones: Sequence[int], others: Sequence[int]
) -> tuple[int, int] | None:
    """The pair meant by two serials: the nearest, where serials come again."""
    pairs = [(i, j) for i in ones for j in others if i != j]
    if len(pairs) < 2:
        return pairs[0] if pairs else None
    return min(pairs, key=lambda p: math.dist(rows[p[0]].position_nm, rows[p[1]].position_nm))
