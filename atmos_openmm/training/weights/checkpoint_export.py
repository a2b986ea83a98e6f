"""From a training checkpoint to a `.atmos` model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...model.atmos import AtmosModel
from ...model.config import ModelConfig
from ...model.model_file import Capabilities, save_model
from ...model.sampler import SamplerSettings, default_sampler
from .checkpoint import find_weights, load_weights


def network_from_checkpoint(checkpoint: Path) -> tuple[AtmosModel, dict]:
    """Build the network with the moving average of the weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        A checkpoint file, or a training folder: the best weights of its last stage where that
        was validated, else the last ones.

    Returns
    -------
    tuple[AtmosModel, dict]
        The network in evaluation mode and the checkpoint's JSON state.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no checkpoint, or it cannot be read.
    """
    weights, state = load_weights(find_weights(checkpoint))
    model = AtmosModel(ModelConfig.from_dict(state["settings"]["model"]))
    model.load_state_dict(weights)
    return model.eval(), state


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    name: str,
    trained_on: str,
    licence: str = "MIT",
    sampler: dict[str, Any] | None = None,
    max_tokens: int | None = None,
    max_atoms: int | None = None,
) -> Capabilities:
    """Write the `.atmos` file of a checkpoint.

    Parameters
    ----------
    sampler : dict, optional
        Settings of :class:`~atmos_openmm.model.sampler.SamplerSettings` that differ from the
        configuration's defaults.

    Returns
    -------
    Capabilities
        What the file declares.
    """
    model, state = network_from_checkpoint(checkpoint)
    if "imported" in state:
        raise ValueError(
            f"{checkpoint} holds weights of {state['imported']['from']} beside parts that were "
            "never trained. Train first, from these as initial weights, then export that run."
        )
    model_config = ModelConfig.from_dict(state["settings"]["model"])
    settings_of_sampler = SamplerSettings.from_dict(
        default_sampler(model_config).to_dict() | (sampler or {})
    )
    model.set_sampler(settings_of_sampler)
    data, settings = state["data"], state["settings"]
    if "stages" not in settings:
        raise ValueError(
            f"{checkpoint} was trained by version 0.1 of atmos_openmm, and does not say all that a "
            "model declares now. Export it with that version, or train on from its weights."
        )
    declared = Capabilities(
        name=name,
        atoms=settings["atoms"],
        elements=data["elements"],
        residues=data["residues"],
        max_tokens=max_tokens or data["max_tokens"],
        max_atoms=max_atoms or data["max_atoms"],
        lag_range_ps=tuple(data["lag_range_ps"]),
        temperature_range_kelvin=tuple(data["temperature_range_kelvin"]),
        denoising_steps=settings_of_sampler.steps,
        trained_on=trained_on,
        licence=licence,
        config=model_config.to_dict(),
        extra={
            "training_step": state["step"],
            "training_seconds": state["seconds"],
            "held_out_loss": state["best"],
            "settings": settings,
            "data": data,
            "sampler": settings_of_sampler.to_dict(),
        },
    )
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        return save_model(output, model, declared)
