"""Where the hydrogens of a molecule go, given its heavy atoms.

A heavy-atom model proposes heavy atoms alone. `plan_hydrogens` takes a molecule's chemistry apart
into groups, each the hydrogens of one heavy atom with the local frame that they stand in;
`model.hydrogen_placer.HydrogenPlacer` carries the plan out on batches of frames, inside the bound
module; `jump.place_hydrogens` does so for one structure, from its Topology.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from .features import MoleculeFeatures
from .hydrogen_groups import FREE_KINDS, KINDS, Chemistry, Group
from .openmm_bridge import bond_lengths_from_system

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HydrogenPlan:
    """How to place a molecule's hydrogens. A model atoms, N hydrogens, G groups, F of them free.

    The frame of a group has its origin at the parent. z points away from the neighbours: from the
    sum of the unit vectors to one or two, at equal angles from three. y is the part of a second
    vector that is perpendicular to z: towards the reference atom, seen from the first neighbour (at
    most one neighbour); along the cross product of the two neighbours' unit vectors (two); from the
    second's to the first's (three). x = y cross z.

    Attributes
    ----------
    heavy : int64 [A - N]
        heavy atoms, in model order
    hydrogens : int64 [N]
        hydrogens, group by group
    group : int64 [N]
        the group of each
    local_nm : float64 [N, 3]
        ideal place of each in its group's frame
    parent : int64 [G]
        heavy atom that carries the group
    neighbours : int64 [G, 3]
        its heavy neighbours, filled up with the parent itself; where it has none, the first is
        another heavy atom of the molecule that stands in
    neighbour_count : int64 [G]
        number of neighbours, stand-ins included
    reference : int64 [G]
        reference atom
    kind : int64 [G]
        index in `KINDS`
    free : int64 [F]
        groups with a free torsion, flip or orientation
    free_motion : int64 [F]
        what is free: 0 the torsion (rotor), 1 the side (pyramid), 2 the orientation (lone)
    free_bond : int64 [F, 2]
        the bond that a rotor turns about, neighbour and parent; -1 for other kinds
    free_cosines : float64 [F, 3]
        energy of the torsion, c1 cos t + c2 cos 2t + c3 cos 3t, kJ/mol, mean over the hydrogens
    excluded : int64 [X, 2]
        number of a free group (0 to F - 1) and an atom whose contacts do not count, being within
        three bonds of its hydrogens
    radius_nm, depth_kj_per_mol, charge : float64 [A]
        Lennard-Jones half distance and depth, and charge, for the search of free torsions
    """

    heavy: IntArray
    hydrogens: IntArray
    group: IntArray
    local_nm: FloatArray
    parent: IntArray
    neighbours: IntArray
    neighbour_count: IntArray
    reference: IntArray
    kind: IntArray
    free: IntArray
    free_motion: IntArray
    free_bond: IntArray
    free_cosines: FloatArray
    excluded: IntArray
    radius_nm: FloatArray
    depth_kj_per_mol: FloatArray
    charge: FloatArray

    @property
    def num_atoms(self) -> int:
        """Number of model atoms, hydrogens included, A."""
        return len(self.radius_nm)

    def tensors(self) -> dict[str, Any]:
        """Return the arrays as torch tensors by field name (copies)."""
        import torch

        return {f.name: torch.from_numpy(getattr(self, f.name).copy()) for f in fields(self)}


def plan_hydrogens(features: MoleculeFeatures, system: Any = None) -> HydrogenPlan:
    """Plan where the hydrogens of a molecule go.

    Parameters
    ----------
    features : MoleculeFeatures
        of all atoms, hydrogens included
    system : openmm.System, optional
        lengths of the bonds to hydrogens come from its bonds and constraints; without it, Amber's

    Raises
    ------
    ValueError
        where `features` has no hydrogens
    """
    chemistry = Chemistry(features)
    if not chemistry.hydrogens_of:
        raise ValueError(
            "These features have no hydrogens to place. Make them with "
            "features_from_topology(topology, 'all') of a Topology that has its hydrogens."
        )
    lengths: dict[tuple[int, int], float] = {}
    if system is not None:
        known = bond_lengths_from_system(system)
        index = features.atom_indices.tolist()
        for i, j in features.bonds.tolist():
            a, b = sorted((index[i], index[j]))
            if (a, b) in known:
                lengths[i, j] = lengths[j, i] = known[a, b]
    groups = [Group(chemistry, parent, lengths) for parent in sorted(chemistry.hydrogens_of)]
    free = [g for g, group in enumerate(groups) if group.kind in FREE_KINDS]
    excluded = [(f, a) for f, g in enumerate(free) for a in chemistry.excluded(groups[g])]
    contacts = np.array([chemistry.contact(a) for a in range(features.num_atoms)])
    return HydrogenPlan(
        heavy=np.flatnonzero(features.ref_element > 1).astype(np.int64),
        hydrogens=np.array([h for group in groups for h in group.hydrogens], np.int64),
        group=np.array([g for g, group in enumerate(groups) for _ in group.hydrogens], np.int64),
        local_nm=np.concatenate([group.local_nm for group in groups]),
        parent=np.array([group.parent for group in groups], np.int64),
        neighbours=np.array(
            [(group.neighbours + [group.parent] * 3)[:3] for group in groups], np.int64
        ),
        neighbour_count=np.array([min(len(group.neighbours), 3) for group in groups], np.int64),
        reference=np.array([group.reference for group in groups], np.int64),
        kind=np.array([KINDS.index(group.kind) for group in groups], np.int64),
        free=np.array(free, np.int64),
        free_motion=np.array([FREE_KINDS.index(groups[g].kind) for g in free], np.int64),
        free_bond=np.array(
            [
                (groups[g].neighbours[0], groups[g].parent)
                if groups[g].kind == "rotor"
                else (-1, -1)
                for g in free
            ],
            np.int64,
        ).reshape(-1, 2),
        free_cosines=np.array([groups[g].cosines for g in free]).reshape(-1, 3),
        excluded=np.array(excluded, np.int64).reshape(-1, 2),
        radius_nm=contacts[:, 0],
        depth_kj_per_mol=contacts[:, 1],
        charge=contacts[:, 2],
    )


def bonded_hydrogens(topology: Any, atoms: Iterable[int]) -> list[int]:
    """Return the Topology indices of the hydrogens bonded to atoms of a Topology, sorted."""
    chosen, found = set(atoms), set()
    for bond in topology.bonds():
        for a, h in ((bond[0], bond[1]), (bond[1], bond[0])):
            if a.index in chosen and h.element is not None and h.element.atomic_number == 1:
                found.add(h.index)
    return sorted(found)
