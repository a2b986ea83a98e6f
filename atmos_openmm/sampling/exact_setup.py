"""What an exact run is made of: its torsions, and the density that new ones are drawn from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.settings import read_settings
from ..jump.choose_density import choose_density
from ..systems.torsions import find_torsions
from .exact_progress import ExactProgress
from .exact_run import ExactRun
from .exact_storage import given_density
from .hybrid_settings import Moves
from .run_mode import Sampled

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..propagator import AtmosPropagator
    from ..systems.torsions import Torsions

Told = Callable[[ExactProgress], None]


def exact_run(
    sampled: Sampled,
    moves: Moves,
    folder: str | Path,
    propagator: AtmosPropagator | None,
    density: TorsionDensity | str | Path | None,
    *,
    lag: Any = None,
    solute: str | Iterable[int] | None = None,
    molecules: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> ExactRun:
    """The exact run that the arguments of HybridSampler describe.

    Raises
    ------
    ValueError
        There is nothing to turn, or the density does not fit.
    """
    if solute is None and propagator is not None:
        solute = propagator.movedIndices
    torsions = find_torsions(
        sampled.topology,
        solute=solute,
        positions=sampled.starts_nm[0],
        molecules=molecules,
        system=sampled.system,
        methyls=moves.methyls,
    )
    chosen, source = _choose(sampled, folder, propagator, density, torsions, lag, told)
    return ExactRun(sampled, moves, torsions, chosen, source, told)


def _choose(
    sampled: Sampled,
    folder: str | Path,
    propagator: AtmosPropagator | None,
    density: TorsionDensity | str | Path | None,
    torsions: Torsions,
    lag: Any,
    told: Told | None,
) -> tuple[TorsionDensity, str]:
    """The density, and words on where it is from."""
    if density is None:
        density = "uniform" if propagator is None else "model"
    if density == "uniform":
        source = "uniform"
    elif density == "model" and propagator is not None:
        source = f"model {propagator.modelName}"
        density = _there(folder, source) or density
    elif isinstance(density, (str, Path)):
        source = f"file {Path(density).name}"
    else:
        source = "given"
    began = time.monotonic()

    def tell(frames: int, total: int) -> None:
        if told is not None:
            elapsed_s = time.monotonic() - began
            told(ExactProgress(frames, total, 1, 0, 0, elapsed_s, frames, 0.0, "model frames"))

    chosen = choose_density(
        propagator,
        torsions,
        density,
        sampled.starts_nm,
        lag=lag,
        temperature=sampled.plan.dynamics.temperature_k,
        progress=tell,
    )
    return chosen, source


def _there(folder: str | Path, source: str) -> TorsionDensity | None:
    """The density that the run in the folder was given, if it is from the same source."""
    if not (Path(folder) / "run.json").exists():
        return None
    return given_density(folder) if read_settings(folder).get("density") == source else None
