"""Averages of the exact run in a folder."""

from __future__ import annotations

from pathlib import Path

from ..core.settings import HYBRID_RUN, read_settings
from .averages import Averages, compute_averages
from .exact_storage import EXACT_RUN, read_density_record, read_exact_run


def averages_of(folder: str | Path, discard: float = 0.1) -> Averages:
    """Averages of an exact run, finished or not, as far as it is committed.

    Parameters
    ----------
    folder : str or Path
        The folder of the run.
    discard : float
        Share of the frames of each walker, from the first on, that are left out.

    Raises
    ------
    ValueError
        The run is one that explores: its populations are the model's.
    StorageError
        The folder is not that of a run, or has lost files.
    """
    settings = read_settings(folder)
    if settings.get("kind", HYBRID_RUN) != EXACT_RUN:
        refuse_averages(str(settings.get("acceptance", "another acceptance")))
    rows = read_exact_run(folder)
    record = read_density_record(folder)
    adaptation = record.get("adaptation", {})
    return compute_averages(
        rows.torsions(),
        settings["torsions"],
        settings["temperature_K"],
        rows.walltime_s,
        discard=discard,
        moves=rows.counts(),
        trajectories=rows.trajectories(),
        setup_seconds=float(adaptation.get("seconds", 0.0)),
        same_start=bool(record.get("same_start", False)),
    )


def refuse_averages(acceptance: str) -> None:
    """Say why a run of this acceptance has no averages.

    Raises
    ------
    ValueError
    """
    raise ValueError(
        f"A run with acceptance {acceptance!r} has no averages: its populations are the model's, "
        "bent by the dynamics that follows each jump. Use acceptance 'metropolis' for averages."
    )
