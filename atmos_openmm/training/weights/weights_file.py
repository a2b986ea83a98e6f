"""Write safetensors files with JSON in their metadata, one tensor at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.files import replaced_atomically

FORMAT = "atmos-openmm-training"

AVERAGED = "ema"
"""Prefix of the averaged weights' names."""

_DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8  # of the data in a safetensors file


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    float32: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write tensors and plain JSON so that a kill at any time leaves the old file or the new one.

    Tensors are copied to the host and written one by one, so that neither weights on a GPU nor
    weights mapped from another file ever are in memory as a whole. The file appears under its name
    when it is complete; whatever goes wrong, an older one stays and nothing else is left behind.
    What a killed process left (``.tmp``) is replaced.

    Parameters
    ----------
    path : Path
        File to write (``.safetensors``); one that exists is replaced.
    tensors : mapping of str to Tensor
    state : mapping
        Plain JSON.
    float32 : bool
        Write floating-point tensors of any precision as float32.
    progress : callable, optional
        Called with the bytes written and the bytes in all, after each tensor.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    OSError
        If there is no room for the file or it cannot be written.
    """
    path = Path(path)
    dtypes = {
        name: torch.float32 if float32 and value.is_floating_point() else value.dtype
        for name, value in tensors.items()
    }
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT, "state": json.dumps(dict(state))}}
    total = 0
    for name, value in tensors.items():
        size = value.numel() * dtypes[name].itemsize
        header[name] = {
            "dtype": _DTYPES[dtypes[name]],
            "shape": list(value.shape),
            "data_offsets": [total, total + size],
        }
        total += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    needed = 8 + len(text) + total
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(
            f"{path.parent} has {free / 1e6:.0f} MB free and {path.name} takes "
            f"{needed / 1e6:.0f} MB. Make room, or name an output on another disk."
        )
    try:
        with replaced_atomically(path) as handle:
            handle.write(len(text).to_bytes(8, "little"))
            handle.write(text)
            written = 0
            for name, value in tensors.items():
                data = value.detach().to("cpu", dtypes[name]).contiguous().reshape(-1)
                handle.write(data.view(torch.uint8).numpy().data)
                written += data.numel() * data.element_size()
                if progress is not None:
                    progress(written, total)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror}); it takes {needed / 1e6:.0f} MB. "
            "Nothing was left of it, and an older file stays: make room or name another output, "
            "and give the command again",
        ) from error
    return needed


def write_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    float32: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write weights, without an optimizer, as a checkpoint that a new run can start from.

    The file is that of :func:`~.checkpoint.save_checkpoint` with the averaged weights (``ema.``)
    alone.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to Tensor
        Weights by the network's names.
    state : mapping
        Plain JSON; ``settings`` holds the network's configuration as ``model``.
    float32, progress
        Of :func:`write_tensors`, which also says what is returned and raised.
    """
    named = {f"{AVERAGED}.{name}": value for name, value in tensors.items()}
    return write_tensors(path, named, state, float32=float32, progress=progress)
