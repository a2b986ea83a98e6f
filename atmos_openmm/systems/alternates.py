"""Alternate locations: one of each residue, and words on what was chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..core.text import listed
from .atom_rows import SHOWN, AtomRow, row_label

__all__ = ["choose_locations"]

_HYDROGEN_REACH_NM = 0.13
"""No hydrogen is further from the atom that carries it."""


def choose_locations(rows: Sequence[AtomRow], notes: list[str]) -> list[AtomRow]:
    """Keep one location of each residue that has several.

    It is the one of the highest mean occupancy among those that lack no heavy atom which another
    one has, the first of equals. Where all lack some, the atoms that the chosen one lacks are
    taken from others.

    Parameters
    ----------
    rows : sequence of AtomRow
    notes : list of str
        Gains what was chosen, every mixture, and neighbours whose locations differ.
    """
    residues: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for k, row in enumerate(rows):
        residues[row.place].append(k)
    dropped: set[int] = set()
    taken: dict[str, list[str]] = defaultdict(list)
    passed_over: list[str] = []
    mixed: list[str] = []
    letters: dict[tuple[str, ...], str] = {}
    labels: dict[tuple[str, ...], str] = {}
    for place, numbers in residues.items():
        if not any(rows[k].altloc for k in numbers):
            continue
        members = [rows[k] for k in numbers]
        best, highest = _best_location(members)
        resname = next(r.resname for r in members if r.altloc == best)
        label = row_label(next(r for r in members if r.altloc == best), atom=False)
        letters[place], labels[place] = best, label
        taken[best].append(label)
        if highest != best:
            passed_over.append(f"{label} ({highest} lacks atoms)")
        extra = _borrowed(members, best, resname)
        for k, row in zip(numbers, members, strict=True):
            if not (row.altloc in ("", best) and row.resname == resname) and row not in extra:
                dropped.add(k)
        if extra:
            names = ", ".join(f"{r.name} of {r.altloc}" for r in extra)
            mixed.append(f"{label} ({best}, with {names})")
    for letter, chosen in sorted(taken.items()):
        notes.append(f"Alternate location {letter} is taken for {listed(chosen, SHOWN)}.")
    if passed_over:
        notes.append(
            "A complete location is preferred to one of higher occupancy for "
            f"{listed(passed_over, SHOWN)}."
        )
    if mixed:
        notes.append(
            f"No location is complete, so that residues are mixtures: {listed(mixed, SHOWN)}. "
            "Look at their bonds."
        )
    apart = _different_neighbours(list(residues), letters, labels)
    if apart:
        notes.append(f"Alternate locations of neighbours differ: {listed(apart, SHOWN)}.")
    return [row for k, row in enumerate(rows) if k not in dropped]


def _best_location(members: Sequence[AtomRow]) -> tuple[str, str]:
    """The location to take, and the one of the highest occupancy."""
    there = sorted({r.altloc for r in members if r.altloc})

    def occupancy(letter: str) -> float:
        return round(float(np.mean([r.occupancy for r in members if r.altloc == letter])), 3)

    def resname(letter: str) -> str:
        return next(r.resname for r in members if r.altloc == letter)

    def lacks(letter: str) -> int:
        """Heavy atoms that other locations of the same kind of residue have."""
        alike = [r for r in members if r.resname == resname(letter) and not r.hydrogen]
        have = {r.name for r in alike if r.altloc in ("", letter)}
        return len({r.name for r in alike} - have)

    def light(letter: str) -> int:
        return sum(r.hydrogen for r in members if r.altloc == letter)

    highest = max(there, key=lambda k: (occupancy(k), -there.index(k)))
    complete = [k for k in there if not lacks(k)] or [highest]
    best = max(complete, key=lambda k: (occupancy(k), light(k), -there.index(k)))
    # Of equals the complete one is no news.
    equal = occupancy(best) == occupancy(highest)
    return best, best if equal else highest


def _borrowed(members: Sequence[AtomRow], best: str, resname: str) -> list[AtomRow]:
    """Heavy atoms that only other locations have, with the hydrogens that they carry."""
    alike = [r for r in members if r.resname == resname]
    have = {r.name for r in alike if r.altloc in ("", best)}
    found: list[AtomRow] = []
    for row in alike:
        if row.name not in have and not row.hydrogen:
            have.add(row.name)
            found.append(row)
    for row in alike:
        if row.name in have or not row.hydrogen:
            continue
        near = (
            np.linalg.norm(np.subtract(row.position_nm, other.position_nm)) < _HYDROGEN_REACH_NM
            for other in found
            if not other.hydrogen and other.altloc == row.altloc
        )
        if any(near):
            have.add(row.name)
            found.append(row)
    return found


def _different_neighbours(
    places: Sequence[tuple[str, ...]],
    letters: dict[tuple[str, ...], str],
    labels: dict[tuple[str, ...], str],
) -> list[str]:
    """Residues next to each other whose locations have different letters."""
    return [
        f"{labels[one]} ({letters[one]}) and {labels[two]} ({letters[two]})"
        for one, two in zip(places, places[1:], strict=False)
        if one in letters and two in letters
        and letters[one] != letters[two]
        and one[:-2] == two[:-2]
    ]  # fmt: skip
