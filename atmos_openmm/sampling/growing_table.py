"""A CSV file that grows by whole commits and can be cut back to one."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError

#: A column's kind -> how its values are written, and the dtype that they are read as.
_WRITTEN = {"int": "d", "float": ".9g", "bool": "d", "str": ""}
_READ = {"int": np.int64, "float": np.float64, "bool": np.bool_, "str": np.str_}


class GrowingTable:
    """A table on disk to which rows are added, without any of them in memory.

    Parameters
    ----------
    path: Path
        the file
    columns: mapping of str to str
        the kind of each column: int, float, bool (0 or 1) or str
    size: int
        committed bytes; anything beyond is cut off. 0 for a new table

    Raises
    ------
    StorageError
        if the file is shorter than what was committed
    """

    def __init__(self, path: Path, columns: Mapping[str, str], size: int = 0) -> None:
        self.path = path
        self._columns = dict(columns)
        self._size = self._pending = size
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise StorageError(
                f"{path} has {found} bytes, but {size} were committed: somebody cut or replaced "
                "it. Put the file back, or start again in another folder."
            )
        if found > size:
            with open(path, "r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())

    def append(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write rows and flush them to the disk.

        What stands beyond the last confirmed byte is cut off first, so a failed write can be
        repeated. `confirm()` makes the rows part of the table.

        Returns
        -------
        int
            bytes in the file now
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self._size == 0:
            writer.writerow(self._columns)
        for row in rows:
            writer.writerow(
                [format(row[name], _WRITTEN[kind]) for name, kind in self._columns.items()]
            )
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(text.getvalue().encode())
            file.flush()
            self._pending = file.tell()
            os.fsync(file.fileno())
        return self._pending

    def confirm(self) -> None:
        """The rows of the last `append()` are committed: the next ones come after them."""
        self._size = self._pending


def read_table(path: Path, columns: Mapping[str, str], size: int) -> dict[str, NDArray[Any]]:
    """The columns of a table, as far as it is committed.

    Parameters
    ----------
    path, columns, size:
        as for `GrowingTable`

    Raises
    ------
    StorageError
        if the file is missing, cut, or holds something else
    """
    try:
        data = b""
        if size > 0:
            with open(path, "rb") as file:
                data = file.read(size)
        if len(data) < size:
            raise ValueError(f"it has {len(data)} bytes of {size}")
        lines = list(csv.reader(io.StringIO(data.decode(), newline="")))
        if lines and lines[0] != list(columns):
            raise ValueError(f"its columns are {', '.join(lines[0])}")
        cells = list(zip(*lines[1:], strict=True)) or [()] * len(columns)
        result: dict[str, NDArray[Any]] = {}
        for (name, kind), values in zip(columns.items(), cells, strict=True):
            plain: Any = [int(v) for v in values] if kind in ("int", "bool") else values
            result[name] = np.array(plain, dtype=_READ[kind])
        return result
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is damaged ({error}). Put it back from a copy.") from error
