"""Cross entropy of the distances that the latent tells."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.distogram import distogram_target

__all__ = ["distogram_loss"]


def distogram_loss(logits: Tensor, centres: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross entropy of distance bins over pairs of known tokens.

    AF2 supplement 1.9.8, which AF3 takes over with a representative atom a token; a token and
    itself are a pair, as there. The bins are those of
    :func:`~atmos_openmm.model.distogram.distogram_target`.

    Parameters
    ----------
    logits : Tensor [B, N, N, bins]
    centres : Tensor [B, N, 3]
        Representative atoms, angstrom.
    known : Tensor [N]
        1 for tokens whose representative atom was seen.

    Returns
    -------
    Tensor
        Scalar in nats, float32 (float64 for float64) whatever autocast says; 0 without known
        tokens.
    """
    with torch.autocast(logits.device.type, enabled=False):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        bins = distogram_target(centres.to(dtype), logits.shape[-1])
        entropy = F.cross_entropy(
            logits.to(dtype).flatten(0, 2), bins.flatten(), reduction="none"
        ).view(bins.shape)
        seen = known.to(dtype)
        pairs = seen.unsqueeze(0) * seen.unsqueeze(1)
        return (pairs * entropy).sum() / (len(bins) * pairs.sum()).clamp(min=1.0)
