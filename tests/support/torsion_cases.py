"""Molecules with known populations, and runs of exact jumps on them by either engine."""

from __future__ import annotations

import io
import math

import numpy as np
import openmm
import pytest
import torch

from atmos_openmm.core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from atmos_openmm.density.block_density import BlockDensity
from atmos_openmm.density.torsion_density import TorsionDensity
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.sampling.driver import HybridDriver
from atmos_openmm.systems.torsions import Torsions

KT = GAS_CONSTANT_KJ_PER_MOL_K * 300.0

LAG_PS = 1000.0

STANDSTILL_PS = 1e-7
"""A step in which nothing moves to speak of: what is left are the moves."""

ENGINES = [
    "driver",
    pytest.param(
        "compiled",
        marks=pytest.mark.skipif(
            not hasattr(AtmosIntegrator, "setTorsionMoves"),
            reason="the compiled integrator was built without moves of torsions",
        ),
    ),
]


def chain(count, energy="", bond=2e5, angle=400.0, **parameters):
    """A chain of particles with harmonic bonds and angles, and an energy of its torsions.

    Bond lengths, angles and torsions are independent of each other in it: the distribution of the
    torsions t1, t2 ... is that of their energy alone.
    """
    system = openmm.System()
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for k in range(count):
        system.addParticle(12.0)
        if k >= 1:
            bonds.addBond(k - 1, k, 0.15, bond)
        if k >= 2:
            angles.addAngle(k - 2, k - 1, k, 1.9, angle)
    system.addForce(bonds)
    system.addForce(angles)
    if energy:
        names = [f"t{k + 1}" for k in range(count - 3)]
        terms = "".join(
            f"; {name}=dihedral(p{k + 1},p{k + 2},p{k + 3},p{k + 4})"
            for k, name in enumerate(names)
        )
        force = openmm.CustomCompoundBondForce(count, energy + terms)
        for name, value in parameters.items():
            force.addGlobalParameter(name, value)
        force.addBond(list(range(count)))
        system.addForce(force)
    return system


def chain_positions(torsions):
    """Positions of a chain at rest with these torsions."""
    x = [np.zeros(3), np.array([0.15, 0, 0])]
    x.append(x[1] + 0.15 * np.array([-math.cos(1.9), math.sin(1.9), 0]))
    for t in torsions:
        b, n = x[-1] - x[-2], np.cross(x[-2] - x[-3], x[-1] - x[-2])
        b, n = b / np.linalg.norm(b), n / np.linalg.norm(n)
        m = np.cross(n, b)
        # The angle between bonds is 1.9; a torsion of 0 is cis.
        side = math.cos(t) * m + math.sin(t) * n
        x.append(x[-1] + 0.15 * (-math.cos(1.9) * b + math.sin(1.9) * side))
    return np.array(x)


def chain_torsions(count, block_sizes=None, backbone=None):
    """The torsions of a chain of particles; the end that is higher in number turns."""
    number = count - 3
    sizes = tuple(block_sizes or (number,))
    return Torsions(
        names=tuple(f"T{k + 1}" for k in range(number)),
        atoms=np.arange(number)[:, None] + np.arange(4),
        groups=tuple(np.arange(k + 3, count) for k in range(number)),
        backbone=np.array(backbone or [True] * number),
        block_sizes=sizes,
        block_names=tuple(f"B{k}" for k in range(len(sizes))),
        previous=tuple(range(-1, len(sizes) - 1)),
    )


def chosen(torsions, names):
    """Some of a molecule's torsions, each a block of its own."""
    rows = [torsions.names.index(name) for name in names]
    return Torsions(
        names=tuple(names),
        atoms=torsions.atoms[rows],
        groups=tuple(torsions.groups[k] for k in rows),
        backbone=torsions.backbone[rows],
        block_sizes=(1,) * len(rows),
        block_names=tuple(names),
        previous=(-1,) * len(rows),
    )


def uniform(torsions):
    return TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)


def mixture(torsions, means, widths, log_weights, gates=0.0, local=None, uniform_weight=0.05):
    """A density with the same components in every block, means [K] and widths [K] in each torsion.

    With `gates` the weights depend on the first torsion outside of the block.
    """
    blocks, start = [], 0
    count = len(torsions)
    for size in torsions.block_sizes:
        outside = [k for k in range(count) if not start <= k < start + size][: 1 if gates else 0]
        rows = len(means) + (local is not None)
        conditional = np.zeros((rows, 1 + 2 * len(outside)))
        conditional[: len(log_weights), 0] = log_weights
        if outside:
            conditional[:, 1] = gates * (-1.0) ** np.arange(rows)
            conditional[:, 2] = 0.5 * gates
            conditional[0, 2] = -gates
        sequential = conditional.copy()
        if outside and outside[0] >= start:
            sequential[:, 1:] = 0.0
        blocks.append(
            BlockDensity(
                np.repeat(np.array(means)[:, None], size, axis=1),
                np.array([w * w * np.eye(size) for w in widths]),
                np.array(outside, dtype=np.int64),
                sequential,
                conditional,
                None if local is None else local * local * np.eye(size),
            )
        )
        start += size
    layout = torsions.names, torsions.block_sizes, torsions.previous
    return TorsionDensity(*layout, tuple(blocks), uniform_weight)


