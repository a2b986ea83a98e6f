"""What a training run is told: stages, losses, optimiser; read from TOML, kept in checkpoints."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.sources import DATASETS
from ..model.config import ModelConfig, full, small

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
    denoising: float
        Aligned denoising error with EDM's weights (AF3 supplement, Eq. 3 and 6).
    first_estimate: float
        Denoising error of the invariant decoder's first estimate.
    smooth_lddt: float
        AF3 supplement, Algorithm 27.
    bond: float
        Mean squared error of bond lengths, with EDM's weights (AF3 supplement, Eq. 5 and 6).
    distogram: float
        Cross entropy of the distances between tokens' representative atoms.
    ligand: float
        How much an atom of a ligand counts in the denoising error; a polymer's counts 1. AF3
        has 11.
    """

    denoising: float = 1.0
    first_estimate: float = 0.25
    smooth_lddt: float = 0.0
    bond: float = 0.0
    distogram: float = 0.03
    ligand: float = 1.0


@dataclass(frozen=True)
class StageSettings:
    """One stage of a training run.

    Attributes
    ----------
    name: str
    steps: int
        Optimiser steps.
    draws: int
        Molecules (or crops of them) a step, over all devices together.
    rollouts, levels: int
        Rollouts of each molecule, and noise levels for each of their frames.
    shares: mapping from str to float
        How often a draw is from which samples: kinds (``static``, ``dynamics``, ``exchange``)
        or data sets (``mdcath``, ``misato``, ``structure``, ``atmos-openmm``). Those that the
        data lack are left out.
    jumps: sequence of (int, int)
        The curriculum: from which step of the stage on a rollout has how many jumps.
    truncate: int
        Jumps that the gradient goes back through the latent; longer rollouts are cut in
        segments of so many jumps (truncated back-propagation through time).
    lag_range_ps: (float, float)
        Range of the log-uniform lag of dynamics.
    temperature_range_kelvin: (float, float), optional
        Samples at other temperatures are left out.
    crop_tokens: int, optional
        Larger molecules are cropped to so many tokens.
    context_noise_angstrom: float
        Frames that are encoded get Gaussian noise with a standard deviation drawn uniformly up
        to this (STAR-MD), so that the network learns to go on from imperfect frames.
    learning_rate, final_factor: float
        Peak rate, and the part of it that is left at the stage's end (cosine).
    warmup_steps: int
    freeze: sequence of str
        Parameters whose names begin with one of these are not trained; with
        ``context_encoder`` frozen the context is computed once a rollout.
    losses: LossSettings
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
    weight_decay: float
    betas: (float, float)
    clip: float
        Bound on the norm of the gradient.
    ema_decay: float
        Decay of the moving average, reached gradually.
    """

    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema_decay: float = 0.999


@dataclass(frozen=True)
class ValidationSettings:
    """What is held out, and how often it is looked at.

    Attributes
    ----------
    molecules: sequence of str
        Names of molecules that are held out (shell patterns: ``2hba*``).
    share: float
        Share of the molecules held out besides, by a hash of their names: the same ones
        whatever else the data hold.
    runs: sequence of int
        Runs of dynamics held out of each molecule that is trained on: their number modulo 4.
    every: int
        Steps between validations.
    draws: int
        Molecules a validation; always the same ones.
    patience: int
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
    stages: sequence of StageSettings
        Gone through in order.
    model: ModelConfig
    atoms: str
        ``all``, or ``heavy`` to leave hydrogens out.
    seed: int
        Of weights, draws and noise.
    checkpointing: bool
        Compute activations anew in the backward pass instead of keeping them.
    optimizer: OptimizerSettings
    validation: ValidationSettings
    """

    stages: tuple[StageSettings, ...]
    model: ModelConfig = field(default_factory=small)
    atoms: Literal["all", "heavy"] = "all"
    seed: int = 1
    checkpointing: bool = False
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("The settings have no stage; expected at least one [[stages]].")
        if self.atoms not in ("all", "heavy"):
            raise ValueError(f"atoms is {self.atoms!r}; expected 'all' or 'heavy'.")
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
        config = ModelConfig.from_dict(start | model)
        return _build(TrainingSettings, {**given, "model": config}, "")


def read_settings(
    source: str | Path, overrides: Sequence[str] = (), *, text: str | None = None
) -> TrainingSettings:
    """Read settings from a TOML file.

    Parameters
    ----------
    source: str or path
        A bundled configuration (``small``, ``full``) or a file.
    overrides: sequence of str
        ``key=value`` with a TOML value; ``stages.NAME.key`` reaches into a stage,
        ``stages.all.key`` into every one.
    text: str, optional
        The file's content, where it was read already.

    Raises
    ------
    ValueError
        The file is no TOML, or holds names or values that are not known; see
        :meth:`TrainingSettings.from_dict`.
    FileNotFoundError
        Neither a bundled configuration nor a file.
    """
    toml = _toml()
    path = bundled_path(str(source)) if str(source) in BUNDLED else Path(source)
    if text is None:
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no configuration {str(source)!r}: expected {', '.join(BUNDLED)} or a "
                "TOML file."
            )
        text = path.read_text(encoding="utf-8")
    try:
        values = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ValueError(f"{source} is no valid TOML: {error}.") from error
    for override in overrides:
        _override(values, override)
    try:
        return TrainingSettings.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def bundled_path(name: str) -> Path:
    """Return the file of a bundled configuration."""
    return Path(__file__).with_name("configurations") / f"{name}.toml"


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    toml = _toml()
    try:
        value = toml.loads(f"value = {text.strip()}")["value"] if separator else None
    except toml.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    if value is None:
        raise ValueError(f"{override!r} is no setting; expected key=value.")
    *path, last = key.strip().split(".")
    places: list[Any] = [values]
    for name in path:
        found = []
        for place in places:
            if isinstance(place, list):
                found += [item for item in place if name in ("all", item.get("name"))]
            else:
                found.append(place.setdefault(name, {}))
        places = found
    if not places:
        raise ValueError(f"{override!r}: there is no stage of that name.")
    for place in places:
        if not isinstance(place, dict):
            raise ValueError(f"{override!r} names no single setting; see the configuration file.")
        place[last] = value


def _at_least(where: str, name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{where}: {name} is {value}; expected at least {least}.")


def _build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from plain values, checking names and types."""
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(
            f"{where}{unknown[0]} is no setting; expected some of {', '.join(sorted(known))}."
        )
    missing = [
        name
        for name, item in known.items()
        if name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}{missing[0]} is missing.")
    return kind(
        **{name: _value(hints[name], value, where + name) for name, value in values.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return a plain value as the type of a field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if isinstance(value, Mapping):
            return _build(hint, value, where + ".")
    elif origin is Literal:
        if value in arguments:
            return value
        hint = " or ".join(repr(a) for a in arguments)
    elif origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is Ellipsis:
            return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) == len(arguments):
            pairs = zip(arguments, value, strict=True)
            return tuple(_value(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))
    elif origin is not None and isinstance(value, Mapping):
        return {str(k): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    expected = "a list" if origin is tuple else getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where} is {value!r}; expected {expected}.")
