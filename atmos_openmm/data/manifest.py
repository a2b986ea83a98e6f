"""Manifests: which files make a data set, what they hold, and their hashes.

A JSON file beside the data: ``{"format": "atmos-openmm-manifest", "version": 1, "files": [...]}``,
for each file its path relative to the manifest, size, SHA-256, layout, samples and faults.
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
    "FORMAT",
    "VERSION",
    "expand",
    "listed_files",
    "read_manifest",
    "verify_manifest",
    "write_manifest",
]

FORMAT = "atmos-openmm-manifest"
VERSION = 1


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


def expand(paths: Iterable[str | os.PathLike[str]], log: FaultLog) -> Iterator[Path]:
    """Put the files of manifests in their place; files of another size go to the log."""
    for path in map(Path, paths):
        if path.suffix.lower() != ".json":
            yield path
            continue
        try:
            faulty = {f.path: f for f in verify_manifest(path, hashes=False)}
            listed = list(_listed(path))
        except DataFileError as error:
            log.add(error.fault)
            continue
        for file, described in listed:
            fault = faulty.get(str(file))
            if fault is not None:
                log.add(fault)
            elif not described.get("samples", True):
                message = f"it had no sample that can be used when {path} was made."
                log.add(Fault(str(file), "", "missing", message, fatal=False))
            else:
                yield file
