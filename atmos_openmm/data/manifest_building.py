"""What files hold, as a manifest tells it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from ..core.files import sha256_of_file
from .faults import FaultLog
from .manifest import FORMAT, VERSION
from .sample import Sample
from .sources import inspect_file

__all__ = ["build_manifest"]


def build_manifest(
    paths: Iterable[str | os.PathLike[str]], folder: str | os.PathLike[str], log: FaultLog
) -> dict[str, Any]:
    """Describe files.

    Parameters
    ----------
    paths : iterable of paths
    folder : path
        Where the manifest will be; paths are told relative to it.
    log : FaultLog
        Takes the faults, by its policy. Files without a usable sample are listed all the same,
        with their faults, so that what was left out stays on record.

    Returns
    -------
    dict
        JSON values.
    """
    files = []
    for path in sorted({os.path.abspath(p) for p in paths}):
        entries = inspect_file(path)
        faults = [f for e in entries for f in e.faults]
        log.extend(faults)
        described: dict[str, Any] = {
            "path": os.path.relpath(path, folder),
            "bytes": os.path.getsize(path) if os.path.exists(path) else None,
            "sha256": sha256_of_file(path) if os.path.exists(path) else None,
            "dataset": next((e.sample.provenance.dataset for e in entries if e.sample), None),
            "samples": [_described(e.sample) for e in entries if e.sample is not None],
            "faults": [
                {"entry": f.entry, "kind": f.kind, "message": f.message, "fatal": f.fatal}
                for f in faults
            ],
        }
        files.append(described)
    return {"format": FORMAT, "version": VERSION, "files": files}


def _described(sample: Sample) -> dict[str, Any]:
    return {
        "name": sample.name,
        "entry": sample.provenance.entry,
        "kind": sample.kind,
        "frames": sample.num_frames,
        "atoms": sample.num_atoms,
        "temperature_K": sample.temperature_kelvin,
        "spacing_ps": sample.spacing_ps,
    }
