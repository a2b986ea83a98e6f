"""A rollout through the latent, in segments whose gradients end where they begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..model.atmos import AtmosModel
from ..model.context import Context
from ..model.torsion_features import measure_torsions
from ..model.torsion_head import TorsionMixture
from .batch import Batch
from .losses.decoder_noise import DecoderNoise, draw_decoder_noise, noisy_frames
from .losses.denoising import losses_of_noise
from .losses.distogram_loss import distogram_loss
from .losses.torsion_likelihood import torsion_loss
from .training_settings import StageSettings

__all__ = [
    "Latent",
    "context_backward",
    "context_leaves",
    "encode_context",
    "no_history",
    "segment_losses",
    "segments",
]


TORSION_STREAM = 1 << 20
"""Of random numbers, beyond any number of a jump: dropout on the way to the torsion head."""


class Latent(NamedTuple):
    """The latent state h of B rollouts.

    Attributes
    ----------
    s : Tensor [B, N, c_s]
    z : Tensor [B, N, N, c_z]
    """

    s: Tensor
    z: Tensor


def no_history(model: AtmosModel, batch: Batch) -> Latent:
    """Return the latent before any frame was seen: zeros."""
    rollouts, tokens = batch.lag_ps.shape[1], batch.features.token_mask.shape[1]
    return Latent(
        batch.positions.new_zeros(rollouts, tokens, model.c_s),
        batch.positions.new_zeros(rollouts, tokens, tokens, model.c_z),
    )


def encode_context(
    model: AtmosModel, batch: Batch, frozen: bool, generator: torch.Generator | None = None
) -> Context:
    """Encode what does not change along a rollout.

    Parameters
    ----------
    frozen : bool
        Whether the context encoder is not trained: it then runs without dropout, and the context
        carries no gradient. What the Cartesian decoder embeds of the reference conformers, which
        is the decoder's and not the encoder's, :func:`segment_losses` then embeds again.
    generator : torch.Generator, optional
        Its seed is that of the encoder's dropout; torch's global generator otherwise.

    Returns
    -------
    Context
        For several segments of a context that carries gradients see :func:`context_leaves`.
    """
    encoder = model.context_encoder
    training = encoder.training
    seed = None if generator is None else _seed(generator, -1)
    with _dropout(seed, batch.positions.device):
        if not frozen:
            return model.context(batch.features)
        encoder.eval()
        try:
            with torch.no_grad():
                return model.context(batch.features)
        finally:
            encoder.train(training)


def context_leaves(context: Context) -> Context:
    """Return a context that collects gradients of several backward passes.

    Each segment's backward pass ends at these tensors, so that the context encoder, most of the
    network, is passed through once a rollout (:func:`context_backward`) and not once a segment.
    """
    return Context(*(_leaf(value) for value in context))


def context_backward(context: Context, leaves: Context) -> None:
    """Pass gradients that segments left in :func:`context_leaves` on to the context encoder."""
    pairs = [
        (value, leaf.grad)
        for value, leaf in zip(context, leaves, strict=True)
        if value.requires_grad and leaf.grad is not None
    ]
    if pairs:
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])


def segments(jumps: int, truncate: int) -> list[tuple[int, int]]:
    """Return the first jump of each segment and the one after its last.

    Raises
    ------
    ValueError
        If either number is below 1.
    """
    if jumps < 1 or truncate < 1:
        raise ValueError(
            f"A rollout of {jumps} jumps cannot be cut in segments of {truncate}; expected at "
            "least 1 of each."
        )
    return [(first, min(first + truncate, jumps)) for first in range(0, jumps, truncate)]


def segment_losses(
    model: AtmosModel,
    context: Context,
    batch: Batch,
    latent: Latent,
    first: int,
    last: int,
    stage: StageSettings,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Latent]:
    """Return the losses of jumps `first` to `last - 1` of a teacher-forced rollout.

    For each jump the frame is encoded into the latent, with a little noise so that the network
    learns to start from imperfect frames (STAR-MD), and the latent is moved by the lag; then the
    frames after all these jumps are denoised together. Structures without time have no frame to
    start from: nothing is encoded, and the latent of :func:`no_history` is moved.

    E_theta and D_theta, which see coordinates, run in the precision of their parameters whatever
    autocast says; T_theta, the decoder's conditions and the distogram as autocast says.

    Parameters
    ----------
    context : Context
        Of :func:`encode_context`.
    latent : Latent
        After the jumps before `first`.
    first, last : int
        One of :func:`segments`.
    stage : StageSettings
    generator : torch.Generator
        On the CPU. Its seed names the draw, and its state is neither used nor changed: the random
        numbers of a jump, those of dropout included, are a function of the seed and the number of
        the jump alone, however the rollout is cut.

    Returns
    -------
    tuple[dict[str, Tensor], Latent]
        Scalars: the terms (:func:`~.losses.denoising.losses_of_noise`, ``distogram``,
        ``torsions``), detached, and ``loss``, which is to be minimised. They are weighted by the
        segment's share of the jumps, so that the sum over a rollout's segments is the mean over
        its jumps. And the latent after the last jump, detached.

    Raises
    ------
    ValueError
        If the batch has no such jumps.
    """
    if not 0 <= first < last <= batch.jumps:
        raise ValueError(
            f"Jumps {first} to {last - 1} are asked for; the rollout has {batch.jumps}."
        )
    weights = stage.losses
    losses = {"loss": batch.positions.new_zeros([])}
    s, z = latent
    if weights.of_frames:
        losses, (s, z) = _losses_of_frames(
            model, context, batch, latent, first, last, stage, generator
        )
    if weights.torsions > 0.0:
        losses["torsions"] = _losses_of_torsions(model, context, batch, first, last, generator)
        losses["loss"] = losses["loss"] + weights.torsions * losses["torsions"]
    share = (last - first) / batch.jumps
    scaled = {
        name: share * (value if name == "loss" else value.detach())
        for name, value in losses.items()
    }
    return scaled, Latent(s.detach(), z.detach())


def _losses_of_frames(
    model: AtmosModel,
    context: Context,
    batch: Batch,
    latent: Latent,
    first: int,
    last: int,
    stage: StageSettings,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Latent]:
    """Return the terms that ask for decoded frames and distances, and the last latent."""
    features, levels = batch.features, stage.levels
    if not model.mirrors and not context.c.requires_grad and torch.is_grad_enabled():
        c, p = model.diffusion.embed(features)
        context = context._replace(c=c, p=p)
    s, z = latent
    moved: list[Latent] = []
    targets: list[Tensor] = []
    noises: list[DecoderNoise] = []
    for jump in range(first, last):
        draw = torch.Generator().manual_seed(_seed(generator, jump))
        target = batch.positions[jump + int(batch.has_history)]
        noises.append(draw_decoder_noise(len(target) * levels, target.shape[1], target, draw))
        targets.append(target)
        with _dropout(int(torch.randint(2**62, [], generator=draw)), target.device):
            if batch.has_history:
                s, z = _encode(model, batch, jump, s, z, context, stage, draw)
            s, z = model.advance(
                s, z, batch.lag_ps[jump], batch.temperature_kelvin[jump], context, features
            )
        moved.append(Latent(s, z))
    target, h_z = torch.cat(targets), torch.cat([h.z for h in moved])
    noise = DecoderNoise(*(torch.cat(part) for part in zip(*noises, strict=True)))
    weights = stage.losses
    prepared = model.prepare(torch.cat([h.s for h in moved]), h_z, context, features)
    losses = losses_of_noise(model, target, noise, prepared, batch, weights)
    if weights.distogram > 0.0:
        logits = model.distogram(h_z)
        known = batch.resolved.index_select(0, batch.centres)
        centres = target.index_select(1, batch.centres)
        losses["distogram"] = distogram_loss(logits, centres, known)
        losses["loss"] = losses["loss"] + weights.distogram * losses["distogram"]
    return losses, moved[-1]


def _losses_of_torsions(
    model: AtmosModel,
    context: Context,
    batch: Batch,
    first: int,
    last: int,
    generator: torch.Generator,
) -> Tensor:
    """Return the torsion head's loss, a mean over jumps; the head sees no frame."""
    atoms, losses = batch.torsions.atoms[0], []
    if len(atoms) == 0:
        return 0.0 * model.torsion_head.start.sum()
    for jump in range(first, last):
        with _dropout(_seed(generator, TORSION_STREAM + jump), batch.positions.device):
            mixture = model.torsion_mixture(
                batch.lag_ps[jump],
                batch.temperature_kelvin[jump],
                context,
                batch.features,
                batch.torsions,
            )
        whole = TorsionMixture(*(part.to(batch.positions.dtype) for part in mixture))
        target = measure_torsions(batch.positions[jump + int(batch.has_history)], atoms)
        present = measure_torsions(batch.positions[jump], atoms) if batch.has_history else None
        with torch.autocast(batch.positions.device.type, enabled=False):
            losses.append(torsion_loss(whole, batch.torsions, target, present, batch.resolved))
    return torch.stack(losses).mean()


