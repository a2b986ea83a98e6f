"""What a training run is told: stages, losses, optimiser; read from TOML, kept in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.sources import DATASETS
from ..model.config import ModelConfig, full, small
from .settings_values import build, override, parse, to_toml

__all__ = [
    "BUNDLED",
    "LossSettings",
    "OptimizerSettings",
    "StageSettings",
    "TrainingSettings",
    "ValidationSettings",
    "read_settings",
]

BUNDLED = ("small", "full")
"""Configurations that come with the package, in the folder ``configurations``."""

POOLS = ("static", "dynamics", "exchange", *DATASETS)
"""What `StageSettings.shares` can name: kinds of samples and data sets."""


@dataclass(frozen=True)
class LossSettings:
    """Weights of the terms of the loss; a term of weight 0 is not computed.

    Attributes
    ----------
    denoising : float
        Aligned denoising error with EDM's weights (AF3 supplement, Eq. 3 and 6).
    first_estimate : float
        Denoising error of the invariant decoder's first estimate.
    smooth_lddt : float
        AF3 supplement, Algorithm 27.
    bond : float
        Mean squared error of bond lengths, with EDM's weights (AF3 supplement, Eq. 5 and 6).
    distogram : float
        Cross entropy of the distances between tokens' representative atoms.
    torsions : float
        Minus the log likelihood a torsion under the torsion head, which the network then has
        (``model.torsion_components``).
    ligand : float
        How much an atom of a ligand counts in the denoising error; a polymer's counts 1. AF3
        has 11.
    """

    denoising: float = 1.0
    first_estimate: float = 0.25
    smooth_lddt: float = 0.0
    bond: float = 0.0
    distogram: float = 0.03
    torsions: float = 0.0
    ligand: float = 1.0

    @property
    def of_frames(self) -> bool:
        """Whether a term asks for decoded frames or distances, so that rollouts are encoded."""
        terms = (self.denoising, self.first_estimate, self.smooth_lddt, self.bond, self.distogram)
        return any(weight > 0.0 for weight in terms)


@dataclass(frozen=True)
class StageSettings:
    """One stage of a training run.

    Attributes
    ----------
    name : str
    steps : int
        Optimiser steps.
    draws : int
        Molecules (or crops of them) a step, over all devices together.
    rollouts, levels : int
        Rollouts of each molecule, and noise levels for each of their frames.
    shares : mapping from str to float
        How often a draw is from which samples: kinds (``static``, ``dynamics``, ``exchange``)
        or data sets (``mdcath``, ``misato``, ``structure``, ``atmos-openmm``). Those that the
        data lack are left out.
    jumps : sequence of (int, int)
        The curriculum: from which step of the stage on a rollout has how many jumps.
    truncate : int
        Jumps that the gradient goes back through the latent; longer rollouts are cut in
        segments of so many jumps (truncated back-propagation through time).
    lag_range_ps : (float, float)
        Range of the log-uniform lag of dynamics.
    temperature_range_kelvin : (float, float), optional
        Samples at other temperatures are left out.
    crop_tokens : int, optional
        Larger molecules are cropped to so many tokens.
    context_noise_angstrom : float
        Frames that are encoded get Gaussian noise with a standard deviation drawn uniformly up
        to this (STAR-MD), so that the network learns to go on from imperfect frames.
    learning_rate, final_factor : float
        Peak rate, and the part of it that is left at the stage's end (cosine).
    warmup_steps : int
    freeze : sequence of str
        Parameters whose names begin with one of these are not trained; with
        ``context_encoder`` frozen the context is computed once a rollout.
    train_only : sequence of str
        Where it is given, parameters under these names alone are trained (``torsion_head``).
    losses : LossSettings
    """

    name: str
    steps: int
    draws: int = 1
    rollouts: int = 12
    levels: int = 4
    shares: Mapping[str, float] = field(
        default_factory=lambda: {"static": 1.0, "dynamics": 1.0, "exchange": 1.0}
    )
    jumps: tuple[tuple[int, int], ...] = ((0, 2),)
    truncate: int = 2
    lag_range_ps: tuple[float, float] = (1.0, 400.0)
    temperature_range_kelvin: tuple[float, float] | None = None
    crop_tokens: int | None = None
    context_noise_angstrom: float = 0.1
    learning_rate: float = 1e-3
    final_factor: float = 0.02
    warmup_steps: int = 300
    freeze: tuple[str, ...] = ()
    train_only: tuple[str, ...] = ()
    losses: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        where = f"stage {self.name!r}"
        for name in ("steps", "draws", "rollouts", "levels", "truncate"):
            _at_least(where, name, getattr(self, name), 1)
        for name in ("warmup_steps", "context_noise_angstrom", "final_factor"):
            _at_least(where, name, getattr(self, name), 0)
        if not self.learning_rate > 0.0:
            raise ValueError(f"{where}: learning_rate is {self.learning_rate}; expected above 0.")
        if self.crop_tokens is not None:
            _at_least(where, "crop_tokens", self.crop_tokens, 4)
        for pool, share in self.shares.items():
            if pool not in POOLS:
                raise ValueError(
                    f"{where}: shares names {pool!r}; expected some of {', '.join(POOLS)}."
                )
            _at_least(where, f"shares.{pool}", share, 0)
        if not sum(self.shares.values()) > 0.0:
            raise ValueError(f"{where}: no share is above 0, so there is nothing to train on.")
        starts = [start for start, _ in self.jumps]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(
                f"{where}: jumps is {list(self.jumps)}; expected pairs (step, jumps), the first "
                "from step 0 on, with increasing steps."
            )
        for _, jumps in self.jumps:
            _at_least(where, "jumps", jumps, 1)
        for name in ("lag_range_ps", "temperature_range_kelvin"):
            bounds = getattr(self, name)
            if bounds is not None and not 0.0 < bounds[0] <= bounds[1]:
                raise ValueError(
                    f"{where}: {name} is {list(bounds)}; expected two increasing numbers above 0."
                )

    def jumps_at(self, step: int) -> int:
        """Jumps of a rollout at a step of the stage (the curriculum)."""
        return [jumps for start, jumps in self.jumps if start <= step][-1]


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW, the bound on the gradient's norm, and the moving average of the weights.

    Attributes
    ----------
    weight_decay : float
    betas : (float, float)
    clip : float
        Bound on the norm of the gradient.
    ema_decay : float
        Decay of the moving average, reached gradually.
    """

    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if not self.clip > 0.0:
            raise ValueError(f"optimizer.clip is {self.clip}; expected above 0.")
        for name, value in (("ema_decay", self.ema_decay), *(("betas", b) for b in self.betas)):
            if not 0.0 <= value < 1.0:
                raise ValueError(f"optimizer.{name} is {value}; expected 0 to below 1.")


