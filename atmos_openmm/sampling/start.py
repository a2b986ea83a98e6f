"""Where walkers start: checked positions, minimised and equilibrated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.units import positions_in_nm
from ..jump.context_state import potential_energy, state_positions
from ..systems.labels import atom_label

if TYPE_CHECKING:
    import openmm
    import torch
    from openmm.app import Topology

    from ..propagator import AtmosPropagator
    from ..systems.screening import ScreenSpec
    from .hybrid_settings import Dynamics
    from .walker import Walker

#: Minimiser iterations at the start: molecules that drift over a flat energy never converge.
START_ITERATIONS = 500
_ALL_FORCE_GROUPS = -1


def check_same_molecules(topology: Topology, system: openmm.System) -> None:
    """Refuse a System and a Topology of different size.

    Raises
    ------
    ValueError
    """
    particles, atoms = system.getNumParticles(), topology.getNumAtoms()
    if particles != atoms:
        raise ValueError(
            f"The System has {particles} particles, but the Topology has {atoms} atoms; they have "
            "to describe the same molecules."
        )


def bound_propagator(
    propagator: AtmosPropagator | torch.jit.ScriptModule, topology: Topology, lag: Any, start: Any
) -> AtmosPropagator:
    """An AtmosPropagator as it is, or one of a bound module of the user's own."""
    from ..propagator import AtmosPropagator

    if isinstance(propagator, AtmosPropagator):
        return propagator
    return AtmosPropagator(propagator, topology, lag=lag, positions=start)


def start_positions(positions: Any, walkers: int, particles: int) -> NDArray[np.float64]:
    """Start positions [walkers, P, 3] in nm, from one frame [P, 3] or one a walker.

    Raises
    ------
    ValueError
        if the shape is neither, or a number is not finite
    """
    array = positions_in_nm(positions)
    if array.shape == (particles, 3):
        array = np.broadcast_to(array, (walkers, particles, 3)).copy()
    if array.shape != (walkers, particles, 3):
        raise ValueError(
            f"positions have the shape {list(array.shape)}; expected [{particles}, 3] or "
            f"[{walkers}, {particles}, 3] for {walkers} walkers of {particles} particles."
        )
    if not np.isfinite(array).all():
        raise ValueError("positions hold numbers that are not finite; check the input file.")
    return array


def number_of_starts(positions: Any) -> int:
    """How many walkers positions [P, 3] or [walkers, P, 3] are for; 1 for any other shape."""
    array = positions_in_nm(positions)
    return len(array) if array.ndim == 3 else 1


def make_ready(
    walker: openmm.Context,
    dynamics: Dynamics,
    seed: int,
    topology: Topology,
    properties: dict[str, str],
) -> None:
    """Minimise and equilibrate a walker's Context with plain dynamics.

    It happens in a Context of its own, so that the walker's integrator counts no steps and learns
    no energies.

    Parameters
    ----------
    walker : openmm.Context
        with its positions set; positions, velocities and box are replaced
    dynamics : Dynamics
        what to do
    seed : int
        of velocities and thermostat
    topology : openmm.app.Topology
        names atoms in messages
    properties : dict
        of the walker's Platform

    Raises
    ------
    ValueError
        if the start has no finite energy, or dynamics breaks down
    """
    import openmm

    plain = openmm.LangevinMiddleIntegrator(
        dynamics.temperature_k, dynamics.friction_per_ps, dynamics.step_ps
    )
    plain.setRandomNumberSeed(seed)
    plain.setIntegrationForceGroups(walker.getIntegrator().getIntegrationForceGroups())
    context = openmm.Context(walker.getSystem(), plain, walker.getPlatform(), properties)
    state = walker.getState(positions=True)
    context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    context.setPositions(state.getPositions(asNumpy=True))
    context.applyConstraints(plain.getConstraintTolerance())
    if not _is_finite(context):
        raise ValueError(_nearest_atoms(topology, state_positions(state)))
    if dynamics.minimize:
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=START_ITERATIONS)
    context.setVelocitiesToTemperature(dynamics.temperature_k, seed)
    plain.step(dynamics.equilibration_steps)
    if not _is_finite(context):
        raise ValueError(
            "Molecular dynamics of the start broke down. Let it be minimised, use a shorter time "
            "step, or check the force field."
        )
    state = context.getState(positions=True, velocities=True)
    walker.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    walker.setPositions(state.getPositions(asNumpy=True))
    walker.setVelocities(state.getVelocities(asNumpy=True))


def check_hand(propagator: AtmosPropagator, screen: ScreenSpec, walker: Walker) -> None:
    """Refuse a start of another hand than the screen's: it would turn every proposal down.

    Raises
    ------
    ValueError
        with the walker, the atoms, and what to do
    """
    from ..systems.screening import inspect_frame

    positions = state_positions(walker.context.getState(positions=True))
    verdict = inspect_frame(screen, positions[propagator.atomIndices], only=("chirality", "rings"))
    if not verdict:
        raise ValueError(
            f"The start of walker {walker.index} does not pass the screen: "
            f"{propagator.describeVerdict(verdict)}. Mend the structure; if it is meant "
            "so (a D residue), create the AtmosPropagator with positions=..., from which it "
            "takes the hand."
        )


def _is_finite(context: openmm.Context) -> bool:
    """Whether the energy of all forces is."""
    return math.isfinite(potential_energy(context, _ALL_FORCE_GROUPS))


def _nearest_atoms(topology: Topology, positions_nm: NDArray[np.float64]) -> str:
    """Why a start has no finite energy: the two atoms nearest to each other, as a rule."""
    from scipy.spatial import cKDTree

    distances, neighbours = cKDTree(positions_nm).query(positions_nm, k=2)
    first = int(distances[:, 1].argmin())
    second = next(int(n) for n in neighbours[first] if n != first)
    atoms = list(topology.atoms())
    names = [f"{atom_label(atom)} (atom {atom.index})" for atom in (atoms[first], atoms[second])]
    return (
        f"The potential energy of the start is not finite. Nearest to each other are {names[0]} "
        f"and {names[1]}: {distances[first, 1]:.4f} nm. Mend the structure."
    )
