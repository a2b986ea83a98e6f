"""Numbers out of Quantities: OpenMM's units at the surface, bare numbers inside.

A bare number is taken to be in the unit that is asked for. OpenMM is imported where it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["plain", "positions_in_nm"]


def plain(value: Any, unit: Any) -> float:
    """A Quantity as a number in a unit; a bare number is taken to be in this unit already."""
    return float(value.value_in_unit(unit) if hasattr(value, "value_in_unit") else value)


def positions_in_nm(positions: Any) -> NDArray[np.float64]:
    """Positions as an array in nm, of whatever shape was given.

    Parameters
    ----------
    positions : Quantity, array, or sequence of Vec3 or of Quantities
        A frame [P, 3] or frames [F, P, 3]; bare numbers are nm.

    Returns
    -------
    float64 array
        A copy. The numbers may be NaN or infinite; the caller decides on that.
    """
    from openmm import unit

    def bare(part: Any) -> Any:
        return part.value_in_unit(unit.nanometer) if hasattr(part, "value_in_unit") else part

    positions = bare(positions)
    if isinstance(positions, (list, tuple)) and any(hasattr(p, "value_in_unit") for p in positions):
        positions = [bare(part) for part in positions]
    return np.array(positions, dtype=np.float64)
