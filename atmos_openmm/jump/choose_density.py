"""The density that exact moves of torsions draw from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..density import TorsionDensity
    from ..density.model_frames import Propagator
    from ..systems.torsions import Torsions


def choose_density(
    propagator: Propagator,
    torsions: Torsions,
    density: TorsionDensity | str | None = None,
    positions: Any = None,
    *,
    lag: Any = None,
    temperature: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> TorsionDensity:
    """Take the density that is given, or the model's.

    Parameters
    ----------
    propagator : AtmosPropagator
    torsions : Torsions
        Those that are turned.
    density : TorsionDensity or str, optional
        One that is there, which is checked, or "uniform"; the model's by default.
    positions : Quantity or array, optional
        A frame [P, 3] or several (in nm) from which the model draws those that its density is
        fitted to.
    lag, temperature : Quantity or float, optional
        Of the model's density (in ps and K); those of the propagator by default.
    progress : function, optional
        Called with the frames that are drawn, and how many there will be.

    Raises
    ------
    ValueError
        If the density is of other torsions, or `positions` are needed and not given.
    """
    from ..density import TorsionDensity

    if isinstance(density, TorsionDensity):
        density.check(torsions.names)
        return density
    if density == "uniform":
        return TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)
    if density is not None:
        raise ValueError(f"density is {density!r}; give a TorsionDensity, or 'uniform'.")
    if positions is None:
        raise ValueError(
            "The density of a model is fitted to frames that it draws: give positions=... to start "
            "from, or a density."
        )
    return TorsionDensity.from_model(
        propagator, torsions, positions, lag=lag, temperature=temperature, progress=progress
    )
