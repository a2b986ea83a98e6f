"""From a checkpoint of Protenix to weights that training can start from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...model import protenix
from ...model.config import ModelConfig
from ...model.protenix import Count
from ...model.protenix_file import read_state_dict
from .weights_file import write_weights


@dataclass(frozen=True)
class ImportSummary:
    """What an import took over, left out and made anew.

    Attributes
    ----------
    config : ModelConfig
        The network's configuration; its depths are those of the checkpoint.
    mapped, left_out, fresh : dict of str to Count
        Tensors and parameters by top-level module: Protenix's that were taken, Protenix's that
        were not, and the network's that Protenix does not have.
    dtypes : dict of str to int
        Numbers of the taken tensors by their dtype in the checkpoint; they are written as float32.
    output : Path
        The file written.
    size_bytes : int
        Its size.
    """

    config: ModelConfig
    mapped: dict[str, Count]
    left_out: dict[str, Count]
    fresh: dict[str, Count]
    dtypes: dict[str, int]
    output: Path
    size_bytes: int


def check_output(checkpoint: Path, output: Path, force: bool) -> None:
    """Refuse an output that exists, has no folder, or is the checkpoint itself.

    Raises
    ------
    FileExistsError, IsADirectoryError, FileNotFoundError, ValueError
    """
    if output.is_dir():
        raise IsADirectoryError(f"{output} is a folder; name a file in it.")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {output.parent}; make it, or name another.")
    if output.exists() and checkpoint.exists() and os.path.samefile(checkpoint, output):
        raise ValueError(f"{output} is the checkpoint itself; choose another name.")
    if output.exists() and not force:
        raise FileExistsError(f"{output} exists; choose another name, or have it replaced (force).")


def import_protenix(
    checkpoint: Path,
    output: Path,
    *,
    seed: int = 1,
    force: bool = False,
    widths: ModelConfig | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportSummary:
    """Write the weights of a Protenix base model as a checkpoint of this package.

    Everything that Protenix and the network share is taken; the frame encoder, the start of the
    state and the transition, which Protenix does not have, are newly initialised.

    Parameters
    ----------
    checkpoint : Path
        A v0.5.0 or v1.0.0 base checkpoint. Nothing but its tensors is read.
    output : Path
        File to write, from which training can start.
    seed : int
        Of the newly initialised parameters.
    force : bool
        Replace the output if it exists.
    widths : ModelConfig, optional
        Widths of the network, the `full` configuration by default; depths of Protenix's parts are
        the checkpoint's.
    report : callable, optional
        Called with a line at each step.
    progress : callable, optional
        Called with the bytes written and the bytes in all.

    Returns
    -------
    ImportSummary

    Raises
    ------
    ValueError
        If the file is no such checkpoint (see :func:`.protenix_file.read_state_dict`), or its
        tensors do not fit (:class:`.protenix.CheckpointMismatch` lists them all).
    OSError
        If the checkpoint is missing or the output cannot be written. In no case anything is left
        behind.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    say = report or (lambda line: None)
    check_output(checkpoint, output, force)
    say(f"reading {checkpoint}")
    weights = read_state_dict(checkpoint)
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    say(f"checking {len(shapes)} tensors")
    config = protenix.configuration_of(shapes, widths)
    mapped = {
        name: value for name, value in weights.items() if protenix.atmos_key(name) is not None
    }
    protenix.refuse_non_finite(mapped.items())
    fresh = protenix.fresh_weights(config, seed)
    taken = {protenix.atmos_key(name): value for name, value in mapped.items()} | fresh
    # The network's order, whatever the checkpoint's; a name that nobody provides is a fault here.
    tensors = {name: taken[name] for name in protenix.expected_shapes(config)}
    totals = protenix.count(shapes)
    summary = {
        "mapped": {name: totals[name] for name in totals if name in protenix.PREFIXES},
        "left_out": {name: totals[name] for name in totals if name in protenix.LEFT_OUT},
        "fresh": protenix.count({name: tuple(value.shape) for name, value in fresh.items()}),
    }
    state = {
        "step": 0,
        "settings": {"model": config.to_dict()},
        "imported": {
            "from": checkpoint.name,
            "seed": seed,
            "fresh": list(summary["fresh"]),
            "left_out": list(summary["left_out"]),
        },
    }
    say(f"writing {output}")
    size = write_weights(output, tensors, state, progress=progress)
    dtypes = Counter(str(value.dtype).replace("torch.", "") for value in mapped.values())
    return ImportSummary(config, **summary, dtypes=dict(dtypes), output=output, size_bytes=size)
