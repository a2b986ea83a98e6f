"""What an adaptation is told, and what follows from it and the data before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..training.feed.picking import EQUILIBRIUM_LAGS_PS
from .distributions import molecule_torsions
from .fine_tune import FEWEST_STEPS, FineTuned, adapting_settings, lag_range
from .folder import data_digest
from .measure import JudgeSettings, ModelJudge, widened
from .split import Split, correlation_frames, split_runs

if TYPE_CHECKING:
    from ..model.model_file import Capabilities, LoadedModel
    from ..systems.features import MoleculeFeatures
    from ..training.training_settings import TrainingSettings
    from .data import MolecularDynamics

__all__ = ["AdaptSettings", "AdaptationTask"]


@dataclass(frozen=True)
class AdaptSettings:
    """What an adaptation is told.

    Attributes
    ----------
    minutes : float
        Time for training steps; judging comes on top.
    steps : int, optional
        Training steps, instead of as many as fit into the minutes.
    learning_rate : float
        Peak, reached by a warm-up.
    held_out : float
        Share of each trajectory, its last, that only judges.
    without_memory : float, optional
        Share of draws that take frames as draws from their temperature, between which a long lag
        has no memory; half where the model has such lags, else none.
    lags_ps : sequence of float
        Of the proposals that judge; one of the data's and the model's longest by default.
    proposals, rollout_frames : int
        That judge.
    seed : int
    platform : str
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
class AdaptationTask:
    """Settings, data and model of an adaptation, and what follows from them.

    Attributes
    ----------
    dynamics : MolecularDynamics
    base : LoadedModel
    settings : AdaptSettings
    split : Split
    features : MoleculeFeatures
        Of the model's atoms.
    lags_ps : (float, float)
        Lags of dynamics that the training parts hold.
    without_memory : float
        Share of the draws between which a lag has no memory.
    judged_lags_ps : tuple of float
        Of the proposals that judge.
    kelvin : list of float
        Temperatures of the runs.
    notes : tuple of str
        What should be known beforehand.
    """

    dynamics: MolecularDynamics
    base: LoadedModel
    settings: AdaptSettings
    split: Split
    features: MoleculeFeatures
    lags_ps: tuple[float, float]
    without_memory: float
    judged_lags_ps: tuple[float, ...]
    kelvin: list[float]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, dynamics: MolecularDynamics, base: LoadedModel, settings: AdaptSettings
    ) -> AdaptationTask:
        """Split the data and settle what the settings leave open.

        Raises
        ------
        ValueError
            Too few frames.
        """
        split = _split(dynamics, settings.held_out)
        runs = [dynamics.runs[k] for k in split.runs]
        features = dynamics.features(base.capabilities.atoms, base.config.caps)  # type: ignore[arg-type]
        lags = lag_range(runs, split.training)
        notes = [*dynamics.notes, *split.notes, *_notices(base, dynamics, features)]
        return cls(
            dynamics,
            base,
            settings,
            split,
            features,
            lags,
            _without_memory(settings, base),
            _judged_lags(settings, lags, base),
            sorted({run.temperature_kelvin for run in runs}),
            tuple(dict.fromkeys(notes)),
        )

    @property
    def told_lags_ps(self) -> tuple[float, ...]:
        """Ends of the ranges of lags that training sees."""
        return (*self.lags_ps, *(EQUILIBRIUM_LAGS_PS if self.without_memory > 0.0 else ()))

    def kept(self) -> dict[str, Any]:
        """What must be the same for an adaptation to go on."""
        known = self.base.capabilities
        return {
            **asdict(self.settings),
            "lags_ps": list(self.judged_lags_ps),
            "without_memory": self.without_memory,
            "molecule": self.dynamics.name,
            "data_sha256": data_digest(self.dynamics),
            "base": known.name,
            "base_sha256": known.weights_sha256,
            "energies": self.dynamics.system is not None,
        }

    def training(self, steps: int) -> TrainingSettings:
        """Settings of a training of so many steps."""
        return adapting_settings(
            self.base.config,
            self.base.capabilities.atoms,
            self.lags_ps,
            steps=steps,
            learning_rate=self.settings.learning_rate,
            without_memory=self.without_memory,
            seed=self.settings.seed,
        )

    def judge(self) -> ModelJudge:
        """Who judges the models."""
        settings = self.settings
        asked = JudgeSettings(
            self.judged_lags_ps,
            self.lags_ps,
            settings.proposals,
            settings.rollout_frames,
            settings.seed,
            settings.platform,
        )
        stage = self.training(settings.steps or FEWEST_STEPS).stages[0]
        return ModelJudge(self.dynamics, self.split, asked, self.base, stage)

    def widened(
        self, lags_ps: Sequence[float], declared: Capabilities | None = None
    ) -> Capabilities:
        """What a model (the base by default) declares, and this molecule and lags besides."""
        declared = self.base.capabilities if declared is None else declared
        return widened(declared, self.features, self.dynamics.residues, lags_ps, self.kelvin)

    def declared(self, tuned: FineTuned) -> Capabilities:
        """What the adapted model declares."""
        known, split, dynamics = self.base.capabilities, self.split, self.dynamics
        frames, kelvin = split.count("training"), self.kelvin
        times = [
            (stop - start) * (dynamics.runs[k].spacing_ps or 0.0)
            for k, (start, stop) in zip(split.runs, split.training, strict=True)
        ]
        length = f", {sum(times):g} ps" if sum(times) > 0.0 else ""
        degrees = " and ".join(f"{t:g}" for t in dict.fromkeys((kelvin[0], kelvin[-1])))
        return replace(
            self.widened(self.told_lags_ps),
            name=f"{known.name} adapted to {dynamics.name}",
            trained_on=f"{known.trained_on}; then adapted on {frames} frames of {dynamics.name} "
            f"({len(split.runs)} trajectories{length}, {degrees} K) of the user's own",
            weights_sha256="",
            extra={
                **known.extra,
                "adapted_from": {"name": known.name, "weights_sha256": known.weights_sha256},
                "adapting": {
                    **asdict(self.settings),
                    "step": tuned.step,
                    "steps": tuned.steps,
                    "seconds": tuned.seconds,
                    "frames": frames,
                    "molecule": dynamics.name,
                },
            },
        )


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
