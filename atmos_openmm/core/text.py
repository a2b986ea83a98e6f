"""Tables and lists as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["aligned", "listed"]


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lines of rows of cells: the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def listed(items: Iterable[str], most: int = 8) -> str:
    """The first of some items, and how many more there are: ``a, b and 3 more``."""
    everything = list(items)
    more = f" and {len(everything) - most} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
