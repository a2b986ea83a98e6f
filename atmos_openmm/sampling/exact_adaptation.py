"""The stage before an exact run: its density is refitted to the walkers' own frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..jump.noise import walker_seed
from .exact_walker import ExactWalker, create_exact_walkers
from .hybrid_settings import Moves
from .run_mode import Sampled

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..systems.torsions import Torsions

#: Rounds, and how many cycles each has for one of the first: later ones have a better density.
_ROUNDS = (1, 2, 4)
#: Share of the first round that is left out: walkers come from where somebody put them.
_BURN_IN = 0.2
#: Steps between the seeds of these walkers and those of the run.
_ADAPTATION_STREAM = 2000003
#: Fewer frames than this are no ground for a density.
FEWEST_FRAMES = 40

Told = Callable[[int, int, float], None]
"""Called with the cycles that are made, their total, and the seconds it took."""


def adapt_density(
    walkers: list[ExactWalker],
    sampled: Sampled,
    moves: Moves,
    torsions: Torsions,
    density: TorsionDensity,
    told: Told | None = None,
) -> tuple[TorsionDensity, dict[str, Any]]:
    """Run short exact runs, and refit the density to their frames after each.

    Every fit is one of the density that was given, which keeps its basins, to all frames so far.
    The walkers that are handed in go to where the last run ended.

    Returns
    -------
    TorsionDensity, dict
        The density that counts, and what the rounds were like.

    Raises
    ------
    ValueError
        There are too few frames, or dynamics breaks down.
    """
    began = time.monotonic()
    total = moves.adapt
    if total * len(walkers) < FEWEST_FRAMES:
        raise ValueError(
            f"adapt is {total}: {total * len(walkers)} frames of all walkers are too few for a "
            f"density; at least {FEWEST_FRAMES} are needed."
        )
    bounds = np.round(np.cumsum([0, *_ROUNDS]) * total / sum(_ROUNDS)).astype(int).tolist()
    adapted, made = density, 0
    series: list[list[NDArray[np.float64]]] = [[] for _ in walkers]
    rounds: list[dict[str, Any]] = []
    before: list[ExactWalker] = walkers
    for number, (first, last) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        seed = walker_seed(sampled.plan.seed, _ADAPTATION_STREAM + number)
        plan = replace(sampled.plan, report=moves.interval, seed=seed)
        now = create_exact_walkers(replace(sampled, plan=plan), moves, torsions, adapted)
        for old, new in zip(before, now, strict=True):
            new.follow(old)
        for cycle in range(last - first):
            for walker in now:
                walker.run_cycle(cycle)
            made += 1
            if told is not None:
                told(made, total, time.monotonic() - began)
        for walker, frames in zip(now, series, strict=True):
            angles = walker.new_rows()[1]["torsions"].astype(np.float64)
            frames.append(angles if number else angles[int(_BURN_IN * len(angles)) :])
        chains = [np.concatenate(frames) for frames in series]
        adapted = density.adapt(
            np.concatenate(chains),
            trajectories=[len(chain) for chain in chains],
            backbone=torsions.backbone,
            seed=seed,
        )
        rounds.append({"cycles": last - first, "moves": _counts(now)})
        before = now
    for old, walker in zip(before, walkers, strict=True):
        walker.follow(old)
    return adapted, {"cycles": total, "seconds": time.monotonic() - began, "rounds": rounds}


def _counts(walkers: list[ExactWalker]) -> dict[str, list[int]]:
    """Proposed and accepted moves of all walkers by kind, of those that were tried."""
    found = [walker.statistics() for walker in walkers]
    totals = {kind: np.sum([each[kind] for each in found], axis=0).tolist() for kind in found[0]}
    return {kind: counts for kind, counts in totals.items() if counts[0]}
