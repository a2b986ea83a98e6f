"""The folder of an adaptation: what it was told, and what is done already."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.files import check_writable, write_atomically
from ..core.locks import FolderLock
from ..core.settings import check_same_settings
from .before_after import Measurement

if TYPE_CHECKING:
    from .data import MolecularDynamics

__all__ = ["AdaptationFolder", "data_digest", "plain"]

SETTINGS = "settings.json"


class AdaptationFolder:
    """Files of an adaptation; one process at a time.

    ``settings.json`` (what it was told; the number of steps once it is known), ``before.json``
    and ``after.json`` (what was measured), ``training/``, ``rollout-before/``, ``rollout-after/``.

    Parameters
    ----------
    path : Path
        Made where it is missing.
    settings : mapping
        Plain JSON; an adaptation with others is refused.

    Raises
    ------
    SettingsMismatchError
        The folder holds an adaptation with other settings or data; the message lists them.
    StorageError
        It cannot be written, or another process works in it.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        check_writable(self.path)
        self._lock = FolderLock(self.path)
        self._settings = json.loads(json.dumps(dict(settings)))
        stored = self._read(SETTINGS)
        self.resumed = stored is not None
        if stored is None:
            self._write(SETTINGS, self._settings)
            return
        try:
            check_same_settings(
                stored, self._settings, self.path, "an adaptation", ignore=["planned_steps"]
            )
        except ValueError:
            self.close()
            raise
        self._settings = stored

    @property
    def planned_steps(self) -> int | None:
        """Steps of training, once they are known; kept, so that a kill changes nothing."""
        steps = self._settings.get("planned_steps")
        return None if steps is None else int(steps)

    def plan(self, steps: int) -> None:
        """Keep the number of steps."""
        self._settings["planned_steps"] = steps
        self._write(SETTINGS, self._settings)

    def measurement(self, name: str) -> Measurement | None:
        """What was measured and kept under a name."""
        found = self._read(f"{name}.json")
        if found is None:
            return None
        return Measurement(
            {k: [_number(v) for v in values] for k, values in found["samples"].items()},
            {k: (_number(v[0]), _number(v[1])) for k, v in found["summaries"].items()},
            tuple(found["notes"]),
        )

    def keep(self, name: str, measured: Measurement) -> None:
        """Keep what was measured."""
        self._write(
            f"{name}.json",
            {
                "samples": {k: [plain(v) for v in vs] for k, vs in measured.samples.items()},
                "summaries": {k: [plain(v) for v in vs] for k, vs in measured.summaries.items()},
                "notes": list(measured.notes),
            },
        )

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def __enter__(self) -> AdaptationFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, name: str) -> Any:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{path} is no JSON ({error}); the folder was altered. Use another one."
            ) from error

    def _write(self, name: str, values: Any) -> None:
        write_atomically(self.path / name, (json.dumps(values, indent=1) + "\n").encode())


def plain(value: float) -> float | str | None:
    """A number for JSON: null for NaN, text for infinities."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)


def data_digest(dynamics: MolecularDynamics) -> str:
    """SHA-256 of the frames, temperatures and times that were read."""
    digest = hashlib.sha256()
    for run in dynamics.runs:
        digest.update(f"{run.kind} {run.temperature_kelvin} {run.spacing_ps}\n".encode())
        digest.update(np.ascontiguousarray(run.positions_nm).tobytes())
    return digest.hexdigest()
