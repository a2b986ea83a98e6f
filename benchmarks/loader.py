"""Whether draws are ready when the training step wants them: the share of time spent waiting.

    OMP_NUM_THREADS=1 python benchmarks/loader.py DATA [--steps 60] [--workers 0 1 2] [--json FILE]

DATA is a folder with `md/` (capped amino acids, trajectory files of `atmos-openmm simulate`) and
`mdcath/` (HDF5 files of mdCATH). The small network is trained on the CPU, with the bundled settings
on the amino acids and on crops of the heavy atoms of the proteins. Waiting is what the training log
reports: the time from asking for a step's draws to having them, over all the time; the first rows
of a run, in which workers start, features are made and torch warms up, are left out.

Before that the draws themselves are timed, without a network: the first of each molecule, which
makes its features, and later ones. A worker keeps up where a draw takes less time than a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from atmos_openmm.data.sample import Sample
from atmos_openmm.data.sources import open_samples
from atmos_openmm.training.feed.draws import Drawer
from atmos_openmm.training.feed.trainset import split
from atmos_openmm.training.logs import LOG
from atmos_openmm.training.loop import Trainer
from atmos_openmm.training.training_settings import (
    LossSettings,
    StageSettings,
    TrainingSettings,
    ValidationSettings,
    read_settings,
)

CROP_TOKENS = 24
NOTHING_HELD_OUT = ValidationSettings()
ROWS = 6
"""Of a run's log; the first is left out."""


def amino_acids(folder: Path) -> tuple[Sequence[Sample], TrainingSettings]:
    """The bundled settings on the amino acids."""
    return open_samples(sorted(folder.glob("*.h5"))).samples, read_settings("small")


def proteins(folder: Path) -> tuple[Sequence[Sample], TrainingSettings]:
    """Crops of mdCATH's proteins, heavy atoms, lags in its range."""
    stage = StageSettings(
        "proteins",
        1,
        rollouts=2,
        levels=2,
        shares={"mdcath": 1.0},
        jumps=((0, 2),),
        lag_range_ps=(1000.0, 100000.0),
        crop_tokens=CROP_TOKENS,
        losses=LossSettings(),
    )
    files = sorted(folder.glob("*.h5"))
    return open_samples(files).samples, TrainingSettings((stage,), atoms="heavy")


def drawing(samples: Sequence[Sample], settings: TrainingSettings, count: int) -> dict[str, float]:
    """Milliseconds of the first draw of a molecule, and of later ones (medians)."""
    training, _ = split(samples, NOTHING_HELD_OUT)
    drawer = Drawer(training, settings)
    first, later = [], []
    known = set()
    for number in range(count):
        begun = time.perf_counter()
        name = drawer.draw(number, 0).batch.name
        taken = 1e3 * (time.perf_counter() - begun)
        (later if name in known else first).append(taken)
        known.add(name)
    return {"first_ms": statistics.median(first), "later_ms": statistics.median(later)}


def training(
    samples: Sequence[Sample], settings: TrainingSettings, steps: int, workers: int
) -> dict[str, float]:
    """Milliseconds a step, and the share of time waited, of a short run."""
    every = max(1, steps // ROWS)
    stage = replace(settings.stages[0], steps=every * ROWS)
    told = replace(settings, stages=(stage,), validation=NOTHING_HELD_OUT, log_every=every)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(samples, folder, told, workers=workers)
        trainer.run(report=lambda line: None)
        rows = [json.loads(line) for line in (Path(folder) / LOG).read_text().splitlines()]
    rows = [row for row in rows if "waiting" in row][1:]
    seconds = sum(every / row["steps_per_second"] for row in rows)
    waited = sum(row["waiting"] * every / row["steps_per_second"] for row in rows)
    return {"step_ms": 1e3 * seconds / (every * len(rows)), "waited": waited / seconds}


def main() -> None:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "steps": arguments.steps}
    cases = {
        "capped amino acids": amino_acids(arguments.data / "md"),
        f"mdCATH, crops of {CROP_TOKENS} tokens": proteins(arguments.data / "mdcath"),
    }
    for name, (samples, settings) in cases.items():
        found: dict[str, Any] = drawing(samples, settings, 60)
        print(
            f"{name}: a draw takes {found['later_ms']:.1f} ms, the first of a molecule "
            f"{found['first_ms']:.0f} ms",
            flush=True,
        )
        print(f"{'workers':>8} {'ms a step':>10} {'waiting':>8}")
        for workers in arguments.workers:
            one = training(samples, settings, arguments.steps, workers)
            found[f"workers_{workers}"] = one
            print(f"{workers:8d} {one['step_ms']:10.1f} {one['waited']:8.2%}", flush=True)
        results[name] = found
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
