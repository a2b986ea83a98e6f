"""What a simulation has done so far, kept so that a kill at any instant loses one chunk at most.

A run's folder holds ``settings.json`` and files ``chunk-NNNNNN.npz``. Each chunk holds the frames
of a stretch of the run together with all that is needed to go on after it. A chunk is written under
another name, forced to the disk and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import _sync

__all__ = ["ChunkStore", "SettingsMismatchError"]


class SettingsMismatchError(ValueError):
    """The output belongs to a run with other settings."""


class ChunkStore:
    """The folder of an unfinished run.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    settings : mapping
        JSON values that decide the run. A folder made with others is refused.

    Raises
    ------
    SettingsMismatchError
        The folder holds a run with other settings; the message names those that differ.
    OSError
        The folder cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OSError(
                f"The folder {folder.parent} cannot be written ({error.strerror}). Choose another "
                "--out, or make the folder writable."
            ) from error
        # Held as long as the process lives, however it ends; never left behind by a kill.
        self._lock = open(folder / ".lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise OSError(
                f"Another process is at work in {folder}. Wait for it, or choose another --out."
            ) from error
        path = folder / "settings.json"
        if path.exists():
            try:
                compare_settings(json.loads(path.read_text()), settings, folder)
            except SettingsMismatchError:
                self.close()
                raise
        else:
            self._commit(path, json.dumps(dict(settings), indent=1, sort_keys=True).encode())

    def _commit(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + ".writing")
        temporary.write_bytes(content)
        _sync(temporary)
        os.replace(temporary, path)

    def paths(self) -> list[Path]:
        """Committed chunks in order, without a gap."""
        found: list[Path] = []
        while (path := self._path(len(found))).exists():
            found.append(path)
        return found

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"

    def append(self, number: int, arrays: Mapping[str, Any]) -> None:
        """Commit chunk ``number``.

        Raises
        ------
        OSError
            The disk is full, or the folder went away. What was committed before stays.
        """
        path = self._path(number)
        temporary = path.with_name(path.name + ".writing")
        try:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(
                f"Chunk {number} could not be written to {self.folder} ({error.strerror}). The "
                f"{number} chunks before it are safe: make room, then run the same command again "
                "to go on."
            ) from error

    def load(self, number: int) -> dict[str, NDArray[Any]]:
        """The arrays of one chunk.

        Raises
        ------
        ValueError
            The file is damaged.
        """
        path = self._path(number)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is damaged ({error}). Delete it and the chunks after it; the same command "
                "then goes on from the chunk before."
            ) from error

    def close(self) -> None:
        """Give up the lock; the folder stays."""
        self._lock.close()

    def remove(self) -> None:
        """Delete the folder, after its content went into the final file."""
        shutil.rmtree(self.folder)


def compare_settings(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Refuse to mix two runs.

    Raises
    ------
    SettingsMismatchError
        Naming each setting that differs, found and wanted.
    """
    keys = sorted(set(found) | set(wanted))
    # Through JSON, so that tuples and lists of the same values are the same.
    wanted = json.loads(json.dumps(dict(wanted)))
    differing = [key for key in keys if found.get(key) != wanted.get(key)]
    if differing:
        details = "; ".join(
            f"{k}: {found.get(k)!r} there, {wanted.get(k)!r} here" for k in differing
        )
        raise SettingsMismatchError(
            f"{where} was made with other settings ({details}). Repeat the command that made it, "
            "choose another --out, or delete it."
        )
