"""What is asked of denoised frames: their error, their distances, their bonds."""

from __future__ import annotations

import torch
from torch import Tensor

from ...model.atmos import AtmosModel, hand, rotation_from_normals
from ...model.model_features import ModelFeatures
from ...model.prepared import Prepared, repeat_prepared
from ..batch import Batch
from ..training_settings import LossSettings
from .bond_loss import bond_loss
from .decoder_noise import DecoderNoise, edm_weight, noise_levels, noisy_frames
from .rigid_alignment import weighted_align
from .smooth_lddt import smooth_lddt_loss

__all__ = ["losses_of_noise"]


def losses_of_noise(
    model: AtmosModel,
    target: Tensor,
    noise: DecoderNoise,
    prepared: Prepared,
    batch: Batch,
    weights: LossSettings,
) -> dict[str, Tensor]:
    """Return the losses of denoised frames for given random numbers (AF3 supplement, Eq. 6).

    The denoiser runs in the precision of its parameters whatever autocast says, as Protenix's
    does: at the low levels a frame is told from its neighbours by less than bfloat16's eight bits
    leave of a coordinate.

    Parameters
    ----------
    target : Tensor [B, A, 3]
        Frames, angstrom, centred on the atoms that were seen.
    noise : DecoderNoise
        Of M frames, a multiple of B: those of the first frame come first.
    prepared : Prepared
        Of the decoder, for each frame.
    batch : Batch
        The molecule: which atoms were seen, which are ligands', and the bonds.
    weights : LossSettings

    Returns
    -------
    dict[str, Tensor]
        Scalars, means over frames and levels: ``denoising`` and ``first_estimate`` (EDM's weighted
        square error of coordinates, 1 for an untrained network), ``bond`` (with EDM's weights as
        well), ``smooth_lddt``, as far as their weights are above 0 (``first_estimate``: and the
        decoder has one); and ``loss``, the weighted sum. Atoms that were not seen have no part in
        any of them.
    """
    mask = batch.resolved.to(target)
    levels = len(noise.level) // len(target)
    with torch.autocast(target.device.type, enabled=False):
        x = torch.where(mask.unsqueeze(-1) > 0.0, target, 0.0).repeat_interleave(levels, 0)
        sigma = noise_levels(noise.level, model.diffusion.sigma_data)
        if model.mirrors:
            noisy, x = _right_handed(x, sigma, noise, mask, batch.features)
        else:
            noisy, x = _moved(x, sigma, noise, mask)
        repeated = repeat_prepared(_in_precision(prepared, target.dtype), levels)
        estimates = model.diffusion.estimates(noisy, sigma, repeated, batch.features)
        scale = edm_weight(sigma, model.diffusion.sigma_data)
        atom_weight = mask * (1.0 + (weights.ligand - 1.0) * batch.ligand.to(target))

        def square_error(estimate: Tensor) -> Tensor:
            # An invariant decoder is equivariant and knows the target's frame; a Cartesian one
            # is told nothing of the orientation, so none is asked of it.
            goal = x if model.mirrors else weighted_align(x, estimate, atom_weight.unsqueeze(0))
            square = ((estimate - goal) ** 2).mean(-1)
            return (scale * (atom_weight * square).sum(1) / mask.sum().clamp(min=1.0)).mean()

        terms: dict[str, Tensor] = {}
        if weights.denoising > 0.0:
            terms["denoising"] = square_error(estimates[-1])
        if weights.first_estimate > 0.0 and len(estimates) > 1:
            terms["first_estimate"] = square_error(estimates[0])
        if weights.bond > 0.0:
            terms["bond"] = (scale * bond_loss(estimates[-1], x, batch.bonds, mask)).mean()
        if weights.smooth_lddt > 0.0:
            terms["smooth_lddt"] = smooth_lddt_loss(estimates[-1], x, mask).mean()
        loss = target.new_zeros([])
        for name, value in terms.items():
            loss = loss + getattr(weights, name) * value
    return terms | {"loss": loss}


def _right_handed(
    x: Tensor, sigma: Tensor, noise: DecoderNoise, mask: Tensor, features: ModelFeatures
) -> tuple[Tensor, Tensor]:
    """Return noisy frames and their targets for the invariant decoder.

    Noise does not move the centre of the seen atoms, since the decoder starts from centred frames,
    and, as in sampling, it sees every frame as a right-handed one.
    """
    seen = mask.unsqueeze(-1)
    middle = (noise.atoms * seen).sum(1, keepdim=True) / mask.sum().clamp(min=1.0)
    noisy = noisy_frames(x, sigma, noise.atoms - middle * seen, mask)
    # The decoder takes the mean of all atoms for the centre, those included that were not seen.
    centre = noisy.mean(1, keepdim=True)
    turn = hand(noisy, features)
    return turn * (noisy - centre), turn * (x - centre)


def _moved(x: Tensor, sigma: Tensor, noise: DecoderNoise, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return noisy frames and their targets for the Cartesian decoder.

    Frames are turned at random and moved by 1 angstrom (AF3 supplement, Algorithm 19), as the
    sampler turns and moves them before each step.
    """
    turn = rotation_from_normals(noise.motion[:, :4])
    x = x @ turn.mT + noise.motion[:, 4:].unsqueeze(1)
    return noisy_frames(x, sigma, noise.atoms, mask), x


def _in_precision(prepared: Prepared, dtype: torch.dtype) -> Prepared:
    """Return the decoder's conditions in the precision of coordinates."""
    return Prepared(
        prepared.s.to(dtype),
        [bias.to(dtype) for bias in prepared.token_bias],
        prepared.c.to(dtype),
        [condition.to(dtype) for condition in prepared.atom_conditions],
        [part.to(dtype) for part in prepared.pair],
    )
