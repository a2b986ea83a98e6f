"""What a rollout says about itself: the progress line, and the table at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.progress import duration
from .layout import failures, nanoseconds, seconds_left, share, table

if TYPE_CHECKING:
    from .rollout_state import RolloutState


@dataclass(frozen=True)
class RolloutProgress:
    """A rollout after an attempt at a frame.

    Attributes
    ----------
    frame, frames : int
        frames that every walker has, and when the rollout ends
    walkers : int
        number of walkers
    reasons : Counter
        attempts by verdict, in this process and before
    largest_h : float
        largest component of any latent so far, in absolute value
    lag_ps : float
        learned time between frames
    elapsed_s : float
        wall-clock time of this process in the rollout's loop
    new_frames : int
        frames that every walker got in this process
    """

    frame: int
    frames: int
    walkers: int
    reasons: Counter[str]
    largest_h: float
    lag_ps: float
    elapsed_s: float
    new_frames: int

    @property
    def remaining_s(self) -> float:
        """Estimated time to the end; NaN while nothing is known."""
        return seconds_left(self.frames - self.frame, self.new_frames, self.elapsed_s)

    def line(self) -> str:
        """One line for the terminal."""
        parts = [f"frame {self.frame}/{self.frames}"]
        attempts = sum(self.reasons.values())
        if attempts:
            parts.append(f"passed {100 * self.reasons['accepted'] / attempts:.0f} % of {attempts}")
        failed = failures(self.reasons)
        if failed:
            parts.append(f"failed: {failed}")
        parts.append(f"learned {nanoseconds(self.frame * self.lag_ps)}")
        parts.append(f"largest |h| {self.largest_h:.3g}")
        if self.new_frames:
            parts.append(f"{self.elapsed_s / self.new_frames:.2g} s/frame")
        parts.append(f"ETA {duration(self.remaining_s)}")
        return "  ".join(parts)


@dataclass(frozen=True)
class RolloutSummary:
    """What a rollout has come to.

    Attributes
    ----------
    frames, walkers : int
        frames that every walker has; number of walkers
    reasons : Counter
        attempts by verdict; those of frames that were not written included
    written : int
        frames in all trajectories together
    lag_ps, learned_ps : float
        learned time between frames, and of each walker in all
    mean_rmsd_nm : float
        mean RMSD between frames that follow each other; NaN without frames
    largest_h : float
        largest component of any latent, in absolute value
    walltime_s : float
        of all processes that worked on the rollout
    complete : bool
        whether every walker has the frames that were asked for
    message : str
        where not: why
    """

    frames: int
    walkers: int
    reasons: Counter[str]
    written: int
    lag_ps: float
    learned_ps: float
    mean_rmsd_nm: float
    largest_h: float
    walltime_s: float
    complete: bool = True
    message: str = ""

    @property
    def attempts(self) -> int:
        """Frames proposed, written or not."""
        return sum(self.reasons.values())

    @property
    def valid(self) -> int:
        """Frames written that pass the screen."""
        return self.reasons["accepted"]

    def __str__(self) -> str:
        rows = [
            ("walkers x frames", f"{self.walkers} x {self.frames}"),
            ("lag", f"{self.lag_ps:g} ps"),
            ("learned time of each", nanoseconds(self.learned_ps)),
            ("wall-clock time", duration(self.walltime_s)),
            ("frames written", f"{self.written} ({self.valid} pass the screen)"),
            ("frames proposed", f"{self.attempts}"),
        ]
        for name, count in self.reasons.most_common():
            if name != "accepted" and count:
                rows.append(share(name, count, self.attempts))
        if math.isfinite(self.mean_rmsd_nm):
            rows.append(("mean RMSD to the frame before", f"{self.mean_rmsd_nm:.4f} nm"))
        rows.append(("largest |h| of the latent", f"{self.largest_h:.4f}"))
        return table(rows, self.message)


def summarize_rollout(
    state: RolloutState,
    frames: int,
    *,
    lag_ps: float,
    on_invalid: str,
    limit: int,
    last_failures: Sequence[str],
) -> RolloutSummary:
    """Sum up a rollout after a call of `run()`.

    Parameters
    ----------
    state : RolloutState
        where it is
    frames : int
        frames that were asked for
    lag_ps : float
        learned time between frames
    on_invalid : str
        "retry", "keep" or "stop"
    limit : int
        failed attempts at a frame after which it ends
    last_failures : sequence of W str
        what was wrong with the last failed attempt of each walker
    """
    done, written = int(state.frames.min()), int(state.frames.sum())
    message = ""
    if done < frames:
        message = f"Stopped at frame {done} of {frames}. Run the same command again to go on."
        stuck = np.flatnonzero(state.failures >= limit)
        if len(stuck):
            walker = int(stuck[0])
            frame = int(state.frames[walker])
            message = _why_ended(walker, frame, last_failures[walker], on_invalid, limit)
    return RolloutSummary(
        frames=done,
        walkers=len(state.frames),
        reasons=Counter(state.reasons),
        written=written,
        lag_ps=lag_ps,
        learned_ps=lag_ps * done,
        mean_rmsd_nm=state.rmsd_sum_nm / written if written else math.nan,
        largest_h=state.largest_h,
        walltime_s=state.walltime_s,
        complete=done >= frames,
        message=message,
    )


def _why_ended(walker: int, frame: int, failure: str, on_invalid: str, limit: int) -> str:
    """A sentence on a rollout that could not go on, and on what to do."""
    text = f"Ended before frame {frame} of walker {walker}: "
    if on_invalid == "retry":
        return text + (
            f"each of {limit} attempts failed, the last by {failure}. The same command again "
            "tries as often again; to keep frames that fail, in another folder, goes on from them."
        )
    if on_invalid == "stop":
        return text + (
            f"{failure}. The same command again draws it anew; to retry, in another folder, does "
            "so by itself."
        )
    return text + (
        f"{failure}. There is no going on from it. The same command again draws it anew; if that "
        "does not help, take a lag and a temperature well inside the model's range, or another "
        "start."
    )
