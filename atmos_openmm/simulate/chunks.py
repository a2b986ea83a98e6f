"""What a simulation has done so far, kept so that a kill at any instant loses one chunk at most.

A run's folder holds ``settings.json`` and files ``chunk-NNNNNN.npz``. Each chunk holds the frames
of a stretch of the run together with all that is needed to go on after it. A chunk is written under
another name, forced to the disk and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import itertools
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import StorageError, check_writable, replaced_atomically, write_atomically
from ..core.locks import FolderLock
from ..core.settings import check_same_settings

__all__ = ["ChunkStore"]


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
    StorageError
        The folder cannot be written, or another process works in it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        check_writable(folder)
        # Held as long as the process lives, however it ends; never left behind by a kill.
        self._lock = FolderLock(folder)
        path = folder / "settings.json"
        try:
            if path.exists():
                check_same_settings(json.loads(path.read_text()), settings, folder)
            else:
                text = json.dumps(dict(settings), indent=1, sort_keys=True)
                write_atomically(path, text.encode())
        except BaseException:
            self.close()
            raise

    def committed(self) -> int:
        """Chunks that are there, from the first to before the first that is not."""
        return next(number for number in itertools.count() if not self._path(number).exists())

    def _path(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"

    def append(self, number: int, arrays: Mapping[str, Any]) -> None:
        """Commit chunk ``number``.

        Raises
        ------
        StorageError
            The disk is full, or the folder went away. What was committed before stays.
        """
        try:
            with replaced_atomically(self._path(number)) as file:
                np.savez(file, **arrays)
        except OSError as error:
            raise StorageError(
                error.errno,
                f"Chunk {number} could not be written to {self.folder} ({error.strerror}). The "
                f"{number} chunks before it are safe: make room, then run the same command again "
                "to go on.",
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
        self._lock.release()

    def remove(self) -> None:
        """Delete the folder, after its content went into the final file."""
        shutil.rmtree(self.folder)
