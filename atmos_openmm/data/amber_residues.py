"""Residues as Amber orders their atoms, recognised in a list of elements.

Files made by tLEaP, MISATO's among them, hold neither atom names nor residue numbers, but every
residue's atoms stand in the order of Amber's library, which OpenMM's copy of ff14SB keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["AmberResidue", "OrderError", "library", "split_residues"]

STATES = {
    "HIE": ("HIE", "HID", "HIP"),
    "ASP": ("ASP", "ASH"),
    "GLU": ("GLU", "GLH"),
    "LYS": ("LYS", "LYN"),
    "CYS": ("CYS", "CYX", "CYM"),
    "CYX": ("CYX", "CYS"),
}
"""Protonation states that stand behind one name."""


class OrderError(ValueError):
    """Atoms are not in the order of Amber's residue."""


@dataclass(frozen=True)
class AmberResidue:
    """A residue of Amber's library.

    Attributes
    ----------
    name : str
        As in the library, with N or C before it at chain ends: ``NPRO``, ``CGLN``.
    atom_names : tuple of str
    elements : tuple of int
    bonds : tuple of (int, int)
    first, last : bool
        Whether it begins or ends a chain.
    """

    name: str
    atom_names: tuple[str, ...]
    elements: tuple[int, ...]
    bonds: tuple[tuple[int, int], ...]
    first: bool
    last: bool

    @property
    def plain_name(self) -> str:
        """The name without what it says of the chain's end."""
        return self.name[1:] if len(self.name) == 4 else self.name

    def heavy(self) -> AmberResidue:
        """The same without hydrogens."""
        keep = [k for k, e in enumerate(self.elements) if e > 1]
        number = {k: n for n, k in enumerate(keep)}
        return AmberResidue(
            self.name,
            tuple(self.atom_names[k] for k in keep),
            tuple(self.elements[k] for k in keep),
            tuple((number[i], number[j]) for i, j in self.bonds if i in number and j in number),
            self.first,
            self.last,
        )


@lru_cache(maxsize=2)
def library(with_hydrogens: bool) -> dict[str, AmberResidue]:
    """Return ff14SB's residues by name, as all atoms or as heavy atoms."""
    import xml.etree.ElementTree as ElementTree

    from openmm import app

    file = Path(app.__file__).parent / "data" / "amber14" / "protein.ff14SB.xml"
    root = ElementTree.parse(file).getroot()
    elements = {
        t.get("name"): app.Element.getBySymbol(t.get("element")).atomic_number
        for t in root.iter("Type")
    }
    found: dict[str, AmberResidue] = {}
    for residue in root.iter("Residue"):
        name = residue.get("name") or ""
        atoms = residue.findall("Atom")
        names = tuple(a.get("name") or "" for a in atoms)
        number = {n: k for k, n in enumerate(names)}
        bonds = tuple(
            (number[b.get("atomName1")], number[b.get("atomName2")])  # type: ignore[index]
            for b in residue.findall("Bond")
        )
        ends = {b.get("atomName") for b in residue.findall("ExternalBond")}
        made = AmberResidue(
            name,
            names,
            tuple(elements[a.get("type")] for a in atoms),
            bonds,
            first=name == "ACE" or "N" not in ends,
            last="C" not in ends,
        )
        found[name] = made if with_hydrogens else made.heavy()
    return found


def split_residues(
    elements: Sequence[int], names: Sequence[str], first_atom: int = 0
) -> list[AmberResidue]:
    """Find the residues that a list of atoms is made of.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers; with all hydrogens or with none.
    names : sequence of str
        Residue name of each atom, Amber's, without N or C for chain ends.
    first_atom : int
        Number of the first of these atoms, for messages.

    Returns
    -------
    list of AmberResidue
        Their atoms, one after the other, are the atoms given.

    Raises
    ------
    OrderError
        Some atoms are no residue of their name, or not in its order.
    """
    known = library(1 in elements)
    found: list[AmberResidue] = []
    at = 0
    while at < len(elements):
        best = _longest(known, elements, names, at)
        if best is None:
            expected = known.get(names[at])
            listed = _formula(expected.elements) if expected else "unknown to ff14SB"
            count = len(expected.elements) if expected else 12
            raise OrderError(
                f"the atoms from {first_atom + at} on (residue {len(found)}, {names[at]}) are "
                f"{_formula(elements[at : at + count])}; Amber's {names[at]} is {listed}",
            )
        found.append(best)
        at += len(best.elements)
    return found


def _longest(
    known: dict[str, AmberResidue], elements: Sequence[int], names: Sequence[str], at: int
) -> AmberResidue | None:
    """The longest residue that fits at an atom: an end has all atoms of the middle and more."""
    best: AmberResidue | None = None
    for state in STATES.get(names[at], (names[at],)):
        for end in ("", "N", "C"):
            residue = known.get(end + state)
            if residue is None or (best and len(residue.elements) <= len(best.elements)):
                continue
            stop = at + len(residue.elements)
            fits = tuple(elements[at:stop]) == residue.elements
            if fits and all(n == names[at] for n in names[at:stop]):
                best = residue
    return best


def _formula(elements: Any) -> str:
    symbols = {1: "H", 6: "C", 7: "N", 8: "O", 16: "S", 34: "Se", 15: "P"}
    return " ".join(symbols.get(int(e), str(int(e))) for e in elements)
