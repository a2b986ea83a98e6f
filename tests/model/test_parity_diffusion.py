"""The decoder gives Protenix's numbers at every noise level, and its sampler the same frames."""

from __future__ import annotations

import pytest
import torch
from parity_support import (
    C_S,
    C_S_INPUTS,
    C_TOKEN,
    C_Z,
    DOUBLE,
    SINGLE,
    Draw,
    config,
    largest_difference,
    loaded,
    precisions,
)
from protenix_features import random_molecule, to_model_features
from protenix_reference import (
    arithmetic,
    build,
    diffusion_module,
    needs_protenix,
    reference,
    sample,
)

from atmos_openmm.model.atmos import AtmosModel, rotation_from_normals
from atmos_openmm.model.context import Context
from atmos_openmm.model.diffusion import DiffusionConditioning, DiffusionModule
from atmos_openmm.model.diffusion_transformer import DiffusionTransformer
from atmos_openmm.model.prepared import Prepared
from atmos_openmm.model.sampler import default_sampler

pytestmark = needs_protenix

LEVELS_ANGSTROM = (0.01, 0.4, 16.0, 160.0, 2560.0)


def trunk_output(draw: Draw, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random s_inputs [N, 449], s [N, 384], z [N, N, 128]."""
    return draw(tokens, C_S_INPUTS), draw(tokens, C_S), draw(tokens, tokens, C_Z)


def prepare(module: DiffusionModule, conditions, features) -> Prepared:
    """What our decoder keeps, from the trunk's output without a batch axis."""
    s_inputs, s, z = (value.unsqueeze(0) for value in conditions)
    c, p = module.embed(features)
    return module.prepare(s, z, Context(s_inputs, s, z, c, p), features)


def frame(draw: Draw, atoms: int, sigma: torch.Tensor) -> torch.Tensor:
    """Noisy coordinates [S, A, 3] of a molecule of 20 A standard deviation."""
    return 20.0 * draw(1, atoms, 3) + sigma.reshape(-1, 1, 1) * draw(len(sigma), atoms, 3)


@precisions(5e-6, 1e-12)
def test_conditioning(dtype, tolerance) -> None:
    theirs = build(lambda: reference().diffusion.DiffusionConditioning(), dtype=dtype)
    ours = loaded(DiffusionConditioning(config()), theirs)
    molecule = random_molecule(24, 70, dtype=dtype)
    sigma = torch.tensor(LEVELS_ANGSTROM, dtype=dtype)
    s_inputs, s, z = trunk_output(Draw(7, dtype), 24)
    with torch.no_grad(), arithmetic(dtype):
        expected_s, expected_z = theirs(sigma, molecule["relp"], s_inputs, s, z, None)
        pairs = ours.pairs(z[None], to_model_features(molecule))
        singles = ours(ours.singles(s[None], s_inputs[None]), sigma)
    assert largest_difference(singles, expected_s) <= tolerance
    assert largest_difference(pairs[0], expected_z) <= tolerance


@precisions(1e-5, 1e-12)
def test_token_transformer(dtype, tolerance) -> None:
    ref = reference().transformer
    theirs = build(
        lambda: ref.DiffusionTransformer(c_a=C_TOKEN, c_s=C_S, c_z=C_Z, n_blocks=2, n_heads=16),
        dtype=dtype,
    )
    ours = loaded(DiffusionTransformer(2, C_TOKEN, C_S, C_Z, 16), theirs)
    draw = Draw(8, dtype)
    a, s, z = draw(3, 24, C_TOKEN), draw(3, 24, C_S), draw(1, 24, 24, C_Z)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(a, s, z)
        found = ours(a, s, ours.biases(z, torch.zeros(1, 1, 1, 24, dtype=dtype)))
    assert largest_difference(found, expected) <= tolerance


@pytest.mark.parametrize("samples", [1, 3])
@precisions(5e-5, 1e-11)
def test_denoiser(dtype, tolerance, samples) -> None:
    theirs = build(lambda: diffusion_module(blocks=2), dtype=dtype)
    ours = loaded(DiffusionModule(config(token_blocks=2)), theirs)
    molecule = random_molecule(24, 200, dtype=dtype)
    features = to_model_features(molecule)
    draw = Draw(9, dtype)
    conditions = trunk_output(draw, 24)
    prepared = prepare(ours, conditions, features)
    worst = {}
    for level in LEVELS_ANGSTROM:
        # Samples of one call have levels of their own.
        sigma = level * torch.tensor([1.0, 0.7, 0.3], dtype=dtype)[:samples]
        x = frame(draw, 200, sigma)
        with torch.no_grad(), arithmetic(dtype):
            expected = theirs(x, sigma, molecule, *conditions, None, None, None)
            found = ours.denoise(x, sigma, prepared, features)
        worst[level] = largest_difference(found, expected)
    assert max(worst.values()) <= tolerance, worst


def test_gradients_of_the_denoiser() -> None:
    theirs = build(lambda: diffusion_module(blocks=1, atom_blocks=1), dtype=DOUBLE).train()
    few = {"token_blocks": 1, "encoder_blocks": 1, "decoder_blocks": 1}
    ours = loaded(DiffusionModule(config(**few)), theirs)
    molecule = random_molecule(12, 70, dtype=DOUBLE)
    features = to_model_features(molecule)
    draw = Draw(10, DOUBLE)
    inputs = [value.requires_grad_() for value in trunk_output(draw, 12)]
    sigma = torch.tensor([0.4, 30.0], dtype=DOUBLE)
    x = frame(draw, 70, sigma).requires_grad_()
    weight = draw(2, 70, 3) / 70.0
    names = [name for name, value in theirs.named_parameters() if value.requires_grad]
    of_parameter = dict(ours.named_parameters())
    with arithmetic(DOUBLE):
        out = theirs(x, sigma, molecule, *inputs, None, None, None)
        wanted = [p for p in theirs.parameters() if p.requires_grad]
        expected = torch.autograd.grad((out * weight).sum(), [x, *inputs, *wanted])
    out = ours.denoise(x, sigma, prepare(ours, inputs, features), features)
    found = torch.autograd.grad(
        (out * weight).sum(), [x, *inputs, *(of_parameter[name] for name in names)]
    )
    labels = ["x", "s_inputs", "s", "z", *names]
    for name, mine, other in zip(labels, found, expected, strict=True):
        largest = float(other.abs().max())
        assert largest > 1e-3, name
        assert float((mine - other).abs().max()) <= 1e-12 * max(1.0, largest), name


def test_noise_schedule() -> None:
    # The reference computes in the precision it is asked for; ours are Python's floats.
    for steps in (1, 2, 20, 200):
        settings = default_sampler(config())
        levels = type(settings)(**(settings.to_dict() | {"steps": steps})).noise_levels()
        expected = reference().generator.InferenceNoiseScheduler()(steps, dtype=DOUBLE)
        assert levels == pytest.approx(expected.tolist(), rel=1e-13, abs=0.0)
    assert default_sampler(config()).steps == 20


def test_sampler() -> None:
    steps, samples, tokens, atoms = 20, 2, 12, 70
    theirs = build(lambda: diffusion_module(blocks=1))
    network = AtmosModel(config(msa_blocks=0))
    ours = loaded(network.diffusion, theirs)
    assert network.steps == steps
    molecule = random_molecule(tokens, atoms)
    features = to_model_features(molecule)
    draw = Draw(11)
    conditions = trunk_output(draw, tokens)
    numbers = draw(samples, network.noise_size(atoms))
    # Our sampler takes one row of numbers a walker: the frames, then four and three a step.
    frames = numbers[:, : 3 * atoms * (1 + steps)].reshape(samples, 1 + steps, atoms, 3)
    motions = numbers[:, 3 * atoms * (1 + steps) :].reshape(samples, steps, 7).transpose(0, 1)
    turns = rotation_from_normals(motions[..., :4].reshape(-1, 4)).unflatten(0, [steps, samples])
    identity = torch.eye(3).expand(steps, samples, 3, 3)
    assert torch.allclose(turns @ turns.mT, identity, atol=1e-6)
    assert bool((torch.linalg.det(turns) > 0.0).all())
    schedule = reference().generator.InferenceNoiseScheduler()(steps, dtype=SINGLE)
    expected = sample(
        theirs,
        molecule,
        conditions,
        schedule,
        frames[:, 0],
        frames[:, 1:].transpose(0, 1),
        turns,
        motions[..., 4:],
    )
    with torch.no_grad():
        found = network.sample(numbers, prepare(ours, conditions, features), features)
    # The reference leaves its last frame where it is, ours is centred.
    expected = expected - expected.mean(1, keepdim=True)
    assert largest_difference(found, expected) <= 1e-4
    assert float((expected[0] - expected[1]).abs().max()) > 1.0
