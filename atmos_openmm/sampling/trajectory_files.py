"""Trajectory files that grow by whole commits and can be cut back to one."""

from __future__ import annotations

import errno
import io
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError

if TYPE_CHECKING:
    from openmm.app import Topology

FORMATS = ("dcd", "xtc")
_PROBE_BYTES = 1 << 20
_DCD_HEADER_BYTES = 276

#: One frame: positions [P, 3] in nm, box vectors [3, 3] in nm or None.
Frame = tuple[NDArray[np.float64], NDArray[np.float64] | None]


class GrowingTrajectory:
    """A trajectory file that is written by commits: what the formats share.

    Parameters
    ----------
    path: Path
        the file
    topology: openmm.app.Topology
        of the frames
    frame_interval_ps: float
        Context time between frames
    frames, size: int
        committed frames and bytes; anything beyond is cut off
    """

    def __init__(
        self, path: Path, topology: Topology, frame_interval_ps: float, frames: int, size: int
    ) -> None:
        self.path = path
        self._topology = topology
        self._interval_ps = frame_interval_ps
        self._frames = frames
        self._size = size
        self._pending = frames, size
        self._cut_back()

    def append(self, frames: Iterable[Frame]) -> tuple[int, int]:
        """Write frames and flush them to the disk.

        The file is opened, extended and closed at each call; what stands beyond the last confirmed
        byte is cut off first, so a failed write can be repeated. `confirm()` makes the frames
        part of the file.

        Parameters
        ----------
        frames: iterable of (positions [P, 3] in nm, box vectors [3, 3] in nm or None)

        Returns
        -------
        int, int
            frames and bytes in the file now
        """
        batch = list(frames)
        self._pending = self._frames, self._size
        if not batch:
            return self._pending
        header, body = self._encode(batch)
        return self._write(header, body, len(batch))

    def append_encoded(self, frames: Sequence[bytes]) -> tuple[int, int]:
        """`append()` for frames as they stand in a file of the same format and Topology."""
        self._pending = self._frames, self._size
        if not frames:
            return self._pending
        header, _ = self._encode([])
        return self._write(header, b"".join(frames), len(frames))

    def _write(self, header: bytes, body: bytes, count: int) -> tuple[int, int]:
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            if self._size == 0:
                file.write(header)
            file.write(body)
            self._finish(file, self._frames + count)
            file.flush()
            size = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        self._pending = self._frames + count, size
        return self._pending

    def confirm(self) -> None:
        """The frames of the last `append()` are committed: the next ones come after them."""
        self._frames, self._size = self._pending

    def _cut_back(self) -> None:
        """Drop what was written after the last commit; refuse a file that lost some of it."""
        found = self.path.stat().st_size if self.path.exists() else 0
        if found < self._size:
            raise StorageError(
                f"{self.path} has {found} bytes, but {self._size} were committed "
                f"({self._frames} frames): somebody cut or replaced it. Put the file back, or "
                "start again in another folder."
            )
        if found > self._size:
            with open(self.path, "r+b") as file:
                file.truncate(self._size)
                if self._size > 0:
                    self._finish(file, self._frames)
                file.flush()
                os.fsync(file.fileno())

    def _encode(self, frames: list[Frame]) -> tuple[bytes, bytes]:
        raise NotImplementedError

    def _finish(self, file: Any, frames: int) -> None:
        """Bring the header up to the number of frames."""


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

    def _finish(self, file: Any, frames: int) -> None:
        # The number of frames and the number of the last step, as DCDFile counts them.
        file.seek(8)
        file.write(struct.pack("<i", frames))
        file.seek(20)
        file.write(struct.pack("<i", frames - 1))


class XtcTrajectory(GrowingTrajectory):
    """An XTC file (positions rounded to 0.001 nm)."""

    def _encode(self, frames: list[Frame]) -> tuple[bytes, bytes]:
        from openmm import app

        # OpenMM's writer takes a file name only. XTC frames stand alone, so the frames of a commit
        # are written to a scratch file and their bytes appended.
        with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=".xtc-") as folder:
            scratch = Path(folder) / "frames.xtc"
            writer = app.XTCFile(str(scratch), self._topology, self._interval_ps, self._frames)
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


def encoded_dcd_frames(path: Path, topology: Topology, numbers: Iterable[int]) -> Iterator[bytes]:
    """Frames of a DCD file of OpenMM's kind, as they stand there, for `append_encoded()`."""
    box_bytes = 0 if topology.getPeriodicBoxVectors() is None else 56
    size = box_bytes + 3 * (8 + 4 * topology.getNumAtoms())
    with open(path, "rb") as file:
        for number in numbers:
            file.seek(_DCD_HEADER_BYTES + int(number) * size)
            yield file.read(size)


def open_trajectory(
    path: Path, topology: Topology, frame_interval_ps: float, frames: int = 0, size: int = 0
) -> GrowingTrajectory:
    """A trajectory file of the format that its suffix names, cut back to what was committed.

    Parameters
    ----------
    path: Path
        ends in .dcd or .xtc
    topology: openmm.app.Topology
        of the frames
    frame_interval_ps: float
        Context time between frames
    frames, size: int
        committed frames and bytes; 0 for a new file

    Raises
    ------
    StorageError
        if the file is shorter than what was committed
    """
    kinds: dict[str, type[GrowingTrajectory]] = {".dcd": DcdTrajectory, ".xtc": XtcTrajectory}
    if path.suffix not in kinds:
        raise ValueError(f"Unknown trajectory format {path.suffix!r}; use .dcd or .xtc.")
    return kinds[path.suffix](path, topology, frame_interval_ps, frames, size)


def _box(vectors: NDArray[np.float64] | None) -> Any:
    """Box vectors as OpenMM's writers take them."""
    if vectors is None:
        return None
    from openmm import Vec3, unit

    return [Vec3(*map(float, row)) for row in vectors] * unit.nanometer
