"""What a run tells: lines for the terminal and rows for the logs, on the first rank alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..core.progress import duration
from .logs import HELD_OUT, TrainingLog
from .passes import TERMS

if TYPE_CHECKING:
    from .loop import Trainer

__all__ = ["Reporter"]


class Reporter:
    """Reports of one call of :meth:`.loop.Trainer.run`.

    Parameters
    ----------
    trainer: Trainer
    say: callable
        Takes a line.
    """

    def __init__(self, trainer: Trainer, say: Callable[[str], None]) -> None:
        self._trainer = trainer
        self._first = trainer.ranks.is_first
        self._say = say if self._first else _nothing
        self._log: TrainingLog | None = None

    def begin(self) -> None:
        """Open the logs, and say what is trained on what."""
        trainer = self._trainer
        if self._first:
            self._log = TrainingLog(trainer.folder, trainer.step)
        parameters = list(trainer.model.parameters())
        millions = sum(p.numel() for p in parameters) / 1e6
        self._say(
            f"training {millions:.2f} M parameters on {trainer.training_set.summary()}"
            f" with {_devices(trainer)}"
        )
        held_out = trainer.held_out_set
        self._say(f"held out: {'nothing' if held_out is None else held_out.summary()}")
        if trainer.finished:
            self._say(
                f"the run in {trainer.folder} has ended, at step {trainer.step}; with more steps "
                "(--set stages.NAME.steps=...) or patience it goes on"
            )
        elif trainer.step:
            self._say(f"going on from step {trainer.step}")
        self.stage()

    def stage(self) -> None:
        """Say which stage begins or goes on, and what is worth knowing about it."""
        trainer = self._trainer
        for note in trainer.notes:
            self._say(f"note: {note}")
        trainer.notes.clear()
        if trainer.finished:
            return
        number, total = trainer.counters.stage + 1, len(trainer.settings.stages)
        trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad) / 1e6
        self._say(
            f"stage {number}/{total} {trainer.stage.name}: step {trainer.counters.stage_step} of "
            f"{trainer.stage.steps}, {trainer.stage.draws} draws a step, {trained:.2f} M "
            "parameters trained"
        )

    def row(self, numbers: Mapping[str, float]) -> None:
        """Write a row and a line."""
        if self._log is None:
            return
        trainer, counters = self._trainer, self._trainer.counters
        place = {
            "step": counters.step,
            "stage": trainer.stage.name,
            "stage_step": counters.stage_step,
            "seconds": round(counters.seconds, 1),
        }
        self._log.write(place | dict(numbers))
        total = len(trainer.settings.stages)
        where = f"stage {counters.stage + 1}/{total} " if total > 1 else ""
        parts = [f"{where}step {counters.stage_step}/{trainer.stage.steps}"]
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
        left = (trainer.stage.steps - counters.stage_step) / max(speed, 1e-9)
        parts.append(f"{speed:.3g} steps/s, waiting {100.0 * numbers['waiting']:.1f} %")
        if left > 0.0:
            parts.append(f"ETA {duration(left)}")
        self._say("  ".join(parts))

    def end(self) -> None:
        """Say why the run leaves."""
        trainer = self._trainer
        if not trainer.finished:
            self._say(f"stopped and saved at step {trainer.step}; the same command goes on")
        elif trainer.counters.stage_step < trainer.stage.steps:
            self._say(
                f"ended at step {trainer.step}: no better held-out loss in "
                f"{trainer.settings.validation.patience} validations"
            )
        else:
            self._say(f"ended at step {trainer.step}")

    def close(self) -> None:
        """Close the logs."""
        if self._log is not None:
            self._log.close()


def _devices(trainer: Trainer) -> str:
    kind = {"cuda": "GPU", "cpu": "CPU process"}.get(trainer.fabric.device.type, "device")
    plural = "" if trainer.ranks.size == 1 else "es" if kind == "CPU process" else "s"
    precision = trainer.fabric.strategy.precision.precision
    return f"{trainer.ranks.size} {kind}{plural}, {precision}"


def _nothing(line: str) -> None:
    pass
