"""What libraries raise on damaged files, and how to quote it."""

from __future__ import annotations

__all__ = ["READ_ERRORS", "first_line"]

READ_ERRORS = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    AttributeError,
    AssertionError,
    EOFError,
    OverflowError,
    MemoryError,
)
"""What damaged files make h5py, mdtraj and numpy raise: sizes, types and links may be anything."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
