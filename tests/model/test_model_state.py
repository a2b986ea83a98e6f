"""The latent state: bounded over long rollouts; gradients finite."""

from __future__ import annotations

import pytest
import torch
from loss_cases import batch_of, generator, stage_of
from model_support import TINY, jump_inputs, network, peptide

from atmos_openmm.model.model_features import model_features
from atmos_openmm.training.latent_rollout import encode_context, no_history, segment_losses


@pytest.fixture(scope="module")
def setting():
    features, x = peptide("ACE-ALA-NME")
    model = network()
    static = model_features(features.tensors(), TINY)
    with torch.no_grad():
        context = model.context(static)
    return model, static, context, x


def test_state_stays_bounded_over_ten_thousand_transitions(setting) -> None:
    model, static, context, x = setting
    with torch.no_grad():
        # Weights ten times as large as any training gives: the bound does not rest on them.
        large = network(seed=3)
        for parameter in large.transition.parameters():
            parameter.mul_(10.0)
        h_s, h_z, _, lag, temperature = jump_inputs(model, x.shape[1], 3)
        largest = 0.0
        for step in range(10_000):
            if step % 100 == 0:
                h_s, h_z = large.encode(100.0 * x, h_s, h_z, context, static)
            h_s, h_z = large.advance(h_s, h_z, lag, temperature, context, static)
            if step % 50 == 0:
                largest = max(largest, float(h_s.abs().max()), float(h_z.abs().max()))
                assert torch.isfinite(h_s).all() and torch.isfinite(h_z).all()
    # |h + g (tanh u - h)| <= 1 exactly; float32 rounds each of 10,000 steps by at most 6e-8, and
    # the gate contracts it again.
    assert 0.1 < largest <= 1.0 + 1e-5


@pytest.mark.parametrize("lag_ps", [1e-3, 1.0, 1e5])
def test_lags_far_outside_training_give_finite_frames(setting, lag_ps: float) -> None:
    model, static, context, x = setting
    h_s, h_z, noise, lag, temperature = jump_inputs(model, x.shape[1], 3)
    with torch.no_grad():
        y, _, _ = model.propagate(
            x, h_s, h_z, noise, torch.full_like(lag, lag_ps), temperature, context, static
        )
    assert torch.isfinite(y).all()


def test_gradients_are_finite_also_for_coincident_atoms(setting) -> None:
    model, _, _, x = setting
    frames = torch.stack(
        [x.expand(2, -1, -1), torch.zeros(2, x.shape[1], 3), 50.0 * x.expand(2, -1, -1)]
    )
    lag = torch.tensor([[1.0, 400.0], [10.0, 1e4]])
    batch = batch_of(peptide("ACE-ALA-NME")[0], TINY, frames, lag_ps=lag)
    model.zero_grad()
    model.train()
    context = encode_context(model, batch, False)
    start = no_history(model, batch)
    loss = segment_losses(model, context, batch, start, 0, 2, stage_of(levels=3), generator())[0][
        "loss"
    ]
    loss.backward()
    model.eval()
    assert torch.isfinite(loss)
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without, f"parameters the loss does not reach: {without}"
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
