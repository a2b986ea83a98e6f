"""What runs in a folder share: going on and stopping, commits by the clock, going back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..core.files import StorageError
from ..core.settings import read_settings
from ..jump.noise import fresh_seed
from .run_folder import RunFolder

Run = TypeVar("Run", bound="ResumableRun")
ProgressT = TypeVar("ProgressT")


class ResumableRun:
    """A run that advances in memory, and writes what is new to its folder now and then.

    What is written can be taken up by another process; what is not is made again. Kinds of runs
    say how to advance, what to write, and how to go back to the last commit.

    Parameters
    ----------
    folder : RunFolder
        The files of the run, which is taken up from it; closed with the run.
    commit_seconds : float
        Wall-clock time between commits.
    """

    def __init__(self, folder: RunFolder[Any], commit_seconds: float) -> None:
        self._folder = folder
        self._commit_seconds = commit_seconds
        self._walltime_s = 0.0
        self._stop = False
        #: Whether an interruption left what is in memory between two states.
        self._torn = False
        try:
            self._take_up()
        except BaseException:
            folder.close()
            raise

    @property
    def stopped(self) -> bool:
        """Whether `stop()` was called."""
        return self._stop

    def stop(self) -> None:
        """
        Ask a `run()` that is going on, from a signal handler or another thread, to end when the
        walkers have finished what they are at, and to commit. It returns a summary with
        `complete` false.
        """
        self._stop = True

    def close(self) -> None:
        """Let other processes use the folder. The object cannot be used afterwards."""
        self._folder.close()

    def __enter__(self: Run) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self) -> None:
        """Before a loop: forget a stop, and go back to the last commit where that is needed."""
        self._stop = False
        if self._torn:
            self._take_up()
            self._torn = False

    def _loop(
        self,
        reached: Callable[[], bool],
        current: Callable[[float], ProgressT],
        show: Callable[[ProgressT], None] | None,
    ) -> None:
        """Advance until there is what was asked for, or `stop()`; the end is committed.

        Parameters
        ----------
        reached : function
            Whether there is what was asked for.
        current : function
            The progress, from the seconds since the beginning.
        show : function, optional
            Called with it after each advance.
        """
        began = committed = time.monotonic()
        before_s = self._walltime_s
        while not self._stop and not reached():
            try:
                self._advance()
            except Exception:
                if not self._torn:
                    self._commit()
                raise
            now = time.monotonic()
            self._walltime_s = before_s + now - began
            if now - committed >= self._commit_seconds or self._is_full():
                self._commit()
                committed = time.monotonic()
            if show is not None:
                show(current(now - began))
        self._commit()

    def _commit(self) -> None:
        """Write what is new since the last commit, if anything is."""
        if not self._has_news():
            return
        try:
            self._write()
        except StorageError:
            raise  # nothing is lost: the next commit writes it
        except BaseException:
            self._torn = True
            raise

    def _advance(self) -> None:
        """The smallest part of the run; `_torn` is set while it is under way."""
        raise NotImplementedError

    def _has_news(self) -> bool:
        """Whether anything is new since the last commit."""
        raise NotImplementedError

    def _is_full(self) -> bool:
        """Whether what waits for a commit takes too much memory."""
        return False

    def _write(self) -> None:
        """Commit what is new, and forget it."""
        raise NotImplementedError

    def _take_up(self) -> None:
        """Go to the last commit, or the beginning; forget what is new."""
        raise NotImplementedError


def chosen_seed(folder: str | Path, seed: int) -> int:
    """The seed asked for; for 0 that of the run in the folder, or a fresh one."""
    if seed:
        return int(seed)
    there = (Path(folder) / "run.json").exists()
    return int(read_settings(folder).get("seed", 0) if there else 0) or fresh_seed()
