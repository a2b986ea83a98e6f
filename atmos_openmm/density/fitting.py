"""Fitting the blocks of a density to frames; held-out likelihood decides on size and gates.

Neighbouring frames of a trajectory are alike, so pieces of time are held out, not single frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .block_density import BlockDensity
from .gate_fit import fit_gates, gated_log_density, harmonics
from .layout import block_slices
from .mixture_fit import Mixture, effective_counts, fit_mixture
from .wrapped_normal import FloatArray

__all__ = ["DEFAULT_MAX_COMPONENTS", "Frames", "fit_blocks", "prepare_frames"]

DEFAULT_MAX_COMPONENTS = 24

SIZES = (1, 2, 3, 4, 6, 8, 11, 15, 20, 26, 34, 44)
"""Numbers of components that are tried, in turn."""

_FOLDS = 3
_PIECES = 24  # of time, about, in all frames
_STARTS = 2  # of the final fit
_PATIENCE = 2  # sizes without a gain after which no larger one is tried


@dataclass(frozen=True)
class Frames:
    """What a density is fitted to.

    Attributes
    ----------
    angles : float64 array [F, T]
    counts : float64 array [F]
        How many independent frames each one stands for.
    pieces : int64 array [F]
        The piece of time that a frame belongs to, counted from 0.
    """

    angles: FloatArray
    counts: FloatArray
    pieces: NDArray[np.int64]


def prepare_frames(
    angles: ArrayLike,
    torsions: int,
    weights: ArrayLike | None = None,
    trajectories: Sequence[int] | None = None,
) -> Frames:
    """Check frames and cut their trajectories into pieces of time.

    Raises
    ------
    ValueError
        If there are no frames, or numbers, shapes or lengths are wrong.
    """
    t = np.array(angles, dtype=np.float64)
    if t.ndim != 2 or t.shape[1] != torsions or len(t) == 0:
        raise ValueError(
            f"angles have shape {list(t.shape)}; expected [frames, {torsions}] with at least one "
            "frame."
        )
    bad = np.flatnonzero(~np.isfinite(t).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} of {len(t)} frames hold angles that are not finite, first number "
            f"{bad[0]}. Leave them out."
        )
    lengths = [len(t)] if trajectories is None else [int(n) for n in trajectories]
    if sum(lengths) != len(t) or any(n < 1 for n in lengths):
        raise ValueError(
            f"trajectories {lengths} must be positive numbers of frames that sum to {len(t)}."
        )
    return Frames(t, effective_counts(weights, len(t)), time_pieces(lengths))


def time_pieces(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Contiguous pieces, of about equal length and each within one trajectory, as numbers [F]."""
    longest = max(1, sum(lengths) // _PIECES)
    out: list[NDArray[np.int64]] = []
    number = 0
    for length in lengths:
        count = -(-length // longest)
        out.append(number + np.arange(length) * count // length)
        number += count
    return np.concatenate(out)


def fit_blocks(
    frames: Frames,
    block_sizes: Sequence[int],
    neighbours: Sequence[tuple[list[int], list[int]]],
    uniform_weight: float,
    seed: int,
    max_components: int,
) -> tuple[BlockDensity, ...]:
    """Fit each block.

    Parameters
    ----------
    frames : Frames
    block_sizes : sequence of int
    neighbours : sequence of two lists of int
        For each block the torsions of the block before and of those after that its gates may
        depend on.
    uniform_weight : float
    seed : int
    max_components : int
    """
    if max_components < 1:
        raise ValueError(f"max_components is {max_components}; at least 1 is needed.")
    return tuple(
        _fit_block(frames, where, *near, uniform_weight, seed, max_components)
        for where, near in zip(block_slices(block_sizes), neighbours, strict=True)
    )


@dataclass(frozen=True)
class _Fold:
    """A mixture that was fitted without the frames that it is scored on."""

    train: NDArray[np.bool_]
    mixture: Mixture
    log_kernels: FloatArray  # of all frames


def _fit_block(
    frames: Frames,
    where: slice,
    before: list[int],
    after: list[int],
    uniform_weight: float,
    seed: int,
    max_components: int,
) -> BlockDensity:
    block = _Block(frames, where, uniform_weight, seed)
    folds, components = block.choose_size(max_components)
    whole = fit_mixture(
        block.angles, frames.counts, components, uniform_weight, seed, starts=_STARTS
    )
    sequential = block.choose_gates(folds, [before])
    conditional = block.choose_gates(folds, [before + after, before, after])
    used = [t for t in before + after if t in sequential or t in conditional]
    log_kernels = whole.log_kernels(block.angles)
    tables = []
    for chosen in (sequential, conditional):
        table = np.zeros((components, 1 + 2 * len(used)))
        table[:, 0] = np.log(whole.weights)
        if chosen:
            gates = block.gates(whole, log_kernels, chosen)
            table[:, 0] = gates[:, 0]
            for g, torsion in enumerate(chosen):
                at = 1 + 2 * used.index(torsion)
                table[:, at : at + 2] = gates[:, 1 + 2 * g : 3 + 2 * g]
        tables.append(table)
    return BlockDensity(
        whole.means, whole.covariances, np.array(used, dtype=np.int64), tables[0], tables[1]
    )


class _Block:
    """One block's frames, and the choices that held-out likelihood makes."""

    def __init__(self, frames: Frames, where: slice, uniform_weight: float, seed: int) -> None:
        self.frames, self.angles = frames, np.ascontiguousarray(frames.angles[:, where])
        self.uniform_weight, self.seed = uniform_weight, seed
        self.size = self.angles.shape[1]
        fold = frames.pieces % _FOLDS
        parts = [fold != k for k in range(_FOLDS)]
        self.training = [p for p in parts if frames.counts[p].any() and frames.counts[~p].any()]

    def choose_size(self, most: int) -> tuple[list[_Fold], int]:
        """The number of components of highest held-out likelihood, and its fits."""
        best: tuple[float, list[_Fold], int] = (-np.inf, [], 1)
        since = 0
        for components in [n for n in SIZES if n <= most]:
            folds = [self._fold(train, components) for train in self.training]
            score = self._mean(self._held_out(folds, [None] * len(folds), []))
            if score > best[0]:
                best, since = (score, folds, components), 0
            else:
                since += 1
            if since == _PATIENCE or not folds:
                break
        return best[1], best[2]

    def choose_gates(self, folds: list[_Fold], options: list[list[int]]) -> list[int]:
        """The torsions among `options` whose gates gain most; none unless beyond the noise."""
        if not folds or len(folds[0].mixture.weights) == 1:
            return []
        plain = self._held_out(folds, [None] * len(folds), [])
        best: tuple[float, list[int]] = (0.0, [])
        tried: list[list[int]] = []
        for option in options:
            if not option or option in tried:
                continue
            tried.append(option)
            tables = [self.gates(f.mixture, f.log_kernels, option, f.train) for f in folds]
            gain = self._held_out(folds, tables, option) - plain
            mean = self._mean(gain)
            if mean > max(best[0], self._error(gain)):
                best = (mean, option)
        return best[1]

    def gates(
        self,
        mixture: Mixture,
        log_kernels: FloatArray,
        torsions: list[int],
        train: NDArray[np.bool_] | slice = slice(None),
    ) -> FloatArray:
        """Gates [K, 1 + 2 G] on some torsions for the components of a mixture."""
        return fit_gates(
            mixture.weights,
            log_kernels[:, train],
            harmonics(self.frames.angles[train][:, torsions]),
            self.frames.counts[train],
            self.size,
            self.uniform_weight,
        )

    def _fold(self, train: NDArray[np.bool_], components: int) -> _Fold:
        mixture = fit_mixture(
            self.angles[train],
            self.frames.counts[train],
            components,
            self.uniform_weight,
            self.seed,
        )
        return _Fold(train, mixture, mixture.log_kernels(self.angles))

    def _held_out(
        self, folds: list[_Fold], tables: Sequence[FloatArray | None], torsions: list[int]
    ) -> FloatArray:
        """Log density [F] of each frame by the fit that has not seen it."""
        features = harmonics(self.frames.angles[:, torsions])
        out = np.zeros(len(self.angles))
        for fold, table in zip(folds, tables, strict=True):
            gates = np.log(fold.mixture.weights)[:, None] if table is None else table
            held = ~fold.train
            out[held] = gated_log_density(
                gates,
                fold.log_kernels[:, held],
                features[: gates.shape[1], held],
                self.size,
                self.uniform_weight,
            )
        return out

    def _mean(self, values: FloatArray) -> float:
        return float(self.frames.counts @ values / self.frames.counts.sum())

    def _error(self, values: FloatArray) -> float:
        """Standard error of the mean, from the spread among pieces of time."""
        counts, pieces = self.frames.counts, self.frames.pieces
        deviations = np.bincount(pieces, counts * (values - self._mean(values)))
        return float(np.sqrt((deviations**2).sum()) / counts.sum())
