"""Rollouts in bfloat16, and with activations that are made anew."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from loss_cases import BOTH, JUMPS, STAGE, dynamics, generator, gradients, rollout
from model_support import network
from torch import Tensor

from atmos_openmm.model.activation_checkpointing import set_checkpointing
from atmos_openmm.training.latent_rollout import (
    context_backward,
    context_leaves,
    encode_context,
    no_history,
    segment_losses,
)


@BOTH
def test_activations_that_are_made_anew_change_nothing(config) -> None:
    """Dropout and autocast included, though the second run is outside of both."""
    config = dataclasses.replace(config, dropout=0.25)
    results = []
    for enabled in (False, True):
        model = network(config).train()
        set_checkpointing(model, enabled)
        torch.manual_seed(len(results))
        batch = dynamics(config, torch.float32)
        context = encode_context(model, batch, False, generator())
        leaves = context_leaves(context)
        with torch.autocast("cpu", torch.bfloat16):
            losses, _ = segment_losses(
                model, leaves, batch, no_history(model, batch), 0, JUMPS, STAGE, generator()
            )
        losses["loss"].backward()
        context_backward(context, leaves)
        results.append((float(losses["loss"].detach()), gradients(model)))
    assert results[0][0] == results[1][0]
    assert set(results[0][1]) == set(results[1][1])
    scale = max(float(g.abs().max()) for g in results[0][1].values())
    for name, value in results[0][1].items():
        # The same operations in the same order, but for sums of gradients.
        torch.testing.assert_close(results[1][1][name], value, atol=1e-6 * scale, rtol=1e-5)


@BOTH
@torch.no_grad()
def test_the_frame_encoder_does_not_hear_autocast(config) -> None:
    model, batch = network(config), dynamics(config, torch.float32)
    context, start = encode_context(model, batch, True), no_history(model, batch)
    seen: list[Tensor] = []
    model.frame_encoder.register_forward_hook(lambda module, given, out: seen.extend(out))
    segment_losses(model, context, batch, start, 0, 1, STAGE, generator())
    with torch.autocast("cpu", torch.bfloat16):
        segment_losses(model, context, batch, start, 0, 1, STAGE, generator())
    assert len(seen) == 4 and torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])


@BOTH
def test_bfloat16_changes_losses_by_its_rounding(config) -> None:
    model = network(config)
    batch = dynamics(config, torch.float32)
    plain, h = rollout(model, batch, 2)
    whole = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, h_rounded = rollout(model, batch, 2)
    halved = gradients(model)
    # Eight bits round a number by at most 2^-9 of it. From the features to the decoder's
    # conditions a number goes through about 30 layers in context and transition for each of three
    # jumps; were their errors independent, 100 roundings are 2^-9 sqrt(100) = 2 % of numbers of
    # order one, such as latents, and random weights pass a relative error on undiminished.
    assert h_rounded.s.dtype == torch.float32
    for one, two in zip(h, h_rounded, strict=True):
        assert 0.0 < float((one - two).square().mean().sqrt()) < 0.02
    for name, value in plain.items():
        assert rounded[name] == pytest.approx(value, rel=0.04), name
    assert set(halved) == set(whole)
    flat = [torch.cat([g.flatten() for g in found.values()]) for found in (whole, halved)]
    assert float(torch.nn.functional.cosine_similarity(*flat, dim=0)) > 0.99
