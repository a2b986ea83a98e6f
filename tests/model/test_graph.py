"""Features of the molecular graph."""

import torch

from atmos_openmm.model.graph import (
    ATOM_FEATURES,
    ELEMENTS,
    MAX_GRAPH_DISTANCE,
    atom_features,
    graph_distances,
)

RING = len(ELEMENTS) + 1 + 1 + 5 + 5


def test_distances_are_capped_and_tell_molecules_apart():
    chain = torch.tensor([[k, k + 1] for k in range(11)])
    found = graph_distances(14, torch.cat([chain, torch.tensor([[12, 13]])]))
    steps = (torch.arange(12) - torch.arange(12).unsqueeze(1)).abs()
    assert torch.equal(found[:12, :12], steps.clamp(max=MAX_GRAPH_DISTANCE))
    assert found[12, 13] == 1 and found.dtype == torch.int64
    assert bool((found[:12, 12:] == MAX_GRAPH_DISTANCE + 1).all())
    alone = graph_distances(2, torch.zeros(0, 2, dtype=torch.int64))
    assert alone.tolist() == [[0, MAX_GRAPH_DISTANCE + 1], [MAX_GRAPH_DISTANCE + 1, 0]]


def test_a_chain_between_rings_is_no_ring():
    rings = [(0, 1), (1, 2), (2, 0), (5, 6), (6, 7), (7, 8), (8, 5)]
    bonds = torch.tensor([*rings, (2, 3), (3, 4), (4, 5), (8, 9)])
    features = {
        "ref_element": torch.full((10,), 6),
        "ref_charge": torch.zeros(10),
        "bonds": bonds,
        "bond_order": torch.ones(len(bonds)),
        "chiral_centers": torch.zeros(0, 4, dtype=torch.int64),
    }
    found = atom_features(features)
    assert found.shape == (10, ATOM_FEATURES)
    assert found[:, RING].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 0]
