"""The density that exact moves of torsions draw from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..density.model_frames import MeasuredTorsions, Propagator


def uniform_density(torsions: MeasuredTorsions) -> TorsionDensity:
    """The density of a molecule's torsions that knows nothing of it."""
    from ..density import TorsionDensity

    return TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)


def choose_density(
    propagator: Propagator | None,
    torsions: MeasuredTorsions,
    density: TorsionDensity | str | Path | None = None,
    positions: Any = None,
    *,
    lag: Any = None,
    temperature: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> TorsionDensity:
    """Take the density that is given, or make the one that is named.

    Parameters
    ----------
    propagator : AtmosPropagator or None
    torsions : Torsions
        Those that are turned.
    density : TorsionDensity, str or Path, optional
        One that is there, the file of one, "uniform", or "model"; by default the model's, and
        uniform without a propagator.
    positions : Quantity or array, optional
        A frame [P, 3] or several (in nm) from which a model without a torsion head draws those that
        its density is fitted to.
    lag, temperature : Quantity or float, optional
        Of the model's density (in ps and K); those of the propagator by default.
    progress : function, optional
        Called with the frames that are drawn, and how many there will be.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the density is of other torsions or the file damaged, or if a propagator or `positions`
        are needed and not given.
    """
    from ..density import TorsionDensity

    if isinstance(density, TorsionDensity):
        density.check(torsions.names)
        return density
    if density is None:
        density = "uniform" if propagator is None else "model"
    if density == "uniform":
        return uniform_density(torsions)
    if density != "model":
        return TorsionDensity.load(density, torsions.names)
    if propagator is None:
        raise ValueError("A density of the model needs a propagator; give one, or 'uniform'.")
    bound: Any = propagator
    if bound.hasTorsionHead():
        return bound.torsionDensity(lag=lag, temperature=temperature, torsions=torsions)
    if positions is None:
        raise ValueError(
            "The density of a model is fitted to frames that it draws: give positions=... to start "
            "from, or a density."
        )
    return TorsionDensity.from_model(
        propagator, torsions, positions, lag=lag, temperature=temperature, progress=progress
    )