@dataclass(frozen=True)
class ValidationSettings:
    """What is held out, and how often it is looked at.

    Attributes
    ----------
    molecules : sequence of str
        Names of molecules that are held out (shell patterns: ``2hba*``).
    share : float
        Share of the molecules held out besides, by a hash of their names: the same ones
        whatever else the data hold.
    runs : sequence of int
        Runs of dynamics held out of each molecule that is trained on: their number modulo 4.
    every : int
        Steps between validations.
    draws : int
        Molecules a validation; always the same ones.
    patience : int
        Validations without a better one after which the stage ends.
    """

    molecules: tuple[str, ...] = ()
    share: float = 0.0
    runs: tuple[int, ...] = ()
    every: int = 500
    draws: int = 24
    patience: int = 10

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"validation.share is {self.share}; expected 0 to below 1.")
        if any(not 0 <= run <= 3 for run in self.runs):
            raise ValueError(f"validation.runs is {list(self.runs)}; expected numbers 0 to 3.")
        for name in ("every", "draws", "patience"):
            _at_least("validation", name, getattr(self, name), 1)


@dataclass(frozen=True)
class TrainingSettings:
    """A whole training run.

    Attributes
    ----------
    stages : sequence of StageSettings
        Gone through in order.
    model : ModelConfig
    atoms : str
        ``all``, or ``heavy`` to leave hydrogens out.
    seed : int
        Of weights, draws and noise.
    checkpointing : bool
        Compute activations anew in the backward pass instead of keeping them.
    log_every : int
        Steps between rows of the logs.
    optimizer : OptimizerSettings
    validation : ValidationSettings
    """

    stages: tuple[StageSettings, ...]
    model: ModelConfig = field(default_factory=small)
    atoms: Literal["all", "heavy"] = "all"
    seed: int = 1
    checkpointing: bool = False
    log_every: int = 50
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("The settings have no stage; expected at least one [[stages]].")
        if self.atoms not in ("all", "heavy"):
            raise ValueError(f"atoms is {self.atoms!r}; expected 'all' or 'heavy'.")
        _at_least("training", "log_every", self.log_every, 1)
        if any(stage.losses.torsions > 0.0 for stage in self.stages):
            if self.model.torsion_components < 1 or self.atoms != "all":
                raise ValueError(
                    "losses.torsions is above 0, which needs a torsion head and all atoms: set "
                    "model.torsion_components (32, say) and atoms='all'."
                )
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"Stages are named {names}; expected different names.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return json.loads(json.dumps(asdict(self)))

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TrainingSettings:
        """Build settings from :meth:`to_dict`'s result or from a parsed TOML file.

        ``model.base`` names a configuration (``small``, ``full``) that the other entries of
        ``model`` change.

        Raises
        ------
        ValueError
            Unknown names, values of a wrong type or out of range; the message has the place.
        """
        given = dict(values)
        model = dict(given.pop("model", {}))
        base = model.pop("base", "small")
        if base not in BUNDLED:
            raise ValueError(f"model.base is {base!r}; expected one of {', '.join(BUNDLED)}.")
        start = (small if base == "small" else full)().to_dict()
        config = build(ModelConfig, start | model, "model.")
        return build(TrainingSettings, {**given, "model": config}, "")

    def to_toml(self) -> str:
        """Return the settings as a configuration file, the network's by what differs."""
        values = self.to_dict()
        base = "small" if self.model.coordinates == "invariant" else "full"
        start = (small if base == "small" else full)().to_dict()
        differing = {k: v for k, v in values.pop("model").items() if v != start[k]}
        return to_toml(values | {"model": {"base": base} | differing})


