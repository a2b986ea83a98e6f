"""Progress of long work: times in words, the time left, and the line on the terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Protocol

__all__ = ["CountedProgress", "HasLine", "Pace", "ProgressLine", "duration", "say"]


def duration(seconds: float) -> str:
    """A time in words: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``; ``?`` if not known."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


class Pace:
    """How fast work goes that is counted in units, and when it will end.

    Parameters
    ----------
    total : float, optional
        Units of the whole work; None where that is not known.
    done : float
        Units that were there before, which say nothing of the speed.
    """

    def __init__(self, total: float | None, done: float = 0.0) -> None:
        self.total = total
        self.done = self._before = done
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def per_second(self) -> float:
        """Units a second; NaN before the first."""
        new = self.done - self._before
        return new / max(self.elapsed_s, 1e-9) if new > 0 else math.nan

    @property
    def remaining_s(self) -> float:
        """Estimated seconds to the end; NaN where nothing is known."""
        return math.nan if self.total is None else (self.total - self.done) / self.per_second

    def eta(self) -> str:
        """``ETA 12 min``, or nothing where it is not known."""
        left = self.remaining_s
        return f"ETA {duration(left)}" if math.isfinite(left) else ""


def say(line: str, stays: bool = True) -> None:
    """Write a line to stderr; on a terminal one that does not stay is replaced by the next."""
    terminal = sys.stderr.isatty()
    sys.stderr.write(("\r\033[K" if terminal else "") + line)
    sys.stderr.write("\n" if stays or not terminal else "")
    sys.stderr.flush()


class HasLine(Protocol):
    """Progress of any work."""

    def line(self) -> str:
        """One line for the terminal."""
        ...


class ProgressLine:
    """Shows progress on stderr: in place on a terminal, else a line now and then.

    Call it with a text or with an object that has one (`HasLine`) as often as you like.
    """

    def __init__(self, terminal_interval_s: float = 0.5, log_interval_s: float = 30.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._interval_s = terminal_interval_s if self._terminal else log_interval_s
        self._last = 0.0
        self._shown = False

    def __call__(self, progress: HasLine | str) -> None:
        now = time.monotonic()
        if now - self._last < self._interval_s:
            return
        self._last = now
        self._shown = True
        say(progress if isinstance(progress, str) else progress.line(), stays=False)

    def keep(self, text: str) -> None:
        """Write a line that stays."""
        say(text)
        self._shown = False

    def finish(self) -> None:
        """Leave the line."""
        if self._terminal and self._shown:
            sys.stderr.write("\n")
            sys.stderr.flush()


class CountedProgress:
    """The line of work that counts its items: how many, how fast, how long still.

    Call it with the items done and their total, None where that is not known.

    Parameters
    ----------
    item : str
        What is counted, in the singular.
    """

    def __init__(self, item: str) -> None:
        self._item = item
        self._line = ProgressLine()
        self._pace = Pace(None)

    def __call__(self, done: int, total: int | None) -> None:
        self._pace.done, self._pace.total = done, total
        parts = [f"{self._item} {done}" if total is None else f"{self._item} {done}/{total}"]
        if done:
            parts.append(f"{self._pace.per_second:.3g} {self._item}s/s")
        self._line("  ".join(filter(None, [*parts, self._pace.eta()])))

    def finish(self) -> None:
        """Leave the line."""
        self._line.finish()
