"""What rotations, translations, mirrors and relabelling do to the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_support import jump_inputs, network, peptide, permuted, rotation, static_inputs

from atmos_openmm.model.geometric_features import handedness_vectors, signed_volumes
from atmos_openmm.model.model_features import local_windows

# Double precision: 1e-16 relative on coordinates of 100 angstrom (random weights throw atoms far),
# through some thirty layers and 23 evaluations whose errors the random network amplifies. A broken
# symmetry shows at 1e-3 and above.
TOLERANCE = 1e-7


@pytest.fixture(scope="module")
def setting():
    features, x = peptide("ACE-ALA-NME")
    model = network().double()
    static = static_inputs(features)
    with torch.no_grad():
        context = model.context(static)
    return model, static, context, x.double()


def encode(model, static, context, x):
    h_s, h_z, *_ = jump_inputs(model, x.shape[1], 3, x.shape[0])
    with torch.no_grad():
        return model.encode(x, h_s, h_z, context, static)


def test_frame_encoder_sees_no_rotation_or_translation(setting) -> None:
    model, static, context, x = setting
    moved = x @ rotation(1) + torch.tensor([3.0, -2.0, 1.0])
    for one, other in zip(
        encode(model, static, context, x), encode(model, static, context, moved), strict=True
    ):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=0)


def test_frame_encoder_tells_a_mirror_image(setting) -> None:
    model, static, context, x = setting
    mirror = x * torch.tensor([-1.0, 1.0, 1.0])
    differs = (
        encode(model, static, context, x)[0] - encode(model, static, context, mirror)[0]
    ).abs()
    assert differs.max() > 1e-3


def test_denoiser_turns_with_its_input(setting) -> None:
    model, static, context, x = setting
    h_s, h_z, *_ = jump_inputs(model, x.shape[1], 3)
    turn = rotation(2)
    with torch.no_grad():
        prepared = model.prepare(h_s, h_z, context, static)
        for sigma in (0.05, 1.0, 15.0):
            level = torch.tensor([sigma], dtype=torch.float64)
            generator = torch.Generator().manual_seed(3)
            noisy = x + sigma * torch.randn(x.shape, generator=generator)
            out = model.denoise(noisy, level, prepared, static)
            turned = model.denoise(noisy @ turn + 5.0, level, prepared, static)
            torch.testing.assert_close(out @ turn, turned, atol=TOLERANCE, rtol=0)
            mirrored = model.denoise(noisy * torch.tensor([-1.0, 1, 1]), level, prepared, static)
            assert (out * torch.tensor([-1.0, 1, 1]) - mirrored).abs().max() > 1e-3


def test_jump_turns_with_the_noise_and_ignores_the_frames_orientation(setting) -> None:
    model, static, context, x = setting
    h_s, h_z, noise, lag, temperature = jump_inputs(model, x.shape[1], 3)
    turn = rotation(4)
    with torch.no_grad():
        y, s, z = model.propagate(x, h_s, h_z, noise, lag, temperature, context, static)
        same, _, _ = model.propagate(x @ turn, h_s, h_z, noise, lag, temperature, context, static)
        turned_noise = (noise.reshape(1, -1, 3) @ turn).reshape(1, -1)
        turned, _, _ = model.propagate(x, h_s, h_z, turned_noise, lag, temperature, context, static)
    torch.testing.assert_close(y, same, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(y @ turn, turned, atol=TOLERANCE, rtol=0)
    assert y.mean(1).abs().max() < 1e-12 * y.abs().max()


def test_order_of_atoms_does_not_matter() -> None:
    features, x = peptide("ACE-SER-NME")
    x = x.double()
    order = np.random.default_rng(5).permutation(features.num_atoms)
    other = permuted(features, order)
    model = network().double()
    outputs = []
    for f, coordinates in ((features, x), (other, x[:, order])):
        static = static_inputs(f)
        h_s, h_z, noise, lag, temperature = jump_inputs(model, f.num_atoms, 3)
        if f is other:
            draws = noise.reshape(1, -1, f.num_atoms, 3)
            noise = draws[:, :, order].reshape(1, -1)
        with torch.no_grad():
            y, s, z = model.propagate(
                coordinates, h_s, h_z, noise, lag, temperature, model.context(static), static
            )
        outputs.append((y, s, z))
    torch.testing.assert_close(outputs[0][0][:, order], outputs[1][0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(outputs[0][1], outputs[1][1], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(outputs[0][2], outputs[1][2], atol=TOLERANCE, rtol=0)


def test_order_of_tokens_does_not_matter() -> None:
    features, x = peptide("ACE-SER-NME")
    x = x.double()
    tensors = features.tensors()
    order = torch.tensor([2, 0, 1])
    new = torch.argsort(order)
    swapped = dict(tensors)
    for name in ("restype", "residue_index", "asym_id", "entity_id", "sym_id"):
        swapped[name] = tensors[name][order]
    swapped["token_bonds"] = tensors["token_bonds"][order][:, order]
    swapped["atom_to_token"] = new[tensors["atom_to_token"]]
    model = network().double()
    latents = []
    for values in (tensors, swapped):
        static = static_inputs(values)
        context = model.context(static)
        h_s, h_z, _, lag, temperature = jump_inputs(model, features.num_atoms, 3)
        with torch.no_grad():
            h_s, h_z = model.encode(x, h_s, h_z, context, static)
            latents.append(model.advance(h_s, h_z, lag, temperature, context, static))
    torch.testing.assert_close(latents[0][0][:, order], latents[1][0], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(
        latents[0][1][:, order][:, :, order], latents[1][1], atol=TOLERANCE, rtol=0
    )


def test_local_windows_that_see_everything_equal_dense_attention() -> None:
    features, x = peptide("ACE-ALA-NME")
    x = x.double()
    model = network().double()
    outputs = []
    for n_queries, n_keys in ((64, 128), (8, 64)):
        static = static_inputs(features, n_queries, n_keys)
        h_s, h_z, noise, lag, temperature = jump_inputs(model, features.num_atoms, 3)
        with torch.no_grad():
            outputs.append(
                model.propagate(x, h_s, h_z, noise, lag, temperature, model.context(static), static)
            )
    for dense, windowed in zip(*outputs, strict=True):
        torch.testing.assert_close(dense, windowed, atol=TOLERANCE, rtol=0)


def test_windows_are_centred_and_masked() -> None:
    query, key, inside = local_windows(70, 32, 128)
    assert query.shape == (3, 32) and key.shape == (3, 128)
    # Trunk b of AF3 sees keys 32 b - 48 to 32 b + 79: 70, 70 and 54 atoms of 70.
    assert inside.sum(-1).tolist() == [70, 70, 54]
    assert key[2, 0] == 16


def test_signed_volume_is_that_of_a_tetrahedron() -> None:
    x = torch.tensor([[[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1]]], dtype=torch.float32)
    centers = torch.tensor([[[0, 1, 2, 3]]])
    exact = 16.0 / 27.0**0.5 / 4.0  # |det| of three unit vectors along cube diagonals
    volume = signed_volumes(x, centers, torch.tensor([[1.0]]))
    assert abs(abs(float(volume)) - exact) < 1e-6
    assert float(signed_volumes(-x, centers, torch.tensor([[1.0]]))) == pytest.approx(
        -float(volume)
    )
    assert float(signed_volumes(x, centers, torch.tensor([[-1.0]]))) == pytest.approx(
        -float(volume)
    )


def test_handedness_vectors_raise_the_signed_volume() -> None:
    features, x = peptide("ACE-ILE-NME")
    x = x.double()
    static = static_inputs(features)
    mirror = x * torch.tensor([-1.0, 1.0, 1.0])
    before = signed_volumes(mirror, static.chiral_centers, static.chiral_signs)
    moved = mirror + 0.05 * handedness_vectors(mirror, static)[:, :, 0]
    after = signed_volumes(moved, static.chiral_centers, static.chiral_signs)
    assert before.shape == (1, 2) and (before < -0.5).all()
    assert (after > before + 0.01).all()


@pytest.mark.parametrize("seed", range(6))
def test_frames_that_are_wholly_mirrored_are_reflected(setting, seed: int) -> None:
    model, static, context, x = setting
    h_s, h_z, noise, *_ = jump_inputs(model, x.shape[1], 3, seed=seed)
    with torch.no_grad():
        prepared = model.prepare(h_s, h_z, context, static)
        y = model.sample(noise, prepared, static)
    assert float(signed_volumes(y, static.chiral_centers, static.chiral_signs)) > 0
