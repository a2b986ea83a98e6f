"""One call of the bound module: frames centred, proposed and superposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import centroid, superpose
from .module_call import call_module, module_sizes
from .noise import proposal_noise

if TYPE_CHECKING:
    import torch

    from ..systems.fragments import Fragment


@dataclass(frozen=True, eq=False)
class ProposedFrames:
    """What the module answered for B frames of A atoms.

    Attributes
    ----------
    centred_nm : float32 [B, A, 3]
        As they were generated: relative to the centroid of the frame before, in any orientation.
    positions_nm : float64 [B, A, 3]
        Superposed on the frames before by a proper rotation; NaN for a frame that is not finite.
    states : float32 [B, S]
        The module's states after them.
    log_ratios : float32 [B]
        What it reports of its proposal density.
    """

    centred_nm: NDArray[np.float32]
    positions_nm: NDArray[np.float64]
    states: NDArray[np.float32]
    log_ratios: NDArray[np.float32]


def propose_frames(
    module: torch.jit.ScriptModule,
    before_nm: NDArray[np.float64],
    states: NDArray[np.float32],
    draws: Sequence[tuple[int, int]],
    lag_ps: float,
    temperature_k: float | Sequence[float],
    threads: int = 1,
    device: str = "cpu",
    fragments: Sequence[Fragment] = (),
) -> ProposedFrames:
    """Propose a next frame for each of B frames, in one call of the module.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        The bound module, on `device`.
    before_nm : float64 [B, A, 3]
        The module's atoms, in its order.
    states : float32 [B, S]
        The module's states; zeros for no history.
    draws : sequence of (seed, attempt), B
        Which noise each frame takes.
    lag_ps : float
        The same for all.
    temperature_k : float or sequence of float, B
        The same for all, or that of each.
    threads : int
        Threads of torch during the call.
    device : str
        The torch device.
    fragments : sequence of Fragment
        What moves where that is not all of the module's atoms.

    Raises
    ------
    RuntimeError
        If the module fails; see `call_module`.
    """
    size = module_sizes(module).noise_size
    # Frame by frame, so that no result depends on the company of a frame.
    centred = np.stack([frame - centroid(frame) for frame in before_nm]).astype(np.float32)
    noise = np.stack([proposal_noise(seed, attempt, size) for seed, attempt in draws])
    proposed, new_states, log_ratios = call_module(
        module, centred, states, noise, lag_ps, temperature_k, threads, device
    )
    positions = np.full(before_nm.shape, np.nan)
    for row in np.flatnonzero(np.isfinite(proposed).all(axis=(1, 2))):
        positions[row] = placed(proposed[row], before_nm[row], fragments)
    return ProposedFrames(proposed, positions, new_states, log_ratios)


def placed(
    frame_nm: NDArray[np.floating], before_nm: NDArray[np.float64], fragments: Sequence[Fragment]
) -> NDArray[np.float64]:
    """Put a frame [A, 3] in the place of the one before.

    As a whole, or fragment by fragment, each by its anchors, and all else left as it was.
    """
    if not fragments:
        return superpose(frame_nm, before_nm)
    result = before_nm.copy()
    for fragment in fragments:
        result[fragment.atoms] = superpose(frame_nm, before_nm, fragment.anchors)[fragment.atoms]
    return result
