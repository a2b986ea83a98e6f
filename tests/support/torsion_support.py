"""Small molecules with torsions, their densities, and a chain that the moves can be checked on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import openmm

from atmos_openmm.integrator import AtmosIntegrator

TEMPERATURE = 300.0
KT = 0.00831446261815324 * TEMPERATURE


@dataclass
class PlainTorsions:
    """The attributes of `systems.torsions.Torsions` that the integrator reads."""

    atoms: np.ndarray
    groups: tuple
    backbone: np.ndarray
    block_sizes: tuple
    previous: tuple


@dataclass
class PlainBlock:
    """The attributes of `density.BlockDensity`."""

    means: np.ndarray
    covariances: np.ndarray
    gate_torsions: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    sequential: np.ndarray | None = None
    conditional: np.ndarray | None = None
    local_covariance: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = len(self.means) + (self.local_covariance is not None)
        shape = (rows, 1 + 2 * len(self.gate_torsions))
        for name in ("sequential", "conditional"):
            if getattr(self, name) is None:
                setattr(self, name, np.zeros(shape))


@dataclass
class PlainDensity:
    """The attributes of `density.TorsionDensity` that the integrator reads."""

    block_sizes: tuple
    blocks: tuple
    uniform_weight: float = 0.02


def uniform_density(block_sizes: tuple) -> PlainDensity:
    """The density of a model that knows nothing."""
    blocks = tuple(PlainBlock(np.zeros((0, d)), np.zeros((0, d, d))) for d in block_sizes)
    return PlainDensity(block_sizes, blocks)


def mixture(weights: list, means: list, deviations: list, **more: object) -> PlainBlock:
    """A block of diagonal components."""
    means_ = np.array(means, dtype=float)
    covariances = np.array([np.diag(np.square(row)) for row in np.array(deviations, dtype=float)])
    logits = np.log(np.array(weights, dtype=float))[:, None]
    return PlainBlock(means_, covariances, sequential=logits, conditional=logits, **more)


# A chain of united atoms, like butane for four of them.
BOND, ANGLE = 0.153, np.deg2rad(112.0)
TORSION_TERMS = ((1, 0.0, 3.0), (2, 1.0, 2.0), (3, 0.0, 6.0))


def chain_positions(atoms: int, torsion: float = np.pi) -> np.ndarray:
    """Positions [atoms, 3] in nm of a chain with all torsions alike."""
    x = [np.zeros(3), np.array([BOND, 0, 0])]
    x.append(x[1] + BOND * np.array([-np.cos(ANGLE), np.sin(ANGLE), 0]))
    while len(x) < atoms:
        axis = (x[-1] - x[-2]) / BOND
        normal = np.cross(x[-2] - x[-3], axis)
        normal /= np.linalg.norm(normal)
        across = np.cross(normal, axis)
        turned = np.cos(torsion) * across + np.sin(torsion) * normal
        x.append(x[-1] + BOND * (-np.cos(ANGLE) * axis + np.sin(ANGLE) * turned))
    return np.array(x[:atoms])


def chain_system(atoms: int = 4, *, constrained: bool = False, mass: float = 14.0) -> openmm.System:
    """A chain with bonds, angles and torsions, and nothing between them."""
    system = openmm.System()
    for _ in range(atoms):
        system.addParticle(mass)
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    torsions = openmm.PeriodicTorsionForce()
    for i in range(atoms - 1):
        if constrained:
            system.addConstraint(i, i + 1, BOND)
        else:
            bonds.addBond(i, i + 1, BOND, 1.0e5)
    for i in range(atoms - 2):
        angles.addAngle(i, i + 1, i + 2, ANGLE, 500.0)
    for i in range(atoms - 3):
        for periodicity, phase, height in TORSION_TERMS:
            torsions.addTorsion(i, i + 1, i + 2, i + 3, periodicity, phase, height)
    for force in (bonds, angles, torsions):
        system.addForce(force)
    return system


def chain_torsions(atoms: int = 4, *, block: int = 1) -> PlainTorsions:
    """The torsions of a chain, in blocks of some; every first of a block stands for a backbone's."""
    count = atoms - 3
    sizes = (block,) * (count // block)
    return PlainTorsions(
        atoms=np.array([[i, i + 1, i + 2, i + 3] for i in range(count)]),
        groups=tuple(np.arange(i + 3, atoms) for i in range(count)),
        backbone=np.array([i % block == 0 for i in range(count)]),
        block_sizes=sizes,
        previous=(-1, *range(len(sizes) - 1)),
    )


def torsion_potential(t: np.ndarray) -> np.ndarray:
    """The potential of one torsion in kJ/mol."""
    return np.asarray(sum(k * (1 + np.cos(n * t - phase)) for n, phase, k in TORSION_TERMS))


def measure(positions: np.ndarray, torsions: PlainTorsions) -> np.ndarray:
    """The torsions of frames [..., P, 3] in radians."""
    a, b, c, d = (positions[..., torsions.atoms[:, k], :] for k in range(4))
    axis = c - b
    first, second = np.cross(b - a, axis), np.cross(axis, d - c)
    sine = (np.cross(first, second) * axis).sum(-1) / np.linalg.norm(axis, axis=-1)
    return np.arctan2(sine, (first * second).sum(-1))


def exact_integrator(
    torsions: PlainTorsions | None,
    density: PlainDensity | None,
    *,
    interval: int = 20,
    moves: int = 5,
    step: float = 0.002,
    dynamics: str = "langevin",
    friction: float = 5.0,
    seed: int = 5,
) -> AtmosIntegrator:
    """An integrator in mode "metropolis"."""
    integrator = AtmosIntegrator(TEMPERATURE, friction, step)
    integrator.setRandomNumberSeed(11)
    integrator.setJumpSeed(seed)
    integrator.setAcceptanceMode("metropolis")
    integrator.setMovesPerJump(moves)
    integrator.setDynamics(dynamics)
    integrator.setJumpInterval(interval)
    integrator.setConstraintTolerance(1e-8)
    if torsions is not None:
        integrator.setTorsionMoves(torsions, density)
    return integrator


def start(
    system: openmm.System, integrator: openmm.Integrator, positions: np.ndarray
) -> openmm.Context:
    """A Context on the Reference platform with positions and velocities."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(TEMPERATURE, 3)
    return context
