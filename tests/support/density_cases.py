"""Made-up densities of torsions, and a model that proposes frames of one torsion."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
from scipy.stats import multivariate_normal

from atmos_openmm.core.geometry import torsion_angles
from atmos_openmm.density import BlockDensity, TorsionDensity

NONE = np.zeros(0, dtype=np.int64)


def covariance(sd, correlation=0.0):
    sd = np.asarray(sd, dtype=float)
    shape = np.full((len(sd), len(sd)), correlation)
    np.fill_diagonal(shape, 1.0)
    return shape * np.outer(sd, sd)


def ungated(weights, means, covariances, local=None):
    gates = np.log(np.asarray(weights, dtype=float))[:, None]
    return BlockDensity(means, covariances, NONE, gates, gates, local)


def one_block(block, uniform_weight=0.02):
    names = tuple(f"ALA2 t{k}" for k in range(block.size))
    return TorsionDensity(names, (block.size,), (-1,), (block,), uniform_weight)


def two_residues(strength=2.0, local=False):
    """phi, psi of two residues, and a chi1 of the second, whose states depend on each other."""
    wide = covariance([0.5, 0.3], 0.5)
    first = BlockDensity(
        [[-1.2, 2.5], [-1.3, -0.6]],
        [covariance([0.3, 0.4], -0.4), covariance([0.25, 0.3], 0.3)],
        [2, 3],
        [[0.0, 0, 0, 0, 0], [0.3, 0, 0, 0, 0]],
        [[0.0, 0.2, 0, 0, 0], [0.3, 0, 0, -0.5, strength / 2]],
    )
    second = BlockDensity(
        [[-1.2, 2.6, -1.0], [-1.4, -0.5, 3.1], [1.0, 0.4, -3.0]],
        [covariance([0.3, 0.4, 0.2], 0.2), covariance([0.2, 0.3, 0.69]), covariance([0.5] * 3)],
        [1],
        [[0.0, 0, 0], [0.2, strength, 0], [-1.0, 0, strength]],
        [[0.0, 0, 0], [0.2, strength, 0], [-1.0, 0, strength]],
    )
    if local:
        first = BlockDensity(
            first.means,
            first.covariances,
            first.gate_torsions,
            np.vstack([first.sequential, [[0.4, 0, 0, 0, 0]]]),
            np.vstack([first.conditional, [[0.4, 0, 0, 1.0, 0]]]),
            wide / 4,
        )
    names = ("ALA2 phi", "ALA2 psi", "LEU3 phi", "LEU3 psi", "LEU3 chi1")
    return TorsionDensity(names, (2, 3), (-1, 0), (first, second))


def by_brute_force(density, number, to, at, gates):
    """Log density of a block by its definition, with seven images in each dimension."""
    block, where = density.blocks[number], density.block_slices[number]
    size = block.size
    table = getattr(block, gates)
    if len(table) == 0:
        return -size * math.log(2 * math.pi)
    angles = [at[g] for g in block.gate_torsions]
    features = [1.0, *itertools.chain(*((math.cos(a), math.sin(a)) for a in angles))]
    logits = table @ np.array(features)
    weights = np.exp(logits) / np.exp(logits).sum()
    normals = list(zip(block.means, block.covariances, strict=True))
    if block.local_covariance is not None:
        normals.append((np.asarray(at)[where], block.local_covariance))
    shifts = 2 * math.pi * np.array(list(itertools.product(range(-3, 4), repeat=size)))
    total = density.uniform_weight / (2 * math.pi) ** size
    for weight, (mean, cov) in zip(weights, normals, strict=True):
        p = multivariate_normal(mean, cov).pdf(np.asarray(to) + shifts).sum()
        total += (1 - density.uniform_weight) * weight * p
    return math.log(total)


class Draws:
    """Random numbers as moves take them, from numpy's generator."""

    def __init__(self, seed):
        self._generator = np.random.default_rng(seed)

    def uniform(self):
        return 1.0 - self._generator.random()

    def normal(self):
        return self._generator.standard_normal()


CHAIN = np.array([[0, 0.1, 0], [0, 0, 0], [0.15, 0, 0], [0.15, 0.1, 0]])
TETRAHEDRON = np.array([[1, 0, 0], [1.1, 0, 0], [1, 0.1, 0], [1, 0, 0.1]], dtype=float)
START = np.concatenate([CHAIN, TETRAHEDRON])


class OneTorsion:
    """The torsions of `START`."""

    names = ("LIG1 A-B",)
    block_sizes = (1,)
    previous = (-1,)
    backbone = np.array([False])
    atoms = np.array([[0, 1, 2, 3]])

    def measure(self, positions_nm):
        return torsion_angles(positions_nm, self.atoms)


class FakePropagator:
    """Proposes the torsion 1.0(3) of `START`; some proposals are of no use."""

    atomIndices = list(range(8))

    def __init__(self, mirrored=(), failing=(), fingerprint="model"):
        self.mirrored, self.failing, self._fingerprint = set(mirrored), set(failing), fingerprint
        self.calls = 0

    def fingerprint(self):
        return self._fingerprint

    def checkedLag(self, lag=None):
        return 100.0 if lag is None else float(lag)

    def checkedTemperature(self, temperature=None):
        return 300.0 if temperature is None else float(temperature)

    def getScreen(self):
        return SimpleNamespace(chiral_centers=np.array([[4, 5, 6, 7]]), chiral_signs=[1.0])

    def propagate(self, positions, lag=None, temperature=None, state=None, attempt=None):
        self.calls += 1
        numbers = range(attempt, attempt + len(positions))
        if self.failing.intersection(numbers):
            raise RuntimeError("not finite")
        out = np.array(positions)
        for frame, number in zip(out, numbers, strict=True):
            angle = 1.0 + 0.3 * np.random.default_rng(number).standard_normal()
            frame[3] = [0.15, 0.1 * math.cos(angle), 0.1 * math.sin(angle)]
            if number in self.mirrored:
                frame[:, 2] *= -1
        return out
