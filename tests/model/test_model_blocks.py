"""Updating pairs in place, a block of rows at a time, gives what the plain updates give."""

from __future__ import annotations

import pytest
import torch
from model_support import TINY_CARTESIAN, jump_inputs, network, peptide
from torch import Tensor, nn

from atmos_openmm.model.blocks import (
    BLOCK_ATOM_PAIRS,
    BLOCK_PAIRS,
    CUDA_BLOCKS,
    blocks_of,
    in_blocks,
)
from atmos_openmm.model.model_features import ModelFeatures, model_features
from atmos_openmm.model.pairformer import PairformerBlock, PairformerStack
from atmos_openmm.model.primitives import Transition
from atmos_openmm.model.triangle import TriangleAttention, TriangleMultiplication

C_S, C_Z, HEADS_S, HEADS_Z = 24, 16, 4, 2
# Two orders of the same sums in float64, on values of order one.
TOLERANCE = 1e-13


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random: fresh residual branches are zero and would hide any fault."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            value = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(value / parameter.shape[-1] ** 0.5)
    return module.double().eval()


def pairs(batch: int, n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Pairs [B, N, N, c] and a mask that is no product of token masks [B, N, N]."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, n, n, C_Z, generator=generator).double()
    mask = (torch.rand(batch, n, n, generator=generator) < 0.8).double()
    mask = torch.maximum(mask, torch.eye(n).double())
    assert not torch.equal(mask, mask.mT)
    return z, mask


# Fewer pairs than a block, some blocks and a rest, and rows that are longer than a block is wide.
SIZES = pytest.mark.parametrize(("batch", "n"), [(1, 7), (2, 45), (1, 70)])
MASKS = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def test_sizes_span_blocks() -> None:
    assert 7 * 7 < BLOCK_PAIRS < 45 * 45
    assert len(blocks_of(70, 70)) > 1


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("in_row", [1, 3, 1024, 5000])
def test_blocks_cover_every_row_once(rows, in_row) -> None:
    blocks = blocks_of(rows, in_row)
    assert [row for start, end in blocks for row in range(start, end)] == list(range(rows))
    assert all(end - start == 1 or (end - start) * in_row <= BLOCK_PAIRS for start, end in blocks)


def test_blocks_of_a_gpu_are_larger() -> None:
    rows = 2 * CUDA_BLOCKS
    assert len(blocks_of(rows, BLOCK_PAIRS)) == rows
    assert blocks_of(rows, BLOCK_PAIRS, True) == [(0, rows // 2), (rows // 2, rows)]


@SIZES
@MASKS
@torch.no_grad()
def test_triangle_updates(batch, n, masked) -> None:
    z, mask = pairs(batch, n)
    mask = mask if masked else torch.ones_like(mask)
    for module in (
        drawn(TriangleMultiplication(C_Z, C_Z, True)),
        drawn(TriangleMultiplication(C_Z, C_Z, False)),
        drawn(TriangleAttention(C_Z, HEADS_Z)),
    ):
        expected = z + module(z, mask)
        found = z.clone()
        module.add_to(found, mask)
        assert float((expected - z).abs().max()) > 0.1
        assert float((found - expected).abs().max()) <= TOLERANCE


@torch.no_grad()
def test_attention_of_the_ending_node() -> None:
    module = drawn(TriangleAttention(C_Z, HEADS_Z))
    z, mask = pairs(2, 45)
    turned = z.transpose(1, 2).contiguous()
    expected = turned + module(turned, mask.mT)
    found = z.clone()
    module.add_to(found.transpose(1, 2), mask.mT)
    assert float((found - expected.transpose(1, 2)).abs().max()) <= TOLERANCE


@SIZES
@torch.no_grad()
def test_feed_forward(batch, n) -> None:
    module = drawn(Transition(C_Z, 4))
    z, _ = pairs(batch, n)
    expected = z + module(z)
    found = z.clone()
    module.add_to(found)
    assert float((found - expected).abs().max()) <= TOLERANCE


@SIZES
@MASKS
def test_block_with_and_without_gradients(batch, n, masked) -> None:
    """The plain way serves gradients; both leave their inputs as they were."""
    block = drawn(PairformerBlock(C_S, C_Z, HEADS_S, HEADS_Z, 0.25))
    z, mask = pairs(batch, n)
    mask = mask if masked else torch.ones_like(mask)
    s = torch.randn(batch, n, C_S, generator=torch.Generator().manual_seed(5)).double()
    before = s.clone(), z.clone()
    key_bias = torch.zeros(1, 1, 1, n).double()
    expected = block(s, z, mask, key_bias)
    assert all(out.requires_grad for out in expected)
    with torch.no_grad():
        found = block(s, z, mask, key_bias)
    assert torch.equal(s, before[0]) and torch.equal(z, before[1])
    for mine, other in zip(found, expected, strict=True):
        assert float((mine - other.detach()).abs().max()) <= 10 * TOLERANCE


def test_gradients_reach_inputs_of_frozen_weights() -> None:
    block = drawn(PairformerBlock(C_S, C_Z, HEADS_S, HEADS_Z, 0.0)).requires_grad_(False)
    z, mask = pairs(1, 7)
    s = torch.zeros(1, 7, C_S).double()
    z.requires_grad_()
    _, out = block(s, z, mask, torch.zeros(1, 1, 1, 7).double())
    (gradient,) = torch.autograd.grad(out.square().sum(), z)
    step = torch.randn(z.shape, generator=torch.Generator().manual_seed(6)).double()
    with torch.no_grad():
        ahead, behind = (
            block(s, z + sign * 1e-5 * step, mask, torch.zeros(1, 1, 1, 7).double())[1]
            for sign in (1.0, -1.0)
        )
    slope = float((ahead.square().sum() - behind.square().sum()) / 2e-5)
    # Central differences: errors of h^2 = 1e-10 of third derivatives and of 1e-16 / h = 1e-11.
    assert slope == pytest.approx(float((gradient * step).detach().sum()), rel=1e-6)


def test_training_keeps_the_plain_way() -> None:
    """Dropout belongs to the plain updates; a network in training mode must not lose it."""
    z, weight = torch.zeros(2, 2), torch.zeros(2, 2)
    assert in_blocks(z, weight, training=False)
    assert not in_blocks(z, weight, training=True)
    assert not in_blocks(z.clone().requires_grad_(), weight, training=False)
    with torch.no_grad():
        assert in_blocks(z.clone().requires_grad_(), weight, training=False)


@torch.no_grad()
def test_scripted_stack_in_an_inference_host() -> None:
    """What a C++ host runs: TorchScript in inference mode, several molecules of a batch."""
    stack = drawn(PairformerStack(2, C_S, C_Z, HEADS_S, HEADS_Z, 0.25))
    z, _ = pairs(2, 45)
    s = torch.randn(2, 45, C_S, generator=torch.Generator().manual_seed(7)).double()
    token_mask = torch.ones(2, 45).double()
    token_mask[1, 30:] = 0.0
    expected = stack(s, z, token_mask)
    scripted = torch.jit.script(stack)
    with torch.inference_mode():
        for _ in range(3):
            found = scripted(s, z, token_mask)
    for mine, other in zip(found, expected, strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("copies", [1, 3])
def test_a_jump_with_and_without_gradients(copies) -> None:
    """Context, frame, transition, all that is prepared, and the decoder; several windows."""
    config = TINY_CARTESIAN
    model = network(config).double()
    features, x = peptide("-".join(["ACE", *["GLY"] * 31, "NME"]))
    static = model_features(features.tensors(), config)
    static = ModelFeatures(*(t.double() if t.is_floating_point() else t for t in static))
    tokens = len(features.restype)
    # More token pairs than a block has, and more atom pairs.
    windows = len(static.query_index)
    assert tokens**2 > BLOCK_PAIRS
    assert windows * config.n_queries * config.n_keys > BLOCK_ATOM_PAIRS
    h_s, h_z, _, lag, temperature = jump_inputs(model, features.num_atoms, tokens, batch=copies)
    x = x.double().expand(copies, -1, -1)

    def jump() -> list[Tensor]:
        context = model.context(static)
        s, z = model.encode(x, h_s, h_z, context, static)
        s, z = model.advance(s, z, lag, temperature, context, static)
        prepared = model.prepare(s, z, context, static)
        sigma = torch.linspace(1.0, 30.0, copies).double()
        out = model.denoise(x, sigma, prepared, static)
        kept = [*prepared.token_bias, *prepared.atom_conditions, *prepared.pair]
        return [*context, s, z, prepared.s, prepared.c, *kept, out]

    expected = jump()
    assert expected[-1].requires_grad
    with torch.no_grad():
        found = jump()
    for mine, other in zip(found, expected, strict=True):
        other = other.detach()
        scale = float(torch.where(other > -1e8, other.abs(), 0.0).max())
        assert scale > 0.0
        assert float((mine - other).abs().max()) <= 1e-11 * max(1.0, scale)
    # Attention reads biases whose heads come first in memory without a copy.
    heads = config.heads_atom
    biases = [part for part in found if part.dim() == 5 and part.shape[2] == heads]
    assert len(biases) == config.encoder_blocks + config.decoder_blocks
    assert all(bias.is_contiguous() for bias in biases)