def read_settings(
    source: str | Path, overrides: Sequence[str] = (), *, text: str | None = None
) -> TrainingSettings:
    """Read settings from a TOML file.

    Parameters
    ----------
    source : str or path
        A bundled configuration (``small``, ``full``) or a file.
    overrides : sequence of str
        ``key=value`` with a TOML value; ``stages.NAME.key`` reaches into a stage,
        ``stages.all.key`` into every one.
    text : str, optional
        The file's content, where it was read already.

    Raises
    ------
    ValueError
        The file is no TOML, or holds names or values that are not known; see
        :meth:`TrainingSettings.from_dict`.
    FileNotFoundError
        Neither a bundled configuration nor a file.
    """
    path = bundled_path(str(source)) if str(source) in BUNDLED else Path(source)
    if text is None:
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no configuration {str(source)!r}: expected {', '.join(BUNDLED)} or a "
                "TOML file."
            )
        text = path.read_text(encoding="utf-8")
    values = parse(text, str(source))
    for item in overrides:
        override(values, item)
    try:
        return TrainingSettings.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def bundled_path(name: str) -> Path:
    """Return the file of a bundled configuration."""
    return Path(__file__).with_name("configurations") / f"{name}.toml"


def _at_least(where: str, name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{where}: {name} is {value}; expected at least {least}.")
