"""What a run tells: lines for the terminal and rows for the logs, on the first rank alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..core.progress import duration
from .counters import Counters
from .feed.trainset import TrainingSet
from .logs import HELD_OUT, TrainingLog
from .passes import TERMS
from .training_settings import TrainingSettings

__all__ = ["Reporter"]


class Reporter:
    """Reports of one call of :meth:`.loop.Trainer.run`.

    Parameters
    ----------
    folder : Path
        Of the run, where the logs are.
    settings : TrainingSettings
    counters : Counters
        Where the run is, whenever something is told.
    say : callable, optional
        Takes a line. Without it nothing is said or written: one process speaks for all.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrainingSettings,
        counters: Counters,
        say: Callable[[str], None] | None,
    ) -> None:
        self._folder, self._settings, self._counters = folder, settings, counters
        self._say = say or (lambda line: None)
        self._speaks = say is not None
        self._log: TrainingLog | None = None

    def begin(
        self, parameters: int, data: TrainingSet, held_out: TrainingSet | None, devices: str
    ) -> None:
        """Open the logs, and say what is trained on what."""
        step = self._counters.step
        if self._speaks:
            self._log = TrainingLog(self._folder, step)
        self._say(
            f"training {parameters / 1e6:.2f} M parameters on {data.summary()} with {devices}"
        )
        self._say(f"held out: {'nothing' if held_out is None else held_out.summary()}")
        if self._counters.finished(self._settings):
            self._say(
                f"the run in {self._folder} has ended, at step {step}; with more steps of its last "
                "stage, or more patience, it goes on"
            )
        elif step:
            self._say(f"going on from step {step}")

    def stage(self, notes: Iterable[str], trained: int) -> None:
        """Say which stage begins or goes on, how many parameters it trains, and what to know."""
        for note in notes:
            self._say(f"note: {note}")
        counters = self._counters
        if counters.finished(self._settings):
            return
        stage = counters.stage_of(self._settings)
        self._say(
            f"stage {counters.stage + 1}/{len(self._settings.stages)} {stage.name}: step "
            f"{counters.stage_step} of {stage.steps}, {stage.draws} draws a step, "
            f"{trained / 1e6:.2f} M parameters trained"
        )

    def row(self, numbers: Mapping[str, float]) -> None:
        """Write a row and a line."""
        if self._log is None:
            return
        counters, stage = self._counters, self._counters.stage_of(self._settings)
        place = {
            "step": counters.step,
            "stage": stage.name,
            "stage_step": counters.stage_step,
            "seconds": round(counters.seconds, 1),
        }
        self._log.write(place | dict(numbers))
        total = len(self._settings.stages)
        where = f"stage {counters.stage + 1}/{total} " if total > 1 else ""
        parts = [f"{where}step {counters.stage_step}/{stage.steps}"]
        if "loss" in numbers:
            terms = " ".join(f"{t} {numbers[t]:.4f}" for t in TERMS[1:] if t in numbers)
            parts.append(f"loss {numbers['loss']:.4f} ({terms})")
        if "skipped" in numbers:
            parts.append(f"{numbers['skipped']:.0f} steps left out, gradient not finite")
        if HELD_OUT in numbers:
            told = f"held-out {numbers[HELD_OUT]:.4f}"
            if counters.stale:
                told += f" (best {counters.best:.4f}, {counters.stale} ago)"
            parts.append(told)
        speed = numbers["steps_per_second"]
        left = (stage.steps - counters.stage_step) / max(speed, 1e-9)
        parts.append(f"{speed:.3g} steps/s, waiting {100.0 * numbers['waiting']:.1f} %")
        if left > 0.0:
            parts.append(f"ETA {duration(left)}")
        self._say("  ".join(parts))

    def end(self) -> None:
        """Say why the run leaves."""
        step = self._counters.step
        if not self._counters.finished(self._settings):
            self._say(f"stopped and saved at step {step}; the same command goes on")
        elif self._counters.stage_step < self._counters.stage_of(self._settings).steps:
            self._say(
                f"ended at step {step}: no better held-out loss in "
                f"{self._settings.validation.patience} validations"
            )
        else:
            self._say(f"ended at step {step}")

    def close(self) -> None:
        """Close the logs."""
        if self._log is not None:
            self._log.close()
