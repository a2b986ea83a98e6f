"""Static inputs of the network, derived once a molecule from its plain features.

The names and shapes of the plain features are in ``docs/architecture.md``.
"""

from typing import NamedTuple

import torch
from torch import Tensor

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 34, 35, 53)
"""Atomic numbers with a class of their own; every other element shares one more class."""

MAX_GRAPH_DISTANCE = 8
"""Bonds between two atoms are counted up to this number; further ones share a class."""

BOND_ORDERS = (1.0, 1.5, 2.0, 3.0)
REFERENCE_RADIAL_CENTERS = 16
REFERENCE_RADIAL_MAX_ANGSTROM = 4.0
RELATIVE_RESIDUE_MAX = 2

ATOM_FEATURES = len(ELEMENTS) + 1 + 1 + 5 + 5 + 1 + 1 + 1
PAIR_FEATURES = (
    (MAX_GRAPH_DISTANCE + 2)
    + (len(BOND_ORDERS) + 1)
    + 1
    + REFERENCE_RADIAL_CENTERS
    + (2 * RELATIVE_RESIDUE_MAX + 3)
)
TOKEN_PAIR_FEATURES = 2 * 32 + 3 + 1 + 1


class ModelFeatures(NamedTuple):
    """Static tensors of one molecule: A atoms, N tokens, T windows of Q queries and K keys.

    Attributes
    ----------
    atom: Tensor [A, ATOM_FEATURES]
        Element, formal charge, degrees, ring, aromaticity, stereocentre.
    pair: Tensor [T, Q, K, PAIR_FEATURES]
        Graph distance, bond order, same residue, reference distance, residue offset.
    token_pair: Tensor [N, N, TOKEN_PAIR_FEATURES]
        Relative residue positions, same chain, token bonds.
    atom_to_token: Tensor [A] int64
    query_index: Tensor [T, Q] int64
        Atom of each query slot (clamped in the padding).
    key_index: Tensor [T, K] int64
        Atom of each key slot (clamped outside the molecule).
    key_bias: Tensor [T, Q, K]
        0 where the slot holds an atom, -1e10 elsewhere.
    chiral_centers: Tensor [C, 4] int64
        Centre and three neighbours.
    chiral_signs: Tensor [C]
        Sign of the triple product in the right-handed molecule.
    label_centers: Tensor [P, 4] int64
        Centres that only the labels of like atoms make chiral (methylenes, methyls).
    """

    atom: Tensor
    pair: Tensor
    token_pair: Tensor
    atom_to_token: Tensor
    query_index: Tensor
    key_index: Tensor
    key_bias: Tensor
    chiral_centers: Tensor
    chiral_signs: Tensor
    label_centers: Tensor


