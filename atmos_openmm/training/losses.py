"""The training loss: denoising along teacher-forced rollouts, and the distogram."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.atmos import AtmosModel, hand
from ..model.atom_attention import atoms_to_tokens
from ..model.context import Context
from ..model.diffusion import Prepared
from ..model.distogram import distogram_target
from ..model.features import ModelFeatures

FIRST_ESTIMATE_WEIGHT = 0.25
DISTOGRAM_WEIGHT = 0.03
LOG_SIGMA_MEAN = -1.2
LOG_SIGMA_SD = 1.4
CONTEXT_NOISE_ANGSTROM = 0.1


def repeat_prepared(prepared: Prepared, times: int) -> Prepared:
    """Repeat what the decoder needs of each walker for several noise levels."""
    return Prepared(
        prepared.s.repeat_interleave(times, 0),
        [bias.repeat_interleave(times, 0) for bias in prepared.token_bias],
        prepared.c.repeat_interleave(times, 0),
        [condition.repeat_interleave(times, 0) for condition in prepared.atom_conditions],
        prepared.p.repeat_interleave(times, 0),
        prepared.p_static,
    )


def denoising_loss(
    model: AtmosModel,
    target: Tensor,
    prepared: Prepared,
    features: ModelFeatures,
    levels: int,
    generator: torch.Generator,
) -> Tensor:
    """EDM's weighted denoising error (Karras et al. 2022, Eq. 8), a mean over noise levels.

    Parameters
    ----------
    target: Tensor [B, A, 3]
        Frames, angstrom, centred. The network is equivariant under rotation, so neither
        augmentation nor superposition is needed.
    levels: int
        Noise levels drawn a frame: ``sigma = sigma_data exp(-1.2 + 1.4 n)``.

    Returns
    -------
    Tensor
        Scalar in units of the preconditioned network output (1 for an untrained network).
    """
    sd = model.diffusion.sigma_data
    x = target.repeat_interleave(levels, 0)
    batch = x.shape[0]
    normal = torch.randn(batch, generator=generator).to(x)
    sigma = sd * torch.exp(LOG_SIGMA_MEAN + LOG_SIGMA_SD * normal)
    noise = torch.randn(x.shape, generator=generator).to(x)
    noise = noise - noise.mean(1, keepdim=True)
    noisy = x + sigma.reshape(-1, 1, 1) * noise
    # As in sampling: the network sees every frame as a right-handed one.
    turn = hand(noisy, features)
    noisy, x = turn * noisy, turn * x
    last, first = model.diffusion.denoise(noisy, sigma, repeat_prepared(prepared, levels), features)
    weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    error_last = weight * ((last - x) ** 2).mean((1, 2))
    error_first = weight * ((first - x) ** 2).mean((1, 2))
    return error_last.mean() + FIRST_ESTIMATE_WEIGHT * error_first.mean()


def rollout_loss(
    model: AtmosModel,
    context: Context,
    features: ModelFeatures,
    positions: Tensor,
    lag_ps: Tensor,
    temperature_kelvin: Tensor,
    levels: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Loss of a teacher-forced rollout through the latent state.

    Frames of the trajectory are encoded one after the other, with a little noise so that the
    network learns to start from imperfect frames (STAR-MD); after each, the latent is moved by
    the lag and the next frame is denoised.

    Parameters
    ----------
    positions: Tensor [L + 1, B, A, 3]
        Frames, angstrom, centred.
    lag_ps, temperature_kelvin: Tensor [L, B]

    Returns
    -------
    dict[str, Tensor]
        Scalars: ``loss`` (the sum that is minimised), ``denoising``, ``distogram``.
    """
    jumps, batch = lag_ps.shape
    tokens = features.token_pair.shape[0]
    h_s = positions.new_zeros(batch, tokens, model.c_s)
    h_z = positions.new_zeros(batch, tokens, tokens, model.c_z)
    latents_s: list[Tensor] = []
    latents_z: list[Tensor] = []
    for step in range(jumps):
        scale = torch.rand(batch, 1, 1, generator=generator).to(positions)
        jitter = torch.randn(positions[step].shape, generator=generator).to(positions)
        frame = positions[step] + CONTEXT_NOISE_ANGSTROM * scale * jitter
        h_s, h_z = model.encode(frame, h_s, h_z, context, features)
        h_s, h_z = model.advance(h_s, h_z, lag_ps[step], temperature_kelvin[step], context)
        latents_s.append(h_s)
        latents_z.append(h_z)
    # One call of the decoder for the frames after all jumps.
    target = positions[1:].flatten(0, 1)
    latent_z = torch.cat(latents_z)
    prepared = model.prepare(torch.cat(latents_s), latent_z, context, features)
    denoising = denoising_loss(model, target, prepared, features, levels, generator)
    logits = model.distogram(latent_z)
    bins = distogram_target(atoms_to_tokens(target, features, tokens), logits.shape[-1])
    distogram = F.cross_entropy(logits.flatten(0, 2), bins.flatten())
    return {
        "loss": denoising + DISTOGRAM_WEIGHT * distogram,
        "denoising": denoising,
        "distogram": distogram,
    }
