"""What messages call residues and atoms."""

from __future__ import annotations

from typing import Any

__all__ = ["atom_label", "residue_label", "residue_number"]


def residue_number(residue: Any) -> str:
    """The number of an OpenMM residue with its insertion code, as in 52A."""
    return f"{str(residue.id).strip()}{str(residue.insertionCode).strip()}"


def residue_label(residue: Any, *, chain: bool = False) -> str:
    """Name and number of an OpenMM residue, as in SER 52A, and its chain where it is asked for."""
    name = str(residue.chain.id).strip() if chain else ""
    return f"{residue.name} {residue_number(residue)}" + (f" of chain {name}" if name else "")


def atom_label(atom: Any, *, chain: bool = False) -> str:
    """An OpenMM atom and its residue, as in OG of SER 52A."""
    return f"{atom.name} of {residue_label(atom.residue, chain=chain)}"
