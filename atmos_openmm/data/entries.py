"""What readers make of files: samples with what is wrong with them, or the reason for none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.read_errors import READ_ERRORS, first_line
from .faults import DataFileError, Fault
from .sample import Sample

__all__ = ["Entry", "guarded", "hdf5_entries", "opened"]


@dataclass(frozen=True)
class Entry:
    """A part of a file that is, or should be, a sample, and what is wrong with it.

    Attributes
    ----------
    sample : Sample or None
        None where a fault leaves nothing to use.
    faults : tuple of Fault
    """

    sample: Sample | None
    faults: tuple[Fault, ...] = ()

    @staticmethod
    def failed(path: str, entry: str, kind: str, message: str) -> Entry:
        """An entry that a fault leaves nothing of."""
        return Entry(None, (Fault(path, entry, kind, message),))


def guarded(path: str, entry: str, make: Callable[[], Entry]) -> Entry:
    """Make an entry; where its part of an HDF5 file is damaged, an entry that says so."""
    try:
        return make()
    except DataFileError as error:
        return Entry(None, (error.fault,))
    except READ_ERRORS as error:
        message = (
            f"it cannot be read ({first_line(error)}): the file is truncated or damaged. Get it "
            "again."
        )
        return Entry.failed(path, entry, "unreadable", message)


def hdf5_entries(
    path: str | os.PathLike[str], find: Callable[[str, Any], Iterable[Entry]]
) -> list[Entry]:
    """The entries that `find` makes of a path and its open file; one that says so without it."""
    import h5py

    path = str(Path(path))
    try:
        with h5py.File(path, "r") as file:
            return list(find(path, file))
    except FileNotFoundError:
        return [Entry.failed(path, "", "unreadable", "there is no such file.")]
    except READ_ERRORS as error:
        message = (
            f"HDF5 cannot read it ({first_line(error)}): it is truncated, damaged or another kind "
            "of file. Get it again."
        )
        return [Entry.failed(path, "", "unreadable", message)]


@contextlib.contextmanager
def opened(path: str, entry: str) -> Iterator[Any]:
    """The open group of an entry of an HDF5 file.

    Raises
    ------
    DataFileError
        The block meets a file, group or array that is not there or damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file[entry]
    except DataFileError:
        raise
    except READ_ERRORS as error:
        message = f"{first_line(error)}. Get the file again."
        raise DataFileError(Fault(path, entry, "unreadable", message)) from error
