"""What a caller names as the solute: atoms, or a selection; whole molecules, or parts of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import FeatureError
from .selection import is_left_out

Choice = str | Iterable[int] | None
"""Topology indices, a selection in MDTraj's language, or None for the default."""


def chosen_indices(topology: Any, solute: Choice) -> list[int] | None:
    """Return the Topology indices that a choice names; None for the default.

    Parameters
    ----------
    topology : openmm.app.Topology
    solute : str or iterable of int, optional
        ``"protein and resSeq 10 to 20"``: a selection of MDTraj, where `resid` counts residues
        from 0 and `resSeq` is the file's number

    Raises
    ------
    FeatureError
        for a selection that cannot be read, or that nothing fits
    """
    if solute is None:
        return None
    if not isinstance(solute, str):
        return [int(i) for i in solute]
    import mdtraj

    try:
        found = mdtraj.Topology.from_openmm(topology).select(solute)
    except Exception as error:  # MDTraj evaluates what it parsed: anything may be raised
        cause = " ".join(str(error).split()) or type(error).__name__
        raise FeatureError(
            f"The selection {solute!r} is not one of MDTraj's language ({cause}). Write e.g. "
            "'protein', 'resname LIG', 'chainid 0 and resSeq 10 to 20' or "
            "'sidechain and resid 3 7'."
        ) from error
    if not len(found):
        raise FeatureError(
            f"The selection {solute!r} fits no atom. In MDTraj's language resid and chainid count "
            "from 0, and resSeq is the number in the file."
        )
    return [int(i) for i in found]


def split_solute(topology: Any, solute: Choice) -> tuple[list[int] | None, set[int] | None]:
    """Tell the molecules that a choice concerns from the atoms of them that move.

    Hydrogens move with their heavy atoms, named or not.

    Parameters
    ----------
    topology : openmm.app.Topology
        with bonds
    solute : str or iterable of int, optional
        see `chosen_indices`

    Returns
    -------
    molecules : list of int or None
        atoms of whole molecules; the indices as they were given where nothing else of their
        molecules is left; None for the default
    moved : set of int or None
        the atoms that move, where those are parts of the molecules; None for all of them

    Raises
    ------
    FeatureError
        see `chosen_indices`; a hydrogen is named without its heavy atom
    """
    given = chosen_indices(topology, solute)
    atoms = list(topology.atoms())
    if given is None or len(set(given)) != len(given):
        return given, None
    if not given or min(given) < 0 or max(given) >= len(atoms):
        return given, None
    near: list[list[int]] = [[] for _ in atoms]
    left_out = {r.index for r in topology.residues() if is_left_out(r)}
    for one, two in topology.bonds():
        # A metal's bonds do not make it a part of the molecule.
        crosses = len(left_out.intersection((one.residue.index, two.residue.index))) == 1
        if one.element is not None and two.element is not None and not crosses:
            near[one.index].append(two.index)
            near[two.index].append(one.index)
    light = {a.index for a in atoms if a.element is not None and a.element.atomic_number == 1}
    heavy = {i for i in given if i not in light and atoms[i].element is not None}
    molecules, stack = set(heavy), list(heavy)
    while stack:
        new = set(near[stack.pop()]) - molecules
        molecules |= new
        stack += new
    if not heavy or not molecules - light - heavy:
        return given, None
    alone = [i for i in given if i in light and not heavy.intersection(near[i])]
    if alone and not isinstance(solute, str):
        raise FeatureError(
            f"solute names the hydrogen {alone[0]} ({atoms[alone[0]]}), but not the "
            "heavy atom that it is bonded to. Hydrogens move with their heavy atoms; name those."
        )
    return sorted(molecules), heavy | {h for i in heavy for h in near[i] if h in light}
