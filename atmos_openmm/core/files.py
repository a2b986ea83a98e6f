"""Writing files so that a kill, a crash or a full disk never leaves a half-written one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 20
_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageError(OSError):
    """A folder or file of ours cannot be read or written; the message says what to do."""

    def __str__(self) -> str:
        return str(self.args[-1])


def cache_folder() -> Path:
    """``ATMOS_CACHE``, or ``atmos_openmm`` in ``XDG_CACHE_HOME`` or in ``~/.cache``."""
    if own := os.environ.get("ATMOS_CACHE"):
        return Path(own)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "atmos_openmm"


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError of the block that names none, such as that of a full disk.

    One with a text of its own and no number has said what it has to say, and would lose it.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """The name of a file to make, which replaces that of `path` when the block ends well.

    For libraries that want a name; `replaced_atomically` gives an open file. The content is
    flushed to the disk and takes the place of the old file in one rename. An exception in the
    block leaves the old file as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with naming(path):
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, whose content replaces that of `path` when the block ends well."""
    with replacement(path) as temporary, open(temporary, "wb") as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new content, or leave it as it was."""
    with replaced_atomically(path) as file:
        file.write(data)


@contextlib.contextmanager
def explained(folder: Path, committed: str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says what is safe and what to do.

    Parameters
    ----------
    folder : Path
        the run's folder
    committed : str
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
    probe = folder / ".write-test.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb") as file:
            file.write(b"x")
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        full = error.errno in _OUT_OF_SPACE
        remedy = "make room" if full else "give yourself the right to write there"
        raise StorageError(
            error.errno,
            f"Cannot write to the folder {folder}: {error.strerror}. "
            f"Choose another folder, or {remedy}.",
        ) from error


def remove_leftovers(folder: Path, *patterns: str) -> None:
    """Remove what a killed process left of files that it was writing.

    Parameters
    ----------
    folder : Path
    patterns : str
        names beside those of `replaced_atomically`, of files and folders
    """
    for pattern in ("*.tmp", *patterns):
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content in hexadecimal, read block by block."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()
