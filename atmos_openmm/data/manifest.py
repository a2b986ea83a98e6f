"""Which files make a data set: folders, and manifests with what files hold and their hashes.

A manifest is a JSON file beside the data: ``{"format": "atmos-openmm-manifest", "version": 1,
"files": [...]}``, for each file its path relative to the manifest, size, SHA-256, layout, samples
and faults.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..core.files import sha256_of_file, write_atomically
from .faults import DataFileError, Fault, FaultLog

__all__ = [
    "DATA_SUFFIXES",
    "FORMAT",
    "VERSION",
    "expand",
    "files_in_folder",
    "listed_files",
    "read_manifest",
    "verify_manifest",
    "write_manifest",
]

FORMAT = "atmos-openmm-manifest"
VERSION = 1
DATA_SUFFIXES = (".h5", ".hdf5", ".pdb", ".ent", ".cif", ".mmcif", ".pdbx", ".gz")
"""Ends of names of the files that a folder stands for."""


def write_manifest(manifest: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a manifest: whole or not at all."""
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    write_atomically(Path(path), text.encode())


def read_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    DataFileError
        No manifest, or of another version.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found["format"] != FORMAT or found["version"] != VERSION:
            told = f"{found['format']!r} of version {found['version']}"
            raise ValueError(f"it says {told}; expected {FORMAT!r} of version {VERSION}")
        if not all({"path", "bytes", "sha256"} <= file.keys() for file in found["files"]):
            raise ValueError("a file in it has no path, size or hash")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"it is no manifest that can be read ({error})."
        raise DataFileError(Fault(str(path), "", "unreadable", message)) from error
    return found


def verify_manifest(path: str | os.PathLike[str], hashes: bool = True) -> list[Fault]:
    """Compare the files of a manifest with what it says of them.

    Parameters
    ----------
    path : path
    hashes : bool
        Whether to read the files; else only their sizes are compared.

    Returns
    -------
    list of Fault
        Files that are gone (``missing``) or not the same (``changed``).

    Raises
    ------
    DataFileError
        See `read_manifest`.
    """
    faults = []
    for file, described in _listed(path):
        if not file.exists():
            faults.append(Fault(str(file), "", "missing", f"it is in {path}, and gone."))
        elif file.stat().st_size != described["bytes"]:
            message = (
                f"it has {file.stat().st_size} bytes; {path} says {described['bytes']}. It is cut "
                "off, or another version."
            )
            faults.append(Fault(str(file), "", "changed", message))
        elif hashes and sha256_of_file(file) != described["sha256"]:
            message = f"its content is not what {path} says (SHA-256). Get it again."
            faults.append(Fault(str(file), "", "changed", message))
    return faults


def _listed(path: str | os.PathLike[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = Path(path).parent
    for described in read_manifest(path)["files"]:
        yield folder / described["path"], described


def listed_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a manifest, whether they are there or not.

    Raises
    ------
    DataFileError
        See `read_manifest`.
    """
    return [file for file, _ in _listed(path)]


def files_in_folder(folder: Path) -> list[Path]:
    """The data files of a folder with all below it, by name.

    Raises
    ------
    DataFileError
        There are none.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in DATA_SUFFIXES)
    if not found:
        raise DataFileError(Fault(str(folder), "", "missing", "the folder holds no data file."))
    return found


def expand(paths: Iterable[str | os.PathLike[str]], log: FaultLog) -> Iterator[Path]:
    """Put the files of folders and manifests in their place.

    Folders without data files, manifests that cannot be read, and files of manifests that are
    gone, of another size or without samples go to the log.
    """
    for path in map(Path, paths):
        found, faults = _files_behind(path)
        log.extend(faults)
        yield from found


def _files_behind(path: Path) -> tuple[list[Path], list[Fault]]:
    """The files that a path stands for, and what is wrong with others."""
    try:
        if path.is_dir():
            return files_in_folder(path), []
        if path.suffix.lower() == ".json":
            return _usable(path)
    except DataFileError as error:
        return [], [error.fault]
    return [path], []


def _usable(manifest: Path) -> tuple[list[Path], list[Fault]]:
    """The files of a manifest that have its size and, as it says, samples; why not the others."""
    changed = {f.path: f for f in verify_manifest(manifest, hashes=False)}
    found, faults = [], []
    for file, described in _listed(manifest):
        if str(file) in changed:
            faults.append(changed[str(file)])
        elif not described.get("samples", True):
            message = f"it had no sample that can be used when {manifest} was made."
            faults.append(Fault(str(file), "", "missing", message, fatal=False))
        else:
            found.append(file)
    return found, faults
