"""Peptides, Systems and frames that the validation tests share; loaded by path."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm.systems.peptides import build_peptide

TEMPERATURE_K = 300.0


@lru_cache
def peptide(sequence: str = "A") -> tuple[Any, openmm.System, np.ndarray]:
    """A capped peptide in vacuum with constrained bonds to hydrogen, at its nearest minimum."""
    topology, positions = build_peptide(sequence, caps=True, seed=1)
    system = app.ForceField("amber14-all.xml").createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
    )
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 0.1)
    minimum = context.getState(positions=True).getPositions(asNumpy=True)
    minimum = np.array(minimum.value_in_unit(unit.nanometer))
    minimum.setflags(write=False)
    return topology, system, minimum


@lru_cache
def dynamics(sequence: str = "A", frames: int = 200) -> np.ndarray:
    """Frames of Langevin dynamics at 300 K, 0.2 ps apart, after 5 ps; [frames, atoms, 3] nm."""
    _, system, minimum = peptide(sequence)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 5.0, 0.002)
    integrator.setRandomNumberSeed(7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(minimum)
    context.setVelocitiesToTemperature(TEMPERATURE_K, 3)
    integrator.step(2500)
    result = np.empty((frames, system.getNumParticles(), 3))
    for frame in result:
        integrator.step(100)
        state = context.getState(positions=True)
        frame[:] = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    result.setflags(write=False)
    return result


def atom(topology: Any, residue: str, name: str) -> int:
    """Index of the atom `name` in the first residue called `residue`."""
    return next(a.index for a in topology.atoms() if a.name == name and a.residue.name == residue)


def side(topology: Any, near: int, far: int) -> np.ndarray:
    """Atoms on the far side of the bond near-far, [P] bool."""
    neighbours: dict[int, list[int]] = {}
    for a, b in topology.bonds():
        neighbours.setdefault(a.index, []).append(b.index)
        neighbours.setdefault(b.index, []).append(a.index)
    reached, todo = {far}, [far]
    while todo:
        for other in neighbours[todo.pop()]:
            if other not in reached and other != near:
                reached.add(other)
                todo.append(other)
    return np.isin(np.arange(topology.getNumAtoms()), list(reached))


def turned(
    topology: Any, positions_nm: np.ndarray, near: int, far: int, angle: float
) -> np.ndarray:
    """Turn everything beyond the bond near-far about it by an angle (radians)."""
    from scipy.spatial.transform import Rotation

    axis = positions_nm[far] - positions_nm[near]
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    result = positions_nm.copy()
    moving = side(topology, near, far)
    result[moving] = rotation.apply(positions_nm[moving] - positions_nm[far]) + positions_nm[far]
    return result


def stretched(
    topology: Any, positions_nm: np.ndarray, near: int, far: int, by_nm: float
) -> np.ndarray:
    """Lengthen the bond near-far by a distance, keeping both sides rigid."""
    axis = positions_nm[far] - positions_nm[near]
    result = positions_nm.copy()
    result[side(topology, near, far)] += by_nm * axis / np.linalg.norm(axis)
    return result
