"""Fine-tune a model on a user's own molecular dynamics, and say whether it helped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..evaluation.ensemble import Ensemble
from ..model.model_file import Capabilities, LoadedModel, load_model, save_model
from ..training.weights.pretrained import network_from_model, sampler_of
from .before_after import Measurement, Number, compare, overall
from .data import MolecularDynamics
from .fine_tune import FEWEST_STEPS, FineTuned, adapting_samples, fine_tune, seconds_per_step
from .folder import AdaptationFolder
from .measure import ModelJudge
from .split import Split
from .task import AdaptationTask, AdaptSettings

__all__ = ["AdaptSettings", "Adaptation", "adapt"]

ADAPTED = "adapted.atmos"


@dataclass(frozen=True)
class Adaptation:
    """What came of an adaptation.

    Attributes
    ----------
    name, base : str
        Of the molecule, and of the model that was adapted.
    helped : bool
    sentence : str
        The verdict on the whole.
    numbers : tuple of Number
        Before and after.
    notes : tuple of str
    split : Split
    tuned : FineTuned
    declared : Capabilities
        Of the adapted model.
    model : Path
        ``adapted.atmos``.
    ensembles : dict of str to Ensemble
        Held-out dynamics and the rollouts, for plots.
    judge : ModelJudge
    """

    name: str
    base: str
    helped: bool
    sentence: str
    numbers: tuple[Number, ...]
    notes: tuple[str, ...]
    split: Split
    tuned: FineTuned
    declared: Capabilities
    model: Path
    ensembles: dict[str, Ensemble]
    judge: ModelJudge


def adapt(
    dynamics: MolecularDynamics,
    base: LoadedModel,
    folder: Path,
    settings: AdaptSettings,
    *,
    report: Callable[[str], None] = print,
    progress: Callable[[str], None] = lambda line: None,
    running: Callable[[Any], Any] = nullcontext,
) -> Adaptation | None:
    """Fine-tune a model on molecular dynamics and judge it, before and after, on held-out frames.

    Everything is a function of the data, the model, the settings and the number of steps; what was
    killed goes on from where it was, with the same results.

    Parameters
    ----------
    dynamics : MolecularDynamics
    base : LoadedModel
    folder : Path
        Of the adapted model and all that is kept.
    settings : AdaptSettings
    report : function
        Called with lines that stay.
    progress : function
        Called with lines that the next one replaces.
    running : function
        Makes the context, given the trainer, in which training runs: where signals are handled.

    Returns
    -------
    Adaptation, or None where training was asked to stop

    Raises
    ------
    ValueError
        Too few frames; a model that cannot be trained; a folder with another adaptation.
    """
    task = AdaptationTask.of(dynamics, base, settings)
    for note in task.notes:
        report(note)
    with AdaptationFolder(folder, task.kept()) as place:
        if place.resumed:
            report(f"Going on in {folder}.")
        judge = task.judge()

        def measured(name: str, model: LoadedModel) -> Measurement:
            found = place.measurement(name)
            if found is None:
                report(f"measuring {name} adapting, on held-out frames")
                found = judge.measure(model, folder / f"rollout-{name}", progress)
                place.keep(name, found)
            return found

        known = task.widened([*task.told_lags_ps, *task.judged_lags_ps])
        original = LoadedModel(base.module, known)
        before = measured("before", original)
        tuned = _tuned(place, task, report, running)
        if not tuned.finished:
            return None
        declared = task.declared(tuned)
        tuned.network.set_sampler(sampler_of(base))
        with torch.no_grad():
            declared = save_model(folder / ADAPTED, tuned.network, declared)
        # Judged is what was written, not what was in memory.
        written = load_model(folder / ADAPTED)
        known = task.widened(task.judged_lags_ps, written.capabilities)
        after = measured("after", LoadedModel(written.module, known))
        oracle = judge.oracle(original)
    numbers = tuple(compare(before, after, oracle))
    helped, sentence = overall(numbers)
    notes = [*task.notes, *judge.notes]
    for name, found in (("before", before), ("after", after)):
        notes += [f"{name}: {note}" for note in found.notes]
    return Adaptation(
        dynamics.name, base.capabilities.name, helped, sentence, numbers, tuple(notes), task.split,
        tuned, declared, folder / ADAPTED, _ensembles(judge, folder), judge,
    )  # fmt: skip


def _tuned(
    place: AdaptationFolder,
    task: AdaptationTask,
    report: Callable[[str], None],
    running: Callable[[Any], Any],
) -> FineTuned:
    """Train, for the steps asked for or as many as fit into the minutes."""
    network = network_from_model(task.base)
    samples = adapting_samples(task.dynamics, task.split, task.without_memory > 0.0)
    steps = place.planned_steps or task.settings.steps
    if steps is None:
        each = seconds_per_step(network, samples, task.training(FEWEST_STEPS))
        minutes = task.settings.minutes
        # A fifth of the time goes to validations.
        steps = max(FEWEST_STEPS, round(0.8 * 60.0 * minutes / each))
        report(f"{each:.2f} s a step: {steps} steps in about {minutes:g} min")
    if place.planned_steps is None:
        place.plan(steps)
    return fine_tune(
        network, samples, task.training(steps), place.path / "training", report, running
    )


def _ensembles(judge: ModelJudge, folder: Path) -> dict[str, Ensemble]:
    """Held-out dynamics and the rollouts, for plots."""
    ensembles = {"MD, held out": judge.held_out}
    for name in ("before", "after"):
        place = folder / f"rollout-{name}"
        found = judge.rollout(place) if place.exists() else None
        if found is not None:
            ensembles[name] = replace(found, name=name)
    return ensembles
