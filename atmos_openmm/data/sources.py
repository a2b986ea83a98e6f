"""Samples of any mixture of files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.read_errors import READ_ERRORS, first_line
from ..systems.structure_files import is_structure
from . import mdcath, misato, structures, trajectories
from .entries import Entry
from .faults import DataFileError, Fault, FaultLog, Policy
from .manifest import expand
from .sample import Sample

__all__ = ["DATASETS", "SampleSet", "detect", "inspect_file", "open_samples"]

_READERS: dict[str, Callable[..., list[Entry]]] = {
    "mdcath": mdcath.inspect,
    "misato": misato.inspect,
    "structure": structures.inspect,
    "atmos-openmm": trajectories.inspect,
}
DATASETS = tuple(_READERS)


@dataclass(frozen=True)
class SampleSet:
    """What files hold.

    Attributes
    ----------
    samples : tuple of Sample
        Those that can be used, in the order of the files.
    faults : tuple of Fault
        What was found wrong; the fatal ones say what was left out.
    """

    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]

    @staticmethod
    def of(samples: Sequence[Sample], faults: Sequence[Fault]) -> SampleSet:
        """Return the set.

        Raises
        ------
        ValueError
            There is no sample; the message has the first fault.
        """
        if not samples:
            told = f" The first of {len(faults)} faults: {faults[0]}" if faults else ""
            raise ValueError(f"The files hold no sample that can be used.{told}")
        return SampleSet(tuple(samples), tuple(faults))

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def detect(path: str | os.PathLike[str]) -> str:
    """Tell which of `DATASETS` a file belongs to, by its content (structures: by its name).

    Raises
    ------
    DataFileError
        None of them, not there, or not readable.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise DataFileError(Fault(str(path), "", "unreadable", "there is no such file."))
    if is_structure(path):
        return "structure"
    try:
        with h5py.File(path, "r") as file:
            for name, holds in (
                ("atmos-openmm", trajectories.is_trajectory_file),
                ("mdcath", mdcath.is_mdcath),
                ("misato", misato.is_misato),
            ):
                if holds(file):
                    return name
    except READ_ERRORS as error:
        kind = "truncated or damaged" if _says_hdf5(path) else "no HDF5, PDB or mmCIF file"
        message = f"it is {kind} ({first_line(error)})."
        raise DataFileError(Fault(str(path), "", "unreadable", message)) from error
    message = (
        "it is an HDF5 file of no layout that is known here (mdCATH, MISATO, or trajectories of "
        "`atmos-openmm simulate`)."
    )
    raise DataFileError(Fault(str(path), "", "layout", message))


def _says_hdf5(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


Options = Mapping[str, Mapping[str, Any]]
"""Arguments of each reader's `inspect` by data set, e.g. ``{"misato": {"charges": {...}}}``."""


def inspect_file(path: str | os.PathLike[str], options: Options | None = None) -> list[Entry]:
    """Find the samples of a file, each with its faults; never raises for a faulty file.

    Parameters
    ----------
    path : path
    options : mapping from data set to arguments, optional
        For the readers: see `misato.inspect` and `structures.inspect`.
    """
    try:
        name = detect(path)
    except DataFileError as error:
        return [Entry(None, (error.fault,))]
    return _READERS[name](path, **(options or {}).get(name, {}))


def open_samples(
    paths: Iterable[str | os.PathLike[str]],
    on_error: Policy = "stop",
    options: Options | None = None,
) -> SampleSet:
    """Find the samples of files of any layout; frames stay on the disk.

    Parameters
    ----------
    paths : iterable of paths
        Files, folders, and manifests (``.json``), which stand for the files they list.
    on_error : str
        ``stop`` at the first file or entry that cannot be used, or ``skip`` those, each with a
        warning that names it.
    options : mapping from data set to arguments, optional
        For the readers, e.g. ``{"structure": {"hydrogens": True}}``.

    Raises
    ------
    DataFileError
        Under ``stop``.
    ValueError
        No sample is left; options for a data set that there is none of.
    """
    unknown = sorted(set(options or {}) - set(DATASETS))
    if unknown:
        raise ValueError(f"options names {unknown[0]!r}; expected {', '.join(DATASETS)}.")
    log = FaultLog(on_error)
    samples = []
    for path in expand(paths, log):
        for entry in inspect_file(path, options):
            if log.extend(entry.faults) and entry.sample is not None:
                samples.append(entry.sample)
    return SampleSet.of(samples, log.faults)
