"""Checkpointed blocks: the numbers of the plain ones, and no more memory than their inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from kept_bytes import kept_bytes
from model_support import TINY, TINY_CARTESIAN, network, peptide
from protenix_features import draw_molecule, to_model_features
from torch import Tensor, nn

from atmos_openmm.model.activation_checkpointing import CheckpointedBlock, set_checkpointing
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig
from atmos_openmm.model.diffusion_transformer import DiffusionTransformerBlock
from atmos_openmm.model.model_features import ModelFeatures, model_features
from atmos_openmm.model.msa import MSABlock
from atmos_openmm.model.pairformer import PairformerBlock
from atmos_openmm.model.prepared import repeat_prepared

WALKERS, LEVELS = 2, 2
INVARIANT = dataclasses.replace(TINY, dropout=0.25, transition_blocks=2)
CARTESIAN = dataclasses.replace(TINY_CARTESIAN, dropout=0.25, transition_blocks=2, msa_blocks=2)
BOTH = pytest.mark.parametrize("config", [INVARIANT, CARTESIAN], ids=["invariant", "cartesian"])


def molecule(config: ModelConfig) -> ModelFeatures:
    if config.coordinates == "cartesian":
        return to_model_features(draw_molecule(12, 40, 1, msa_rows=3), config)
    return model_features(peptide("ACE-ALA-NME")[0].tensors(), config)


def draws(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def loss(model: AtmosModel, features: ModelFeatures) -> Tensor:
    """A loss that every parameter takes part in: two jumps, and several noise levels each."""
    atoms, tokens = features.atom_mask.shape[1], features.token_mask.shape[1]
    context = model.context(features)
    h_s = torch.zeros(WALKERS, tokens, model.c_s)
    h_z = torch.zeros(WALKERS, tokens, tokens, model.c_z)
    lag, kelvin = torch.tensor([3.0, 200.0]), torch.tensor([300.0, 350.0])
    for jump in range(2):
        x = 5.0 * draws(WALKERS, atoms, 3, seed=jump)
        h_s, h_z = model.encode(x, h_s, h_z, context, features)
        h_s, h_z = model.advance(h_s, h_z, lag, kelvin, context, features)
    prepared = repeat_prepared(model.prepare(h_s, h_z, context, features), LEVELS)
    noisy = 5.0 * draws(WALKERS * LEVELS, atoms, 3, seed=9)
    sigma = torch.tensor([0.3, 1.0, 3.0, 10.0])
    estimates = model.diffusion.estimates(noisy, sigma, prepared, features)
    return sum(e.square().mean() for e in estimates) + model.distogram(h_z).square().mean()


def step(model: AtmosModel, features: ModelFeatures) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss, all gradients and the bytes kept for them, with equal draws of dropout."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    with kept_bytes([*model.parameters(), *features]) as kept:
        value = loss(model, features)
    value.backward()
    gradients = {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}
    return value.detach(), gradients, kept.most


@BOTH
def test_loss_and_gradients_keep_their_bits(config) -> None:
    features = molecule(config)
    model = network(config).train()
    plain = step(model, features)
    model.set_checkpointing(True)
    found = step(model, features)
    # The second run does the same arithmetic on the same numbers in the same order. A latent of
    # the first jump and its context are used twice, and their gradients added in the same order.
    assert torch.equal(found[0], plain[0]) and found[1].keys() == plain[1].keys()
    unequal = [name for name, value in plain[1].items() if not torch.equal(value, found[1][name])]
    assert unequal == []
    assert len(plain[1]) == sum(1 for _ in model.parameters())  # nothing was left out above
    assert found[2] < plain[2]
    model.set_checkpointing(False)
    assert step(model, features)[2] == plain[2]


@BOTH
def test_dropout_is_drawn_once(config) -> None:
    """Without the same draws in the second run, the gradient would be that of another network."""
    features = molecule(config)
    model = network(config).train()
    model.set_checkpointing(True)
    torch.manual_seed(3)
    value = loss(model, features)
    torch.manual_seed(4)  # what happens in between must not matter
    before = torch.get_rng_state()
    value.backward()
    assert torch.equal(torch.get_rng_state(), before)
    found = {k: p.grad.clone() for k, p in model.named_parameters()}
    expected = step(model, features)[1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    torch.manual_seed(4)
    assert not torch.equal(loss(model, features), value)


@BOTH
def test_nothing_changes_outside_of_training(config, monkeypatch) -> None:
    import atmos_openmm.model.activation_checkpointing as module

    features = molecule(config)
    model = network(config)
    names = list(model.state_dict())
    model.set_checkpointing(True)
    assert list(model.state_dict()) == names

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a block was checkpointed")

    monkeypatch.setattr(module, "checkpoint", refused)
    loss(model.eval(), features).backward()
    with torch.no_grad():
        loss(model.train(), features)
    with pytest.raises(AssertionError, match="was checkpointed"):
        loss(model, features)


@BOTH
def test_it_can_be_scripted(config) -> None:
    features = molecule(config)
    model = network(config).train()
    torch.manual_seed(3)
    expected = model.context(features).z
    model.set_checkpointing(True)
    scripted = torch.jit.script(model)
    torch.manual_seed(3)
    assert torch.equal(scripted.context(features).z, expected)


N, C_S, C_Z, C_A, ROWS = 12, 16, 8, 32, 3


def pair_values() -> int:
    """Least number of values [N, N, c_z] that a pair block keeps.

    Two multiplications: the pairs and the contraction. Two attentions: the pairs, normed, queries,
    keys, values, the gate, what comes out of the attention and the product of both. The feed-
    forward: the pairs, normed, and four times as wide both branches, one of them after its
    activation, and their product.
    """
    return 2 * 2 + 2 * 8 + (2 + 4 * 4)


def pairformer_block() -> tuple[nn.Module, list[Tensor], int]:
    inputs = [draws(1, N, C_S), draws(1, N, N, C_Z), torch.ones(1, N, N), torch.zeros(1, 1, 1, N)]
    return PairformerBlock(C_S, C_Z, 2, 2, 0.25), inputs, pair_values() * N * N * C_Z


def msa_block() -> tuple[nn.Module, list[Tensor], int]:
    config = dataclasses.replace(CARTESIAN, c_s=C_S, c_z=C_Z)
    inputs = [draws(1, ROWS, N, config.c_m), draws(1, N, N, C_Z), torch.ones(1, ROWS, N)]
    inputs += [torch.ones(1, N, N), torch.zeros(1, 1, 1, N)]
    # Beside the pairs' block: the outer products, 32 x 32 a pair.
    return MSABlock(config, False), inputs, (pair_values() * C_Z + 32 * 32) * N * N


def token_block() -> tuple[nn.Module, list[Tensor], int]:
    inputs = [draws(1, N, C_A), draws(1, N, C_S), draws(1, 2, N, N)]
    # Attention: the tokens normed and scaled, queries, keys, values, gate, result, product, and the
    # gate of the whole. Feed-forward: normed and scaled tokens, twice as wide both branches, one
    # after its activation, and their product; the gate of the whole.
    return DiffusionTransformerBlock(C_A, C_S, C_Z, 2), inputs, (9 + 3 + 2 * 4) * N * C_A


@pytest.mark.parametrize("make", [pairformer_block, msa_block, token_block])
def test_a_block_keeps_its_inputs_alone(make: Callable) -> None:
    block, inputs, inside = make()
    block.train()
    for tensor in inputs[:2]:
        tensor.requires_grad_()
    kept = []
    for enabled in (False, True):
        set_checkpointing(block, enabled)
        with kept_bytes(block.parameters()) as counter:
            out = block(*inputs)
        kept.append(counter.most)
        del out
    assert kept[1] == 4 * sum(t.numel() for t in inputs)
    assert kept[0] >= 4 * inside
    # Which is less, by the factor that the sizes above make it.
    assert kept[0] / kept[1] > inside / sum(t.numel() for t in inputs) > 4.0


def test_all_kinds_of_blocks_are_checkpointed() -> None:
    kinds = {
        f"{type(m).__module__.rsplit('.', 1)[-1]}.{type(m).__name__}"
        for config in (INVARIANT, CARTESIAN)
        for m in AtmosModel(config).modules()
        if isinstance(m, CheckpointedBlock)
    }
    assert kinds == {
        "pairformer.PairformerBlock",
        "msa.MSABlock",
        "diffusion_transformer.DiffusionTransformerBlock",
        "atom_transformer.AtomTransformerBlock",
        "geometric_attention.GraphAtomBlock",
        "geometric_attention.GeometricAtomBlock",
    }
