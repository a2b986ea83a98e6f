"""Log likelihoods of torsions under the mixtures of the torsion head."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...density.torsion_density import DEFAULT_UNIFORM_WEIGHT
from ...model.torsion_features import TorsionFeatures
from ...model.torsion_head import TorsionMixture, with_offset

__all__ = ["block_log_likelihoods", "torsion_loss"]

TWO_PI = 2.0 * math.pi


def block_log_likelihoods(
    mixture: TorsionMixture,
    torsions: TorsionFeatures,
    target: Tensor,
    present: Tensor,
    uniform_weight: float = DEFAULT_UNIFORM_WEIGHT,
) -> Tensor:
    """Return logs of the density of each block, four ways.

    Of the images of a wrapped normal only the nearest counts: with the head's bound on standard
    deviations the others hold less than 1e-5 of the weight, and what is returned is a bound from
    below.

    Parameters
    ----------
    mixture : TorsionMixture
        Of B frames.
    torsions : TorsionFeatures
        Of one molecule, or of B.
    target, present : Tensor [B, T]
        Torsions whose density is asked for, gates included, and the local component's centres.
    uniform_weight : float
        Share of the uniform part.

    Returns
    -------
    Tensor [4, B, R]
        Sequential and conditional gates without the local component, then both with it. Zero for
        blocks of padding.
    """
    mask = torsions.member_mask.to(target.dtype)
    size = mask.sum(-1)
    terms = _component_terms(mixture, torsions, target, present, mask)
    angles = _of(target, torsions.gates)
    inputs = torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1).flatten(-2)
    inputs = torch.cat([torch.ones_like(inputs[..., :1]), inputs], dim=-1)
    inputs = inputs * with_offset(torsions.gate_mask.to(target.dtype))
    logits = [(gate * inputs.unsqueeze(2)).sum(-1) for gate in mixture[2:]]
    rest = math.log1p(-uniform_weight)
    flat = math.log(uniform_weight) - size * math.log(TWO_PI)
    found = []
    for lasting in (True, False):
        for logit in logits:
            stop = logit.shape[-1] - int(lasting)
            weights = torch.log_softmax(logit[..., :stop], dim=-1)
            mixed = torch.logsumexp(weights + terms[..., :stop], dim=-1) + rest
            found.append(torch.logaddexp(mixed, flat.expand_as(mixed)) * (size > 0.0))
    return torch.stack(found)


def _component_terms(
    mixture: TorsionMixture,
    torsions: TorsionFeatures,
    target: Tensor,
    present: Tensor,
    mask: Tensor,
) -> Tensor:
    """Return logs of the normal densities of all components [B, R, K + 1]."""
    centres = torch.cat([mixture.means, _of(present, torsions.members).unsqueeze(2)], dim=2)
    delta = _of(target, torsions.members).unsqueeze(2) - centres
    delta = (delta - TWO_PI * torch.round(delta.detach() / TWO_PI)) * mask.unsqueeze(2)
    z = torch.linalg.solve_triangular(mixture.factors, delta.unsqueeze(-1), upper=False)
    log_scale = torch.diagonal(mixture.factors, dim1=-2, dim2=-1).log().sum(-1)
    offset = 0.5 * math.log(TWO_PI) * mask.sum(-1)
    return -0.5 * z.squeeze(-1).square().sum(-1) - log_scale - offset.unsqueeze(-1)


def _of(angles: Tensor, index: Tensor) -> Tensor:
    """Pick torsions [B, T] by an index [1 or B, R, D]: [B, R, D]."""
    flat = index.flatten(1).expand(angles.shape[0], -1)
    return torch.gather(angles, 1, flat).unflatten(1, index.shape[1:])


def torsion_loss(
    mixture: TorsionMixture,
    torsions: TorsionFeatures,
    target: Tensor,
    present: Tensor | None,
    resolved: Tensor,
) -> Tensor:
    """Return what the head is trained for: minus the log likelihood a torsion, in nats.

    The mean of four: the joint density (blocks in turn), each block given all others, and, from
    where a frame was a lag before, both with the local component.

    Parameters
    ----------
    mixture, torsions
        See :func:`block_log_likelihoods`; of one molecule.
    target : Tensor [B, T]
        Torsions of the frames that the lag leads to.
    present : Tensor [B, T], optional
        Those a lag before; None for structures without time, which train the first two alone.
    resolved : Tensor [A]
        1 for atoms that were seen; blocks with others have no part in it, gates on others are off.
    """
    seen = (resolved[torsions.atoms] > 0.0).all(-1).to(target.dtype)  # [1, T]
    gates = torsions.gate_mask * _of(seen, torsions.gates)
    whole = torch.where(torsions.member_mask > 0.0, _of(seen, torsions.members), 1.0).amin(-1)
    members = torsions.member_mask * whole.unsqueeze(-1)
    torsions = torsions._replace(gate_mask=gates, member_mask=members)
    start = target if present is None else present
    logs = block_log_likelihoods(mixture, torsions, target, start)
    if present is None:
        logs = logs[:2]
    count = members.sum().clamp(min=1.0)
    return -logs.sum(-1).mean() / count
