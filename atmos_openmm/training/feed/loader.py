"""Draws of a rank in order, made ahead of time by worker processes; the time spent waiting."""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from ...core.read_errors import first_line
from ...data.faults import DataFileError
from ...systems.errors import FeatureError
from .draws import Draw, Drawer
from .left_out import LeftOut
from .packed import PackedDraw
from .schedule import draws_of_rank

__all__ = ["BatchLoader"]

DIED = "DataLoader worker (pid"
"""How torch's message about a worker that died begins."""
AHEAD = 4
"""Draws that a worker has ready."""


class BatchLoader:
    """The steps of a stage with this rank's draws of each.

    With workers, processes make draws ahead of time; they are started afresh (not forked: this one
    may hold files of HDF5, threads of OpenMM and torch, and a GPU), so a script that uses them
    needs the usual ``if __name__ == "__main__":``. What a worker hands over is one block of shared
    memory a draw, whatever the number of tensors, so that file descriptors are few. The order and
    the bits of the draws do not depend on the number of workers.

    Use it in a ``with`` statement, or call :meth:`close`: workers end then, also where an
    exception or a keyboard interrupt ended the loop.

    Parameters
    ----------
    drawer : Drawer
        Of the stage; it knows its draws a step and its curriculum.
    first_step : int
        Where to begin, in steps of the stage.
    last_step : int, optional
        Where to end, exclusive; the stage's end.
    rank, world : int
        This process among those that train together.
    workers : int
        Processes; 0 makes draws in this one, when they are asked for.
    ahead : int
        Draws that each worker may have ready; bounds the memory.
    pin_memory : bool
        Whether draws are put into page-locked memory, from which a GPU copies while it computes.
        Without a GPU nothing is done.

    Attributes
    ----------
    skipped : Counter of Fault
        Molecules and runs that were left out (policy ``skip``), by the first fault of its kind,
        with how often. A `DataFileWarning` names each at its first time.
    waited_seconds : float
        Spent in waiting for draws, the first step's included, in which workers start.

    Yields
    ------
    step : int
    draws : list of Draw
        Empty where a step has fewer draws than there are ranks.

    Raises
    ------
    DataFileError, FeatureError
        Policy ``stop``: from a worker as from this process, at the step that it belongs to.
    RuntimeError
        A worker died, of a signal or for lack of memory.
    """

    def __init__(
        self,
        drawer: Drawer,
        first_step: int = 0,
        last_step: int | None = None,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        ahead: int = AHEAD,
        pin_memory: bool = False,
    ) -> None:
        if workers < 0 or ahead < 1:
            raise ValueError(f"workers is {workers} and ahead {ahead}; expected at least 0 and 1.")
        end = drawer.stage.steps if last_step is None else last_step
        self._steps = range(first_step, max(first_step, end))
        self._size, self._rank, self._world = drawer.stage.draws, rank, world
        numbers = _DrawNumbers(self._steps, self._size, rank, world)
        pin = pin_memory and torch.cuda.is_available()
        self._draws: Iterator[Any]
        self._ending: Any = None
        if workers == 0:
            self._draws = (_made(drawer, step, number, pin) for step, number in numbers)
        else:
            context = multiprocessing.get_context("spawn")
            self._ending = context.Event()
            # Before multiprocessing ends what is left at the exit of a process that did not close.
            multiprocessing.util.Finalize(self, self._ending.set, exitpriority=0)
            self._draws = iter(
                DataLoader(
                    _Draws(drawer, self._ending),
                    sampler=numbers,
                    batch_size=None,
                    num_workers=workers,
                    multiprocessing_context=context,
                    worker_init_fn=_start_worker,
                    prefetch_factor=ahead,
                    pin_memory=pin,
                    # Its own numbers are not used, and the caller's state stays as it is.
                    generator=torch.Generator(),
                )
            )
        self._left_out = LeftOut()
        self.skipped = self._left_out.counts
        self.waited_seconds = 0.0
        self._next = 0

    def __iter__(self) -> BatchLoader:
        return self

    def __next__(self) -> tuple[int, list[Draw]]:
        if self._next >= len(self._steps):
            self.close()
            raise StopIteration
        step = self._steps[self._next]
        begun = time.perf_counter()
        draws = []
        for _ in draws_of_rank(step, self._size, self._rank, self._world):
            try:
                found = next(self._draws)
            except StopIteration:
                raise RuntimeError("The loader is closed; make another one.") from None
            except RuntimeError as error:
                if not str(error).startswith(DIED):
                    raise
                self.close()
                raise RuntimeError(
                    f"A process that makes draws died at step {step} ({first_line(error)}): memory "
                    "ran out, or a damaged file crashed the HDF5 library (`atmos-openmm data "
                    "check` finds such files). Use fewer workers, or mend the data; the run can "
                    "be continued."
                ) from error
            if isinstance(found, Exception):
                self.close()
                raise found
            draws.append(found.unpacked() if isinstance(found, PackedDraw) else found)
        self._next += 1
        self.waited_seconds += time.perf_counter() - begun
        for draw in draws:
            self._left_out.tell(draw.faults)
        return step, draws

    def close(self) -> None:
        """End the workers. The loader gives nothing more."""
        if self._ending is not None:
            self._ending.set()
        self._draws = iter(())  # a DataLoader's iterator ends its workers when it is let go

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _DrawNumbers(Sampler[tuple[int, int]]):
    """(step, draw number) of a rank in order."""

    def __init__(self, steps: range, draws: int, rank: int, world: int) -> None:
        self._of = steps, draws, rank, world
        draws_of_rank(0, draws, rank, world)  # a rank that is none is told here

    def __iter__(self) -> Iterator[tuple[int, int]]:
        steps, draws, rank, world = self._of
        for step in steps:
            for number in draws_of_rank(step, draws, rank, world):
                yield step, number


class _Draws(Dataset[Any]):
    """What a worker does: errors that say what is wrong with the data travel as they are."""

    def __init__(self, drawer: Drawer, ending: Any) -> None:
        self._drawer = drawer
        self.ending = ending

    def __getitem__(self, index: tuple[int, int]) -> PackedDraw | Exception:
        step, number = index
        try:
            return PackedDraw.of(self._drawer.draw(number, step))
        except (DataFileError, FeatureError) as error:
            return error


def _made(drawer: Drawer, step: int, number: int, pin: bool) -> Draw | PackedDraw:
    draw = drawer.draw(number, step)
    return PackedDraw.of(draw).pin_memory() if pin else draw


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # The parent is interrupted too, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell_unless_gone
    info = get_worker_info()
    assert info is not None
    dataset: Any = info.dataset
    ending = dataset.ending

    def end(number: int, frame: Any) -> None:
        # SLURM sends SIGTERM to every process of a job, and the parent still needs draws then: it
        # finishes its step and saves. What counts is the parent's own, sent when it is done.
        if ending.is_set():
            os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _tell_unless_gone(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    # The thread that hands over tensors reports a parent that was interrupted while it took one.
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