def archive(module):
    """A scripted module as the content of a TorchScript archive."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


class ExactRun:
    """A Context that jumps by moves of torsions, through the driver or the compiled integrator.

    The moves are drawn from the density, or proposed by a module where one is given.
    """

    def __init__(
        self,
        engine,
        system,
        start_nm,
        torsions,
        density,
        shares=None,
        interval=1,
        moves=10,
        seed=1,
        step_ps=0.002,
        platform="Reference",
        small_width=0.35,
        trials=1,
        module=None,
        friction=5.0,
    ):
        kind = AtmosIntegrator if engine == "compiled" else openmm.LangevinMiddleIntegrator
        self.integrator = kind(300.0, friction, step_ps)
        self.integrator.setRandomNumberSeed(seed)
        self.torsions, self.interval = torsions, interval
        if engine == "compiled":
            if module is None:
                self.integrator.setTorsionMoves(torsions, density)
            else:
                self.integrator.setModule(archive(module), range(module.num_atoms()))
                self.integrator.setLag(LAG_PS)
            if shares is not None:
                self.integrator.setMoveShares(shares)
            self.integrator.setSmallMoveWidth(small_width)
            self.integrator.setMovesPerJump(moves)
            self.integrator.setTrialsPerMove(trials)
            self.integrator.setAcceptanceMode("metropolis")
            self.integrator.setJumpSeed(seed)
            self.integrator.setJumpInterval(interval)
        properties = {"Threads": "1"} if platform == "CPU" else {}
        self.context = openmm.Context(
            system, self.integrator, openmm.Platform.getPlatform(platform), properties
        )
        self.context.setPositions(start_nm)
        self.context.applyConstraints(1e-8)
        self.context.setVelocitiesToTemperature(300.0, seed)
        self._actor = self.integrator
        if engine == "driver":
            self._actor = HybridDriver(
                self.context,
                module,
                acceptance="metropolis",
                lag=LAG_PS,
                torsions=torsions if module is None else None,
                density=density,
                moves=moves,
                trials=trials,
                moveShares=shares,
                smallMoveWidth=small_width,
                jumpInterval=interval,
                seed=seed,
            )

    def advance(self):
        """One jump and the steps that follow it."""
        self._actor.step(self.interval)

    def statistics(self):
        return dict(self._actor.getMoveStatistics())

    def tests(self):
        """Moves or series that were tested with the energy, and those that passed."""
        return self._actor.getNumProposed(), self._actor.getNumAccepted()

    def positions(self):
        return np.array(self.context.getState(positions=True).getPositions(asNumpy=True)._value)

    def sample(self, count):
        """Torsions [count, T] after each of so many jumps, without the first twentieth."""
        skipped = count // 20
        angles = []
        for k in range(count + skipped):
            self.advance()
            if k >= skipped:
                angles.append(self.torsions.measure(self.positions()))
        return np.array(angles)


def estimate(values, batches=25):
    """Mean of a correlated series and its standard error, from the means of batches."""
    means = [part.mean() for part in np.array_split(np.asarray(values, dtype=float), batches)]
    return float(np.mean(means)), float(np.std(means, ddof=1) / math.sqrt(batches))


#: Errors of 25 batches have Student's t with 24 degrees of freedom: 4.5 is passed once in 7,000.
WIDE = 4.5


def assert_agrees(values, expected):
    mean, error = estimate(values)
    assert error > 0
    assert abs(mean - expected) <= WIDE * error, (mean, error, expected)


def quadrature(energy, functions, dimensions=1, points=360):
    """Boltzmann averages of functions of the torsions, by sums over a grid (exact if smooth)."""
    axis = (np.arange(points) + 0.5) * 2 * np.pi / points - np.pi
    grid = np.meshgrid(*[axis] * dimensions, indexing="ij")
    weights = np.exp(-(energy(*grid) - energy(*grid).min()) / KT)
    return [float((f(*grid) * weights).sum() / weights.sum()) for f in functions]
