"""What a jump is asked for, checked: frames, states, lags and temperatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.units import positions_in_nm


def checked_frames(positions: Any, num_atoms: int) -> tuple[NDArray[np.float64], bool]:
    """Positions [B, P, 3] in nm, and whether a single frame [P, 3] was given.

    Raises
    ------
    ValueError
        For another shape, or numbers that are not finite.
    """
    array = positions_in_nm(positions)
    single = array.ndim == 2
    if single:
        array = array[None]
    if array.ndim != 3 or array.shape[1:] != (num_atoms, 3) or len(array) == 0:
        raise ValueError(
            f"positions have the shape {list(array.shape[1:] if single else array.shape)}; "
            f"expected [{num_atoms}, 3] or [B, {num_atoms}, 3]: all atoms of the Topology, in nm."
        )
    if not np.isfinite(array).all():
        raise ValueError("positions hold numbers that are not finite.")
    return array, single


def checked_states(
    state: NDArray[np.floating] | None, batch: int, size: int
) -> NDArray[np.float32]:
    """States [B, S]; zeros for no history.

    Raises
    ------
    ValueError
        For another shape than [B, S], or [S] for a single frame.
    """
    if state is None:
        return np.zeros((batch, size), dtype=np.float32)
    array = np.array(state, dtype=np.float32)
    if array.shape == (size,) and batch == 1:
        array = array[None]
    if array.shape != (batch, size):
        raise ValueError(f"state has the shape {list(array.shape)}; expected [{batch}, {size}].")
    return array


def checked_attempts(attempt: int | Sequence[int], batch: int) -> list[int]:
    """Numbers of B proposals: those given, or as many from one on.

    Raises
    ------
    ValueError
        For another number of them.
    """
    if isinstance(attempt, int):
        return list(range(attempt, attempt + batch))
    numbers = [int(n) for n in attempt]
    if len(numbers) != batch:
        raise ValueError(f"{len(numbers)} attempt numbers were given for {batch} frames.")
    return numbers


def checked_positive(what: str, value: float, unit: str) -> float:
    """A lag or a temperature that is positive.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not value > 0 or not np.isfinite(value):
        raise ValueError(f"The {what} is {value:g} {unit}; it has to be positive.")
    return float(value)


def is_in_range(value: float, limits: Sequence[float]) -> bool:
    """Whether a lag or a temperature is in a model's range, but for rounding."""
    return limits[0] * (1 - 1e-6) <= value <= limits[1] * (1 + 1e-6)
