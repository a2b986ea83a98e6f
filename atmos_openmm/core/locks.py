"""One process in a folder."""

from __future__ import annotations

import errno
from pathlib import Path

from .files import StorageError


class FolderLock:
    """An advisory lock that keeps two processes from running in one folder.

    The operating system releases it when the process ends, however it ends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = open(folder / ".lock", "a+b")  # noqa: SIM115 - held for the object's life
        try:
            import fcntl
        except ImportError:  # no advisory locks on this operating system
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            raise StorageError(
                error.errno,
                f"Another process is running in {folder}. Wait for it, stop it, or choose another "
                "folder.",
            ) from None

    def release(self) -> None:
        """Let others use the folder."""
        self._file.close()
