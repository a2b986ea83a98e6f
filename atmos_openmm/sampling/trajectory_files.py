"""Trajectory files that grow by whole commits."""

from __future__ import annotations

import errno
import io
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError
from .growing_file import EMPTY, GrowingFile, Length

if TYPE_CHECKING:
    from openmm.app import Topology

FORMATS = ("dcd", "xtc")
_PROBE_BYTES = 1 << 20
_DCD_HEADER_BYTES = 276

#: One frame: positions [P, 3] in nm, box vectors [3, 3] in nm or None.
Frame = tuple[NDArray[np.float64], NDArray[np.float64] | None]


class GrowingTrajectory(GrowingFile):
    """A trajectory file that is written by commits: what the formats share.

    Parameters
    ----------
    path : Path
        The file.
    topology : openmm.app.Topology
        Of the frames.
    frame_interval_ps : float
        Context time between frames.
    length : Length
        Committed frames and bytes; anything beyond is cut off.
    """

    def __init__(
        self, path: Path, topology: Topology, frame_interval_ps: float, length: Length
    ) -> None:
        self._topology = topology
        self._interval_ps = frame_interval_ps
        super().__init__(path, length)

    def append(self, records: Iterable[Frame]) -> Length:
        """Write frames and flush them to the disk.

        Parameters
        ----------
        records : iterable of (positions [P, 3] in nm, box vectors [3, 3] in nm or None)
        """
        frames = list(records)
        self._pending = self._length
        if not frames:
            return self._pending
        return self._write(*self._encode(frames), len(frames))

    def append_encoded(self, frames: Sequence[bytes]) -> Length:
        """`append()` for frames as they stand in a file of the same format and Topology."""
        self._pending = self._length
        if not frames:
            return self._pending
        header, _ = self._encode([])
        return self._write(header, b"".join(frames), len(frames))

    def _encode(self, frames: list[Frame]) -> tuple[bytes, bytes]:
        """Header of a new file, and frames, as bytes of the format."""
        raise NotImplementedError


class DcdTrajectory(GrowingTrajectory):
    """A DCD file, as OpenMM's DCDFile writes it."""

    def _encode(self, frames: list[Frame]) -> tuple[bytes, bytes]:
        from openmm import app

        buffer = io.BytesIO()
        writer = app.DCDFile(buffer, self._topology, self._interval_ps)
        for positions, box in frames:
            writer.writeModel(positions, periodicBoxVectors=_box(box))
        data = buffer.getvalue()
        return data[:_DCD_HEADER_BYTES], data[_DCD_HEADER_BYTES:]

    def _finish(self, file: BinaryIO, count: int) -> None:
        # The number of frames and the number of the last step, as DCDFile counts them.
        file.seek(8)
        file.write(struct.pack("<i", count))
        file.seek(20)
        file.write(struct.pack("<i", count - 1))


class XtcTrajectory(GrowingTrajectory):
    """An XTC file (positions rounded to 0.001 nm)."""

    def _encode(self, frames: list[Frame]) -> tuple[bytes, bytes]:
        from openmm import app

        # OpenMM's writer takes a file name only. XTC frames stand alone, so the frames of a commit
        # are written to a scratch file and their bytes appended.
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".xtc-") as folder:
            scratch = Path(folder) / "frames.xtc"
            writer = app.XTCFile(
                str(scratch), self._topology, self._interval_ps, self._length.records
            )
            try:
                for positions, box in frames:
                    writer.writeModel(positions, periodicBoxVectors=_box(box))
                written = writer._getNumFrames()
            except RuntimeError:
                written = -1
            if written != len(frames):
                # The XTC library does not say why a write failed; a write of our own does.
                with open(Path(folder) / "probe", "wb") as probe:
                    probe.write(bytes(_PROBE_BYTES))
                    probe.flush()
                    os.fsync(probe.fileno())
                raise StorageError(
                    errno.EIO, f"The frames for {self.path} could not be written to {scratch}."
                )
            return b"", scratch.read_bytes()


def check_format(name: str) -> None:
    """Refuse a format that is not written.

    Raises
    ------
    ValueError
    """
    if name not in FORMATS:
        raise ValueError(f"Unknown trajectory format {name!r}; use {' or '.join(FORMATS)}.")


def encoded_dcd_frames(path: Path, topology: Topology, numbers: Iterable[int]) -> Iterator[bytes]:
    """Frames of a DCD file of OpenMM's kind, as they stand there, for `append_encoded()`."""
    box_bytes = 0 if topology.getPeriodicBoxVectors() is None else 56
    size = box_bytes + 3 * (8 + 4 * topology.getNumAtoms())
    with open(path, "rb") as file:
        for number in numbers:
            file.seek(_DCD_HEADER_BYTES + int(number) * size)
            yield file.read(size)


def open_trajectory(
    path: Path,
    topology: Topology,
    frame_interval_ps: float,
    length: Length = EMPTY,
    *,
    format: str | None = None,
) -> GrowingTrajectory:
    """A trajectory file, cut back to what was committed.

    Parameters
    ----------
    path : Path
    topology : openmm.app.Topology
        Of the frames.
    frame_interval_ps : float
        Context time between frames.
    length : Length
        Committed frames and bytes; nothing for a new file.
    format : str, optional
        "dcd" or "xtc"; by default as the suffix of the file says.

    Raises
    ------
    StorageError
        The file is shorter than what was committed.
    """
    name = path.suffix[1:] if format is None else format
    check_format(name)
    kind = DcdTrajectory if name == "dcd" else XtcTrajectory
    return kind(path, topology, frame_interval_ps, length)


def _box(vectors: NDArray[np.float64] | None) -> Any:
    """Box vectors as OpenMM's writers take them."""
    if vectors is None:
        return None
    from openmm import Vec3, unit

    return [Vec3(*map(float, row)) for row in vectors] * unit.nanometer
