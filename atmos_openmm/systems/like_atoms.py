"""Atoms of a residue that are alike by symmetry, and what exchanging their labels turns over."""

from __future__ import annotations

from typing import Any

from .residue_molecule import ResidueMolecule

Pairs = tuple[tuple[int, int], ...]


def like_neighbours(
    residue: ResidueMolecule, centres: list[int]
) -> list[tuple[int, int, int, int, Pairs]]:
    """Find `ResidueChemistry.alike`; `centres` are the stereocentres, which do not count."""
    ranks, local = residue.ranks(), residue.local
    found = []
    for c in range(residue.num_heavy):
        neighbours = residue.neighbours(c)
        if c in centres or len(neighbours) != 4:
            continue
        groups: dict[int, list[int]] = {}
        for n in neighbours:
            groups.setdefault(ranks[n], []).append(n)
        same = next((g for g in groups.values() if len(g) in (2, 3)), None)
        if same is None:
            continue
        swap = _branch_swap(residue.mol, ranks, c, same[0], same[1])
        if swap is None or any(k not in local for pair in swap for k in pair):
            continue
        # Others first, then those alike: the three named atoms hold at least one of a pair.
        ordered = ([n for n in neighbours if n not in same] + same)[:3]
        if all(n in local for n in ordered):
            a, b, d = (local[n] for n in ordered)
            found.append((c, a, b, d, tuple((local[i], local[j]) for i, j in swap)))
    # Large branches first: exchanging them carries the smaller ones along.
    return sorted(found, key=lambda entry: -len(entry[4]))


def flat_groups(residue: ResidueMolecule) -> list[tuple[int, int, int, int, Pairs]]:
    """Find `ResidueChemistry.planar`."""
    mol, local = residue.mol, residue.local
    found = []
    for c in range(residue.num_heavy):
        ends, rest = _flat_ends(mol, c, residue.neighbours(c))
        if not ends or rest not in local:
            continue
        reference = next((n for n in residue.neighbours(rest) if n != c and n in local), None)
        # Charges and bond orders tell arginine's two ends apart, the geometry hardly.
        swap = _branch_swap(mol, [0] * mol.GetNumAtoms(), c, *ends)
        if reference is not None and swap is not None:
            pairs = tuple((local[i], local[j]) for i, j in swap)
            found.append((reference, rest, c, local[ends[0]], pairs))
    return sorted(found, key=lambda entry: -len(entry[4]))


def _onward(mol: Any, ranks: list[int], atom: int, source: int) -> list[int]:
    """Return an atom's neighbours except `source`, by rank."""
    neighbours = (n.GetIdx() for n in mol.GetAtomWithIdx(atom).GetNeighbors())
    return sorted((n for n in neighbours if n != source), key=lambda n: (ranks[n], n))


def _branch_swap(
    mol: Any, ranks: list[int], centre: int, b: int, d: int
) -> list[tuple[int, int]] | None:
    """Pair the atoms of two equivalent branches at `centre`; None where they share atoms."""
    seen = {centre}
    pairs: list[tuple[int, int]] = []
    stack = [(b, d, centre, centre)]
    while stack:
        i, j, from_i, from_j = stack.pop()
        if i == j or i in seen or j in seen:
            return None
        seen.update((i, j))
        pairs.append((i, j))

        next_i, next_j = _onward(mol, ranks, i, from_i), _onward(mol, ranks, j, from_j)
        if [ranks[k] for k in next_i] != [ranks[k] for k in next_j]:
            return None
        stack.extend((p, q, i, j) for p, q in zip(next_i, next_j, strict=True))
    return pairs


def _flat_ends(mol: Any, centre: int, neighbours: list[int]) -> tuple[list[int], int]:
    """Return the two like ends of a flat NH2 or C(NH2)2 group, and the third neighbour.

    The ends are hydrogens of a nitrogen beside a carbon with a double bond, or two nitrogens with
    equally many hydrogens and no other neighbour. Empty where `centre` is no such group.
    """
    from rdkit import Chem

    atom = mol.GetAtomWithIdx(centre)
    if len(neighbours) != 3 or atom.GetHybridization() != Chem.HybridizationType.SP2:
        return [], -1
    hydrogens = [n for n in neighbours if mol.GetAtomWithIdx(n).GetAtomicNum() == 1]
    amines = [
        n
        for n in neighbours
        if mol.GetAtomWithIdx(n).GetAtomicNum() == 7
        and sum(k.GetAtomicNum() > 1 for k in mol.GetAtomWithIdx(n).GetNeighbors()) == 1
        and mol.GetAtomWithIdx(n).GetDegree() == 3
    ]
    ends = hydrogens if atom.GetAtomicNum() == 7 else amines
    if len(ends) != 2:
        return [], -1
    return ends, next(n for n in neighbours if n not in ends)
