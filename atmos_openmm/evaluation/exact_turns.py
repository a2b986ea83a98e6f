"""An exact run with a clock of its own, that goes on in turns with other runs on one machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..sampling.hybrid import HybridSampler


class ExactTurns:
    """Turns of an exact run; its clock begins with the making of its density.

    Parameters
    ----------
    began : float
        `time.perf_counter()` when the work on the density began.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._away = 0.0
        self._left: float | None = None
        self.cycle_seconds: list[float] = []

    @property
    def seconds(self) -> float:
        """What the run's clock shows."""
        now = time.perf_counter() if self._left is None else self._left
        return now - self._began - self._away

    def pause(self) -> None:
        """Stop the clock."""
        if self._left is None:
            self._left = time.perf_counter()

    def run(self, sampler: HybridSampler, until_seconds: float, least_cycles: int = 0) -> None:
        """Go on until the clock shows this time, and there are as many cycles; then stop the clock.

        Parameters
        ----------
        sampler : HybridSampler
            With acceptance "metropolis".
        until_seconds : float
        least_cycles : int
            Of the whole run.
        """
        if self._left is not None:
            self._away += time.perf_counter() - self._left
            self._left = None

        def after_cycle(state: Any) -> None:
            self.cycle_seconds.append(self.seconds)
            if self.cycle_seconds[-1] >= until_seconds and state.cycle >= least_cycles:
                sampler.stop()

        if self.seconds < until_seconds or sampler.cycle < least_cycles:
            sampler.run(cycles=2**31 - 1, progress=after_cycle)
            # The end of the turn, with its commit, belongs to it.
            if self.cycle_seconds:
                self.cycle_seconds[-1] = self.seconds
        self.pause()


@dataclass(frozen=True)
class ExactFrames:
    """Torsions of all walkers of an exact run, with times of its clock.

    Attributes
    ----------
    angles : float32 array [W, F, T]
        Radians.
    seconds : float64 array [F]
    """

    angles: NDArray[np.float32]
    seconds: NDArray[np.float64]


def read_exact_frames(folder: str | Path, turns: ExactTurns) -> ExactFrames:
    """Read what a run in turns wrote, with one frame a cycle."""
    from ..sampling.exact_storage import read_exact_run

    angles = read_exact_run(folder).torsions()
    return ExactFrames(angles, np.array(turns.cycle_seconds)[: angles.shape[1]])
