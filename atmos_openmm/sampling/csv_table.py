"""A table with text in a CSV file that grows by whole commits."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError
from .growing_file import EMPTY, GrowingFile, Length

#: A column's kind -> how its values are written, and the dtype that they are read as.
_WRITTEN = {"int": "d", "float": ".9g", "bool": "d", "str": ""}
_READ = {"int": np.int64, "float": np.float64, "bool": np.bool_, "str": np.str_}


class CsvTable(GrowingFile):
    """A table on disk to which rows are added.

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of str to str
        The kind of each column: int, float, bool (0 or 1) or str.
    length : Length
        Committed rows and bytes; anything beyond is cut off.

    Raises
    ------
    StorageError
        The file is shorter than what was committed.
    """

    def __init__(self, path: Path, columns: Mapping[str, str], length: Length = EMPTY) -> None:
        self._columns = dict(columns)
        super().__init__(path, length)

    def append(self, records: Sequence[Mapping[str, Any]]) -> Length:
        """Write rows, each a mapping with the columns, and flush them to the disk."""
        self._pending = self._length
        if not records:
            return self._pending
        rows = [
            [format(row[name], _WRITTEN[kind]) for name, kind in self._columns.items()]
            for row in records
        ]
        return self._write(_lines([list(self._columns)]), _lines(rows), len(rows))


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def read_csv_table(path: Path, columns: Mapping[str, str], size: int) -> dict[str, NDArray[Any]]:
    """The columns of a table, as far as it is committed.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        As for `CsvTable`.
    size : int
        Committed bytes.

    Raises
    ------
    StorageError
        The file is missing, cut, or holds something else.
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
    except (OSError, ValueError, OverflowError, csv.Error) as error:
        raise StorageError(f"{path} is damaged ({error}). Put it back from a copy.") from error
