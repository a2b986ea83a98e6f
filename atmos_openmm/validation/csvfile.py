"""Verdicts as a CSV file, written row by row."""

from __future__ import annotations

import contextlib
import csv
import math
from pathlib import Path
from typing import Any, TextIO

from ..core.files import StorageError
from .verdict import FrameVerdict

__all__ = ["CsvWriter"]


def _cell(value: Any) -> Any:
    """Numbers with the digits that mean something; nothing for what could not be had."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return value


class CsvWriter:
    """Writes one row a frame, and flushes it, so that a killed run leaves all that it did.

    The file is opened with the first row, so that input which turns out to be of no use does not
    cost the file that was there before.

    Parameters
    ----------
    path : str or path
        overwritten.
    omega_labels : tuple of str
        names of the peptide bonds.
    """

    def __init__(self, path: Any, omega_labels: tuple[str, ...]) -> None:
        self.path = Path(path)
        self._omega_labels = omega_labels
        self._rows = 0
        self._file: TextIO | None = None
        self._writer: csv.DictWriter[str] | None = None

    def write(self, verdict: FrameVerdict) -> None:
        """Write one row; the first one opens the file and writes the heading too.

        Raises
        ------
        StorageError
            when the file cannot be written; the message says how many rows it holds.
        """
        row = verdict.row(self._omega_labels)
        try:
            if self._file is None or self._writer is None:
                self._file = self.path.open("w", newline="")
                self._writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
                self._writer.writeheader()
            self._writer.writerow({key: _cell(value) for key, value in row.items()})
            self._file.flush()
        except OSError as error:
            raise StorageError(
                error.errno,
                f"{self.path} cannot be written ({error.strerror}); it holds {self._rows} whole "
                "rows. Make room there, or choose another file.",
            ) from error
        self._rows += 1

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # every row was flushed, or its failure was told
                self._file.close()

    def __enter__(self) -> CsvWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
