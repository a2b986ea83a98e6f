"""Frames of one molecule from one source, with what was computed of each frame kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atoms import AtomTable

__all__ = ["Ensemble", "Segment", "consecutive_segments"]

#: A stretch [start, stop) of frames of the pooled trajectories that follow each other in time.
Segment = tuple[int, int]


def consecutive_segments(lengths: Sequence[int]) -> tuple[Segment, ...]:
    """Segments of so many frames, one after the other."""
    ends = np.cumsum(lengths)
    return tuple((int(e - n), int(e)) for e, n in zip(ends, lengths, strict=True))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Frames of one molecule: one trajectory, several, or draws without an order in time.

    Attributes
    ----------
    name : str
        What tables call it.
    atoms : AtomTable
    positions_nm : float32 array [F, A, 3]
        All trajectories one after the other; molecules whole.
    segments : tuple of (int, int)
        Stretches [start, stop) of the F frames; time runs within each, not across two of them.
        Resampling may repeat one.
    spacing_ps : float or None
        Time between neighbouring frames of a segment; None where frames have no order in time.
    topology : openmm.app.Topology or None
        Of these atoms, for what needs more than the table.
    clock : int64 array [F]
        Frames since the start of the trajectory that each frame belongs to, for metrics that pair
        frames of equal time; from the segments where it is not given.
    """

    name: str
    atoms: AtomTable
    positions_nm: NDArray[np.float32]
    segments: tuple[Segment, ...] = ()
    spacing_ps: float | None = None
    topology: Any = None
    clock: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    _cache: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = np.shape(self.positions_nm)
        if len(shape) != 3 or shape[1:] != (len(self.atoms), 3) or shape[0] == 0:
            raise ValueError(
                f"{self.name}: positions have shape {shape}; expected [frames > 0, "
                f"{len(self.atoms)}, 3]"
            )
        if not self.segments:
            object.__setattr__(self, "segments", ((0, shape[0]),))
        if len(self.clock) != shape[0]:
            clock = np.zeros(shape[0], np.int64)
            for start, stop in self.segments:
                clock[start:stop] = np.arange(stop - start)
            object.__setattr__(self, "clock", clock)
        if not np.isfinite(self.positions_nm).all():
            bad = np.flatnonzero(~np.isfinite(self.positions_nm).all(axis=(1, 2)))
            raise ValueError(
                f"{self.name}: {len(bad)} of {shape[0]} frames hold coordinates that are not "
                f"finite (the first is frame {bad[0]}); `atmos-openmm validate` lists them. Leave "
                "them out and say so"
            )

    @property
    def num_frames(self) -> int:
        """Frames, those that resampling repeats counted again."""
        return sum(stop - start for start, stop in self.segments)

    @property
    def frames(self) -> NDArray[np.int64]:
        """Number of each frame in `positions_nm`."""
        return np.concatenate([np.arange(start, stop) for start, stop in self.segments])

    def per_frame(self, key: str, compute: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """A quantity [num_frames, ...] that depends on single frames, computed once.

        Parameters
        ----------
        key : str
            Names the quantity with all that it depends on.
        compute : callable
            From positions [F, A, 3] in nm to an array [F, ...].
        """
        if key not in self._cache:
            self._cache[key] = np.asarray(compute(self.positions_nm))
        whole = self._cache[key]
        if self.segments == ((0, len(whole)),):
            return whole
        return whole[self.frames]

    def per_pair(self, key: str, compute: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """A quantity [num_frames, num_frames] of pairs of frames, computed once."""
        if key not in self._cache:
            self._cache[key] = np.asarray(compute(self.positions_nm))
        frames = self.frames
        return self._cache[key][np.ix_(frames, frames)]

    def split(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Cut values [num_frames, ...] into one array a segment."""
        ends = np.cumsum([stop - start for start, stop in self.segments])
        return np.split(values, ends[:-1])

    def with_segments(self, segments: Sequence[Segment], name: str | None = None) -> Ensemble:
        """A view of some stretches; what was computed of the frames is shared."""
        return replace(self, name=self.name if name is None else name, segments=tuple(segments))

    def whole(self) -> Ensemble:
        """A view of all frames once."""
        return self.with_segments([(0, len(self.positions_nm))])

    def restricted(self, atoms: NDArray[np.int64], table: AtomTable) -> Ensemble:
        """A copy with some atoms, called as in `table`."""
        if np.array_equal(atoms, np.arange(len(self.atoms))):
            return replace(self, atoms=table, _cache={})
        positions = self.positions_nm[:, atoms]
        return replace(self, atoms=table, positions_nm=positions, topology=None, _cache={})

    def first(self, frames: int) -> Ensemble:
        """The first so many frames, segment by segment."""
        kept: list[Segment] = []
        left = frames
        for start, stop in self.segments:
            if left <= 0:
                break
            kept.append((start, min(stop, start + left)))
            left -= stop - start
        return self.with_segments(kept)

    def spread(self, frames: int) -> Ensemble:
        """So many frames (at most), evenly spread; they have no order in time any more."""
        numbers = self.frames
        if frames < len(numbers):
            numbers = numbers[np.linspace(0, len(numbers) - 1, frames).round().astype(int)]
        return replace(self, segments=tuple((int(k), int(k) + 1) for k in numbers), spacing_ps=None)

    def halves(self) -> tuple[Ensemble, Ensemble]:
        """First and second half; of several segments, half of them each, cut where need be."""
        half = self.num_frames // 2
        if half < 2:
            raise ValueError(f"{self.name}: {self.num_frames} frame(s) cannot be cut into halves")
        first, second = [], []
        seen = 0
        for start, stop in self.segments:
            cut = min(max(half - seen, 0), stop - start)
            if cut:
                first.append((start, start + cut))
            if start + cut < stop:
                second.append((start + cut, stop))
            seen += stop - start
        return (
            self.with_segments(first, f"{self.name}, first half"),
            self.with_segments(second, f"{self.name}, second half"),
        )

    def pieces(self, count: int) -> list[list[Segment]]:
        """`count` contiguous pieces of nearly one length (fewer for fewer frames)."""
        count = max(1, min(count, self.num_frames))
        bounds = np.linspace(0, self.num_frames, count + 1).round().astype(int)
        result: list[list[Segment]] = [[] for _ in range(count)]
        seen = 0
        for start, stop in self.segments:
            for k in range(count):
                low = max(bounds[k] - seen, 0)
                high = min(bounds[k + 1] - seen, stop - start)
                if low < high:
                    result[k].append((int(start + low), int(start + high)))
            seen += stop - start
        return result

    def taken(self) -> Ensemble:
        """A copy of the frames of the segments alone; the clock stays."""
        return replace(self.restarted(), clock=self.clock[self.frames])

    def restarted(self) -> Ensemble:
        """A copy of the frames of the segments alone, the clock of each starting at 0."""
        return replace(
            self,
            positions_nm=self.positions_nm[self.frames],
            segments=consecutive_segments([stop - start for start, stop in self.segments]),
            clock=np.zeros(0, np.int64),
            _cache={},
        )

    def extended(self, frames: int) -> Ensemble:
        """Exactly so many frames: cut, or repeated from the start (TEMPO's periodic extension).

        Each repetition is a segment of its own: no time runs from the last frame to the first; the
        clock goes on.
        """
        kept: list[Segment] = []
        left = frames
        while left > 0:
            piece = self.first(left)
            kept += piece.segments
            left -= piece.num_frames
        result = self.with_segments(kept).restarted()
        return replace(result, clock=np.arange(frames)) if len(self.segments) == 1 else result
