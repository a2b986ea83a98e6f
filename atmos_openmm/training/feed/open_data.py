"""The samples of a training run: files, folders and manifests, looked through by all ranks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from typing import Any

from ...data.faults import DataFileWarning, Fault, FaultLog, Policy
from ...data.manifest import expand
from ...data.sources import SampleSet, inspect_file
from ..ranks import Ranks

__all__ = ["open_data"]


def open_data(
    paths: Iterable[str | os.PathLike[str]],
    ranks: Ranks,
    *,
    on_error: Policy = "stop",
    hydrogens: bool = False,
) -> SampleSet:
    """Find the samples of files of any layout; frames stay on the disk.

    Each rank looks through its share of the files (structures are read as a whole), and all get
    the same samples in the order of the files, however many ranks there are.

    Parameters
    ----------
    paths : iterable of paths
        Files, folders, and manifests (``.json``).
    ranks : Ranks
    on_error : str
        ``stop`` at the first file or entry that cannot be used, or ``skip`` those.
    hydrogens : bool
        Whether hydrogens of structures are kept.

    Returns
    -------
    SampleSet
        With all faults, those that are not fatal included.

    Raises
    ------
    DataFileError
        Under ``stop``.
    ValueError
        No sample is left.
    """
    options = {"structure": {"hydrogens": hydrogens}}
    mine: list[tuple[int, list[Any], list[Fault]]] = []
    log = FaultLog(on_error)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataFileWarning)  # the caller tells them
        with ranks.together():
            files = list(expand(paths, log))
            for number in range(ranks.rank, len(files), ranks.size):
                inside, here = [], FaultLog(on_error)
                for entry in inspect_file(files[number], options):
                    if here.extend(entry.faults) and entry.sample is not None:
                        inside.append(entry.sample)
                mine.append((number, inside, here.faults))
    everyones = [item for part in ranks.gather(mine) for item in part]
    found = sorted(everyones, key=lambda item: item[0])
    samples = [sample for _, part, _ in found for sample in part]
    faults = [*log.faults, *(fault for _, _, part in found for fault in part)]
    return SampleSet.of(samples, faults)
