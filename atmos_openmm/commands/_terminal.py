"""What commands that run for long share: lists of numbers, stopping on signals."""

from __future__ import annotations

import signal
from typing import Any, Protocol

import click


class TemperatureList(click.ParamType):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 300,360,432,520", param, ctx)


class Integers(click.ParamType):
    """Whole numbers separated by commas: 10,20 or 0-21 (ranges include both ends)."""

    name = "numbers"

    def __init__(self, ranges: bool = False) -> None:
        self._ranges = ranges

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        try:
            for part in filter(None, str(value).split(",")):
                first, _, last = part.partition("-") if self._ranges else (part, "", "")
                numbers += range(int(first), int(last or first) + 1)
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 10,20.", param, ctx)
        return tuple(numbers)


class Atoms(Integers):
    """Indices of atoms, 10,20-30, or a selection in MDTraj's language."""

    name = "atoms"

    def __init__(self) -> None:
        super().__init__(ranges=True)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, str) and any(letter.isalpha() for letter in value):
            return value
        return super().convert(value, param, ctx)


class Stoppable(Protocol):
    """A run that can be asked to stop."""

    @property
    def stopped(self) -> bool:
        """Whether it was asked."""
        ...

    def stop(self) -> None:
        """Ask it."""
        ...


class stopping_on_signals:
    """Within the block, Ctrl-C or SIGTERM ends a run at its next stop, a second one at once.

    Parameters
    ----------
    run : Stoppable
    after : str
        what is still completed, for the message
    quiet : bool
        say nothing; for processes beside the one that speaks for all
    """

    def __init__(self, run: Stoppable, after: str, *, quiet: bool = False) -> None:
        self._run = run
        self._after = after
        self._quiet = quiet
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread: signals are somebody else's
                return

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self._run.stopped:
            raise KeyboardInterrupt
        self._run.stop()
        if self._quiet:
            return
        click.echo(f"\nStopping after {self._after}; once more to stop at once.", err=True)
