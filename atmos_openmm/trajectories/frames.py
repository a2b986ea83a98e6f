"""Frames of a trajectory, one after the other, out of chunks that are read when they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .box_watch import BoxWatch, is_box
from .scale import scale_fault

__all__ = ["FrameChunk", "Frame", "FrameReader"]


@dataclass(frozen=True)
class FrameChunk:
    """Some frames as they are stored: positions [F, P, 3] nm, times [F] ps, boxes [F, 3, 3] nm.

    Times are NaN where the source has none, boxes None.
    """

    positions_nm: np.ndarray
    time_ps: np.ndarray
    boxes_nm: np.ndarray | None

    @staticmethod
    def of(trajectory: Any, timed: bool) -> FrameChunk:
        """Of an mdtraj Trajectory."""
        time = trajectory.time if timed else np.full(len(trajectory), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # boxes of zeros, which are none here
            boxes = trajectory.unitcell_vectors
        return FrameChunk(trajectory.xyz, time, boxes)


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    index : int
        Its number in the trajectory, from 0, whatever the stride.
    time_ps : float
        Its time stamp; NaN where the source has none that is the simulation's.
    positions_nm : float64 array [P, 3]
        As stored: atoms may be NaN, and molecules may be broken across the box.
    box_nm : array [3, 3] or None
        Periodic box vectors as stored; None where they are missing or span no volume.
    """

    index: int
    time_ps: float
    positions_nm: np.ndarray
    box_nm: np.ndarray | None


@dataclass(frozen=True)
class FrameReader:
    """Frames of one trajectory, in order; made by `reader.open_frames`.

    Attributes
    ----------
    name : str
        What it is called in messages.
    num_frames : int or None
        How many frames it holds, where that can be told without reading them all.
    timed : bool
        Whether it has times that are the simulation's.
    remarks : list of str
        What is not an error, as differences from the topology; complete after the last frame.
    chunks : iterator of FrameChunk
    cut_short : bool
        Whether its file ends before its last frame does; a remark says so, too.
    boxes : BoxWatch or None
        Sees the boxes of all frames that are read; what it says becomes a remark.
    """

    name: str
    num_frames: int | None
    timed: bool
    remarks: list[str]
    chunks: Iterator[FrameChunk]
    cut_short: bool = False
    boxes: BoxWatch | None = None

    def count(self, start: int = 0, stop: int | None = None, stride: int = 1) -> int | None:
        """How many frames `frames` with the same arguments gives, or None when not known."""
        if self.num_frames is None:
            return None
        return len(range(self.num_frames)[start:stop:stride])

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Read frames; can be used once.

        Parameters
        ----------
        start, stop : int
            The first frame, and the one to stop before (None: the last one is included).
        stride : int
            Every so many frames.

        Yields
        ------
        Frame
        """
        if start < 0 or (stop is not None and stop < 0) or stride < 1:
            raise ValueError(
                f"frames {start}:{stop}:{stride} were asked for; start and stop are counted from "
                "0 and the stride is at least 1"
            )
        try:
            yield from self._chosen(start, stop, stride)
        finally:
            if self.boxes is not None:
                self.remarks.extend(self.boxes.remarks(self.name))

    def _chosen(self, start: int, stop: int | None, stride: int) -> Iterator[Frame]:
        index = 0
        for chunk in self.chunks:
            if index == 0 and (scale := scale_fault(chunk.positions_nm[0])):
                self.remarks.append(f"{self.name}: {scale}")
            for i in range(len(chunk.positions_nm)):
                if stop is not None and index >= stop:
                    return
                if index >= start and (index - start) % stride == 0:
                    box = None if chunk.boxes_nm is None else np.asarray(chunk.boxes_nm[i], float)
                    if not is_box(box):
                        box = None
                    if self.boxes is not None:
                        self.boxes.see(index, box)
                    yield Frame(
                        index,
                        float(chunk.time_ps[i]),
                        np.asarray(chunk.positions_nm[i], dtype=np.float64),
                        box,
                    )
                index += 1
