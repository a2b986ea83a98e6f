"""Frames that stay on the disk until they are asked for.

A `FrameSource` is a small picklable description (file, dataset, unit), so that it can be handed to
the worker processes of a loader; each process opens files of its own.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.read_errors import READ_ERRORS, first_line
from .faults import DataFileError, Fault

__all__ = ["ArrayFrames", "FrameSource", "HDF5Frames", "KeptArrays", "close_files", "file_stamp"]

OPEN_FILES = 8
"""HDF5 files that a process keeps open."""
BLOCK_CACHE_BYTES = 2**27
"""Frames that a process keeps of datasets whose chunks hold parts of many frames."""


class KeptArrays:
    """Arrays that are costly to make, the last ones used kept up to a number of bytes.

    Parameters
    ----------
    most_bytes : int
        One entry is kept however large it is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[Any, ...], tuple[NDArray[Any], ...]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.RLock()

    def get(
        self, key: tuple[Any, ...], make: Callable[[], tuple[NDArray[Any], ...]]
    ) -> tuple[NDArray[Any], ...]:
        """The arrays of a key, made where they are not kept; not to be written to."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            made = self._kept[key] = make()
            self._bytes += _size(made)
            while len(self._kept) > 1 and self._bytes > self._most_bytes:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
            return made

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def _size(arrays: tuple[NDArray[Any], ...]) -> int:
    return sum(array.nbytes for array in arrays)


class FrameSource(ABC):
    """Frames of one molecule.

    Attributes
    ----------
    num_frames, num_atoms : int
    """

    num_frames: int
    num_atoms: int

    def read(self, frames: Any = slice(None)) -> NDArray[np.float32]:
        """Read frames.

        Parameters
        ----------
        frames : int, slice or array of int
            In any order, with repetitions; negative numbers count from the end.

        Returns
        -------
        ndarray, shape (F, A, 3), or (A, 3) for an int, float32
            Positions in nm.

        Raises
        ------
        IndexError
            A frame that is not there.
        DataFileError
            The frames cannot be read from the disk.
        """
        found = self._read(self.numbers(frames))
        return found[0] if np.ndim(frames) == 0 and not isinstance(frames, slice) else found

    @abstractmethod
    def _read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Frames [F, A, 3] of frame numbers from 0, in any order."""

    def resolved(self) -> NDArray[np.bool_]:
        """Which atoms have coordinates of their own, [A]; the others' are placeholders."""
        return np.ones(self.num_atoms, bool)

    def numbers(self, frames: Any) -> NDArray[np.int64]:
        """Frame numbers from 0 that an index stands for.

        Raises
        ------
        IndexError
        """
        if isinstance(frames, slice):
            return np.arange(self.num_frames)[frames]
        index = np.atleast_1d(np.asarray(frames))
        if index.dtype == bool or not np.issubdtype(index.dtype, np.integer):
            raise IndexError(f"Frames are numbered by integers; {index.dtype} was given.")
        outside = index[(index < -self.num_frames) | (index >= self.num_frames)]
        if len(outside):
            raise IndexError(f"There is no frame {outside[0]} among {self.num_frames} frames.")
        return np.where(index < 0, index + self.num_frames, index).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ArrayFrames(FrameSource):
    """Frames in memory.

    Attributes
    ----------
    positions_nm : ndarray, shape (F, A, 3)
    mask : ndarray of bool, shape (A,), optional
        See `FrameSource.resolved`.
    """

    positions_nm: NDArray[np.float32]
    mask: NDArray[np.bool_] | None = None

    @property
    def num_frames(self) -> int:  # type: ignore[override]
        """Number of frames."""
        return len(self.positions_nm)

    @property
    def num_atoms(self) -> int:  # type: ignore[override]
        """Number of atoms."""
        return int(self.positions_nm.shape[1])

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.positions_nm[numbers].astype(np.float32, copy=False)

    def resolved(self) -> NDArray[np.bool_]:
        return super().resolved() if self.mask is None else self.mask.copy()


