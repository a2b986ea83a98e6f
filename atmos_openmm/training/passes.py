"""One draw through the network: its losses, with or without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from ..model.atmos import AtmosModel
from .batch import Batch
from .latent_rollout import (
    context_backward,
    context_leaves,
    encode_context,
    no_history,
    segment_losses,
    segments,
)
from .training_settings import LossSettings, StageSettings

TERMS = ("loss", "denoising", "first_estimate", "smooth_lddt", "bond", "distogram", "torsions")
"""What a step may report; terms of weight 0 are not computed and count 0."""

TRAINING, VALIDATION = 0, 1
"""Streams of random numbers: noise of a draw to train on, and of one that is held out."""

Autocast = Callable[[], AbstractContextManager]


def draw_generator(seed: int, stage: int, number: int, stream: int = TRAINING) -> torch.Generator:
    """Return the generator of a draw's noise: a function of these numbers alone.

    Parameters
    ----------
    seed : int
        Of the run.
    stage : int
        Number of the stage, from 0.
    number : int
        Of the draw in the stage, from 0.
    stream : int
        `TRAINING` or `VALIDATION`.
    """
    words = np.random.SeedSequence([seed, stage, number, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def training_pass(
    model: AtmosModel,
    batch: Batch,
    stage: StageSettings,
    generator: torch.Generator,
    scale: float,
    autocast: Autocast,
) -> Tensor:
    """Add the gradients of a draw's loss, times a factor, to the parameters.

    Each segment of the rollout has its own backward pass, after which its activations are gone;
    the context encoder is passed through once for all of them.

    Parameters
    ----------
    generator : torch.Generator
        Of :func:`draw_generator`.
    scale : float
        1 over the draws of a step.
    autocast : callable
        Gives the context of the forward passes (``Fabric.autocast``).

    Returns
    -------
    Tensor [len(TERMS)], float64
        The draw's terms, not scaled; on the device.
    """
    with autocast():
        context = encode_context(model, batch, context_is_frozen(model), generator)
    leaves = context_leaves(context)
    latent = no_history(model, batch)
    total = torch.zeros(len(TERMS), dtype=torch.float64, device=batch.positions.device)
    for first, last in segments(batch.jumps, stage.truncate):
        with autocast():
            losses, latent = segment_losses(
                model, leaves, batch, latent, first, last, stage, generator
            )
        (scale * losses["loss"]).backward()
        total += _vector(losses)
    context_backward(context, leaves)
    return total


@torch.no_grad()
def held_out_pass(
    model: AtmosModel,
    batch: Batch,
    stage: StageSettings,
    generator: torch.Generator,
    autocast: Autocast,
) -> Tensor:
    """Return a draw's terms without gradients; the arguments are those of :func:`training_pass`.

    Returns
    -------
    Tensor [len(TERMS)], float64
    """
    with autocast():
        context = encode_context(model, batch, True, generator)
        latent = no_history(model, batch)
        total = torch.zeros(len(TERMS), dtype=torch.float64, device=batch.positions.device)
        for first, last in segments(batch.jumps, stage.truncate):
            losses, latent = segment_losses(
                model, context, batch, latent, first, last, stage, generator
            )
            total += _vector(losses)
    return total


def context_is_frozen(model: AtmosModel) -> bool:
    """Whether nothing of the context encoder is trained."""
    return not any(p.requires_grad for p in model.context_encoder.parameters())


def _vector(losses: dict[str, Tensor]) -> Tensor:
    zero = losses["loss"].new_zeros([])
    return torch.stack([losses.get(name, zero).detach().double() for name in TERMS])


def reported(terms: Sequence[float], weights: LossSettings, model: AtmosModel) -> dict[str, float]:
    """Name terms in the order of `TERMS`, without those that are not computed."""

    def computed(name: str) -> bool:
        if name == "first_estimate" and not model.mirrors:
            return False  # the Cartesian decoder has none
        return name == "loss" or getattr(weights, name) > 0.0

    return {name: value for name, value in zip(TERMS, terms, strict=True) if computed(name)}


def with_advice(error: Exception) -> Exception:
    """Say what to do where the device has no memory left."""
    if not isinstance(error, torch.OutOfMemoryError):
        return error
    advised = ValueError(
        "The device has no memory left for a draw. Set checkpointing=true, a smaller crop_tokens, "
        "rollouts, levels or truncate, or train in bf16-mixed precision. "
        f"({str(error).splitlines()[0]})"
    )
    advised.__cause__ = error
    return advised
