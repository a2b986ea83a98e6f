"""Atoms to tokens and back give Protenix's numbers, in windows of 32 atoms that see 128."""

from __future__ import annotations

import pytest
import torch
from parity_support import (
    C_S,
    C_TOKEN,
    C_Z,
    DOUBLE,
    Draw,
    config,
    largest_difference,
    loaded,
    precisions,
)
from protenix_features import random_molecule, to_model_features
from protenix_reference import arithmetic, build, needs_protenix, reference

from atmos_openmm.model.atom_encoder import AtomAttentionDecoder, AtomAttentionEncoder
from atmos_openmm.model.input_embedder import InputFeatureEmbedder, RelativePositionEncoding

pytestmark = needs_protenix

PRECISIONS = precisions(5e-6, 1e-12)
# Neither is a multiple of 32. With 70 every window sees an end, with 500 most see neither.
SIZES = pytest.mark.parametrize(("tokens", "atoms"), [(12, 70), (40, 500)])
REFERENCE_FEATURES = (
    "atom_to_token_idx",
    "ref_pos",
    "ref_charge",
    "ref_mask",
    "ref_atom_name_chars",
    "ref_element",
    "d_lm",
    "v_lm",
    "pad_info",
)


def encode(encoder: AtomAttentionEncoder, features, r, s, z):
    """Our encoder from its entry points: tokens, atoms, the atoms' condition, atom pairs."""
    c = encoder.add_tokens(encoder.embed_atoms(features), s, features)
    p = encoder.add_token_pairs(encoder.embed_pairs(features), encoder.narrow_pairs(z), features)
    p = encoder.join(c, p, features)
    q = encoder.add_coordinates(c, r)
    transformer = encoder.atom_transformer
    conditions, biases = transformer.conditions(c), transformer.biases(p, features)
    a, q = encoder(q, conditions, biases, features)
    return a, q, c, p


# With random weights atoms reach 18, and in single precision the reference is 6e-6 from its own
# result in double precision.
@SIZES
@precisions(1e-5, 1e-12)
def test_encoder(dtype, tolerance, tokens, atoms) -> None:
    ref = reference().transformer
    theirs = build(lambda: ref.AtomAttentionEncoder(has_coords=True, c_token=C_TOKEN), dtype=dtype)
    ours = loaded(AtomAttentionEncoder(True, C_TOKEN, 128, 16, C_S, C_Z, 3, 4), theirs)
    molecule = random_molecule(tokens, atoms, dtype=dtype)
    draw = Draw(5, dtype)
    r, s, z = draw(2, atoms, 3), draw(1, tokens, C_S), draw(1, tokens, tokens, C_Z)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(*(molecule[name] for name in REFERENCE_FEATURES), r_l=r, s=s, z=z)
        found = encode(ours, to_model_features(molecule), r, s, z)
    for mine, other in zip(found[:3], expected[:3], strict=True):
        assert largest_difference(mine, other) <= tolerance
    # Slots that hold no atom hold anything.
    held = molecule["pad_info"]["mask_trunked"].unsqueeze(-1)
    assert largest_difference(found[3] * held, expected[3] * held) <= tolerance


@SIZES
@PRECISIONS
def test_decoder(dtype, tolerance, tokens, atoms) -> None:
    ref = reference().transformer
    theirs = build(lambda: ref.AtomAttentionDecoder(c_token=C_TOKEN), dtype=dtype)
    ours = loaded(AtomAttentionDecoder(C_TOKEN, 128, 16, 3, 4), theirs)
    molecule = random_molecule(tokens, atoms, dtype=dtype)
    features = to_model_features(molecule)
    draw = Draw(6, dtype)
    a, q, c = draw(2, tokens, C_TOKEN), draw(2, atoms, 128), draw(1, atoms, 128)
    p = draw(1, (atoms + 31) // 32, 32, 128, 16)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(molecule["atom_to_token_idx"], a, q, c, p)
        transformer = ours.atom_transformer
        conditions, biases = transformer.conditions(c), transformer.biases(p, features)
        found = ours(a, q, conditions, biases, features)
    assert largest_difference(found, expected) <= tolerance


@SIZES
@PRECISIONS
def test_input_feature_embedder(dtype, tolerance, tokens, atoms) -> None:
    theirs = build(lambda: reference().embedders.InputFeatureEmbedder(), dtype=dtype)
    ours = loaded(InputFeatureEmbedder(config()), theirs)
    molecule = random_molecule(tokens, atoms, dtype=dtype)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(molecule)
        found = ours(to_model_features(molecule))
    assert largest_difference(found[0], expected) <= tolerance


def test_a_molecule_of_one_window() -> None:
    # Up to 32 atoms are one dense window here, and one window among padding in the reference.
    theirs = build(lambda: reference().embedders.InputFeatureEmbedder(), dtype=DOUBLE)
    ours = loaded(InputFeatureEmbedder(config()), theirs)
    for atoms in (21, 32, 33):
        molecule = random_molecule(10, atoms, dtype=DOUBLE)
        with torch.no_grad(), arithmetic(DOUBLE):
            difference = largest_difference(ours(to_model_features(molecule))[0], theirs(molecule))
        assert difference <= 1e-12, atoms


@precisions(1e-6, 1e-14)
def test_relative_position_encoding(dtype, tolerance) -> None:
    theirs = build(lambda: reference().embedders.RelativePositionEncoding(), dtype=dtype)
    ours = loaded(RelativePositionEncoding(C_Z), theirs)
    molecule = random_molecule(40, 100, dtype=dtype)
    with torch.no_grad():
        expected = theirs(molecule["relp"])
        found = ours(to_model_features(molecule))
    # A sum of four columns of the weight in another order.
    assert largest_difference(found[0], expected) <= tolerance
