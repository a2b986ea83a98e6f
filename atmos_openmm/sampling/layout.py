"""How runs word what they say: counts, times, and the table at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

PS_PER_NS = 1000.0
_SECONDS_PER_DAY = 86400.0


def nanoseconds(picoseconds: float) -> str:
    """A time in ps, as text in ns."""
    return f"{picoseconds / PS_PER_NS:.4g} ns"


def failures(reasons: Counter[str]) -> str:
    """Whatever was not accepted, most frequent first: ``bonds 3, energy 1``."""
    return ", ".join(
        f"{name} {count}" for name, count in reasons.most_common() if name != "accepted" and count
    )


def share(name: str, count: int, total: int) -> tuple[str, str]:
    """The line of a verdict below that of all."""
    return f"  {name}", f"{count} ({100 * count / total:.1f} %)"


def table(lines: Sequence[tuple[str, str]], message: str) -> str:
    """Labels and values in two columns, and a message below them."""
    width = max(len(label) for label, _ in lines)
    text = [f"{label:<{width}}  {value}" for label, value in lines]
    return "\n".join([*text, message] if message else text)


def ns_per_day(picoseconds: float, elapsed_s: float) -> float:
    """Simulated time in ns per day of wall-clock time; 0 before any has passed."""
    return picoseconds / PS_PER_NS / elapsed_s * _SECONDS_PER_DAY if elapsed_s > 0 else 0.0


def seconds_left(left: float, done: float, elapsed_s: float) -> float:
    """Estimated time for what is left, at the pace of what this process did; NaN before that."""
    return left * elapsed_s / done if done else math.nan
