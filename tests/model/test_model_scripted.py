"""TorchScript computes exactly what eager Python computes: every entry point, both configurations.

Several calls of each, with molecules of different size, since TorchScript compiles again after it
has seen the first inputs.
"""

from __future__ import annotations

import dataclasses
import io

import pytest
import torch
from model_support import TINY, peptide
from parity_support import Draw
from protenix_features import draw_molecule, to_model_features
from protenix_reference import randomise
from torch import Tensor

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.model_features import ModelFeatures, batch_features
from atmos_openmm.model.sampler import SamplerSettings

CARTESIAN = dataclasses.replace(TINY, coordinates="cartesian", msa_blocks=2, cycles=2, n_queries=16)


def batches(coordinates: str) -> list[ModelFeatures]:
    """One molecule, two of different size, and the first again."""
    if coordinates == "cartesian":
        first = draw_molecule(10, 31, 1, msa_rows=3)
        both = [draw_molecule(14, 75, 2), first]
        return [to_model_features(one, CARTESIAN) for one in (first, both, first)]
    first = peptide("ACE-ALA-NME")[0].tensors()
    both = [peptide("ACE-THR-LEU-ASN-NME")[0].tensors(), first]
    return [batch_features(one, TINY) for one in ([first], both, [first])]


def outputs(model, features: ModelFeatures, seed: int) -> dict[str, Tensor]:
    """What each entry point returns for a batch."""
    dtype = features.ref_pos.dtype
    draw = Draw(seed, dtype)
    walkers, tokens = features.token_mask.shape
    atoms = features.atom_mask.shape[1]
    s, z = draw(walkers, tokens, TINY.c_s), draw(walkers, tokens, tokens, TINY.c_z)
    x = 5.0 * draw(walkers, atoms, 3)
    lag = torch.tensor([3.0, 200.0], dtype=dtype)[:walkers]
    kelvin = torch.tensor([300.0, 350.0], dtype=dtype)[:walkers]
    context = model.context(features)
    latent = model.encode(x, s, z, context, features)
    moved = model.advance(latent[0], latent[1], lag, kelvin, context, features)
    prepared = model.prepare(moved[0], moved[1], context, features)
    denoised = model.denoise(x, lag, prepared, features)
    numbers = draw(walkers, model.noise_size(atoms))
    jump = model.propagate(x, s, z, numbers, lag, kelvin, context, features)
    found = {f"context.{name}": value for name, value in zip(context._fields, context, strict=True)}
    found |= {f"encode.{i}": value for i, value in enumerate(latent)}
    found |= {f"advance.{i}": value for i, value in enumerate(moved)}
    found |= {"prepare.s": prepared.s, "prepare.c": prepared.c}
    for name in ("token_bias", "atom_conditions", "pair"):
        found |= {f"prepare.{name}.{i}": v for i, v in enumerate(getattr(prepared, name))}
    found |= {"denoise": denoised, "sample": model.sample(numbers, prepared, features)}
    found |= {f"propagate.{i}": value for i, value in enumerate(jump)}
    return found


def network(coordinates: str) -> AtmosModel:
    config = CARTESIAN if coordinates == "cartesian" else TINY
    settings = SamplerSettings(steps=2, augment=coordinates == "cartesian")
    return randomise(AtmosModel(config, settings), 4).eval()


@pytest.mark.parametrize("coordinates", ["cartesian", "invariant"])
def test_scripted_and_saved_networks_compute_what_the_eager_one_does(coordinates) -> None:
    eager = network(coordinates)
    scripted = torch.jit.script(eager)
    archive = io.BytesIO()
    torch.jit.save(scripted, archive)
    archive.seek(0)
    saved = torch.jit.load(archive)
    with torch.no_grad():
        for seed, features in enumerate(batches(coordinates)):
            expected = outputs(eager, features, seed)
            for other in (scripted, saved):
                found = outputs(other, features, seed)
                assert found.keys() == expected.keys()
                for name, value in expected.items():
                    assert bool(torch.isfinite(value).all()), name
                    assert torch.equal(found[name], value), name


@pytest.mark.parametrize("coordinates", ["cartesian", "invariant"])
def test_scripted_networks_have_the_gradients_of_the_eager_one(coordinates) -> None:
    eager = network(coordinates).double()
    scripted = torch.jit.script(eager)
    single = batches(coordinates)[1]
    features = ModelFeatures(*(t.double() if t.is_floating_point() else t for t in single))
    names = [name for name, _ in eager.named_parameters()]
    assert names == [name for name, _ in scripted.named_parameters()]
    for seed in range(3):
        grads = []
        for model in (eager, scripted):
            loss = outputs(model, features, seed)["denoise"].square().mean()
            wanted = list(model.parameters())
            grads.append(torch.autograd.grad(loss, wanted, allow_unused=True))
        scale = max(float(g.abs().max()) for g in grads[0] if g is not None)
        for name, mine, other in zip(names, *grads, strict=True):
            assert (mine is None) == (other is None), name
            if mine is not None:
                # Sums of gradients are taken in another order: rounding, no more.
                assert float((mine - other).abs().max()) <= 1e-12 * scale, name
