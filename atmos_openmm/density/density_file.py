"""Files of densities: arrays as safetensors, the rest as JSON in their metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import write_atomically
from ..core.read_errors import READ_ERRORS, first_line
from .block_density import BlockDensity

__all__ = ["read_density", "write_density"]

_KEY = "atmos_torsion_density"
_VERSION = 1
_ARRAYS = ("means", "covariances", "gate_torsions", "sequential", "conditional", "local_covariance")


def write_density(
    path: str | os.PathLike[str], fields: dict[str, Any], blocks: tuple[BlockDensity, ...]
) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or Path
    fields : dict
        Plain values.
    blocks : tuple of BlockDensity

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from safetensors.numpy import save

    arrays = {
        f"blocks.{number}.{name}": np.array(value)
        for number, block in enumerate(blocks)
        for name in _ARRAYS
        if (value := getattr(block, name)) is not None
    }
    text = json.dumps({"version": _VERSION, "blocks": len(blocks), **fields})
    write_atomically(Path(path), save(arrays, metadata={_KEY: text}))


def read_density(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], tuple[BlockDensity, ...]]:
    """The plain values and the blocks of a file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is no density, damaged, or of a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError("it says nothing of a torsion density")
            fields = json.loads(text)
            if fields["version"] != _VERSION:
                raise ValueError(
                    f"it is of version {fields['version']}, this program reads {_VERSION}"
                )
            names = set(file.keys())
            blocks = []
            for number in range(fields.pop("blocks")):
                found = {name: f"blocks.{number}.{name}" for name in _ARRAYS}
                optional = found.pop("local_covariance")
                arrays = {name: file.get_tensor(key) for name, key in found.items()}
                local = file.get_tensor(optional) if optional in names else None
                blocks.append(BlockDensity(**arrays, local_covariance=local))
    except (SafetensorError, *READ_ERRORS) as error:
        raise ValueError(
            f"{path} cannot be read as a density of torsions: {first_line(error)}. Make it anew."
        ) from error
    del fields["version"]
    return fields, tuple(blocks)