def local_windows(num_atoms: int, n_queries: int, n_keys: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query index [T, Q], key index [T, K] and key bias [T, Q, K] of local attention.

    Windows follow AF3's Algorithm 7: windows of ``n_queries`` atoms, each seeing ``n_keys``
    atoms centred on it. A molecule of at most ``n_queries`` atoms is one dense window.
    """
    if num_atoms <= n_queries:
        index = torch.arange(num_atoms).unsqueeze(0)
        return index, index, torch.zeros(1, num_atoms, num_atoms)
    trunks = (num_atoms + n_queries - 1) // n_queries
    start = torch.arange(trunks).unsqueeze(1) * n_queries
    query = start + torch.arange(n_queries)
    key = start + (n_queries - n_keys) // 2 + torch.arange(n_keys)
    valid = ((key >= 0) & (key < num_atoms)).unsqueeze(1).expand(-1, n_queries, -1)
    bias = torch.where(valid, 0.0, -1e10)
    return query.clamp(max=num_atoms - 1), key.clamp(0, num_atoms - 1), bias


def graph_distances(num_atoms: int, bonds: Tensor) -> Tensor:
    """Return the number of bonds between atoms [A, A] int64, capped.

    ``MAX_GRAPH_DISTANCE`` stands for that many bonds or more in one molecule,
    ``MAX_GRAPH_DISTANCE + 1`` for atoms of different molecules.
    """
    adjacency = torch.zeros(num_atoms, num_atoms)
    if bonds.numel():
        adjacency[bonds[:, 0], bonds[:, 1]] = 1.0
        adjacency[bonds[:, 1], bonds[:, 0]] = 1.0
    distance = torch.full((num_atoms, num_atoms), MAX_GRAPH_DISTANCE + 1, dtype=torch.int64)
    reached = torch.eye(num_atoms)
    distance[reached > 0] = 0
    steps = 0
    while True:
        grown = ((reached + reached @ adjacency) > 0).float()
        if bool((grown == reached).all()):
            return distance
        steps += 1
        distance[(grown > 0) & (reached == 0)] = min(steps, MAX_GRAPH_DISTANCE)
        reached = grown


def _one_hot(values: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(values.clamp(0, classes - 1), classes).float()


def model_features(features: dict[str, Tensor], n_queries: int, n_keys: int) -> ModelFeatures:
    """Derive the network's static inputs from the plain features of one molecule.

    Parameters
    ----------
    features: dict[str, Tensor]
        The fields of ``MoleculeFeatures.tensors()`` (``docs/architecture.md``).
    n_queries, n_keys: int
        Sizes of the local attention windows.

    Raises
    ------
    ValueError
        If an atom has no token or a bond names an atom that is not there.
    """
    element = features["ref_element"].long()
    num_atoms = int(element.shape[0])
    bonds = features["bonds"].long().reshape(-1, 2)
    order = features["bond_order"].float()
    atom_to_token = features["atom_to_token"].long()
    num_tokens = int(features["restype"].shape[0])
    if bonds.numel() and (int(bonds.min()) < 0 or int(bonds.max()) >= num_atoms):
        raise ValueError(f"A bond names an atom outside 0..{num_atoms - 1}.")
    if int(atom_to_token.min()) < 0 or int(atom_to_token.max()) >= num_tokens:
        raise ValueError(f"An atom names a token outside 0..{num_tokens - 1}.")

    distance = graph_distances(num_atoms, bonds)
    order_class = torch.zeros(num_atoms, num_atoms, dtype=torch.int64)
    aromatic = torch.zeros(num_atoms)
    degree = torch.zeros(num_atoms, dtype=torch.int64)
    hydrogens = torch.zeros(num_atoms, dtype=torch.int64)
    for (i, j), value in zip(bonds.tolist(), order.tolist(), strict=True):
        kind = BOND_ORDERS.index(value) + 1 if value in BOND_ORDERS else 1
        order_class[i, j] = order_class[j, i] = kind
        for one, other in ((i, j), (j, i)):
            degree[one] += 1
            hydrogens[one] += int(element[other] == 1)
            aromatic[one] = max(float(aromatic[one]), float(value == 1.5))
    centers = features["chiral_centers"].long().reshape(-1, 4)
    stereo = torch.zeros(num_atoms)
    stereo[centers[:, 0]] = 1.0
    known = torch.tensor(ELEMENTS)
    is_known = element.unsqueeze(1) == known
    element_class = torch.where(is_known.any(1), is_known.long().argmax(1), len(ELEMENTS))
    ring = _ring_membership(num_atoms, bonds)
    atom = torch.cat(
        [
            _one_hot(element_class, len(ELEMENTS) + 1),
            features["ref_charge"].float().unsqueeze(1),
            _one_hot(degree, 5),
            _one_hot(hydrogens, 5),
            ring.unsqueeze(1),
            aromatic.unsqueeze(1),
            stereo.unsqueeze(1),
        ],
        dim=1,
    )

    space = features["ref_space_uid"].long()
    same_space = (space.unsqueeze(0) == space.unsqueeze(1)).float()
    mask = features["ref_mask"].float()
    ref_pos = features["ref_pos"].float()
    ref_distance = torch.cdist(ref_pos, ref_pos)
    # Only distances over one or two bonds are the same in every conformer.
    rigid = same_space * (distance <= 2).float() * mask.unsqueeze(0) * mask.unsqueeze(1)
    radial_centers = torch.linspace(0.8, REFERENCE_RADIAL_MAX_ANGSTROM, REFERENCE_RADIAL_CENTERS)
    width = float(radial_centers[1] - radial_centers[0])
    radial = torch.exp(-0.5 * ((ref_distance.unsqueeze(-1) - radial_centers) / width) ** 2)
    residue = features["residue_index"].long()
    chain = features["asym_id"].long()
    offset = residue.unsqueeze(0) - residue.unsqueeze(1)
    same_chain = chain.unsqueeze(0) == chain.unsqueeze(1)
    near = torch.where(
        same_chain,
        offset.clamp(-RELATIVE_RESIDUE_MAX - 1, RELATIVE_RESIDUE_MAX + 1)
        + RELATIVE_RESIDUE_MAX
        + 1,
        0,
    )
    near_atoms = near[atom_to_token][:, atom_to_token]
    pair = torch.cat(
        [
            _one_hot(distance, MAX_GRAPH_DISTANCE + 2),
            _one_hot(order_class, len(BOND_ORDERS) + 1),
            same_space.unsqueeze(-1),
            radial * rigid.unsqueeze(-1),
            _one_hot(near_atoms, 2 * RELATIVE_RESIDUE_MAX + 3),
        ],
        dim=-1,
    )
    far = torch.where(same_chain, offset.clamp(-32, 32) + 32, 2 * 32 + 2)
    token_pair = torch.cat(
        [
            _one_hot(far, 2 * 32 + 3),
            same_chain.float().unsqueeze(-1),
            features["token_bonds"].float().unsqueeze(-1),
        ],
        dim=-1,
    )
    query, key, bias = local_windows(num_atoms, n_queries, n_keys)
    return ModelFeatures(
        atom,
        pair[query.unsqueeze(2), key.unsqueeze(1)],
        token_pair,
        atom_to_token,
        query,
        key,
        bias,
        centers,
        features["chiral_signs"].float().reshape(-1),
        features["label_centers"].long().reshape(-1, 4),
    )


def _ring_membership(num_atoms: int, bonds: Tensor) -> Tensor:
    """Return 1 for atoms with a bond that is on a cycle, by removal of tree branches."""
    alive = torch.ones(len(bonds), dtype=torch.bool)
    while True:
        degree = torch.bincount(bonds[alive].flatten(), minlength=num_atoms)
        leaf = (degree[bonds] == 1).any(1) & alive
        if not bool(leaf.any()):
            break
        alive &= ~leaf
    # A chain between two rings survives the pruning: it is on no cycle when removing it
    # separates its ends.
    ring = torch.zeros(num_atoms)
    for index in torch.nonzero(alive).flatten().tolist():
        i, j = bonds[index].tolist()
        rest = alive.clone()
        rest[index] = False
        reached, frontier = {i}, [i]
        edges = bonds[rest].tolist()
        while frontier:
            node = frontier.pop()
            for a, b in edges:
                for one, other in ((a, b), (b, a)):
                    if one == node and other not in reached:
                        reached.add(other)
                        frontier.append(other)
        if j in reached:
            ring[i] = ring[j] = 1.0
    return ring
