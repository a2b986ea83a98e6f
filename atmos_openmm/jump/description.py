"""What a propagator says of itself when it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def description(info: Mapping[str, Any]) -> str:
    """Describe a propagator in lines, from what its `info()` gives."""
    lines = [f"AtmosPropagator: model {info['model']}"]
    molecule = f"{info['num_atoms']} atoms ({info['atoms']})"
    if info["num_placed_hydrogens"]:
        molecule = (
            f"{info['num_atoms']} atoms ({info['num_placed_hydrogens']} hydrogens placed on "
            "the model's heavy atoms)"
        )
    if info["residues"]:
        shown = "-".join(info["residues"][:12]) + ("-..." if len(info["residues"]) > 12 else "")
        molecule += f", {info['num_tokens']} tokens: {shown}"
    lines.append(f"  molecule     {molecule}")
    if info["num_moved_atoms"] < info["num_atoms"]:
        lines.append(f"  moved        {info['num_moved_atoms']} of these atoms")
    if info["left_out"]:
        lines.append(f"  left out     {info['left_out']}, unless named")
    lines.append(f"  lag          {_with_range(info['lag_ps'], info['lag_range_ps'], 'ps')}")
    lines.append(
        f"  temperature  {_with_range(info['temperature_K'], info['temperature_range_K'], 'K')}"
    )
    if info["outside_training"]:
        lines.append(f"  untrained    {'; '.join(info['outside_training'])}")
    for name in ("denoising_steps", "trained_on", "licence"):
        if info["capabilities"].get(name):
            lines.append(f"  {name.replace('_', ' '):<12} {info['capabilities'][name]}")
    return "\n".join(lines)


def _with_range(value: float | None, limits: tuple[float, float] | None, unit_: str) -> str:
    text = "to be given" if value is None else f"{value:g} {unit_}"
    if limits is not None:
        text += f" (model: {limits[0]:g} to {limits[1]:g} {unit_})"
    return text
