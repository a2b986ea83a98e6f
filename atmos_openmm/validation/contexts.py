"""Contexts that only evaluate: energies, forces, constraints; no dynamics is ever run in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm

from ..core.units import positions_in_nm

__all__ = ["check_positions", "evaluation_context", "put_frame"]


def check_positions(positions: Any, num_particles: int, name: str = "the positions") -> np.ndarray:
    """Convert positions and check their shape.

    Parameters
    ----------
    positions : Quantity or array
        P x 3 (nm).
    num_particles : int
        the number of particles expected.
    name : str
        what they are called in the message.

    Returns
    -------
    array [P,3], float64, nm. The numbers may be NaN or infinite; the caller decides on that.

    Raises
    ------
    ValueError
        for any other shape.
    """
    values = positions_in_nm(positions)
    if values.shape != (num_particles, 3):
        raise ValueError(
            f"{name} have shape {values.shape}; the System has {num_particles} particles, so "
            f"({num_particles}, 3) was expected"
        )
    return values


def evaluation_context(
    system: openmm.System,
    platform: openmm.Platform | str | None = None,
    threads: int | None = None,
) -> openmm.Context:
    """Create a Context for evaluations of one System.

    Parameters
    ----------
    system : openmm.System
        used as it is, not copied.
    platform : openmm.Platform or str or None
        Reference (double precision) when None. GPU platforms are asked for mixed precision, since
        the energies of unrelaxed frames overflow the resolution of single precision.
    threads : int or None
        of the CPU platform; its own choice when None.

    Returns
    -------
    openmm.Context

    Raises
    ------
    ValueError
        when no platform has the name.
    """
    if platform is None:
        platform = "Reference"
    if isinstance(platform, str):
        known = [
            openmm.Platform.getPlatform(i).getName()
            for i in range(openmm.Platform.getNumPlatforms())
        ]
        if platform not in known:
            raise ValueError(f"there is no platform {platform!r} here; choose one of {known}")
        platform = openmm.Platform.getPlatformByName(platform)
    chosen: Any = platform
    properties = {}
    if "Precision" in chosen.getPropertyNames():
        properties["Precision"] = "mixed"
    if threads is not None and "Threads" in chosen.getPropertyNames():
        properties["Threads"] = str(threads)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), chosen, properties)


def put_frame(
    context: openmm.Context, positions_nm: np.ndarray, box_nm: np.ndarray | None = None
) -> None:
    """Write a frame into a Context: box vectors first, then positions, then virtual sites."""
    if box_nm is not None:
        context.setPeriodicBoxVectors(*(openmm.Vec3(*map(float, row)) for row in box_nm))
    context.setPositions(positions_nm)
    context.computeVirtualSites()
