"""Judging frames in several processes, in order, in constant memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

import numpy as np
import openmm

from ..trajectories.frames import Frame
from .findings import EnergyFindings
from .judge_settings import FrameJudgeSettings
from .judging import FrameJudge
from .reference import EnergyReference, FrameOfReference
from .verdict import FrameVerdict

__all__ = ["FramePool", "FrameRunner", "WorkerError"]

#: Frames that wait for each worker, so that none is idle while the first of them is slow.
_AHEAD = 3

#: The judge of a worker process.
_judge: FrameJudge | None = None


class WorkerError(RuntimeError):
    """A worker process ended before it had judged its frame."""


class FramePool:
    """Judges in worker processes; each has Contexts of its own.

    Used in a script, the call that starts it has to stand under ``if __name__ == "__main__":``,
    because the processes import the script.

    Parameters
    ----------
    settings : FrameJudgeSettings
    workers : int
    """

    def __init__(self, settings: FrameJudgeSettings, workers: int) -> None:
        if isinstance(settings.platform, openmm.Platform):
            settings = replace(settings, platform=settings.platform.getName())
        self._workers = workers
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(settings,),
        )

    def sample(self, frames: Iterable[FrameOfReference]) -> Iterator[EnergyFindings]:
        """Energies of frames, in order; see `FrameJudge.sample`."""
        yield from self._ordered((_sample, frame) for frame in frames)

    def judge(
        self, frames: Iterable[Frame], reference: EnergyReference | None
    ) -> Iterator[FrameVerdict]:
        """Verdicts on frames, in order.

        Raises
        ------
        WorkerError
            A process was killed or broke down.
        """
        plain = None if reference is None else replace(reference, spreads=None)
        yield from self._ordered((_verdict, (frame, plain)) for frame in frames)

    def _ordered(self, tasks: Iterable[tuple[Any, tuple[Any, ...]]]) -> Iterator[Any]:
        running: deque[Future[Any]] = deque()
        try:
            for function, arguments in tasks:
                running.append(self._pool.submit(function, *arguments))
                if len(running) >= _AHEAD * self._workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process ended before its frame was judged: it was killed (by the "
                "system, perhaps for want of memory) or could not start. Use fewer workers; with "
                "one, frames are judged in this process, which says more"
            ) from error
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class FrameRunner:
    """Judges frames in this process, or in several that are started when they are needed.

    Parameters
    ----------
    judge : FrameJudge
    workers : int
    """

    def __init__(self, judge: FrameJudge, workers: int) -> None:
        self._judge = judge
        self._workers = workers
        self._pool: FramePool | None = None

    def _processes(self) -> FramePool:
        if self._pool is None:
            self._pool = FramePool(self._judge.settings, self._workers)
        return self._pool

    def samples(self, frames: Iterable[FrameOfReference]) -> Iterator[EnergyFindings]:
        """Energies of frames, in order; see `FrameJudge.sample`."""
        if self._workers > 1:
            yield from self._processes().sample(frames)
            return
        for positions_nm, box_nm in frames:
            yield self._judge.sample(positions_nm, box_nm)

    def verdicts(self, frames: Iterable[Frame]) -> Iterator[FrameVerdict]:
        """Verdicts on frames, in order; see `FramePool.judge`."""
        if self._workers > 1:
            yield from self._processes().judge(frames, self._judge.reference)
            return
        for frame in frames:
            yield self._judge(frame.positions_nm, frame.box_nm, frame.index, frame.time_ps)

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """End the processes when what stands in the block fails or is interrupted."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, where there are any."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def _start(settings: FrameJudgeSettings) -> None:
    """Make the judge of this process, which leaves Ctrl-C to the one that started it."""
    global _judge
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _judge = FrameJudge(settings)


def _sample(positions_nm: np.ndarray, box_nm: np.ndarray | None) -> EnergyFindings:
    assert _judge is not None
    return _judge.sample(positions_nm, box_nm)


def _verdict(frame: Frame, reference: EnergyReference | None) -> FrameVerdict:
    assert _judge is not None
    _judge.reference = reference
    return _judge(frame.positions_nm, frame.box_nm, frame.index, frame.time_ps)
