"""Files that grow by whole commits and can be cut back to one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..core.files import StorageError


class Length(NamedTuple):
    """How much of a file is committed: what it holds (frames, rows), and bytes."""

    records: int = 0
    size: int = 0


#: Nothing yet.
EMPTY = Length()


class GrowingFile:
    """A file that is written by commits, without any of it in memory.

    `append()` of the kinds of it writes records behind the last committed byte and flushes them to
    the disk; `confirm()` makes them part of the file, once the checkpoint that names its length is
    in place. Until then a second `append()` writes over the first, so that a failed commit can be
    repeated.

    Parameters
    ----------
    path : Path
        The file.
    length : Length
        What is committed; anything beyond is cut off. Nothing for a new file.

    Raises
    ------
    StorageError
        The file is shorter than what was committed.
    """

    def __init__(self, path: Path, length: Length) -> None:
        self.path = path
        self._length = self._pending = length
        self._cut_back()

    def append(self, records: Any) -> Length:
        """Write records and flush them to the disk; the length of the file with them."""
        raise NotImplementedError

    def confirm(self) -> None:
        """What the last `append()` wrote is committed: the next one goes on behind it."""
        if self._pending == self._length:
            return
        self._length = self._pending
        # What fails here does not lose anything: opening the file again mends the header.
        with contextlib.suppress(OSError), open(self.path, "r+b") as file:
            self._finish(file, self._length.records)

    def _write(self, header: bytes, body: bytes, count: int) -> Length:
        """Put a body of so many records behind the last committed byte."""
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._length.size)
            file.seek(self._length.size)
            if self._length.size == 0:
                file.write(header)
            file.write(body)
            file.flush()
            size = file.tell()
            os.fsync(file.fileno())
        self._pending = Length(self._length.records + count, size)
        return self._pending

    def _cut_back(self) -> None:
        """Drop what was written after the last commit; refuse a file that lost some of it."""
        found = self.path.stat().st_size if self.path.exists() else 0
        count, size = self._length
        if found < size:
            raise StorageError(
                f"{self.path} has {found} bytes, but {size} were committed: somebody cut or "
                "replaced it. Put the file back, or start again in another folder."
            )
        if found == 0:
            return
        with open(self.path, "r+b") as file:
            file.truncate(size)
            if size > 0:
                self._finish(file, count)
            file.flush()
            os.fsync(file.fileno())

    def _finish(self, file: BinaryIO, count: int) -> None:
        """Bring the header, where there is one, up to what the file holds."""
