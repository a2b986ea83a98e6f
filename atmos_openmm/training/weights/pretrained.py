"""From a `.atmos` model file back to a network that can be trained."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ...model.atmos import AtmosModel
from ...model.model_file import LoadedModel, load_model
from ...model.sampler import SamplerSettings, default_sampler

__all__ = ["network_from_model", "sampler_of"]


def sampler_of(loaded: LoadedModel) -> SamplerSettings:
    """Return the sampler's settings that a model file declares.

    Raises
    ------
    ValueError
        The declared settings do not give the noise levels that the scripted network holds.
    """
    declared = loaded.capabilities.extra.get("sampler")
    if declared is None:
        settings = default_sampler(loaded.config)
    else:
        settings = SamplerSettings.from_dict(declared)
    module = loaded.module
    same = (
        list(module.sigmas) == settings.noise_levels()
        and list(module.churns) == settings.churns()
        and (module.steps, module.noise_scale, module.step_scale, module.augment)
        == (settings.steps, settings.noise_scale, settings.step_scale, settings.augment)
    )
    if not same:
        raise ValueError(
            f"The model {loaded.capabilities.name!r} declares a sampler ({settings}) other than "
            "the one inside it; it was exported by another version of atmos_openmm. Export it "
            "again from its checkpoint."
        )
    return settings


def network_from_model(model: str | os.PathLike[str] | LoadedModel) -> AtmosModel:
    """Build the network of a model file, with its weights and its sampler.

    Parameters
    ----------
    model : path or LoadedModel
        An `.atmos` file, or one that was loaded.

    Returns
    -------
    AtmosModel
        In evaluation mode; its proposals are those of the file.

    Raises
    ------
    ModelFileError
        See :func:`~atmos_openmm.model.model_file.load_model`.
    ValueError
        The file is of a network whose parameters or sampler differ from those of this version.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(Path(model))
    network = AtmosModel(loaded.config, sampler_of(loaded))
    weights = loaded.module.state_dict()
    own = network.state_dict()
    differing = sorted(
        (own.keys() ^ weights.keys())
        | {k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape}
    )
    if differing:
        raise ValueError(
            f"The model {loaded.capabilities.name!r} is of a network of another version: "
            f"{len(differing)} parameters differ, {differing[0]} first. Train on with the version "
            "of atmos_openmm that exported it."
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])
    return network.eval()
