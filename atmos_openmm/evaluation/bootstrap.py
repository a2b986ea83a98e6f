"""Error bars: resampling of contiguous blocks, so that correlated frames do not count as many.

Kuensch, Ann. Stat. 17, 1217 (1989). The blocks of a trajectory are drawn with replacement and the
metric is computed anew of each draw; the standard deviation over the draws is the error. Blocks
shorter than the correlation time make it too small, which no resampling of one trajectory can
heal: replicas can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .ensemble import Ensemble

__all__ = ["BLOCKS", "RESAMPLES", "block_bootstrap", "resampled"]

BLOCKS = 10
RESAMPLES = 20
SEED = 137


def resampled(ensemble: Ensemble, random: np.random.Generator) -> Ensemble:
    """An ensemble of as many blocks, drawn with replacement; a drawn block is a segment."""
    pieces = ensemble.pieces(BLOCKS)
    drawn = np.sort(random.integers(0, len(pieces), len(pieces)))
    return ensemble.with_segments([segment for k in drawn for segment in pieces[k]])


def block_bootstrap(
    compute: Callable[[Ensemble], Mapping[str, float]],
    ensemble: Ensemble,
    resamples: int = RESAMPLES,
) -> dict[str, float]:
    """Standard error of each value that `compute` gives.

    Parameters
    ----------
    compute : callable
        From an ensemble to values by name.
    ensemble : Ensemble
    resamples : int
        Draws; 0 gives NaN for every value.

    Returns
    -------
    dict of str to float
        Standard deviations over the draws; NaN where fewer than half of them gave a number.
    """
    random = np.random.default_rng(SEED)
    draws = [compute(resampled(ensemble, random)) for _ in range(resamples)]
    names = draws[0] if draws else compute(ensemble)
    errors = {}
    for name in names:
        values = np.array([draw.get(name, np.nan) for draw in draws], dtype=np.float64)
        values = values[np.isfinite(values)]
        enough = len(values) >= max(2, resamples // 2)
        errors[name] = float(values.std(ddof=1)) if enough else float("nan")
    return errors
