"""Training checkpoints: safetensors and JSON, written atomically; nothing is pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FORMAT = "atmos-openmm-training"


def save_checkpoint(
    path: Path,
    model: torch.nn.Module,
    ema: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Write a checkpoint so that a kill at any time leaves the old or the new one.

    Parameters
    ----------
    path: Path
        File to write (``.safetensors``; the JSON is in its metadata).
    state: dict
        Plain JSON: step, settings, best validation loss.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in ema.items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    temporary = path.with_name(path.name + ".new")
    metadata = {"format": FORMAT, "state": json.dumps(state)}
    # safetensors refuses tensors that share memory.
    save_file(
        {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()},
        str(temporary),
        metadata,
    )
    with open(temporary, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint's tensors and its JSON state.

    Raises
    ------
    ValueError
        If the file is truncated or is no training checkpoint.
    """
    return _load(path, True)


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON state alone.

    Raises
    ------
    ValueError
        If the file is truncated or is no training checkpoint.
    """
    return _load(path, False)[1]


def _load(path: Path, with_tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            keys = handle.keys() if with_tensors else []
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


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def laid_out_like(value: Tensor, like: Tensor) -> Tensor:
    """Return a copy of a tensor with the layout in memory and the device of another.

    A file holds rows; PyTorch's updates of many tensors at once take another path, with other
    last bits, where a parameter and its moments differ in layout.
    """
    return torch.empty_like(like, dtype=value.dtype).copy_(value)


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put an optimizer's moments back."""
    state = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values: dict[int, dict[str, Tensor]] = {}
    for key, value in part(tensors, "optimizer").items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = laid_out_like(value, parameter)
        values.setdefault(int(index), {})[name] = value
    state["state"] = values
    optimizer.load_state_dict(state)
