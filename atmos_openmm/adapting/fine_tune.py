"""Training a model on, on the training part of a user's molecular dynamics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training.feed.draws import Drawer
from ..training.feed.picking import EQUILIBRIUM_LAGS_PS
from ..training.feed.trainset import split as split_samples
from ..training.loop import Trainer
from ..training.passes import draw_generator, training_pass
from ..training.training_settings import (
    OptimizerSettings,
    StageSettings,
    TrainingSettings,
    ValidationSettings,
)
from ..training.weights.checkpoint import BEST, load_weights

if TYPE_CHECKING:
    from ..data.sample import Sample
    from ..model.atmos import AtmosModel
    from ..model.config import ModelConfig
    from .data import MolecularDynamics, Run
    from .split import Split

__all__ = [
    "FineTuned",
    "adapting_samples",
    "adapting_settings",
    "fine_tune",
    "lag_range",
    "seconds_per_step",
]

VALIDATION_LABEL = "(validation)"
#: Validations of a whole run, and those without a better one after which it ends.
VALIDATIONS = 12
PATIENCE = 4
FEWEST_STEPS = 40
TIMED_STEPS = 3
CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class FineTuned:
    """A network after training.

    Attributes
    ----------
    network : AtmosModel
        With the averaged weights of the best validation; in evaluation mode.
    step : int
        Of that validation.
    steps : int
        That were made.
    best : float
        Its loss.
    seconds : float
        Of training steps.
    finished : bool
        False where training was asked to stop.
    """

    network: AtmosModel
    step: int
    steps: int
    best: float
    seconds: float
    finished: bool


def lag_range(runs: Sequence[Run], parts: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Lags of dynamics that the training parts hold: from one frame to half of the longest part.

    Without any run of real time, the lags of frames without memory.
    """
    timed = [
        (run.spacing_ps, stop - start)
        for run, (start, stop) in zip(runs, parts, strict=True)
        if run.kind == "dynamics" and run.spacing_ps is not None
    ]
    if not timed:
        return EQUILIBRIUM_LAGS_PS
    low = min(spacing for spacing, _ in timed)
    high = max(spacing * max(1, (frames - 1) // 2) for spacing, frames in timed)
    return float(low), float(max(low, high))


def adapting_samples(
    dynamics: MolecularDynamics, split: Split, without_memory: bool
) -> list[Sample]:
    """What training is given: samples that hold the training and validation parts alone.

    Parameters
    ----------
    dynamics : MolecularDynamics
    split : Split
    without_memory : bool
        Give frames of dynamics a second time as draws from their temperature, between which lags
        have no memory.
    """
    label = dynamics.name
    found = []
    for parts, name in (
        (split.training, label),
        (split.validation, f"{label} {VALIDATION_LABEL}"),
    ):
        found += dynamics.samples(split.runs, parts, name)
        timed = [
            (k, p)
            for k, p in zip(split.runs, parts, strict=True)
            if dynamics.runs[k].kind == "dynamics"
        ]
        if without_memory and timed:
            runs, chosen = zip(*timed, strict=True)
            found += dynamics.samples(runs, chosen, name, without_time=True)
    return found


def adapting_settings(
    config: ModelConfig,
    atoms: Any,
    lags_ps: tuple[float, float],
    *,
    steps: int,
    learning_rate: float,
    without_memory: float,
    seed: int,
) -> TrainingSettings:
    """One stage of fine-tuning: a low rate with warm-up, then down to a twentieth of it.

    Parameters
    ----------
    without_memory : float
        Share of the draws that are from frames without time, where there are any.
    """
    stage = StageSettings(
        name="adapting",
        steps=steps,
        draws=1,
        rollouts=8,
        levels=4,
        shares={"dynamics": 1.0 - without_memory, "exchange": without_memory}
        if 0.0 < without_memory < 1.0
        else {"dynamics": 1.0, "exchange": 1.0},
        jumps=((0, 2),),
        truncate=2,
        lag_range_ps=lags_ps,
        learning_rate=learning_rate,
        final_factor=0.05,
        warmup_steps=min(30, max(1, steps // 10)),
    )
    every = max(1, steps // VALIDATIONS)
    return TrainingSettings(
        stages=(stage,),
        model=config,
        atoms=atoms,
        seed=seed,
        log_every=max(1, every // 2),
        # The average reaches back over about a third of the steps.
        optimizer=OptimizerSettings(ema_decay=min(0.999, max(0.9, 1.0 - 3.0 / steps))),
        validation=ValidationSettings(
            molecules=(f"*{VALIDATION_LABEL}",), every=every, draws=12, patience=PATIENCE
        ),
    )


def seconds_per_step(
    network: AtmosModel, samples: Sequence[Sample], settings: TrainingSettings
) -> float:
    """Time of a training step here and now; nothing of it is kept.

    The mean of some steps after a first one, which sets up more than those that follow.
    """
    drawer = Drawer(split_samples(samples, settings.validation)[0], settings)
    stage, times = settings.stages[0], []
    network.train()
    for number in range(TIMED_STEPS + 1):
        begun = time.monotonic()
        batch = drawer.draw(number, 0).batch
        generator = draw_generator(settings.seed, 0, number)
        training_pass(network, batch, stage, generator, 1.0, nullcontext)
        times.append(time.monotonic() - begun)
    network.zero_grad(set_to_none=True)
    network.eval()
    return sum(times[1:]) / TIMED_STEPS


def fine_tune(
    network: AtmosModel,
    samples: Sequence[Sample],
    settings: TrainingSettings,
    folder: Path,
    report: Callable[[str], None],
    running: Callable[[Trainer], Any] = nullcontext,
) -> FineTuned:
    """Train a network on; a run that is found in the folder is continued.

    Parameters
    ----------
    network : AtmosModel
        Where a new run starts; not changed.
    folder : Path
        Of checkpoints and logs.
    report : callable
        Called with lines of progress.
    running : callable
        Makes the context, given the trainer, in which training runs: where signals are handled.
    """
    from ..model.atmos import AtmosModel

    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    trainer = Trainer(samples, folder, settings, initial_weights=weights)
    finished = trainer.finished
    if not finished:
        with running(trainer):
            # What a trainer holds out is what early stopping watches here.
            finished = trainer.run(
                lambda line: report(
                    line.replace("held out:", "validation part:").replace("held-out", "validation")
                ),
                CHECKPOINT_SECONDS,
            )
    steps, seconds = trainer.step, trainer.counters.seconds
    adapted = AtmosModel(settings.model)
    best = folder / BEST
    if not best.exists():  # stopped before the first validation
        adapted.load_state_dict(weights)
        return FineTuned(adapted.eval(), 0, steps, float("nan"), seconds, finished)
    averaged, state = load_weights(best)
    adapted.load_state_dict(averaged)
    return FineTuned(
        adapted.eval(), int(state["step"]), steps, float(state["best"]), seconds, finished
    )
