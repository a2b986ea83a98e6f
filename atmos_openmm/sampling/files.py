"""Writing files so that a kill, a crash or a full disk never leaves a half-written one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageError(OSError):
    """A run's folder cannot be read or written; the message says what to do."""

    def __str__(self) -> str:
        return str(self.args[-1])


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, whose content replaces that of `path` when the block ends well.

    The content goes to a temporary file beside it, is flushed to the disk, and takes the place of
    the old file in one rename. An exception in the block leaves the old file as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new content, or leave it as it was."""
    with replaced_atomically(path) as file:
        file.write(data)


@contextlib.contextmanager
def explained(folder: Path, committed: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what is safe and what to do.

    Parameters
    ----------
    folder: Path
        the run's folder
    committed: str
        what is safe on the disk, for the message
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in _OUT_OF_SPACE:
            problem = f"No space is left for {folder} ({error.strerror})."
            remedy = "Make room and run the same command again: it goes on from there."
        else:
            problem = f"Cannot write to {folder}: {error.strerror or error}."
            remedy = "Mend the cause and run the same command again: it goes on from there."
        raise StorageError(error.errno, f"{problem} {committed} {remedy}") from error


def check_writable(folder: Path) -> None:
    """Create a folder where it is missing and prove that files can be made in it.

    Raises
    ------
    StorageError
        if it cannot be made or written
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".write-test.tmp"
        with open(probe, "wb") as file:
            file.write(b"x")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            error.errno,
            f"Cannot write to the folder {folder}: {error.strerror}. "
            "Choose another one with --output, or give yourself the right to write there.",
        ) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of files that it was writing."""
    for pattern in ("*.tmp", "parts/*.tmp"):
        for leftover in folder.glob(pattern):
            leftover.unlink()
    for leftover in folder.glob(".xtc-*"):
        shutil.rmtree(leftover)


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
                "folder with --output.",
            ) from None

    def release(self) -> None:
        """Let others use the folder."""
        self._file.close()