@dataclass(frozen=True)
class HDF5Frames(FrameSource):
    """Frames in a dataset [F, A, 3] of an HDF5 file; [A, 3] is one frame.

    Attributes
    ----------
    path : str
    dataset : str
        Path of the dataset inside the file.
    num_frames, num_atoms : int
    nm_per_unit : float
        0.1 for angstrom.
    """

    path: str
    dataset: str
    num_frames: int
    num_atoms: int
    nm_per_unit: float = 1.0

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        wanted, place = np.unique(numbers, return_inverse=True)
        found = np.empty((len(wanted), self.num_atoms, 3), np.float32)
        try:
            with _LOCK:
                dataset = _open(self.path)[self.dataset]
                if dataset.ndim == 2:  # a single structure
                    found[:] = dataset[...] * self.nm_per_unit
                else:
                    self._fill(dataset, wanted, found)
        except READ_ERRORS as error:
            raise DataFileError(
                Fault(
                    self.path,
                    self.dataset,
                    "unreadable",
                    f"frames {numbers.min()} to {numbers.max()} cannot be read "
                    f"({first_line(error)}): the file is truncated or damaged. Get it again.",
                )
            ) from error
        return found[place.reshape(-1)]

    def _fill(self, dataset: Any, wanted: NDArray[np.int64], found: NDArray[np.float32]) -> None:
        """Read increasing frame numbers."""
        chunks = dataset.chunks
        if chunks is None or chunks[0] == 1 or chunks[1:] == dataset.shape[1:]:
            # h5py selects scattered rows slowly; a span within one chunk costs no more reading.
            for span in _spans(wanted, chunks[0] if chunks else 1):
                first, last = int(wanted[span.start]), int(wanted[span.stop - 1])
                found[span] = dataset[first : last + 1][wanted[span] - first] * self.nm_per_unit
            return
        # Chunks that hold a part of each of many frames (mdCATH's: 63 frames of 105 numbers): one
        # frame costs about as much as all frames of its chunks, so these are kept.
        rows = wanted // chunks[0]
        for row in np.unique(rows).tolist():
            mine = rows == row
            found[mine] = self._block(dataset, row, chunks[0])[wanted[mine] - row * chunks[0]]

    def _block(self, dataset: Any, row: int, step: int) -> NDArray[np.float32]:
        """All frames of a row of chunks, nm, kept for the next."""

        def make() -> tuple[NDArray[Any]]:
            found = dataset[row * step : (row + 1) * step] * self.nm_per_unit
            return (np.asarray(found, np.float32),)

        return _BLOCKS.get((self.path, self.dataset, row, *file_stamp(self.path)), make)[0]


def _spans(numbers: NDArray[np.int64], step: int) -> Iterator[slice]:
    """Runs of increasing frame numbers that are contiguous or lie in one chunk of `step` frames."""
    start = 0
    for k in range(1, len(numbers) + 1):
        if k < len(numbers) and (
            numbers[k] == numbers[k - 1] + 1 or numbers[k] // step == numbers[k - 1] // step
        ):
            continue
        yield slice(start, k)
        start = k


_LOCK = threading.RLock()
_FILES: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_BLOCKS = KeptArrays(BLOCK_CACHE_BYTES)


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """What changes when a file is replaced or rewritten; zeros where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _open(path: str) -> Any:
    """An open file of this process, as it is now; a forked process does not touch its parent's."""
    import h5py

    key = (os.getpid(), os.path.abspath(path), *file_stamp(path))
    if key in _FILES:
        _FILES.move_to_end(key)
        return _FILES[key]
    file = h5py.File(path, "r")
    _FILES[key] = file
    mine = [k for k in _FILES if k[0] == key[0]]
    for old in mine[:-OPEN_FILES]:
        _FILES.pop(old).close()
    return file


def close_files() -> None:
    """Close the files that this process keeps open; they are opened again when needed."""
    with _LOCK:
        _BLOCKS.clear()
        for key in [k for k in _FILES if k[0] == os.getpid()]:
            _FILES.pop(key).close()
