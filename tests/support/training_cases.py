"""A small file of frames and settings that train in moments, for the tests of the trainer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from model_support import TINY

from atmos_openmm.data.sources import open_samples
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.loop import Trainer
from atmos_openmm.training.training_settings import (
    StageSettings,
    TrainingSettings,
    ValidationSettings,
)
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

STAGE = StageSettings(
    "only",
    steps=6,
    draws=2,
    rollouts=2,
    levels=2,
    shares={"dynamics": 0.5, "exchange": 0.5},
    lag_range_ps=(1.0, 8.0),
    warmup_steps=2,
)
SETTINGS = TrainingSettings(
    (STAGE,),
    # Dropout is a random number like any other, and has to come out the same after a kill.
    model=dataclasses.replace(TINY, dropout=0.1),
    seed=5,
    log_every=1,
    validation=ValidationSettings(runs=(3,), every=3, draws=2),
)
TIMING = ("seconds", "steps_per_second", "waiting")
"""Entries of the log that differ from run to run."""


def write_data(path: Path) -> Path:
    """Jittered frames: dynamics of four runs and one exchange temperature."""
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    rng = np.random.default_rng(0)

    def run(kind: str, number: int) -> TrajectoryData:
        frames = positions_nm + 0.003 * rng.standard_normal((20, *positions_nm.shape))
        return TrajectoryData(frames, np.arange(1.0, 21.0), kind, 300.0, "beta", number)

    runs = [run("dynamics", k) for k in range(4)] + [run("exchange", 4)]
    system = openmm.XmlSerializer.serialize(openmm.System())
    write_trajectory_file(path, "ACE-ALA-NME", topology, system, {}, runs)
    return path


def settings(**changes: Any) -> TrainingSettings:
    """The settings with some of the stage's, optimiser's, validation's or their own changed."""
    parts: dict[str, Any] = {
        "stages": STAGE,
        "optimizer": SETTINGS.optimizer,
        "validation": SETTINGS.validation,
    }
    own = {k: v for k, v in changes.items() if hasattr(SETTINGS, k)}
    for name, part in parts.items():
        mine = {k: v for k, v in changes.items() if hasattr(part, k)}
        changed = dataclasses.replace(part, **mine)
        own.setdefault(name, (changed,) if name == "stages" else changed)
    return dataclasses.replace(SETTINGS, **own)


def trainer(data: Path, folder: Path, given: TrainingSettings = SETTINGS, **more: Any) -> Trainer:
    """A trainer on one file, in this process."""
    return Trainer(open_samples([data]), folder, given, **more)


def silent(line: str) -> None:
    """A report that nobody reads."""


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a run's log, without what depends on the clock."""
    lines = (folder / "training.log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMING} for line in lines]
