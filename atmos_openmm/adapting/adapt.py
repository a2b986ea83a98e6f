"""Fine-tune a model on a user's own molecular dynamics, and say whether it helped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..evaluation.ensemble import Ensemble
from ..model.model_file import Capabilities, LoadedModel, load_model, save_model
from ..training.feed.picking import EQUILIBRIUM_LAGS_PS
from ..training.weights.pretrained import network_from_model, sampler_of
from .before_after import Measurement, Number, compare, overall
from .data import MolecularDynamics
from .distributions import molecule_torsions
from .fine_tune import (
    FEWEST_STEPS,
    FineTuned,
    adapting_samples,
    adapting_settings,
    fine_tune,
    lag_range,
    seconds_per_step,
)
from .folder import AdaptationFolder, data_digest
from .measure import Judge, JudgeSettings, widened
from .split import Split, correlation_frames, split_runs

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures

__all__ = ["AdaptSettings", "Adaptation", "adapt"]

ADAPTED = "adapted.atmos"


@dataclass(frozen=True)
class AdaptSettings:
    """What an adaptation is told.

    Attributes
    ----------
    minutes: float
        Time for training steps; judging comes on top.
    steps: int, optional
        Training steps, instead of as many as fit into the minutes.
    learning_rate: float
        Peak, reached by a warm-up.
    held_out: float
        Share of each trajectory, its last, that only judges.
    without_memory: float, optional
        Share of draws that take frames as draws from their temperature, between which a long lag
        has no memory; half where the model has such lags, else none.
    lags_ps: sequence of float
        Of the proposals that judge; one of the data's and the model's longest by default.
    proposals, rollout_frames: int
        That judge.
    seed: int
    platform: str
        OpenMM platform of energies.
    """

    minutes: float = 5.0
    steps: int | None = None
    learning_rate: float = 3e-4
    held_out: float = 0.25
    without_memory: float | None = None
    lags_ps: tuple[float, ...] = ()
    proposals: int = 100
    rollout_frames: int = 240
    seed: int = 1
    platform: str = "CPU"

    def __post_init__(self) -> None:
        if not self.minutes > 0.0:
            raise ValueError(f"minutes is {self.minutes:g}; expected above 0.")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; expected at least 1.")
        if not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate:g}; expected above 0.")
        if self.without_memory is not None and not 0.0 <= self.without_memory <= 1.0:
            raise ValueError(f"without_memory is {self.without_memory:g}; expected 0 to 1.")
        if any(not lag > 0.0 for lag in self.lags_ps):
            raise ValueError(f"The lags are {self.lags_ps}; expected above 0 ps.")
        if self.proposals < 10 or self.rollout_frames < 20:
            raise ValueError(
                f"{self.proposals} proposals and {self.rollout_frames} frames of rollouts say "
                "nothing; expected at least 10 and 20."
            )


@dataclass(frozen=True)
class Adaptation:
    """What came of an adaptation.

    Attributes
    ----------
    name, base: str
        Of the molecule, and of the model that was adapted.
    helped: bool
    sentence: str
        The verdict on the whole.
    numbers: tuple of Number
        Before and after.
    notes: tuple of str
    split: Split
    tuned: FineTuned
    declared: Capabilities
        Of the adapted model.
    model: Path
        ``adapted.atmos``.
    ensembles: dict of str to Ensemble
        Held-out dynamics and the rollouts, for plots.
    judge: Judge
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
    judge: Judge


