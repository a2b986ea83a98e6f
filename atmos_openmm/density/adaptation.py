"""A density refitted to a chain's own frames, with a floor under what the earlier one knew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from .block_density import BlockDensity
from .gate_fit import harmonics
from .mixture_fit import Mixture, bounded
from .wrapped_normal import FloatArray, wrap

__all__ = ["adapt_block", "widened"]

_DRAWS = 64  # of an earlier component, to see whether the new density has it


def widened(block: BlockDensity, factor: float) -> BlockDensity:
    """A block whose covariances are larger by a factor, within their bounds."""
    return replace(block, covariances=bounded(block.covariances * factor))


def adapt_block(
    old: BlockDensity,
    new: BlockDensity,
    torsions: FloatArray,
    counts: FloatArray,
    floor: float,
    seed: int,
) -> BlockDensity:
    """Add to a new block what the old one had and the new one lost.

    Component k of the old block, of weight w_k, is due ``floor (w_k + 1 / K) / 2``. It is added
    with that weight unless the new block has at least as much density where it is.

    Parameters
    ----------
    old, new : BlockDensity
    torsions : float64 array [F, T]
        Frames over which the weights of gated blocks are averaged.
    counts : float64 array [F]
    floor : float
        Weight of all old components together.
    seed : int
        Of the draws that look for lost components.
    """
    if len(old.means) == 0 or floor == 0.0:
        return new
    average = _average_weights(old, torsions, counts)
    due = 0.5 * floor * (average + 1.0 / len(average))
    present = Mixture(_average_weights(new, torsions, counts), new.means, new.covariances)
    lost = _lost(Mixture(due, old.means, old.covariances), present, seed)
    if not lost.any():
        return new
    due = due[lost]
    features = harmonics(torsions[:, new.gate_torsions])
    tables = []
    for table in (new.sequential, new.conditional):
        kept = _normalised(table, features)
        kept[:, 0] += np.log1p(-due.sum())
        added = np.zeros((len(due), kept.shape[1]))
        added[:, 0] = np.log(due)
        tables.append(np.concatenate([kept, added]))
    return BlockDensity(
        np.concatenate([new.means, old.means[lost]]),
        np.concatenate([new.covariances, old.covariances[lost]]),
        new.gate_torsions,
        tables[0],
        tables[1],
    )


def _average_weights(block: BlockDensity, torsions: FloatArray, counts: FloatArray) -> FloatArray:
    weights = np.exp(block.log_weights(torsions, "conditional", local=False))
    return np.asarray(weights @ counts / counts.sum())


def _lost(due: Mixture, present: Mixture, seed: int) -> NDArray[np.bool_]:
    """Which components have more density by what is due to them than all that is present."""
    count, size = due.means.shape
    generator = np.random.default_rng(seed)
    normals = generator.standard_normal((count, _DRAWS, size))
    moved = normals @ np.swapaxes(np.linalg.cholesky(due.covariances), 1, 2)
    draws = wrap(due.means[:, None] + moved).reshape(-1, size)
    own = due.log_kernels(draws).reshape(count, count, _DRAWS)[range(count), range(count)]
    others = logsumexp(present.log_kernels(draws) + np.log(present.weights)[:, None], axis=0)
    missing = own + np.log(due.weights)[:, None] - others.reshape(count, _DRAWS)
    return np.asarray(missing.mean(axis=1) > 0.0)


def _normalised(table: FloatArray, features: FloatArray) -> FloatArray:
    """Gates with the same softmax whose exponentials sum to about 1 in all frames.

    So that logits of further components are logs of their weights. The sum's log is taken off as
    far as it is a function of the same features.
    """
    used = np.flatnonzero((table != 0).any(axis=0) | (np.arange(table.shape[1]) == 0))
    total = logsumexp(table @ features, axis=0)
    fit = np.linalg.lstsq(features[used].T, total, rcond=None)[0]
    out = table.copy()
    out[:, used] -= fit
    return out
