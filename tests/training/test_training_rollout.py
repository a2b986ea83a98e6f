"""Rollouts through the latent: how they are cut, what their gradients see, their noise."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from loss_cases import (
    ALL_TERMS,
    BOTH,
    JUMPS,
    ROLLOUTS,
    STAGE,
    batch_of,
    dynamics,
    generator,
    gradients,
    rollout,
    rollout_frames,
    stage_of,
)
from model_support import TINY, network, peptide
from torch import Tensor

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.training.latent_rollout import (
    Latent,
    encode_context,
    no_history,
    segment_losses,
    segments,
)
from atmos_openmm.training.training_settings import LossSettings


def test_segments() -> None:
    assert segments(5, 2) == [(0, 2), (2, 4), (4, 5)]
    assert segments(3, 3) == segments(3, 8) == [(0, 3)]
    assert segments(2, 1) == [(0, 1), (1, 2)]
    for jumps, truncate in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="expected at least 1 of each"):
            segments(jumps, truncate)


def test_jumps_that_are_not_there_are_refused() -> None:
    model, batch = network(TINY).double(), dynamics(TINY)
    context = encode_context(model, batch, True)
    with pytest.raises(ValueError, match="the rollout has 3"):
        segment_losses(model, context, batch, no_history(model, batch), 2, 4, STAGE, generator())


@BOTH
def test_losses_do_not_depend_on_how_a_rollout_is_cut(config) -> None:
    """Nor does the dropout, which torch draws from its global generator."""
    model = network(dataclasses.replace(config, dropout=0.25)).double().train()
    batch = dynamics(config)
    found = [rollout(model, batch, truncate) for truncate in (1, 2, 3)]
    for losses, latent in found[1:]:
        for name, value in found[0][0].items():
            # Sums in another order: double precision's rounding.
            assert losses[name] == pytest.approx(value, rel=1e-10), name
        torch.testing.assert_close(latent.z, found[0][1].z, atol=1e-12, rtol=0)
    expected = {"loss", "denoising", "smooth_lddt", "bond", "distogram"}
    expected |= {"first_estimate"} if model.mirrors else set()
    assert set(found[0][0]) == expected
    terms = sum(getattr(ALL_TERMS, k) * v for k, v in found[0][0].items() if k != "loss")
    assert found[0][0]["loss"] == pytest.approx(terms, rel=1e-10)


def test_random_numbers_are_the_draws_own() -> None:
    config = dataclasses.replace(TINY, dropout=0.25)
    model, batch = network(config).double().train(), dynamics(TINY)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = rollout(model, batch, 2)[0]
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    torch.manual_seed(6)
    assert rollout(model, batch, 2)[0] == first
    other = rollout(model, batch, 2, seed=1)[0]
    assert abs(other["denoising"] - first["denoising"]) > 1e-6
    # Dropout is there: without it the losses are others, with the same noise.
    model.eval()
    assert abs(rollout(model, batch, 2)[0]["denoising"] - first["denoising"]) > 1e-6
    own = generator(4)
    state = own.get_state()
    context = encode_context(model, batch, True, own)
    segment_losses(model, context, batch, no_history(model, batch), 0, 1, STAGE, own)
    assert torch.equal(own.get_state(), state)


def test_jumps_have_noise_of_their_own() -> None:
    """Equal jumps of one rollout differ by their noise alone."""
    model = network(TINY).double()
    same = rollout_frames(1).expand(3, -1, -1, -1)
    batch = batch_of(peptide()[0], TINY, same)
    stage = stage_of(context_noise_angstrom=0.0)
    context, start = encode_context(model, batch, True), no_history(model, batch)
    losses = [
        float(
            segment_losses(model, context, batch, start, k, k + 1, stage, generator())[0][
                "denoising"
            ]
        )
        for k in range(2)
    ]
    assert abs(losses[0] - losses[1]) > 1e-6


@BOTH
@torch.no_grad()
def test_a_jump_is_the_models_own(config) -> None:
    """Encode and advance: without noise the latents are those that a host would have."""
    model, batch = network(config).double(), dynamics(config)
    context = encode_context(model, batch, False)
    stage = stage_of(context_noise_angstrom=0.0)
    start = no_history(model, batch)
    assert start.s.shape == (ROLLOUTS, len(peptide()[0].restype), model.c_s)
    assert float(start.s.abs().max()) == float(start.z.abs().max()) == 0.0
    _, found = segment_losses(model, context, batch, start, 0, 2, stage, generator())
    h = start
    for k in range(2):
        h = Latent(*model.encode(batch.positions[k], *h, context, batch.features))
        h = Latent(
            *model.advance(
                *h, batch.lag_ps[k], batch.temperature_kelvin[k], context, batch.features
            )
        )
    torch.testing.assert_close(found.s, h.s, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.z, h.z, atol=1e-12, rtol=0)
    # With noise on the frames that are encoded they are others.
    _, noisy = segment_losses(model, context, batch, start, 0, 2, STAGE, generator())
    assert float((noisy.s - h.s).abs().max()) > 1e-4


def directional(model: AtmosModel, value, seed: int = 11) -> tuple[float, Tensor]:
    """Central difference of a function of the parameters along a random direction, and that."""
    draw = generator(seed)
    parameters = list(model.parameters())
    direction = [torch.randn(p.shape, generator=draw).to(p) for p in parameters]
    step, values = 1e-6, []
    with torch.no_grad():
        for sign in (1.0, -2.0):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * step * d)
            values.append(value())
        for p, d in zip(parameters, direction, strict=True):
            p.add_(step * d)
    products = torch.stack(
        [
            (p.grad * d).sum()
            for p, d in zip(parameters, direction, strict=True)
            if p.grad is not None
        ]
    )
    return (values[0] - values[1]) / (2.0 * step), products.sum()


@BOTH
def test_gradients_are_those_of_the_truncated_rollout(config) -> None:
    """With all jumps in one segment, finite differences of the whole; with segments of one jump,
    of the jumps with the latents that they start from held fixed."""
    # Of several cycles through the trunk, gradients pass through the last alone (AF3).
    config = dataclasses.replace(config, cycles=1)
    model, batch = network(config).double(), dynamics(config)
    stage, found = STAGE, {}

    def whole() -> float:
        context = encode_context(model, batch, True)
        latent = no_history(model, batch)
        losses = segment_losses(model, context, batch, latent, 0, JUMPS, stage, generator())
        return float(losses[0]["loss"])

    starts: list[Latent] = []
    with torch.no_grad():
        context, latent = encode_context(model, batch, True), no_history(model, batch)
        for k in range(JUMPS):
            starts.append(latent)
            latent = segment_losses(model, context, batch, latent, k, k + 1, stage, generator())[1]

    def held() -> float:
        context = encode_context(model, batch, True)
        parts = [
            segment_losses(model, context, batch, starts[k], k, k + 1, stage, generator())[0]
            for k in range(JUMPS)
        ]
        return sum(float(part["loss"]) for part in parts)

    for name, truncate, value in (("whole", JUMPS, whole), ("held", 1, held)):
        model.zero_grad()
        rollout(model, batch, truncate)
        difference, product = directional(model, value)
        # Central differences: the third derivative times 1e-12, and 1e-16 / 1e-6 of the loss.
        assert float(product) == pytest.approx(difference, rel=2e-5), name
        found[name] = difference
    assert abs(found["whole"] / found["held"] - 1.0) > 1e-3, "truncation changed nothing"


@BOTH
def test_a_truncated_gradient_has_no_path_over_the_cut(config) -> None:
    model, batch = network(config).double(), dynamics(config)
    positions = batch.positions.clone().requires_grad_()
    batch = batch._replace(positions=positions)
    context, start = encode_context(model, batch, True), no_history(model, batch)

    def reached(latent: Latent, first: int, last: int) -> tuple[Latent, list[bool]]:
        losses, after = segment_losses(
            model, context, batch, latent, first, last, STAGE, generator()
        )
        assert not after.s.requires_grad and not after.z.requires_grad
        assert all(not v.requires_grad for k, v in losses.items() if k != "loss")
        gradient = torch.autograd.grad(losses["loss"], positions)[0]
        return after, [bool((g != 0.0).any()) for g in gradient]

    # A frame is reached where it is encoded or denoised.
    latent, first = reached(start, 0, 1)
    assert first == [True, True, False, False]
    assert reached(latent, 1, 2)[1] == [False, True, True, False]
    assert reached(start, 0, 3)[1] == [True, True, True, True]


@BOTH
def test_leaves_collect_what_one_graph_would(config) -> None:
    model, batch = network(config).double(), dynamics(config)
    rollout(model, batch, 1)
    collected = gradients(model)
    model.zero_grad()
    context, latent = encode_context(model, batch, False), no_history(model, batch)
    total = torch.zeros([])
    for first, last in segments(JUMPS, 1):
        losses, latent = segment_losses(
            model, context, batch, latent, first, last, STAGE, generator()
        )
        total = total + losses["loss"]
    total.backward()
    one = gradients(model)
    assert set(one) == set(collected) and any("context_encoder" in name for name in one)
    scale = max(float(g.abs().max()) for g in one.values())
    for name, value in one.items():
        torch.testing.assert_close(collected[name], value, atol=1e-12 * scale, rtol=1e-9)


@BOTH
def test_a_frozen_context_has_no_gradient_and_the_rest_has_the_same(config) -> None:
    model = network(config).double()
    batch = dynamics(config)
    losses = rollout(model, batch, 2)[0]
    free = gradients(model)
    model.zero_grad()
    assert rollout(model, batch, 2, frozen=True)[0] == pytest.approx(losses, rel=1e-12)
    frozen = gradients(model)
    inside = {name for name in free if name.startswith("context_encoder")}
    assert inside and set(frozen) == set(free) - inside
    # The reference conformers' embedding, which the context holds, is the decoder's.
    scale = max(float(g.abs().max()) for g in free.values())
    for name, value in frozen.items():
        torch.testing.assert_close(value, free[name], atol=1e-12 * scale, rtol=1e-9)
    # Without dropout, and as it was afterwards.
    dropped = network(dataclasses.replace(config, dropout=0.25)).double().train()
    contexts = [encode_context(dropped, batch, True) for _ in range(2)]
    assert all(map(torch.equal, *contexts)) and dropped.context_encoder.training
    assert not contexts[0].z.requires_grad


@BOTH
def test_a_structure_without_time_is_one_jump_without_history(config) -> None:
    model = network(config).double()
    batch = batch_of(peptide()[0], config, rollout_frames(1), history=False, lag_ps=3000.0)
    losses, latent = rollout(model, batch, 2)
    found = gradients(model)
    idle = ("frame_encoder.", "state_update.")
    assert not any(name.startswith(idle) for name in found)
    assert any(name.startswith("transition.") for name in found)
    assert all(math.isfinite(value) for value in losses.values())
    # It is the frame itself that is denoised: a perfect distogram needs its distances.
    moved = batch._replace(positions=1.5 * batch.positions)
    assert abs(rollout(model, moved, 2)[0]["distogram"] - losses["distogram"]) > 1e-6
    with torch.no_grad():
        context = encode_context(model, batch, False)
        start = no_history(model, batch)
        s, z = model.advance(
            *start, batch.lag_ps[0], batch.temperature_kelvin[0], context, batch.features
        )
    torch.testing.assert_close(latent.s, s, atol=1e-12, rtol=0)


@BOTH
def test_unseen_atoms_of_a_frame_that_is_encoded_change_nothing(config) -> None:
    model = network(config).double()
    resolved = torch.ones(22)
    resolved[[0, 9, 10]] = 0.0
    results = []
    for shift in (0.0, 1e3):
        positions = rollout_frames()
        positions[:, :, resolved == 0.0] += shift
        batch = batch_of(peptide()[0], config, positions, resolved=resolved)
        model.zero_grad()
        results.append((rollout(model, batch, 2)[0], gradients(model)))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(value, results[1][1][name]) for name, value in results[0][1].items())


@BOTH
def test_a_distogram_of_unknown_tokens_is_left_out(config) -> None:
    """A token whose representative atom was not seen has no part; the others have."""
    model = network(config).double()
    batch = dynamics(config)
    resolved = torch.ones(22)
    resolved[batch.centres[0]] = 0.0
    with torch.no_grad():
        latents = Latent(*(v + 0.3 for v in no_history(model, batch)))
    only = stage_of(LossSettings(0.0, 0.0, 0.0, 0.0, 1.0), context_noise_angstrom=0.0)
    values = []
    for seen in (torch.ones(22), resolved):
        given = batch._replace(resolved=seen.double())
        context = encode_context(model, given, True)
        losses = segment_losses(model, context, given, latents, 0, 1, only, generator())[0]
        assert set(losses) == {"loss", "distogram"}
        values.append(float(losses["distogram"]))
    assert abs(values[0] - values[1]) > 1e-6
