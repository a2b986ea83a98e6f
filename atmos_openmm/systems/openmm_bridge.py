"""Small readings of OpenMM objects as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.units import positions_in_nm

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def atom_positions_in_nm(positions: Any, num_atoms: int | None = None) -> FloatArray:
    """Return the positions of atoms as an array in nm, their shape checked.

    Parameters
    ----------
    positions : Quantity, list of Vec3, or array [A, 3]
        bare numbers are in nm
    num_atoms : int, optional
        the number of atoms that there must be

    Returns
    -------
    array [A, 3], float64, a copy

    Raises
    ------
    ValueError
        for another shape, or another number of atoms than `num_atoms`
    """
    array = positions_in_nm(positions)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"Positions have the shape {array.shape}; expected [atoms, 3], in nm.")
    if num_atoms is not None and len(array) != num_atoms:
        raise ValueError(
            f"There are positions of {len(array)} atoms, but the Topology has {num_atoms}. Give "
            "the positions that belong to this Topology, all of its atoms in its order."
        )
    return array


def constraint_arrays(system: Any) -> tuple[IntArray, FloatArray]:
    """Return a System's constraints: pairs [C, 2] int64, lengths [C] in nm."""
    import openmm.unit as unit

    pairs, lengths = [], []
    for k in range(system.getNumConstraints()):
        i, j, distance = system.getConstraintParameters(k)
        pairs.append((i, j))
        lengths.append(distance.value_in_unit(unit.nanometer))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(lengths)


def bond_lengths_from_system(system: Any) -> dict[tuple[int, int], float]:
    """Return the equilibrium lengths of a System's harmonic bonds and constraints.

    Constraints win over bonds, since they are what the integrator enforces. Distances constrained
    across an angle (rigid water) are in the result too.

    Returns
    -------
    dict from (i, j), i < j, to the length in nm
    """
    import openmm
    import openmm.unit as unit

    lengths: dict[tuple[int, int], float] = {}
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, length, _ = force.getBondParameters(k)
                lengths[min(i, j), max(i, j)] = length.value_in_unit(unit.nanometer)
    pairs, distances = constraint_arrays(system)
    for (i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
        lengths[min(i, j), max(i, j)] = distance
    return lengths


def box_vectors_in_nm(vectors: Sequence[Any] | Any | None) -> FloatArray | None:
    """Return periodic box vectors as an array [3, 3] in nm, rows a, b, c; None for none."""
    if vectors is None:
        return None
    array = positions_in_nm(vectors)
    if array.shape != (3, 3):
        raise ValueError(f"Box vectors have the shape {array.shape}; expected [3, 3], in nm.")
    return array
