"""Runs of several samplers in turns, each on its own clocks, kept in files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .molecules import molecule
from .samplers import Case, Sampler

TURN_SECONDS = 2.0


@dataclass
class Run:
    """Frames of one run, with its clocks after each.

    `seconds` is processor time, `wall` wall-clock time of this run alone; what counts as set-up
    comes before the first frame.
    """

    method: str
    seed: int
    positions: NDArray[np.float32]
    log_weights: NDArray[np.float64]
    seconds: NDArray[np.float64]
    wall: NDArray[np.float64]
    evaluations: NDArray[np.int64]
    burn_in: float
    notes: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the run, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {k: v for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        rest = {k: v for k, v in vars(self).items() if k not in fields}
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, rest=json.dumps(rest), **fields)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read a run that `save` wrote."""
        with np.load(path) as kept:
            fields = {k: kept[k] for k in kept.files if k != "rest"}
            return cls(**json.loads(str(kept["rest"])), **fields)


class _Clocked:
    """A sampler with its clocks and what it gave so far."""

    def __init__(self, name: str, sampler: Sampler) -> None:
        self.name, self.sampler = name, sampler
        self.seconds = self.wall = self.set_up = 0.0
        self.prepared = False
        self.frames: list[NDArray[np.float32]] = []
        self.weights: list[NDArray[np.float64]] = []
        self.stamps: list[tuple[float, float, int]] = []

    def turn(self, seconds: float, limit: float) -> None:
        """Use the sampler for some seconds of processor time, up to a limit of all turns."""
        busy, wall = time.process_time(), time.perf_counter()
        before, wall_before = self.seconds, self.wall
        if not self.prepared:
            self.sampler.prepare()
            self.prepared = True
            self.set_up = time.process_time() - busy
        while True:
            frames, weights = self.sampler.advance()
            self.seconds = before + time.process_time() - busy
            self.wall = wall_before + time.perf_counter() - wall
            self.frames.append(frames)
            self.weights.append(weights)
            self.stamps += [(self.seconds, self.wall, self.sampler.evaluations)] * len(frames)
            if self.seconds >= limit or self.seconds - before >= seconds:
                return

    def run(self) -> Run:
        seconds, wall, evaluations = zip(*self.stamps, strict=True)
        return Run(
            self.name,
            self.sampler.seed,
            np.concatenate(self.frames),
            np.concatenate(self.weights),
            np.array(seconds),
            np.array(wall),
            np.array(evaluations),
            self.sampler.burn_in,
            {"set_up_seconds": self.set_up, **self.sampler.notes()},
        )


def run_in_turns(
    name: str,
    methods: Mapping[str, Callable[[Case, int], Sampler]],
    seeds: Sequence[int],
    seconds: float,
    folder: Path,
    report: Callable[[str], None] = print,
) -> None:
    """Run every method and seed of one molecule that has no file yet.

    Methods of a seed take turns of two seconds, so that a busy machine slows all of them alike.
    A run ends when its processor time has reached `seconds`; in its last turn it may exceed them by
    one block.
    """
    case = Case(molecule(name))
    for seed in seeds:
        todo = [m for m in methods if not run_file(folder, name, m, seed).exists()]
        clocked = [_Clocked(m, methods[m](case, seed)) for m in todo]
        while any(one.seconds < seconds for one in clocked):
            for one in clocked:
                if one.seconds < seconds:
                    one.turn(TURN_SECONDS, seconds)
        for one in clocked:
            one.run().save(run_file(folder, name, one.name, seed))
            report(
                f"{name} {one.name} seed {seed}: {one.seconds:.0f} s, {one.sampler.evaluations} "
                f"evaluations, {sum(map(len, one.frames))} frames, {one.sampler.notes()}"
            )


def run_file(folder: Path, name: str, method: str, seed: int) -> Path:
    """Where a run is kept."""
    return folder / name / f"{method}_{seed}.npz"
