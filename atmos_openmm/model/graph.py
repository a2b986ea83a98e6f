"""Features of the molecular graph, which the invariant configuration reads.

Atom names and residue types are not among them, so a residue type never seen in training is
made of known surroundings.
"""

import numpy as np
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


def graph_distances(num_atoms: int, bonds: Tensor) -> Tensor:
    """Return the number of bonds between atoms [A, A] int64, capped.

    ``MAX_GRAPH_DISTANCE`` stands for that many bonds or more in one molecule,
    ``MAX_GRAPH_DISTANCE + 1`` for atoms of different molecules.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, dijkstra

    ends = (bonds[:, 0].numpy(), bonds[:, 1].numpy())
    graph = coo_array((np.ones(len(bonds)), ends), shape=(num_atoms, num_atoms))
    steps = dijkstra(graph, directed=False, unweighted=True, limit=MAX_GRAPH_DISTANCE)
    label = connected_components(graph, directed=False)[1]
    far = np.where(label[:, None] == label, MAX_GRAPH_DISTANCE, MAX_GRAPH_DISTANCE + 1)
    return torch.from_numpy(np.where(np.isfinite(steps), steps, far).astype(np.int64))


def one_hot(values: Tensor, classes: int) -> Tensor:
    """Return classes as float vectors, values outside them counted to the nearest."""
    return torch.nn.functional.one_hot(values.clamp(0, classes - 1), classes).float()


def atom_features(features: dict[str, Tensor]) -> Tensor:
    """Return element, charge, degrees, ring, aromaticity and stereocentre [A, ATOM_FEATURES]."""
    element = features["ref_element"].long()
    num_atoms = int(element.shape[0])
    bonds = features["bonds"].long().reshape(-1, 2)
    order = features["bond_order"].float()
    both = torch.cat([bonds, bonds.flip(1)])
    degree = torch.bincount(both[:, 0], minlength=num_atoms)
    hydrogens = torch.bincount(both[element[both[:, 1]] == 1, 0], minlength=num_atoms)
    aromatic = torch.zeros(num_atoms)
    aromatic[bonds[order == 1.5].flatten()] = 1.0
    stereo = torch.zeros(num_atoms)
    stereo[features["chiral_centers"].long().reshape(-1, 4)[:, 0]] = 1.0
    is_known = element.unsqueeze(1) == torch.tensor(ELEMENTS)
    element_class = torch.where(is_known.any(1), is_known.long().argmax(1), len(ELEMENTS))
    return torch.cat(
        [
            one_hot(element_class, len(ELEMENTS) + 1),
            features["ref_charge"].float().unsqueeze(1),
            one_hot(degree, 5),
            one_hot(hydrogens, 5),
            _ring_membership(num_atoms, bonds).unsqueeze(1),
            aromatic.unsqueeze(1),
            stereo.unsqueeze(1),
        ],
        dim=1,
    )


def atom_pair_features(features: dict[str, Tensor]) -> Tensor:
    """Return graph distance, bond order, reference distances [A, A, PAIR_FEATURES]."""
    num_atoms = int(features["ref_element"].shape[0])
    bonds = features["bonds"].long().reshape(-1, 2)
    distance = graph_distances(num_atoms, bonds)
    order_class = torch.zeros(num_atoms, num_atoms, dtype=torch.int64)
    for (i, j), value in zip(bonds.tolist(), features["bond_order"].tolist(), strict=True):
        kind = BOND_ORDERS.index(value) + 1 if value in BOND_ORDERS else 1
        order_class[i, j] = order_class[j, i] = kind
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
    offset, same_chain = _residue_offsets(features)
    reach = RELATIVE_RESIDUE_MAX + 1
    near = torch.where(same_chain, offset.clamp(-reach, reach) + reach, 0)
    atom_to_token = features["atom_to_token"].long()
    near_atoms = near[atom_to_token][:, atom_to_token]
    return torch.cat(
        [
            one_hot(distance, MAX_GRAPH_DISTANCE + 2),
            one_hot(order_class, len(BOND_ORDERS) + 1),
            same_space.unsqueeze(-1),
            radial * rigid.unsqueeze(-1),
            one_hot(near_atoms, 2 * RELATIVE_RESIDUE_MAX + 3),
        ],
        dim=-1,
    )


def token_pair_features(features: dict[str, Tensor]) -> Tensor:
    """Return relative residue positions, same chain and bonds [N, N, TOKEN_PAIR_FEATURES]."""
    offset, same_chain = _residue_offsets(features)
    far = torch.where(same_chain, offset.clamp(-32, 32) + 32, 2 * 32 + 2)
    return torch.cat(
        [
            one_hot(far, 2 * 32 + 3),
            same_chain.float().unsqueeze(-1),
            features["token_bonds"].float().unsqueeze(-1),
        ],
        dim=-1,
    )


def _residue_offsets(features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    residue = features["residue_index"].long()
    chain = features["asym_id"].long()
    return residue.unsqueeze(0) - residue.unsqueeze(1), chain.unsqueeze(0) == chain.unsqueeze(1)


def _ring_membership(num_atoms: int, bonds: Tensor) -> Tensor:
    """Return 1 for atoms with a bond that is on a cycle [A]."""
    from rdkit import Chem

    mol = Chem.RWMol()
    for _ in range(num_atoms):
        mol.AddAtom(Chem.Atom(0))
    for i, j in bonds.tolist():
        mol.AddBond(i, j, Chem.BondType.SINGLE)
    Chem.FastFindRings(mol)
    return torch.tensor([float(atom.IsInRing()) for atom in mol.GetAtoms()])
