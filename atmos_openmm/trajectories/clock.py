"""The clock of a trajectory: which frames follow each other in time, and how far apart.

Programs store times as float32. At 100 ns these are 0.008 ps apart, at 10 us 1 ps, so that the
steps of an even clock differ by as much. What is even here is therefore decided by the resolution
of float32 at each time, and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Clock", "Stretch", "even_spacing", "read_clock"]


@dataclass(frozen=True)
class Stretch:
    """Frames that follow each other in time without a jump.

    Attributes
    ----------
    start, stop : int
        Numbers of its frames, [start, stop), among those that the clock keeps.
    spacing_ps : float or None
        Time between neighbours; None for a frame that stands alone, or where there is no time.
    first_ps : float
        Time of its first frame; 0 where there is no time.
    """

    start: int
    stop: int
    spacing_ps: float | None = None
    first_ps: float = 0.0

    def __len__(self) -> int:
        return self.stop - self.start

    def times_ps(self) -> NDArray[np.float64]:
        """Times of its frames, [stop - start], free of the rounding of float32."""
        counted: NDArray[np.float64] = np.arange(len(self), dtype=np.float64)
        return self.first_ps + (self.spacing_ps or 0.0) * counted


@dataclass(frozen=True)
class Clock:
    """What the time stamps of a trajectory say.

    Attributes
    ----------
    kept : int64 array
        Numbers of the frames that are no duplicates.
    stretches : tuple of Stretch
        Of all kept frames, in order.
    notes : tuple of str
        What is wrong with it, in clauses that go after a file's name.
    """

    kept: NDArray[np.int64]
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def spacing_ps(self) -> float | None:
        """Time between neighbours in all stretches; None where there is none or several."""
        found = {s.spacing_ps for s in self.stretches if s.spacing_ps is not None}
        return found.pop() if len(found) == 1 else None


def read_clock(times_ps: ArrayLike, repeated: NDArray[np.bool_] | None = None) -> Clock:
    """Cut a trajectory where its clock jumps.

    A gap, a step back and another spacing are jumps. A frame with the time of the one before is a
    duplicate, as restarts leave them: it is left out. The frames before and after it are
    neighbours in time where its coordinates, too, are those of the one before; else it is a jump.

    Parameters
    ----------
    times_ps : array [F]
        As stored, F > 0.
    repeated : bool array [F], optional
        Whether a frame has the coordinates of the one before; none by default.

    Returns
    -------
    Clock
        Without a spacing in any stretch where the times do not increase evenly anywhere.
    """
    times = np.asarray(times_ps, np.float64)
    count = len(times)
    everything = np.arange(count)
    if count == 1:
        return Clock(everything, (Stretch(0, 1),))
    if not np.isfinite(times).all() or not (np.diff(times) > 0.0).any():
        return Clock(everything, (Stretch(0, count),), ("has times that do not increase",))
    steps, slack = _steps(times)
    typical, _ = _typical(steps, slack)
    duplicate = np.zeros(count, bool)
    duplicate[1:] = (np.abs(steps) <= slack) & (typical > 2.0 * slack)
    kept = np.flatnonzero(~duplicate)
    other = duplicate if repeated is None else duplicate & ~repeated
    seams = np.diff(np.cumsum(other)[kept]) > 0
    stretches = _stretches(times[kept], seams)
    return Clock(kept, stretches, _notes(times[kept], stretches, int(duplicate.sum())))


def even_spacing(times_ps: ArrayLike) -> float | None:
    """Time between neighbouring frames (ps); None where the clock jumps, repeats or stands."""
    clock = read_clock(times_ps)
    return clock.spacing_ps if len(clock.stretches) == 1 and not clock.notes else None


def _steps(times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps, and by how much rounding of their ends to float32 may change each."""
    ulp = np.spacing(np.abs(times).astype(np.float32)).astype(np.float64)
    return np.diff(times), np.maximum(ulp[1:], ulp[:-1])


def _typical(steps: NDArray[np.float64], slack: NDArray[np.float64]) -> tuple[float, float]:
    """The step forward that most others equal within rounding, and by how much it may be off."""
    forward = steps > 0.0
    order = np.argsort(steps[forward])
    found, error = steps[forward][order], slack[forward][order]
    alike = np.searchsorted(found, found + 2 * error, "right") - np.searchsorted(
        found, found - 2 * error, "left"
    )
    best = int(alike.argmax())
    return float(found[best]), float(error[best])


def _stretches(times: NDArray[np.float64], seams: NDArray[np.bool_]) -> tuple[Stretch, ...]:
    """Cut frames into stretches, by the most common step first and by others in what is left."""
    steps, slack = _steps(times)
    found: list[Stretch] = []
    todo = [(0, len(times))]
    while todo:
        first, last = todo.pop()
        mine = slice(first, last - 1)
        regular = np.zeros(last - first - 1, bool)
        if (steps[mine] > 0.0).any():
            typical, own = _typical(steps[mine], slack[mine])
            regular = (np.abs(steps[mine] - typical) <= slack[mine] + own) & ~seams[mine]
        # One step alone shows no spacing, unless there is no other.
        if regular.sum() < min(2, len(times) - 1):
            found += [Stretch(k, k + 1, None, float(times[k])) for k in range(first, last)]
            continue
        bounds = np.flatnonzero(np.diff(np.concatenate([[False], regular, [False]]).astype(int)))
        blocks = first + bounds.reshape(-1, 2) + [0, 1]
        lengths = times[blocks[:, 1] - 1] - times[blocks[:, 0]]
        error = slack[mine].max() / np.diff(blocks, axis=1).max()
        spacing = _shortest(float(lengths.sum() / regular.sum()), error)
        found += [Stretch(int(a), int(b), spacing, float(times[a])) for a, b in blocks]
        edges = [first, *(int(k) for k in blocks.ravel()), last]
        todo += [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    return tuple(sorted(found, key=lambda s: s.start))


def _shortest(value: float, error: float) -> float:
    """The number with the fewest digits within an error."""
    return next((r for k in range(12) if abs((r := round(value, k)) - value) <= error), value)


def _notes(
    times: NDArray[np.float64], stretches: tuple[Stretch, ...], duplicates: int
) -> tuple[str, ...]:
    notes = []
    if duplicates:
        notes.append(
            f"repeats the time of the frame before in {duplicates} frame(s), which are left out"
        )
    if all(s.spacing_ps is None for s in stretches):
        return (*notes, "has times that are not evenly spaced anywhere")
    if len(stretches) > 1:
        before = stretches[1].start - 1
        notes.append(
            f"has {len(stretches) - 1} jump(s) in its clock, the first from {times[before]:g} to "
            f"{times[before + 1]:g} ps: it is cut there, and no time runs across"
        )
    return tuple(notes)
