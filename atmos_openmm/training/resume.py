"""What a run that goes on, or starts from other weights, is told of what lies in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.settings import changed_values
from ..model.atmos import AtmosModel
from ..model.config import ModelConfig
from ..model.model_file import load_model
from .settings_values import flatten
from .training_settings import TrainingSettings
from .weights.checkpoint import find_weights, load_weights

if TYPE_CHECKING:
    from ..data.sample import Sample

__all__ = [
    "check_continuation",
    "new_network",
    "record_of_data",
    "start_from",
]


def check_continuation(
    path: Path, state: Mapping[str, Any], settings: TrainingSettings, data: Mapping[str, Any]
) -> tuple[int, list[str]]:
    """Compare a checkpoint with the settings and data of the run that is to go on from it.

    Parameters
    ----------
    path : Path
        For messages.
    state : mapping
        JSON of the checkpoint.
    settings : TrainingSettings
    data : mapping
        Of :func:`record_of_data`.

    Returns
    -------
    stage : int
        Number of the stage that the run is in.
    notes : list of str
        What differs, ``name old -> new from step N on``.

    Raises
    ------
    ValueError
        The checkpoint is of no run that could go on, of another network or set of atoms, or in a
        stage that the settings do not have.
    """
    if "imported" in state:
        raise ValueError(
            f"{path} holds imported weights and no run that could be continued. Take it as the "
            "initial weights of a run in another folder."
        )
    if "stage" not in state:
        raise ValueError(
            f"{path} is of a run by an older version of atmos_openmm, or weights alone, and cannot "
            "be continued. Take it as the initial weights of a run in another folder."
        )
    found = ModelConfig.from_dict(state["settings"]["model"])
    if found != settings.model or state["settings"]["atoms"] != settings.atoms:
        old = {"atoms": state["settings"]["atoms"], "model": found.to_dict()}
        new = {"atoms": settings.atoms, "model": settings.model.to_dict()}
        raise ValueError(
            f"{path} is a run of another network ({', '.join(_changes(old, new))}). Use another "
            "folder, or the same settings."
        )
    names = [stage.name for stage in settings.stages]
    if state["stage"] not in names:
        raise ValueError(
            f"{path} is a run in the stage {state['stage']!r}, and the settings have the stages "
            f"{', '.join(names)}. Keep the name of the stage that the run is in."
        )
    at = f"from step {state['step']} on"
    notes = [f"{change} {at}" for change in _changes(state["settings"], settings.to_dict())]
    if state["samples"] != data:
        was = state["samples"]
        notes.append(
            f"data: {was['samples']} samples of {was['frames']} frames -> {data['samples']} of "
            f"{data['frames']}, or others, {at}: the draws are not those of an unbroken run"
        )
    return names.index(state["stage"]), notes


def _changes(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Name what differs between two nested mappings, ``name old -> new``."""
    changed = changed_values(flatten(stored), flatten(wanted))
    return [
        " ".join([name, " -> ".join("none" if v is None else str(v) for v in values)])
        for name, values in changed.items()
    ]


def record_of_data(samples: Iterable[Sample]) -> dict[str, Any]:
    """Describe the samples of a run, so that one that goes on with others can be told.

    Returns
    -------
    dict
        ``samples``, ``frames``: numbers; ``sha256``: of names and numbers of frames, in order.
    """
    digest = hashlib.sha256()
    number = frames = 0
    for sample in samples:
        number, frames = number + 1, frames + sample.num_frames
        digest.update(f"{sample.name}\t{sample.kind}\t{sample.num_frames}\n".encode())
    return {"samples": number, "frames": frames, "sha256": digest.hexdigest()}


def new_network(
    settings: TrainingSettings, source: Path | Mapping[str, Tensor] | None = None
) -> tuple[AtmosModel, list[str]]:
    """Build a run's network, of the settings' seed and then of other weights as far as they go.

    Returns
    -------
    model : AtmosModel
    fresh : list of str
        Parameters that the other weights do not have; empty without other weights.

    Raises
    ------
    ValueError
        See :func:`start_from`.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        model = AtmosModel(settings.model)
    model.set_checkpointing(settings.checkpointing)
    return model, [] if source is None else start_from(model, source)


def start_from(model: AtmosModel, source: Path | Mapping[str, Tensor]) -> list[str]:
    """Give a new network the averaged weights of a checkpoint, as far as they go.

    Parameters
    ----------
    source : Path or mapping of str to Tensor
        A checkpoint, a training folder, a model file, or weights by the network's names.

    Returns
    -------
    list of str
        Parameters that the source does not have; they are left as they are.

    Raises
    ------
    ValueError
        The weights are of a network with other widths, or of another version.
    """
    if isinstance(source, Mapping):
        name, weights = "The weights that were given", dict(source)
    elif source.suffix == ".atmos":
        name, weights = f"The weights in {source}", load_model(source).module.state_dict()
    else:
        path = find_weights(source)
        name, weights = f"The weights in {path}", load_weights(path)[0]
    try:
        result = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f"{name} are of a network with other widths: "
            f"{str(error).splitlines()[-1].strip()} Start from a run of the same network "
            "([model] of the configuration)."
        ) from error
    if result.unexpected_keys:
        raise ValueError(
            f"{name} have parameters that this network lacks: {result.unexpected_keys[:3]}. They "
            "are of another network, or were written by another version of atmos_openmm."
        )
    return list(result.missing_keys)
