"""Noise on frames: of the decoder's levels, and on frames that are encoded."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "LOG_SIGMA_MEAN",
    "LOG_SIGMA_SD",
    "DecoderNoise",
    "draw_decoder_noise",
    "edm_weight",
    "nearest_seen",
    "noise_levels",
    "noisy_frames",
]

LOG_SIGMA_MEAN = -1.2
LOG_SIGMA_SD = 1.5
"""Levels are ``sigma_data exp(-1.2 + 1.5 n)`` (AF3 section 3.7.1), for both configurations: the
weights that the Cartesian one inherits were trained with these, and two of these standard
deviations reach the levels at which the invariant one's sampler begins and ends (10 and 0.03
angstrom at 2 angstrom of data)."""

BOND_ANGSTROM = 1.5
"""Step of the random walk from a seen atom to one that was not."""


class DecoderNoise(NamedTuple):
    """Standard normal numbers for M noisy frames of A atoms.

    Attributes
    ----------
    level : Tensor [M]
    atoms : Tensor [M, A, 3]
    motion : Tensor [M, 7]
        Of a rigid motion: a quaternion and a translation.
    """

    level: Tensor
    atoms: Tensor
    motion: Tensor


def draw_decoder_noise(
    frames: int, num_atoms: int, like: Tensor, generator: torch.Generator
) -> DecoderNoise:
    """Draw the noise of some frames from a CPU generator, so that every device has the same."""
    level = torch.randn(frames, generator=generator)
    atoms = torch.randn(frames, num_atoms, 3, generator=generator)
    motion = torch.randn(frames, 7, generator=generator)
    return DecoderNoise(level.to(like), atoms.to(like), motion.to(like))


def noise_levels(level: Tensor, sigma_data: float) -> Tensor:
    """Return noise levels in angstrom for standard normal numbers, log-normal as AF3 has them."""
    return sigma_data * torch.exp(LOG_SIGMA_MEAN + LOG_SIGMA_SD * level)


def edm_weight(sigma: Tensor, sigma_data: float) -> Tensor:
    """Return the weight of a square error at a noise level (Karras et al. 2022, Table 1).

    It makes the target of the preconditioned network of unit variance at every level. AF3's Eq. 6
    prints a sum where the product of the two has to be.
    """
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def nearest_seen(resolved: Tensor) -> Tensor:
    """Return the seen atom that is nearest in the order of atoms, a seen one itself [A] int64.

    Raises
    ------
    ValueError
        If no atom was seen; checked on CPUs only, since elsewhere the device would be waited for.
    """
    number = len(resolved)
    order = torch.arange(number, device=resolved.device)
    seen = resolved > 0.0
    if resolved.device.type == "cpu" and not bool(seen.any()):
        raise ValueError("No atom of the frame was seen; expected at least one in `resolved`.")
    before = torch.cummax(torch.where(seen, order, -2 * number), 0).values
    after = torch.cummin(torch.where(seen, order, 4 * number).flip(0), 0).values.flip(0)
    nearest = torch.where(order - before <= after - order, before, after)
    return nearest.clamp(0, number - 1)


def noisy_frames(x: Tensor, sigma: Tensor, noise: Tensor, resolved: Tensor) -> Tensor:
    """Add noise to frames, and put atoms that were not seen somewhere near.

    The network knows no missing atoms: it sees all of them, when it trains as when it samples.
    AF3 and Protenix add the noise to placeholders at one point, which leaves bonds stretched
    over the whole molecule and shows the network its point. Here an atom that was not seen is put
    where its nearest seen atom (in the order of atoms) stands with its noise on, plus noise of
    its own: that of the level, and that of a random walk of bonds of 1.5 angstrom along the
    order. So the neighbourhood looks like one of a molecule, and since nothing but the noisy
    frame and independent numbers enter, neither the placeholder nor anything that the network
    could not know is told.

    Parameters
    ----------
    x : Tensor [B, A, 3]
        Frames, angstrom; what stands for atoms that were not seen is not read.
    sigma : Tensor [B]
        Standard deviation of the noise, angstrom.
    noise : Tensor [B, A, 3]
        Standard normal numbers.
    resolved : Tensor [A]
        1 for atoms that were seen.

    Returns
    -------
    Tensor [B, A, 3]
    """
    level = sigma.reshape(-1, 1, 1)
    nearest = nearest_seen(resolved)
    gap = (torch.arange(len(nearest), device=nearest.device) - nearest).abs().to(x)
    noisy = (x + level * noise).index_select(1, nearest)
    spread = torch.sqrt(level**2 + (BOND_ANGSTROM**2 / 3.0 * gap).unsqueeze(-1))
    return noisy + torch.where((gap > 0.0).unsqueeze(-1), spread * noise, 0.0)
