"""Crops by sequence and by space."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from data_cases import write_misato
from openmm import app, unit

from atmos_openmm.data import misato
from atmos_openmm.data.crop import (
    choose_crop,
    contiguous_crop,
    crop_features,
    spatial_crop,
    token_centres,
)
from atmos_openmm.systems.features import MoleculeFeatures, features_from_topology
from atmos_openmm.systems.peptides import build_peptide


@pytest.fixture(scope="module")
def dimer() -> tuple[MoleculeFeatures, np.ndarray]:
    """Two copies of a peptide of eight residues, 3 nm apart, and a third far away."""
    topology, x = build_peptide("ALA-SER-LYS-ILE-VAL-THR-GLY-PHE")
    modeller = app.Modeller(topology, x * unit.nanometer)
    for shift in ([0.0, 1.2, 0.0], [0.0, 30.0, 0.0]):
        modeller.add(topology, (x + shift) * unit.nanometer)
    positions = np.array([p / unit.nanometer for p in modeller.positions])
    return features_from_topology(modeller.topology, positions=positions), positions


@pytest.fixture(scope="module")
def complex_features(tmp_path_factory) -> MoleculeFeatures:
    path = write_misato(Path(tmp_path_factory.mktemp("misato")) / "MD.hdf5")
    return misato.inspect(path)[0].sample.features()


def test_contiguous_crops_are_stretches_of_chains(dimer):
    features, _ = dimer
    starts = set()
    for seed in range(40):
        tokens = contiguous_crop(features, 10, [seed, 1])
        assert len(tokens) == 10 and np.all(np.diff(tokens) > 0)
        for chain in np.unique(features.asym_id[tokens]):
            inside = tokens[features.asym_id[tokens] == chain]
            assert np.all(np.diff(inside) == 1)
        starts.add(tuple(tokens))
        np.testing.assert_array_equal(tokens, contiguous_crop(features, 10, [seed, 1]))
    assert len(starts) > 20
    np.testing.assert_array_equal(contiguous_crop(features, 99, 1), np.arange(24))
    with pytest.raises(ValueError, match="at least 1"):
        contiguous_crop(features, 0, 1)


def test_spatial_crops_are_the_nearest_tokens(dimer):
    features, x = dimer
    places = x[token_centres(features)]
    for seed in range(20):
        tokens = spatial_crop(features, x, 9, seed)
        # There is a token of which these are the nearest nine.
        gaps = np.linalg.norm(places[:, None] - places[tokens][None], axis=-1)
        outside = np.setdiff1d(np.arange(24), tokens)
        rest = np.linalg.norm(places[tokens][:, None] - places[outside][None], axis=-1)
        furthest = gaps[tokens].max(axis=1)
        # 24 tokens are told apart by at most 24 steps of 1e-4 nm.
        assert np.any(furthest <= rest.min(axis=1) + 24e-4)
        np.testing.assert_array_equal(tokens, spatial_crop(features, x, 9, seed))
    np.testing.assert_array_equal(spatial_crop(features, x, 24, 3), np.arange(24))
    with pytest.raises(ValueError, match="expected one frame"):
        spatial_crop(features, x[None], 9, 1)


def test_interface_crops_are_where_chains_touch(dimer):
    features, x = dimer
    for seed in range(20):
        tokens = spatial_crop(features, x, 8, seed, interface=True)
        # The third copy touches nothing.
        assert set(features.asym_id[tokens]) == {0, 1}
    lonely = crop_features(features, np.arange(8))
    tokens = spatial_crop(lonely, x[: lonely.num_atoms], 4, 1, interface=True)
    assert len(tokens) == 4  # no interface: any token


def test_tokens_that_were_not_seen_come_last(dimer):
    features, x = dimer
    resolved = np.ones(features.num_atoms, bool)
    unseen = [3, 4, 11]
    resolved[token_centres(features)[unseen]] = False
    for seed in range(10):
        tokens = spatial_crop(features, x, 12, seed, resolved=resolved)
        assert not set(unseen) & set(tokens)
    assert set(unseen) <= set(spatial_crop(features, x, 24, 0, resolved=resolved))
    with pytest.raises(ValueError, match="nothing to crop"):
        spatial_crop(features, x, 5, 0, resolved=np.zeros(features.num_atoms, bool))


def test_kinds_are_drawn_by_their_weights(dimer):
    features, x = dimer
    for seed in range(6):
        only, again = (choose_crop(features, x, 8, [4, seed]) for _ in range(2))
        np.testing.assert_array_equal(only, again)
    crops = [choose_crop(features, x, 8, [seed]) for seed in range(200)]
    within = sum(len(set(features.asym_id[c])) == 3 for c in crops)
    # Only a contiguous crop can hold all three chains (the third is 30 nm away), and not all do:
    # at most one in five, within three standard deviations of 200 draws.
    assert 0 < within < 200 * (0.2 + 3 * np.sqrt(0.2 * 0.8 / 200))


def test_cropped_features_are_those_of_a_part(dimer):
    features, x = dimer
    tokens = np.array([1, 2, 3, 9, 10])
    part = crop_features(features, tokens)
    assert part.num_tokens == 5 and part.residue_names == ("SER", "LYS", "ILE", "SER", "LYS")
    kept = np.flatnonzero(np.isin(features.atom_to_token, tokens))
    np.testing.assert_array_equal(part.atom_indices, features.atom_indices[kept])
    np.testing.assert_array_equal(part.ref_pos, features.ref_pos[kept])
    assert part.asym_id.tolist() == [0, 0, 0, 1, 1]
    assert part.residue_index.tolist() == [2, 3, 4, 2, 3]
    # A bond is there if and only if both its atoms are.
    whole = {tuple(features.atom_indices[b]) for b in features.bonds}
    inside = set(part.atom_indices)
    expected = {b for b in whole if b[0] in inside and b[1] in inside}
    assert {tuple(part.atom_indices[b]) for b in part.bonds} == expected
    # Chirality still holds in the frame.
    y = x[part.atom_indices]
    c, a, b, d = (y[part.chiral_centers[:, k]] for k in range(4))
    triple = np.einsum("ij,ij->i", a - c, np.cross(b - c, d - c))
    assert len(triple) and np.array_equal(np.sign(triple), part.chiral_signs)
    for field in fields(features):
        one, two = getattr(features, field.name), getattr(part, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype and one.ndim == two.ndim
    for wrong in ([], [3, 2], [0, 99]):
        with pytest.raises(ValueError, match="tokens"):
            crop_features(features, wrong)


def test_a_whole_crop_changes_nothing(complex_features):
    same = crop_features(complex_features, np.arange(complex_features.num_tokens))
    for field in fields(complex_features):
        one, two = (getattr(f, field.name) for f in (complex_features, same))
        assert np.array_equal(one, two), field.name


def test_a_cut_ligand_keeps_its_labels_in_order(complex_features):
    features = complex_features
    moved = [k for k, j in enumerate(features.label_order) if k != j]
    assert moved  # the case has labels that differ from the convention's
    for tokens in ([0, 1, 8, 9, 10, 11], np.arange(3, 14), [6], [20, 21]):
        part = crop_features(features, tokens)
        assert sorted(part.label_order) == list(range(part.num_atoms))
        for k, j in enumerate(part.label_order):
            if k != j:  # an exchange within the crop is the whole molecule's
                old = np.searchsorted(features.atom_indices, part.atom_indices[[k, j]])
                assert features.label_order[old[0]] == old[1]
