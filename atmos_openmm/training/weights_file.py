"""Write a checkpoint that holds weights and no optimizer, one tensor at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import FORMAT

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}
_ALIGNMENT = 8  # of the data in a safetensors file


def write_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    float32: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write weights as a training checkpoint that a new run can start from.

    The file is that of :func:`~.checkpoint.save_checkpoint` with the averaged weights (``ema.``)
    alone. Tensors are converted and written one by one, so that weights mapped from another file
    never are in memory as a whole. It appears under its name when it is complete; whatever goes
    wrong, nothing is left behind.

    Parameters
    ----------
    path: Path
        File to write (``.safetensors``); one that exists is replaced.
    tensors: mapping of str to Tensor
        Weights by the network's names.
    state: mapping
        Plain JSON; ``settings`` holds the network's configuration as ``model``.
    float32: bool
        Write floating-point tensors of any precision as float32.
    progress: callable, optional
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
        header[f"ema.{name}"] = {
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
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "wb") as handle:
            handle.write(len(text).to_bytes(8, "little"))
            handle.write(text)
            written = 0
            for name, value in tensors.items():
                data = value.detach().to("cpu", dtypes[name]).contiguous().reshape(-1)
                handle.write(data.numpy().data)
                written += data.numel() * data.element_size()
                if progress is not None:
                    progress(written, total)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror}); it takes {needed / 1e6:.0f} MB. "
            "Nothing was left of it: make room or name another output, and import again",
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return needed
