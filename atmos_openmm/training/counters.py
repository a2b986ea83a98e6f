"""Where a run is: its counters, the mean of its rows, and its speed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .training_settings import StageSettings, TrainingSettings

__all__ = ["MOST_SKIPPED", "StepTimer", "Counters", "Window"]

MOST_SKIPPED = 20
"""Steps in a row without a finite gradient after which a run ends."""


@dataclass
class Window:
    """Sums since the last row of the log. They are part of a checkpoint, so that the rows of a run
    that was stopped are those of an unbroken one.

    Attributes
    ----------
    sums : dict of str to float
    count : int
        Steps in the sums.
    skipped : int
        Steps left out for a gradient that was not finite; they are not in the sums.
    """

    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    skipped: int = 0

    def add(self, numbers: Mapping[str, float]) -> None:
        """Take in a step."""
        if not math.isfinite(numbers["gradient_norm"]):
            self.skipped += 1
            return
        self.count += 1
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def row(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        row = {name: rounded(value / self.count) for name, value in self.sums.items()}
        if self.skipped:
            row["skipped"] = self.skipped
        self.sums, self.count, self.skipped = {}, 0, 0
        return row


@dataclass
class Counters:
    """What a checkpoint says of where the run is.

    Attributes
    ----------
    step : int
        Optimiser steps done in all stages.
    stage : int
        Number of the stage.
    stage_step : int
        Steps done in it.
    best : float
        Smallest held-out loss of the stage; infinite before the first validation.
    stale : int
        Validations since then.
    seconds : float
        Of training steps, in all processes since the run began.
    skipped : int
        Steps in a row that were left out for a gradient that was not finite.
    window : Window
    """

    step: int = 0
    stage: int = 0
    stage_step: int = 0
    best: float = math.inf
    stale: int = 0
    seconds: float = 0.0
    skipped: int = 0
    window: Window = field(default_factory=Window)

    def stage_of(self, settings: TrainingSettings) -> StageSettings:
        """The stage that the run is in."""
        return settings.stages[self.stage]

    def stage_ended(self, settings: TrainingSettings) -> bool:
        """Whether the stage has had its steps, or as many validations in vain as it may."""
        steps, patience = self.stage_of(settings).steps, settings.validation.patience
        return self.stage_step >= steps or self.stale >= patience

    def finished(self, settings: TrainingSettings) -> bool:
        """Whether the last stage has ended."""
        return self.stage_ended(settings) and self.stage == len(settings.stages) - 1

    def begin_stage(self, stage: int) -> None:
        """Count a stage from its start."""
        self.stage, self.stage_step = stage, 0
        self.best, self.stale = math.inf, 0

    def stepped(self, numbers: Mapping[str, float], seconds: float) -> None:
        """Take in a step, its numbers and how long it took.

        Raises
        ------
        ValueError
            As many steps as `MOST_SKIPPED` were left out one after the other.
        """
        self.step += 1
        self.stage_step += 1
        self.seconds += seconds
        self.skipped = 0 if math.isfinite(numbers["gradient_norm"]) else self.skipped + 1
        self.window.add(numbers)
        if self.skipped >= MOST_SKIPPED:
            raise ValueError(
                f"The gradient was not finite in {MOST_SKIPPED} steps in a row, up to step "
                f"{self.step}: training has diverged. Go on with a smaller learning_rate or "
                "optimizer.clip; where the weights themselves are spoilt, start anew from the best "
                "ones in another folder."
            )

    def validated(self, loss: float) -> bool:
        """Take in a held-out loss; return whether it is better than all before in the stage."""
        better = loss < self.best
        self.stale = 0 if better else self.stale + 1
        self.best = loss if better else self.best
        return better

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; the stage is left to its name."""
        values = asdict(self)
        del values["stage"]
        return values | {"best": self.best if math.isfinite(self.best) else None}

    @staticmethod
    def from_dict(values: Mapping[str, Any], stage: int) -> Counters:
        """Read :meth:`to_dict`'s result."""
        best = math.inf if values["best"] is None else float(values["best"])
        own = {name: values[name] for name in ("step", "stage_step", "stale", "seconds", "skipped")}
        return Counters(stage=stage, best=best, window=Window(**values["window"]), **own)


class StepTimer:
    """Speed of training and the share of it spent waiting for data, since the last row."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a row or a validation."""
        self._begun = time.monotonic()
        self._steps = 0
        self._waited = 0.0

    def add(self, waited_seconds: float) -> None:
        """Take in a step."""
        self._steps += 1
        self._waited += waited_seconds

    def row(self) -> dict[str, float]:
        """Return steps a second and the share of time waiting."""
        seconds = max(1e-9, time.monotonic() - self._begun)
        return {
            "steps_per_second": rounded(self._steps / seconds, 4),
            "waiting": rounded(min(1.0, self._waited / seconds), 4),
        }


def rounded(value: float, digits: int = 8) -> float:
    """A number short enough to be read."""
    return float(f"{value:.{digits}g}")
