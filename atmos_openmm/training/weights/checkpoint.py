"""Training checkpoints: safetensors and JSON, written atomically; nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .weights_file import AVERAGED, FORMAT, write_tensors

CHECKPOINT = "checkpoint.safetensors"
"""In a training folder: what a run goes on from."""

BEST = "best.safetensors"
"""In a training folder: the averaged weights of the last stage's best validation."""


def save_checkpoint(
    path: Path,
    model: torch.nn.Module,
    ema: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
) -> int:
    """Write a checkpoint so that a kill at any time leaves the old or the new one.

    Parameters
    ----------
    path : Path
        File to write (``.safetensors``; the JSON is in its metadata).
    model : nn.Module
    ema : mapping of str to Tensor
        The averaged weights.
    optimizer : Optimizer
        Its moments are kept by the names of the parameters.
    state : mapping
        Plain JSON: where the run is, its settings, what it has seen.

    Returns and raises as :func:`~.weights_file.write_tensors` does.
    """
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"{AVERAGED}.{k}": v for k, v in ema.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    return write_tensors(path, tensors, state)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint's tensors and its JSON state.

    Raises
    ------
    ValueError
        If the file is truncated or is no training checkpoint.
    """
    return _load(path, "")


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the averaged weights by the network's names, and the JSON state.

    Raises as :func:`load_checkpoint` does.
    """
    tensors, state = _load(path, AVERAGED)
    return part(tensors, AVERAGED), state


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON state alone. Raises as :func:`load_checkpoint` does."""
    return _load(path, None)[1]


def _load(path: Path, prefix: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors whose names begin with a prefix, and the state."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            keys = [] if prefix is None else [k for k in handle.keys() if k.startswith(prefix)]
            tensors = {key: handle.get_tensor(key) for key in keys}
    except SafetensorError as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}): it is truncated or no checkpoint. "
            "Remove it to start again, or restore it."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file without atmos_openmm training state; expected a "
            "checkpoint written by 'atmos-openmm train'."
        )
    return tensors, json.loads(metadata["state"])


def find_weights(source: Path) -> Path:
    """Return a checkpoint file: the one given, or a training folder's best one or else its last.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    path = Path(source)
    if path.is_dir():
        best, path = path / BEST, path / CHECKPOINT
        # The file is of an earlier stage where the last one has not been validated.
        if best.exists() and not (path.exists() and load_state(path).get("best") is None):
            path = best
    if not path.is_file():
        raise FileNotFoundError(
            f"No training checkpoint at {path}; give a checkpoint file, or the folder of a run."
        )
    return path


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def laid_out_like(value: Tensor, like: Tensor) -> Tensor:
    """Return a copy of a tensor with the layout in memory and the device of another.

    A file holds rows; PyTorch's updates of many tensors at once take another path, with other
    last bits, where a parameter and its moments differ in layout.
    """
    return torch.empty_like(like, dtype=value.dtype).copy_(value)


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: torch.nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put the moments of a checkpoint back, by the parameters' names.

    Parameters that the optimizer has and the file does not (thawed by changed settings) start with
    moments of zero; those that it no longer has are left out.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    saved = part(dict(tensors), "optimizer")
    state = optimizer.state_dict()
    state["state"] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        values = {}
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = saved.get(f"{key}.{names[parameter]}")
            if value is not None:
                same = value.shape == parameter.shape and key != "step"
                values[key] = laid_out_like(value, parameter) if same else value
        if values:
            state["state"][index] = values
    optimizer.load_state_dict(state)
