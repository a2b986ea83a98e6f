"""A deposited structure to a molecule without gaps, with a mask of what was seen.

Experiments leave out atoms, loops and hydrogens; the network's features need whole residues. What
is missing is added where it belongs and marked, as AlphaFold 3 does it (Abramson et al., Nature
630, 493, 2024, supplement 2.5). Ends of chains that were not seen are not added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ideal_geometry import place_missing, terminal_oxygen
from .sequences import Sequence

__all__ = ["Chain", "Residue", "complete_chains"]

FloatArray = NDArray[np.float64]
LONGEST_PEPTIDE_BOND_NM = 0.2


@dataclass
class Residue:
    """A residue to be.

    Attributes
    ----------
    name, number, code : str
        Residue name, number and insertion code.
    atoms : dict of str to (element, position in nm)
    seen : set of str
        Names of the atoms that have coordinates in the file.
    standard : bool
        Whether it is a standard residue or cap.
    source : openmm.app.Residue or None
        None for a residue that was not seen at all.
    """

    name: str
    number: str
    code: str
    atoms: dict[str, tuple[Any, FloatArray]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    standard: bool = True
    source: Any = None

    def position(self, atom: str) -> FloatArray | None:
        """Where an atom is, None where it is not."""
        return self.atoms[atom][1] if atom in self.atoms else None


@dataclass
class Chain:
    """A chain to be: its name in the file, its residues, whether it is a polymer."""

    name: str
    residues: list[Residue]
    polymer: bool


def complete_chains(
    topology: Any,
    positions_nm: FloatArray,
    names: tuple[str, ...],
    sequences: Mapping[str, Sequence],
    known: Mapping[str, tuple[str, ...]],
    hydrogens: bool,
) -> tuple[list[Chain], list[str]]:
    """Take a structure apart, leave out what cannot be modelled, and add what is missing.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions_nm : array, shape (A, 3)
    names : tuple of str
        The file's name of each chain of the Topology.
    sequences : mapping from chain name to Sequence
        Polymers' full sequences where the file has them.
    known : mapping from residue name to tuple of str
        Residues that are not standard, whose chemistry is known, and their heavy atoms' names
        (empty where the names are not known).
    hydrogens : bool
        Whether hydrogens are kept.

    Returns
    -------
    (chains, remarks) : (list of Chain, list of str)
        Remarks say what was left out and added.
    """
    left_out: Counter[str] = Counter()
    chains: list[Chain] = []
    for chain in topology.chains():
        name = names[chain.index]
        kept, dropped = [], set()
        for residue in chain.residues():
            made = _take(residue, positions_nm, known, hydrogens, left_out)
            if made is None:
                dropped.add((residue.id.strip(), residue.insertionCode.strip()))
            else:
                kept.append(made)
        if not kept:
            continue
        if not any(r.standard or "CA" in r.atoms for r in kept):
            chains += [Chain(name, [r], False) for r in kept]
            continue
        for part in _segments(_merged(kept, dropped, sequences.get(name, []))):
            chains.append(Chain(name, part, True))
    linked = _linked_carbons(topology, positions_nm, chains)
    for piece in chains:
        if piece.polymer:
            _fill(piece.residues, linked)
    remarks = [f"{count} {what}" for what, count in sorted(left_out.items())]
    return chains, remarks


def _take(
    residue: Any,
    positions_nm: FloatArray,
    known: Mapping[str, tuple[str, ...]],
    hydrogens: bool,
    left_out: Counter[str],
) -> Residue | None:
    """A residue of the file, or None where it cannot be modelled (and is counted)."""
    from ..systems.residues import NUCLEOTIDES, find_template
    from ..systems.selection import is_left_out

    name = residue.name.strip()
    if is_left_out(residue):
        return None  # water and ions are never part of a sample
    made = Residue(name, residue.id.strip(), residue.insertionCode.strip(), source=residue)
    for atom in residue.atoms():
        if atom.element is None or (atom.element.atomic_number == 1 and not hydrogens):
            continue
        made.atoms[atom.name] = (atom.element, positions_nm[atom.index])
        made.seen.add(atom.name)
    template = find_template(name)
    made.standard = template is not None
    if template is not None:
        strange = [
            n
            for n, (e, _) in made.atoms.items()
            if e.atomic_number > 1 and n not in (*template.names, "OXT")
        ]
        if not strange:
            return made
        left_out[f"{name} with atoms that it should not have ({', '.join(strange[:3])})"] += 1
        return None
    if name.upper() in NUCLEOTIDES:
        left_out["nucleotides, which are not modelled"] += 1
    elif name not in known:
        left_out[f"{name}, whose chemistry the file does not tell"] += 1
    elif _incomplete(made, known[name]):
        left_out[f"{name} with missing atoms"] += 1
    else:
        return made
    return None


def _incomplete(residue: Residue, heavy: tuple[str, ...]) -> bool:
    """Whether atoms are missing beyond the one that a bond to a neighbour replaces."""
    missing = [n for n in heavy if n not in residue.atoms]
    leaving = 1 if any(n.startswith("O") for n in missing) else 0
    return len(missing) > leaving


def _merged(
    kept: list[Residue], dropped: set[tuple[str, str]], sequence: Sequence
) -> list[Residue | None]:
    """Put residues that were not seen between those that were; None where the chain breaks."""
    from ..systems.residues import find_template

    seen = {(r.number, r.code): r for r in kept}
    if not sequence or not any((n, c) in seen for _, n, c, _ in sequence):
        return list(kept)
    merged: list[Residue | None] = []
    placed: set[tuple[str, str]] = set()
    for name, number, code, was_seen in sequence:
        key = (number, code)
        if key in placed:
            continue  # one of two kinds of residue at one place
        if key in seen:
            merged.append(seen[key])
            placed.add(key)
        elif was_seen or key in dropped or find_template(name) is None:
            merged.append(None)
        else:
            merged.append(Residue(find_template(name).name, number, code))  # type: ignore[union-attr]
    # What the sequence does not list stays where it was, at the end.
    merged += [r for r in kept if (r.number, r.code) not in placed]
    while merged and (merged[0] is None or not merged[0].seen):
        merged.pop(0)
    while merged and (merged[-1] is None or not merged[-1].seen):
        merged.pop()
    return merged


def _segments(residues: list[Residue | None]) -> list[list[Residue]]:
    """Cut a chain where it is broken; a piece neither begins nor ends with unseen residues."""
    parts: list[list[Residue]] = [[]]
    for residue in residues:
        if residue is None:
            parts.append([])
            continue
        before = parts[-1][-1] if parts[-1] else None
        if before is not None and before.seen and residue.seen:
            carbon, nitrogen = before.position("C"), residue.position("N")
            if carbon is not None and nitrogen is not None:
                if np.linalg.norm(carbon - nitrogen) > LONGEST_PEPTIDE_BOND_NM:
                    parts.append([])
        parts[-1].append(residue)
    for part in parts:
        while part and not part[0].seen:
            part.pop(0)
        while part and not part[-1].seen:
            part.pop()
    return [part for part in parts if part]


def _linked_carbons(topology: Any, positions_nm: FloatArray, chains: list[Chain]) -> set[int]:
    """Residues of the file whose backbone carbon is bonded to another residue that is kept."""
    kept = {r.source.index for c in chains for r in c.residues if r.source is not None}
    linked = set()
    for bond in topology.bonds():
        for one, two in ((bond[0], bond[1]), (bond[1], bond[0])):
            if one.name != "C" or one.residue is two.residue or two.residue.index not in kept:
                continue
            gap = positions_nm[one.index] - positions_nm[two.index]
            if np.linalg.norm(gap) <= LONGEST_PEPTIDE_BOND_NM:
                linked.add(one.residue.index)
    return linked


def _fill(part: list[Residue], linked: set[int]) -> None:
    """Add the heavy atoms that a piece of a chain lacks; its end is where no bond goes on."""
    from openmm.app import Element

    from ..systems.residues import element_symbol, find_template

    for k, residue in enumerate(part):
        if not residue.standard:
            continue
        template = find_template(residue.name)
        assert template is not None
        have = {n: x for n, (_, x) in residue.atoms.items() if n in template.names}
        anchor = None if have else _between(part, k)
        for name, x in place_missing(residue.name, have, anchor).items():
            residue.atoms[name] = (Element.getBySymbol(element_symbol(name)), x)
    last = part[-1]
    if last.source is not None and last.source.index in linked:
        return
    template = find_template(last.name)
    if template is not None and template.is_amino_acid and "OXT" not in last.atoms:
        ends = [last.atoms[n][1] for n in ("C", "CA", "O")]
        last.atoms["OXT"] = (Element.getBySymbol("O"), terminal_oxygen(*ends))


def _between(part: list[Residue], k: int) -> FloatArray:
    """A place on the line from the last residue that was seen to the next."""
    low = max(i for i in range(k) if part[i].seen)
    high = min(i for i in range(k + 1, len(part)) if part[i].seen)
    start, end = (_middle(part[i]) for i in (low, high))
    return start + (end - start) * (k - low) / (high - low)


def _middle(residue: Residue) -> FloatArray:
    return np.mean([x for n, (_, x) in residue.atoms.items() if n in residue.seen], axis=0)
