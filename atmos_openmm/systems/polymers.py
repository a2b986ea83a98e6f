"""Chains, entities, copies and residue numbers, and which bonds the network is told of.

The rules are Protenix's (`AddAtomArrayAnnot.unique_chain_and_add_ids` and
`Featurizer.get_bond_features` of version 2.0.0, observed), read from a Topology, which has no
entities of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .built_residue import BuiltResidue

IntArray = npt.NDArray[np.int64]


def _backbone_atom(residue: BuiltResidue, name: str) -> int | None:
    """Return the Topology index of a residue's backbone C or N."""
    template = residue.fit.template
    if template is None:
        heavy = residue.graph.heavy
        return next((i for i in heavy if residue.graph.names[i] == name), None)
    if name not in template.names or template.name in ("NME", "NH2") and name == "C":
        return None
    return residue.fit.atoms[template.names.index(name)]


def peptide_links(residues: list[BuiltResidue]) -> set[tuple[int, int]]:
    """Return pairs of residues, numbers in the list, that a C-N bond makes neighbours in a chain.

    Only residues that follow each other in the Topology's chain: the bond that closes a cyclic
    peptide is not among them.
    """
    links = set()
    for u in range(len(residues) - 1):
        one, two = residues[u].graph.residue, residues[u + 1].graph.residue
        if one.chain is not two.chain or two.index != one.index + 1:
            continue
        c, n = _backbone_atom(residues[u], "C"), _backbone_atom(residues[u + 1], "N")
        if c is not None and n is not None and (c, n) in residues[u].graph.partners:
            links.add((u, u + 1))
    return links


def polymer_residues(residues: list[BuiltResidue]) -> list[bool]:
    """Tell which residues are parts of a polymer: standard ones, caps, and those linked to them."""
    linked = {u for link in peptide_links(residues) for u in link}
    return [r.fit.template is not None or u in linked for u, r in enumerate(residues)]


def _chains(residues: list[BuiltResidue]) -> list[list[tuple[int, int]]]:
    """Group residues into chains: (number in the list, residue index) each, first residues first.

    A polymer ends with the Topology's chain, or inside of it where a residue without a bond to
    the next is not followed by a gap in the file's numbering: a gap is taken for residues that
    are missing, and counted. Ligands that are bonded to each other share a chain (a glycan); one
    that is not is a chain of its own, whatever polymer it is bonded to.
    """
    links = peptide_links(residues)
    polymer = polymer_residues(residues)
    chains: list[list[tuple[int, int]]] = []
    previous: int | None = None
    for u, residue in enumerate(residues):
        if not polymer[u]:
            continue
        here = residue.graph.residue
        if previous is None or residues[previous].graph.residue.chain is not here.chain:
            chains.append([(u, 1)])
        elif (previous, u) in links:
            chains[-1].append((u, chains[-1][-1][1] + 1))
        else:
            gap = _gap(residues[previous], residue)
            if gap > 1:
                chains[-1].append((u, chains[-1][-1][1] + gap))
            else:
                chains.append([(u, 1)])
        previous = u
    owner = {i: u for u, r in enumerate(residues) if not polymer[u] for i in r.graph.names}
    group = {u: u for u in owner.values()}

    def root(u: int) -> int:
        while group[u] != u:
            u = group[u]
        return u

    for u in group:
        for _, there in residues[u].graph.partners:
            if there in owner:
                a, b = sorted((root(u), root(owner[there])))
                group[b] = a
    ligands: dict[int, list[tuple[int, int]]] = {}
    for u in sorted(group):
        members = ligands.setdefault(root(u), [])
        members.append((u, len(members) + 1))
    return sorted([*chains, *ligands.values()])


def _gap(one: BuiltResidue, two: BuiltResidue) -> int:
    """Return how far the file numbers two residues apart; 0 where it cannot be told."""
    try:
        return int(two.graph.residue.id) - int(one.graph.residue.id)
    except ValueError:
        return 0


def chain_numbers(
    residues: list[BuiltResidue],
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return residue_index (from 1), asym_id, entity_id and sym_id of each residue (from 0)."""
    index, asym, entity, sym = (np.zeros(len(residues), np.int64) for _ in range(4))
    entities: dict[tuple[object, ...], int] = {}
    copies: dict[int, int] = {}
    for a, members in enumerate(_chains(residues)):
        e = entities.setdefault(tuple(_kind(residues[u]) for u, _ in members), len(entities))
        copies[e] = copies.get(e, -1) + 1
        for u, number in members:
            index[u], asym[u], entity[u], sym[u] = number, a, e, copies[e]
    return index, asym, entity, sym


def _kind(residue: BuiltResidue) -> object:
    """Return what makes residues of two chains the same: protonation does not count."""
    fit = residue.fit
    if fit.template is not None:
        return fit.template.name
    # Ligands of one name may be several molecules.
    return residue.graph.residue.name, fit.skeleton.elements, fit.skeleton.bonds


def hidden_bond(
    polymer: list[bool],
    index: IntArray,
    asym: IntArray,
    one: int,
    two: int,
) -> bool:
    """Whether a bond between two residues is left out of token_bonds.

    Bonds of neighbours in a polymer are, since the sequence tells of them. All others are told:
    those inside a residue of several tokens, of ligands, and between residues that are not
    neighbours (disulfides, the closing bond of a cyclic peptide).
    """
    if one == two or not (polymer[one] and polymer[two]):
        return False
    return bool(asym[one] == asym[two] and abs(index[one] - index[two]) <= 1)
