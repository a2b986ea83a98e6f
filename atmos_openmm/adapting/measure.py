"""Everything that is asked of a model on held-out frames, the same of any model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.atoms import AtomTable
from ..evaluation.ensemble import Ensemble, consecutive_segments
from .before_after import Measurement
from .distributions import compare_distributions, molecule_torsions
from .held_out_loss import held_out_batches, held_out_loss
from .proposals import HeldOutEnergies, judge_frames, judge_proposals
from .quantities import find_quantity

if TYPE_CHECKING:
    from ..evaluation.torsions import TorsionSet
    from ..model.model_file import Capabilities, LoadedModel
    from ..propagator import AtmosPropagator
    from ..training.training_settings import StageSettings
    from .data import MolecularDynamics
    from .split import Split

__all__ = ["ModelJudge", "JudgeSettings", "widened"]

WALKERS = 16
#: Frames whose energies make the window.
WINDOW_FRAMES = 400
#: How often a frame of a rollout is drawn before the rollout ends.
ATTEMPTS = 20


@dataclass(frozen=True)
class JudgeSettings:
    """How models are judged.

    Attributes
    ----------
    lags_ps : tuple of float
        Of proposals, increasing; rollouts take the last.
    lag_range_ps : (float, float)
        Of the held-out loss.
    proposals, rollout_frames : int
    seed : int
    platform : str
        OpenMM platform of energies.
    """

    lags_ps: tuple[float, ...]
    lag_range_ps: tuple[float, float]
    proposals: int = 100
    rollout_frames: int = 240
    seed: int = 1
    platform: str = "CPU"


def widened(
    declared: Capabilities,
    features: Any,
    residues: Sequence[str],
    lags_ps: Sequence[float],
    temperatures_kelvin: Sequence[float],
) -> Capabilities:
    """What a model declares, and this molecule, these lags and temperatures besides."""

    def span(old: tuple[float, float], new: Sequence[float]) -> tuple[float, float]:
        return (min(old[0], *new), max(old[1], *new))

    return replace(
        declared,
        elements=sorted({*declared.elements, *(int(z) for z in features.ref_element)}),
        residues=sorted({*declared.residues, *residues}),
        max_tokens=max(declared.max_tokens, features.num_tokens),
        max_atoms=max(declared.max_atoms, features.num_atoms),
        lag_range_ps=span(declared.lag_range_ps, lags_ps),
        temperature_range_kelvin=span(declared.temperature_range_kelvin, temperatures_kelvin),
        # Names of the molecules, which tell of their ends.
        extra={key: value for key, value in declared.extra.items() if key != "data"},
    )


class ModelJudge:
    """Asks models for what held-out frames should look like.

    Only the held-out part of a run is looked at, and for the oracle the training part. Judged is
    the lowest temperature that there is.

    Parameters
    ----------
    dynamics : MolecularDynamics
    split : Split
    settings : JudgeSettings
    model : LoadedModel
        Any with the atoms and the network of those that will be judged.
    stage : StageSettings
        Of the held-out loss: noise levels and terms.

    Attributes
    ----------
    temperature_kelvin : float
    held_out : Ensemble
        Frames at this temperature.
    torsions : TorsionSet or None
    energies : HeldOutEnergies or None
    starts_nm : array [n, P, 3]
        Where proposals start.
    notes : list of str
    """

    def __init__(
        self,
        dynamics: MolecularDynamics,
        split: Split,
        settings: JudgeSettings,
        model: LoadedModel,
        stage: StageSettings,
    ) -> None:
        self.dynamics, self.settings = dynamics, settings
        self.notes: list[str] = []
        runs = [dynamics.runs[k] for k in split.runs]
        self.temperature_kelvin = min(run.temperature_kelvin for run in runs)
        cold = [k for k, r in enumerate(runs) if r.temperature_kelvin == self.temperature_kelvin]
        if len(cold) < len(runs):
            self.notes.append(f"Judged at {self.temperature_kelvin:g} K, the lowest temperature.")
        self._table = AtomTable.from_openmm(dynamics.topology)
        self.held_out = self._ensemble(
            "MD, held out", [runs[k] for k in cold], [split.held_out[k] for k in cold]
        )
        self.training = self._ensemble(
            "MD, training part", [runs[k] for k in cold], [split.training[k] for k in cold]
        )
        frames = self.held_out.positions_nm.astype(np.float64)
        count = min(settings.proposals, len(frames))
        self.starts_nm = frames[_spread(len(frames), count)]
        self.torsions: TorsionSet | None = molecule_torsions(dynamics)
        if self.torsions is None:
            self.notes.append("The molecule has no torsions that turn: no distributions.")
        self.energies: HeldOutEnergies | None = None
        if dynamics.system is not None:
            picked = frames[_spread(len(frames), min(WINDOW_FRAMES, len(frames)))]
            self.energies = HeldOutEnergies.of(dynamics.system, picked, settings.platform)
        else:
            self.notes.append("There is no System: proposals are judged by geometry alone.")
        config = model.config
        features = dynamics.features(model.capabilities.atoms, config.caps)  # type: ignore[arg-type]
        self._batches = held_out_batches(
            [runs[k] for k in cold],
            [split.held_out[k] for k in cold],
            features,
            config,
            settings.lag_range_ps,
            settings.seed,
        )
        self._stage = replace(stage, context_noise_angstrom=0.0)

    def _ensemble(self, name: str, runs: Sequence[Any], parts: Sequence[Any]) -> Ensemble:
        pieces = [run.positions_nm[slice(*part)] for run, part in zip(runs, parts, strict=True)]
        return Ensemble(
            name,
            self._table,
            np.concatenate(pieces),
            consecutive_segments([len(piece) for piece in pieces]),
            runs[0].spacing_ps,
            self.dynamics.topology,
        )

    def propagator(self, model: LoadedModel) -> AtmosPropagator:
        """The model bound to the molecule, with the screen that a run under the System has."""
        from ..propagator import AtmosPropagator

        dynamics, settings = self.dynamics, self.settings
        bound = partial(
            AtmosPropagator,
            model,
            dynamics.topology,
            positions=dynamics.reference_nm,
            molecules=dynamics.molecules or None,
            lag=settings.lags_ps[-1],
            temperature=self.temperature_kelvin,
            seed=settings.seed,
        )
        if dynamics.system is None:
            return bound()
        return bound(screen=bound().getScreen(dynamics.system))

    def measure(
        self, model: LoadedModel, rollout_folder: Path, progress: Callable[[str], None]
    ) -> Measurement:
        """Measure a model.

        Parameters
        ----------
        model : LoadedModel
        rollout_folder : Path
            Of the rollout; one that is there is gone on with.
        progress : function
            Called with a line of text now and then.
        """
        from ..training.weights.pretrained import network_from_model

        settings, total = self.settings, len(self._batches)
        network = network_from_model(model)
        found = [
            held_out_loss(
                network,
                self._batches,
                self._stage,
                settings.seed,
                lambda k: progress(f"held-out loss: {k} of {total} pieces"),
            )
        ]
        propagator = self.propagator(model)
        for lag in settings.lags_ps:
            found.append(
                judge_proposals(
                    propagator,
                    self.starts_nm,
                    lag,
                    self.temperature_kelvin,
                    settings.seed,
                    self.energies,
                    lambda k, lag=lag: progress(  # type: ignore[misc]
                        f"proposals, lag {lag:g} ps: {k} of {len(self.starts_nm)}"
                    ),
                )
            )
        found.append(self._rollout(propagator, rollout_folder, progress))
        return _merged(found)

    def _rollout(
        self, propagator: AtmosPropagator, folder: Path, progress: Callable[[str], None]
    ) -> Measurement:
        from ..sampling.rollout import Rollout

        if self.torsions is None:
            return Measurement()
        settings = self.settings
        walkers = min(WALKERS, settings.rollout_frames, self.held_out.num_frames)
        starts = self.held_out.positions_nm[_spread(self.held_out.num_frames, walkers)]
        with Rollout(
            self.dynamics.topology,
            starts.astype(np.float64),
            propagator,
            folder,
            temperature=self.temperature_kelvin,
            lag=settings.lags_ps[-1],
            walkers=walkers,
            seed=settings.seed,
            maxAttempts=ATTEMPTS,
        ) as rollout:
            wanted = math.ceil(settings.rollout_frames / walkers)
            # Of one that was judged before, nothing more is drawn.
            summary = rollout.run(wanted, progress=lambda p: progress(f"rollout: {p.line()}"))
        passed = summary.valid / max(1, summary.attempts)
        error = math.sqrt(passed * (1.0 - passed) / max(1, summary.attempts))
        told = Measurement({}, {"rollout_passed": (passed, error)})
        if not summary.complete:
            note = f"The rollout ended early, with {summary.written} frames: {summary.message}"
            told = replace(told, notes=(note.split(" The same command")[0],))
        ensemble = self.rollout(folder)
        if ensemble is None or ensemble.num_frames < walkers:
            return told
        return _merged([told, compare_distributions(self.torsions, ensemble, self.held_out)])

    def rollout(self, folder: Path) -> Ensemble | None:
        """Frames of a rollout; None where it has none."""
        from ..evaluation.loading import read_ensemble
        from ..sampling.rollout_folder import read_rollout

        if not np.any(np.asarray(read_rollout(folder)["written"])):
            return None
        return read_ensemble([folder], name=folder.name).ensemble

    def oracle(self, model: LoadedModel) -> Measurement:
        """The training part of the molecular dynamics in the place of a model."""
        settings = self.settings
        frames = self.training.positions_nm.astype(np.float64)
        picked = frames[_spread(len(frames), min(settings.proposals, len(frames)))]
        found = [judge_frames(self.propagator(model), picked, settings.lags_ps, self.energies)]
        if self.torsions is not None:
            part = self.training.spread(settings.rollout_frames).taken()
            found.append(compare_distributions(self.torsions, part, self.held_out))
        return _merged(found)

    def angles(self, ensemble: Ensemble) -> NDArray[np.float64] | None:
        """Torsions [F, T] of an ensemble, radians."""
        if self.torsions is None:
            return None
        return ensemble.per_frame("torsions", self.torsions.angles)


def _spread(total: int, count: int) -> NDArray[np.int64]:
    """Evenly spread frame numbers."""
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def _merged(parts: Sequence[Measurement]) -> Measurement:
    samples = {k: v for part in parts for k, v in part.samples.items()}
    summaries = {k: v for part in parts for k, v in part.summaries.items()}
    assert all(find_quantity(k) for k in (*samples, *summaries))
    return Measurement(samples, summaries, tuple(n for part in parts for n in part.notes))
