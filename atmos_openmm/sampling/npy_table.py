"""A table of numbers in a .npy file that grows by whole commits.

The file is one that `numpy.save` might have written: a structured array, packed, in little-endian
bytes. Its header has room for any number of rows and is rewritten in place once rows are
committed, so that `numpy.load` gives committed rows at any time, also with `mmap_mode="r"`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError
from .growing_file import EMPTY, GrowingFile, Length

_MAGIC = np.lib.format.magic(1, 0)
_ALIGNMENT = 64
_LARGEST_COUNT = 10**18


class NpyTable(GrowingFile):
    """A table on disk to which rows are added.

    Parameters
    ----------
    path : Path
        The file, ending in .npy.
    dtype : numpy.dtype
        Of a row, structured; stored packed and little-endian.
    length : Length
        Committed rows and bytes; anything beyond is cut off.

    Raises
    ------
    StorageError
        The file is shorter than what was committed, or its rows are of another kind.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], length: Length = EMPTY) -> None:
        self._dtype = _on_disk(dtype)
        super().__init__(path, length)

    def append(self, records: NDArray[Any]) -> Length:
        """Write rows and flush them to the disk; a new file gets its header even without any.

        Parameters
        ----------
        records : structured array [rows]
        """
        self._pending = self._length
        if len(records) == 0 and self._length.size > 0:
            return self._pending
        body = np.ascontiguousarray(records, dtype=self._dtype).tobytes()
        return self._write(_header(self._dtype, 0), body, len(records))

    def _finish(self, file: BinaryIO, count: int) -> None:
        file.seek(0)
        try:
            found, _ = _read_header(file)
        except ValueError as error:
            raise _damaged(self.path, error) from error
        if found != self._dtype:
            raise StorageError(
                f"{self.path} has other columns than this program writes: somebody replaced it, or "
                "it is of another version. Put the file back, or start again in another folder."
            )
        file.seek(0)
        file.write(_header(self._dtype, count))


def read_npy_table(path: Path, size: int) -> NDArray[Any]:
    """The rows of a table as far as they are committed, mapped into memory and not to be written.

    Parameters
    ----------
    path : Path
    size : int
        Committed bytes.

    Raises
    ------
    StorageError
        The file is missing, cut, or holds something else.
    """
    try:
        with open(path, "rb") as file:
            dtype, offset = _read_header(file)
        found = path.stat().st_size
        if found < size:
            raise ValueError(f"it has {found} bytes of {size}")
        count, rest = divmod(size - offset, dtype.itemsize)
        if rest or count < 0:
            raise ValueError("its rows are of another size")
        if count == 0:
            return np.zeros(0, dtype)
        return np.memmap(path, dtype, "r", offset, (count,))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path} is damaged ({error}). Put it back from a copy.")


def _on_disk(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same columns, packed and little-endian."""
    assert dtype.names is not None
    columns = []
    for name in dtype.names:
        base, shape = dtype[name].base, dtype[name].shape
        columns.append((name, base.newbyteorder("<"), shape))
    return np.dtype(columns)


def _header(dtype: np.dtype[Any], count: int) -> bytes:
    """A header of version 1.0 of the format, as long for any number of rows."""

    def text(rows: int) -> str:
        return repr(
            {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
        )

    before = len(_MAGIC) + 2
    room = before + len(text(_LARGEST_COUNT)) + 1
    total = -(-room // _ALIGNMENT) * _ALIGNMENT
    body = text(count).ljust(total - before - 1) + "\n"
    return _MAGIC + struct.pack("<H", len(body)) + body.encode("latin1")


def _read_header(file: BinaryIO) -> tuple[np.dtype[Any], int]:
    """The dtype of the rows, and where they begin."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"it has version {version} of the npy format")
    _, _, dtype = np.lib.format.read_array_header_1_0(file)
    return dtype, file.tell()
