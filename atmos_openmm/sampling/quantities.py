"""Numbers out of Quantities."""

from __future__ import annotations

from typing import Any


def plain(value: Any, unit: Any) -> float:
    """A Quantity as a number in a unit; a bare number is taken to be in this unit already."""
    return float(value.value_in_unit(unit) if hasattr(value, "value_in_unit") else value)
