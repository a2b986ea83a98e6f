"""Where a residue and a molecule differ, for messages."""

from __future__ import annotations

from typing import Any

from .residue_graph import ResidueGraph


def plain_molecule(elements: list[int], bonds: list[tuple[int, int]]) -> Any:
    """Return an RDKit molecule of elements and single bonds, not sanitised."""
    from rdkit import Chem

    mol = Chem.RWMol()
    for element in elements:
        mol.AddAtom(Chem.Atom(element))
    for i, j in bonds:
        mol.AddBond(i, j, Chem.BondType.SINGLE)
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    return mol


def unmatched_atoms(graph: ResidueGraph, mol: Any) -> tuple[str, str]:
    """Name the atoms outside the largest common piece of a residue and a molecule.

    Parameters
    ----------
    graph : ResidueGraph
        the residue
    mol : RDKit Mol
        without hydrogens

    Returns
    -------
    (str, str)
        names of the residue's atoms, and elements with numbers (from 0) of the molecule's, both
        as comma-separated lists; empty where none is left over
    """
    from rdkit.Chem import rdFMCS

    number = {a: k for k, a in enumerate(graph.heavy)}
    ours = plain_molecule(
        [graph.elements[a] for a in graph.heavy],
        [(number[i], number[j]) for i, j in graph.bonds],
    )
    theirs = plain_molecule(
        [a.GetAtomicNum() for a in mol.GetAtoms()],
        [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()],
    )
    common = rdFMCS.FindMCS([ours, theirs], timeout=5, bondCompare=rdFMCS.BondCompare.CompareAny)
    left: list[set[int]] = [set(range(m.GetNumAtoms())) for m in (ours, theirs)]
    if common.numAtoms:
        for rest, m in zip(left, (ours, theirs), strict=True):
            rest.difference_update(m.GetSubstructMatch(common.queryMol))
    names = [graph.names[graph.heavy[k]] for k in sorted(left[0])]
    elements = [f"{theirs.GetAtomWithIdx(k).GetSymbol()} {k}" for k in sorted(left[1])]
    return ", ".join(names), ", ".join(elements)
