"""Names and text that mdtraj can read: its C readers want ASCII names, its PDB reader UTF-8."""

from __future__ import annotations

import atexit
import hashlib
import tempfile
from functools import lru_cache
from pathlib import Path

__all__ = ["readable_name"]

_TEXT = (".pdb", ".ent")
"""Formats whose remarks may be in any encoding."""


@lru_cache(maxsize=1)
def _folder() -> Path:
    """A folder of this process, which goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="atmos-openmm-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def readable_name(path: Path) -> str:
    """A file's name as mdtraj can open it.

    A file whose name is not ASCII gets a link with one that is; a PDB file that is not UTF-8 a
    copy in which what cannot be decoded is replaced.

    Parameters
    ----------
    path : Path
        An existing file.
    """
    copied = path.suffix.lower() in _TEXT and not _is_utf8(path)
    if str(path).isascii() and not copied:
        return str(path)
    whole = path.resolve()
    stamp = whole.stat()
    key = f"{whole}\0{stamp.st_mtime_ns}\0{stamp.st_size}\0{copied}"
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    ends = "".join(s for s in path.suffixes[-2:] if s.isascii())
    other = _folder() / f"{name}{ends}"
    if not other.exists():
        if copied:
            other.write_text(path.read_text("utf-8", errors="replace"), "utf-8")
        else:
            other.symlink_to(whole)
    return str(other)


def _is_utf8(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            for line in file:
                line.decode()
        except UnicodeDecodeError:
            return False
    return True
