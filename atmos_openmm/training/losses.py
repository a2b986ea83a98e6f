"""The training loss: denoising along teacher-forced rollouts, and the distogram."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.atmos import AtmosModel, hand, rotation_from_normals
from ..model.context import Context
from ..model.distogram import distogram_target
from ..model.features import ModelFeatures
from ..model.prepared import Prepared, repeat_prepared
from ..model.windows import atoms_to_tokens, centred

FIRST_ESTIMATE_WEIGHT = 0.25
DISTOGRAM_WEIGHT = 0.03
LOG_SIGMA_MEAN = -1.2
LOG_SIGMA_SD = 1.4
CONTEXT_NOISE_ANGSTROM = 0.1


def aligned(target: Tensor, estimate: Tensor, mask: Tensor) -> Tensor:
    """Superpose frames on estimates of them (Kabsch 1976), without gradient.

    Parameters
    ----------
    target, estimate: Tensor [B, A, 3]
    mask: Tensor [1 or B, A]
        1 for atoms, 0 for padding.

    Returns
    -------
    Tensor [B, A, 3]
        The target, turned (never reflected) and moved onto the estimate.
    """
    with torch.no_grad():
        weight = mask.unsqueeze(-1).to(target)
        count = weight.sum(1, keepdim=True).clamp(min=1.0)
        center = (target * weight).sum(1, keepdim=True) / count
        goal = (estimate * weight).sum(1, keepdim=True) / count
        covariance = ((target - center) * weight).mT @ (estimate - goal)
        u, _, vh = torch.linalg.svd(covariance.double())
        last = torch.sign(torch.linalg.det(u @ vh))
        flip = torch.ones(len(last), 3, dtype=u.dtype, device=u.device)
        flip[:, 2] = torch.where(last == 0.0, 1.0, last)
        rotation = (u * flip.unsqueeze(1)) @ vh
        return (target - center) @ rotation.to(target) + goal


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
        Frames, angstrom, centred. An invariant decoder is equivariant under rotation and needs
        nothing else. For a Cartesian one, frames are turned at random, and the error is that
        after superposition (AF3 section 3.7.1).
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
    if model.mirrors:
        noisy = x + sigma.reshape(-1, 1, 1) * centred(noise, features)
        # As in sampling: the network sees every frame as a right-handed one.
        turn = hand(noisy, features)
        noisy, x = turn * noisy, turn * x
    else:
        x = x @ rotation_from_normals(torch.randn(batch, 4, generator=generator).to(x)).mT
        noisy = x + sigma.reshape(-1, 1, 1) * noise
    estimates = model.diffusion.estimates(noisy, sigma, repeat_prepared(prepared, levels), features)
    weight = (sigma**2 + sd**2) / (sigma * sd) ** 2
    mask = features.atom_mask.to(x)
    total = x.new_zeros([])
    for i, estimate in enumerate(estimates):
        goal = x if model.mirrors else aligned(x, estimate, mask)
        square = ((estimate - goal) ** 2).mean(-1) * mask
        error = (weight * square.sum(1) / mask.sum(1)).mean()
        total = total + (1.0 if i == len(estimates) - 1 else FIRST_ESTIMATE_WEIGHT) * error
    return total


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
    features: ModelFeatures
        Of one molecule, without padding.

    Returns
    -------
    dict[str, Tensor]
        Scalars: ``loss`` (the sum that is minimised), ``denoising``, ``distogram``.
    """
    jumps, batch = lag_ps.shape
    tokens = features.token_mask.shape[1]
    h_s = positions.new_zeros(batch, tokens, model.c_s)
    h_z = positions.new_zeros(batch, tokens, tokens, model.c_z)
    latents_s: list[Tensor] = []
    latents_z: list[Tensor] = []
    for step in range(jumps):
        scale = torch.rand(batch, 1, 1, generator=generator).to(positions)
        jitter = torch.randn(positions[step].shape, generator=generator).to(positions)
        frame = positions[step] + CONTEXT_NOISE_ANGSTROM * scale * jitter
        h_s, h_z = model.encode(frame, h_s, h_z, context, features)
        h_s, h_z = model.advance(
            h_s, h_z, lag_ps[step], temperature_kelvin[step], context, features
        )
        latents_s.append(h_s)
        latents_z.append(h_z)
    # One call of the decoder for the frames after all jumps.
    target = positions[1:].flatten(0, 1)
    latent_z = torch.cat(latents_z)
    prepared = model.prepare(torch.cat(latents_s), latent_z, context, features)
    denoising = denoising_loss(model, target, prepared, features, levels, generator)
    logits = model.distogram(latent_z)
    bins = distogram_target(atoms_to_tokens(target, features), logits.shape[-1])
    distogram = F.cross_entropy(logits.flatten(0, 2), bins.flatten())
    return {
        "loss": denoising + DISTOGRAM_WEIGHT * distogram,
        "denoising": denoising,
        "distogram": distogram,
    }