def _encode(
    model: AtmosModel,
    batch: Batch,
    jump: int,
    s: Tensor,
    z: Tensor,
    context: Context,
    stage: StageSettings,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Take a frame with noise on it into the latent."""
    x = batch.positions[jump]
    sigma = stage.context_noise_angstrom * torch.rand(len(x), generator=draw).to(x)
    noise = torch.randn(x.shape, generator=draw).to(x)
    with torch.autocast(x.device.type, enabled=False):
        frame = noisy_frames(x, sigma, noise, batch.resolved)
        whole = Context(*(value.to(x.dtype) for value in context))
        frame_s, frame_z = model.frame_encoder(frame, whole, batch.features)
    return model.state_update(s, z, frame_s, frame_z)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_() if value.requires_grad else value


def _seed(generator: torch.Generator, jump: int) -> int:
    """Return a seed for one jump of the draw that the generator's seed names."""
    words = np.random.SeedSequence((generator.initial_seed() % 2**64, jump + 1))
    return int(words.generate_state(1, np.uint64)[0]) % 2**63


@contextmanager
def _dropout(seed: int | None, device: torch.device) -> Iterator[None]:
    """Let torch's dropout, which knows only the global generator, draw from a seed.

    The global generator is left as it was.
    """
    if seed is None:
        yield
        return
    gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if gpu else []):
        torch.default_generator.manual_seed(seed)
        if gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