def adapt(
    dynamics: MolecularDynamics,
    base: LoadedModel,
    folder: Path,
    settings: AdaptSettings = AdaptSettings(),
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
    dynamics: MolecularDynamics
    base: LoadedModel
    folder: Path
        Of the adapted model and all that is kept.
    settings: AdaptSettings
    report: function
        Called with lines that stay.
    progress: function
        Called with lines that the next one replaces.
    running: function
        Makes the context, given the trainer, in which training runs: where signals are handled.

    Returns
    -------
    Adaptation, or None where training was asked to stop

    Raises
    ------
    ValueError
        Too few frames; a model that cannot be trained; a folder with another adaptation.
    """
    split = _split(dynamics, settings.held_out)
    runs = [dynamics.runs[k] for k in split.runs]
    config = base.config
    features = dynamics.features(base.capabilities.atoms, config.caps)  # type: ignore[arg-type]
    lags = lag_range(runs, split.training)
    share = _without_memory(settings, base)
    told = (*lags, *(EQUILIBRIUM_LAGS_PS if share > 0.0 else ()))
    judged = _judged_lags(settings, lags, base)
    kelvin = sorted({run.temperature_kelvin for run in runs})
    notes = list(
        dict.fromkeys([*dynamics.notes, *split.notes, *_notices(base, dynamics, features)])
    )
    for note in notes:
        report(note)
    kept = {
        **asdict(settings),
        "lags_ps": list(judged),
        "without_memory": share,
        "molecule": dynamics.name,
        "data_sha256": data_digest(dynamics),
        "base": base.capabilities.name,
        "base_sha256": base.capabilities.weights_sha256,
        "energies": dynamics.system is not None,
    }
    with AdaptationFolder(folder, kept) as place:
        if place.resumed:
            report(f"Going on in {folder}.")
        plan = adapting_settings(
            config,
            base.capabilities.atoms,
            lags,
            steps=settings.steps or FEWEST_STEPS,
            learning_rate=settings.learning_rate,
            without_memory=share,
            seed=settings.seed,
        )
        judge = Judge(
            dynamics,
            split,
            JudgeSettings(
                judged,
                lags,
                settings.proposals,
                settings.rollout_frames,
                settings.seed,
                settings.platform,
            ),
            base,
            plan.stages[0],
        )
        notes += judge.notes
        seen = [*told, *judged]
        original = LoadedModel(
            base.module,
            widened(base.capabilities, features, dynamics.residues, seen, kelvin),
        )
        before = _measured(place, "before", judge, original, report, progress)
        network = network_from_model(base)
        samples = adapting_samples(dynamics, split, 0.0 < share)
        steps = _steps(place, settings, network, samples, plan, report)
        plan = adapting_settings(
            config,
            base.capabilities.atoms,
            lags,
            steps=steps,
            learning_rate=settings.learning_rate,
            without_memory=share,
            seed=settings.seed,
        )
        tuned = fine_tune(network, samples, plan, folder / "training", report, running)
        if not tuned.finished:
            return None
        declared = _declared(base, dynamics, split, tuned, settings, told, features, kelvin)
        tuned.network.set_sampler(sampler_of(base))
        with torch.no_grad():
            declared = save_model(folder / ADAPTED, tuned.network, declared)
        # Judged is what was written, not what was in memory.
        written = load_model(folder / ADAPTED)
        seen_by_both = LoadedModel(
            written.module,
            widened(written.capabilities, features, dynamics.residues, judged, kelvin),
        )
        after = _measured(place, "after", judge, seen_by_both, report, progress)
        oracle = judge.oracle(original)
    numbers = tuple(compare(before, after, oracle))
    helped, sentence = overall(numbers)
    for name, measured in (("before", before), ("after", after)):
        notes += [f"{name}: {note}" for note in measured.notes]
    ensembles = {"MD, held out": judge.held_out}
    for name in ("before", "after"):
        place_of = folder / f"rollout-{name}"
        found = judge.rollout(place_of) if place_of.exists() else None
        if found is not None:
            ensembles[name] = replace(found, name=name)
    return Adaptation(
        dynamics.name, base.capabilities.name, helped, sentence, numbers, tuple(notes), split,
        tuned, declared, folder / ADAPTED, ensembles, judge,
    )  # fmt: skip


def _split(dynamics: MolecularDynamics, held_out: float) -> Split:
    torsions = molecule_torsions(dynamics)
    timed = [run for run in dynamics.runs if run.kind == "dynamics"]
    if torsions is None or not timed:
        return split_runs(dynamics.runs, held_out, 1.0)
    angles = [torsions.angles(run.positions_nm) for run in timed]
    return split_runs(dynamics.runs, held_out, correlation_frames(angles))


def _without_memory(settings: AdaptSettings, base: LoadedModel) -> float:
    if settings.without_memory is not None:
        return settings.without_memory
    return 0.5 if base.capabilities.lag_range_ps[1] >= EQUILIBRIUM_LAGS_PS[0] else 0.0


def _judged_lags(
    settings: AdaptSettings, lags: tuple[float, float], base: LoadedModel
) -> tuple[float, ...]:
    """A lag in the middle of the data's, and the one that a run takes by default."""
    if settings.lags_ps:
        return tuple(sorted(set(settings.lags_ps)))
    low, high = lags
    middle = max(low, round(float(np.sqrt(low * high)) / low) * low)
    return tuple(sorted({float(middle), float(max(high, base.capabilities.lag_range_ps[1]))}))


def _notices(
    base: LoadedModel, dynamics: MolecularDynamics, features: MoleculeFeatures
) -> list[str]:
    """What of the molecule the model never saw: allowed, and said."""
    known, found = base.capabilities, []
    new = sorted(set(dynamics.residues) - set(known.residues))
    if new:
        found.append(f"The model {known.name} never saw {', '.join(new)}; it learns it here.")
    elements = sorted({int(z) for z in features.ref_element} - set(known.elements))
    if elements:
        found.append(
            f"The model {known.name} never saw elements with atomic numbers {elements}; with so "
            "few frames it may not learn them."
        )
    if features.num_tokens > known.max_tokens or features.num_atoms > known.max_atoms:
        found.append(
            f"The molecule has {features.num_tokens} tokens and {features.num_atoms} atoms, more "
            f"than the model {known.name} was made for ({known.max_tokens} and "
            f"{known.max_atoms})."
        )
    return found


def _measured(
    place: AdaptationFolder,
    name: str,
    judge: Judge,
    model: LoadedModel,
    report: Callable[[str], None],
    progress: Callable[[str], None],
) -> Measurement:
    found = place.measurement(name)
    if found is None:
        report(f"measuring {name} adapting, on held-out frames")
        found = judge.measure(model, place.path / f"rollout-{name}", progress)
        place.keep(name, found)
    return found


def _steps(
    place: AdaptationFolder,
    settings: AdaptSettings,
    network: Any,
    samples: Sequence[Any],
    plan: Any,
    report: Callable[[str], None],
) -> int:
    """Steps of training: those asked for, or as many as fit into the minutes."""
    if place.planned_steps is not None:
        return place.planned_steps
    steps = settings.steps
    if steps is None:
        each = seconds_per_step(network, samples, plan)
        # A fifth of the time goes to validations.
        steps = max(FEWEST_STEPS, round(0.8 * 60.0 * settings.minutes / each))
        report(f"{each:.2f} s a step: {steps} steps in about {settings.minutes:g} min")
    place.plan(steps)
    return steps


def _declared(
    base: LoadedModel,
    dynamics: MolecularDynamics,
    split: Split,
    tuned: FineTuned,
    settings: AdaptSettings,
    lags_ps: Sequence[float],
    features: MoleculeFeatures,
    kelvin: Sequence[float],
) -> Capabilities:
    known, frames = base.capabilities, split.count("training")
    wide = widened(known, features, dynamics.residues, lags_ps, kelvin)
    times = [
        (stop - start) * (dynamics.runs[k].spacing_ps or 0.0)
        for k, (start, stop) in zip(split.runs, split.training, strict=True)
    ]
    length = f", {sum(times):g} ps" if sum(times) > 0.0 else ""
    degrees = " and ".join(f"{t:g}" for t in dict.fromkeys((kelvin[0], kelvin[-1])))
    return replace(
        wide,
        name=f"{known.name} adapted to {dynamics.name}",
        trained_on=f"{known.trained_on}; then adapted on {frames} frames of {dynamics.name} "
        f"({len(split.runs)} trajectories{length}, {degrees} K) of the user's own",
        weights_sha256="",
        extra={
            **known.extra,
            "adapted_from": {"name": known.name, "weights_sha256": known.weights_sha256},
            "adapting": {
                **asdict(settings),
                "step": tuned.step,
                "steps": tuned.steps,
                "seconds": tuned.seconds,
                "frames": frames,
                "molecule": dynamics.name,
            },
        },
    )
