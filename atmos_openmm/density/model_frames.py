"""Frames of a model, as material for a density."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import MIN_CHIRAL_VOLUME, chiral_volumes
from ..core.read_errors import first_line
from ..core.units import positions_in_nm
from .wrapped_normal import FloatArray

__all__ = [
    "ModelFrames",
    "Progress",
    "Propagator",
    "MeasuredTorsions",
    "draw_frames",
    "frames_in_nm",
]

Progress = Callable[[int, int], None]
"""Called with the frames that are there and their total."""

_CHAINS = 16
_FIRST_KEPT = 2  # jumps of each chain that only lead away from the start
_MOST_TRIES = 4  # proposals for each frame, before it is given up


class Propagator(Protocol):
    """What is asked of a model that is bound to a molecule, such as `AtmosPropagator`."""

    def propagate(self, positions: Any, lag: Any, temperature: Any, *, attempt: Any) -> Any: ...

    def checkedLag(self, lag: Any = None) -> float: ...

    def checkedTemperature(self, temperature: Any = None) -> float: ...

    def fingerprint(self) -> str: ...


class MeasuredTorsions(Protocol):
    """What is asked of a molecule's torsions, such as those of `find_torsions`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def block_sizes(self) -> tuple[int, ...]: ...

    @property
    def previous(self) -> tuple[int, ...]: ...

    @property
    def backbone(self) -> NDArray[np.bool_]: ...

    def measure(self, positions_nm: FloatArray) -> FloatArray: ...


@dataclass(frozen=True)
class ModelFrames:
    """Torsions of a model's frames.

    Attributes
    ----------
    angles : float64 array [F, T]
    trajectories : tuple of int
        Frames of each chain, one after the other.
    refused : int
        Proposals that were left out.
    """

    angles: FloatArray
    trajectories: tuple[int, ...]
    refused: int


def frames_in_nm(positions: Any) -> FloatArray:
    """Frames [F, P, 3] in nm of an array or Quantity of one frame or several.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    if isinstance(positions, np.ndarray):
        x = np.array(positions, dtype=np.float64)
    else:
        x = positions_in_nm(positions)
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or x.shape[-1] != 3 or len(x) == 0:
        raise ValueError(f"positions have shape {list(x.shape)}; expected [frames, particles, 3].")
    return x


def draw_frames(
    propagator: Propagator,
    torsions: MeasuredTorsions,
    positions_nm: FloatArray,
    lag_ps: float,
    temperature_k: float,
    frames: int,
    progress: Progress | None = None,
) -> ModelFrames:
    """Let chains of jumps run from the starting frames, and measure their torsions.

    Proposals that are not finite, or of wrong handedness as far as the propagator has a screen,
    are left out, and their chain goes on from where it was.

    Parameters
    ----------
    propagator : Propagator
    torsions : MeasuredTorsions
    positions_nm : float64 array [F, P, 3]
        Starting frames, dealt out among the chains.
    lag_ps, temperature_k : float
    frames : int
        How many frames are wanted, at least.
    progress : callable, optional

    Raises
    ------
    ValueError
        If no frame is asked for.
    RuntimeError
        If the model's proposals are of no use.
    """
    if frames < 1:
        raise ValueError(f"frames is {frames}; at least 1 is needed.")
    chains = min(_CHAINS, frames)
    jumps = math.ceil(frames / chains)
    at = positions_nm[np.arange(chains) % len(positions_nm)].copy()
    usable = _Handedness(propagator)
    kept: list[list[FloatArray]] = [[] for _ in range(chains)]
    made = np.zeros(chains, dtype=np.int64)
    attempt, refused = 0, 0
    last = "they were of wrong handedness"
    for _ in range(_MOST_TRIES * (jumps + _FIRST_KEPT)):
        waiting = np.flatnonzero(made < jumps + _FIRST_KEPT)
        if len(waiting) == 0:
            break
        proposed, problem = _propose(propagator, at[waiting], lag_ps, temperature_k, attempt)
        last = problem or last
        attempt += len(waiting)
        good = usable(proposed)
        refused += int((~good).sum())
        at[waiting[good]] = proposed[good]
        made[waiting[good]] += 1
        angles = torsions.measure(proposed[good]) if good.any() else np.zeros((0, 0))
        for chain, row in zip(waiting[good], angles, strict=True):
            if made[chain] > _FIRST_KEPT:
                kept[chain].append(row)
        if progress is not None:
            progress(min(sum(map(len, kept)), frames), frames)
    rows = [np.array(chain) for chain in kept if chain]
    if (made < jumps + _FIRST_KEPT).any():
        raise RuntimeError(
            f"{refused} of {attempt} frames that the model proposed are of no use ({last}). Check "
            "the starting positions, and that the model is made for this molecule."
        )
    return ModelFrames(np.concatenate(rows), tuple(len(chain) for chain in rows), refused)


def _propose(
    propagator: Propagator, at: FloatArray, lag_ps: float, temperature_k: float, attempt: int
) -> tuple[FloatArray, str]:
    """A proposal from each frame, NaN where it failed, and what the last failure said."""

    def ask(part: FloatArray, number: int) -> FloatArray:
        return positions_in_nm(propagator.propagate(part, lag_ps, temperature_k, attempt=number))

    try:
        return ask(at, attempt), ""
    except RuntimeError:
        # One that is not finite makes the whole batch fail.
        out, problem = np.full_like(at, np.nan), ""
        for k in range(len(at)):
            try:
                out[k] = ask(at[k : k + 1], attempt + k)[0]
            except RuntimeError as error:
                problem = first_line(error)
        return out, problem


class _Handedness:
    """Tells which frames are finite and keep the handedness that the propagator's screen knows."""

    def __init__(self, propagator: Any) -> None:
        screen = propagator.getScreen() if hasattr(propagator, "getScreen") else None
        self._atoms: Sequence[int] = getattr(propagator, "atomIndices", ())
        self._centers = np.asarray(getattr(screen, "chiral_centers", ()), dtype=np.int64)
        self._signs = np.asarray(getattr(screen, "chiral_signs", ()), dtype=np.float64)

    def __call__(self, frames: FloatArray) -> NDArray[np.bool_]:
        good = np.isfinite(frames).all(axis=(1, 2))
        if len(self._centers):
            volumes = chiral_volumes(frames[:, list(self._atoms)], self._centers) * self._signs
            # NaN where atoms coincide fails too.
            good &= (volumes >= MIN_CHIRAL_VOLUME).all(axis=1)
        return np.asarray(good)
