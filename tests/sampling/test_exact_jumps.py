"""Exact jumps sample the Boltzmann distribution: against quadrature, symmetry and counting."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import openmm
import pytest
import torsion_cases as cases
from openmm import app, unit
from scipy import stats

from atmos_openmm.jump import velocities
from atmos_openmm.systems.peptides import alpha_handedness, build_peptide
from atmos_openmm.systems.torsions import find_torsions

BUTANE = "6*(1+cos(3*t1))+4*(1-cos(t1-0.4))"


def butane(t):
    return 6 * (1 + np.cos(3 * t)) + 4 * (1 - np.cos(t - 0.4))


BASINS = [
    lambda t: np.abs(t) < np.pi / 3,
    lambda t: (t > np.pi / 3) & (t < np.pi),
    lambda t: (t < -np.pi / 3) & (t > -np.pi),
    np.cos,
    np.sin,
]


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize("start", [0.4, -2.0])
@pytest.mark.parametrize("kind", ["uniform", "wrong", "local"])
def test_one_torsion_with_dynamics_in_between(engine, start, kind):
    system = cases.chain(4, BUTANE)
    torsions = cases.chain_torsions(4)
    density = {
        "uniform": cases.uniform(torsions),
        # Most of it lies where the molecule is not.
        "wrong": cases.mixture(torsions, [2.0, -1.0], [0.5, 0.3], [1.0, 0.0], uniform_weight=0.2),
        "local": cases.mixture(torsions, [1.0], [0.6], [0.0], local=0.5, uniform_weight=0.2),
    }[kind]
    run = cases.ExactRun(
        engine, system, cases.chain_positions([start]), torsions, density, interval=2, moves=8
    )
    t = run.sample(1500)[:, 0]
    # Two starts agree, since both agree with the same numbers.
    for f, expected in zip(BASINS, cases.quadrature(butane, BASINS), strict=True):
        cases.assert_agrees(f(t), expected)


@pytest.mark.parametrize("engine", cases.ENGINES)
def test_harmonic_restraint_and_bias_are_sampled_right(engine):
    # A restraint that meets itself at the far side, and a step of 1 kT, in forces of their own.
    system = cases.chain(4, BUTANE)
    bias = openmm.CustomTorsionForce(
        "0.5*15*d^2+2.494*step(theta-0.2); d=min(abs(theta-1),6.283185307179586-abs(theta-1))"
    )
    bias.addTorsion(0, 1, 2, 3)
    system.addForce(bias)

    def energy(t):
        far = np.minimum(np.abs(t - 1), 2 * np.pi - np.abs(t - 1))
        return butane(t) + 7.5 * far**2 + 2.494 * (t > 0.2)

    torsions = cases.chain_torsions(4)
    run = cases.ExactRun(
        engine, system, cases.chain_positions([1.0]), torsions, cases.uniform(torsions),
        interval=2, moves=8,
    )  # fmt: skip
    t = run.sample(1500)[:, 0]
    functions = [lambda t: t > 0.2, lambda t: t > 1.0, np.cos, np.sin]
    for f, expected in zip(functions, cases.quadrature(energy, functions), strict=True):
        cases.assert_agrees(f(t), expected)


COUPLED = "5*(1+cos(2*t1))+4*(1+cos(3*t2))+5*cos(t1-t2-0.6)"


def coupled(t1, t2):
    return 5 * (1 + np.cos(2 * t1)) + 4 * (1 + np.cos(3 * t2)) + 5 * np.cos(t1 - t2 - 0.6)


PAIRS = [
    lambda a, b: (a > 0) & (b > 0),
    lambda a, b: (a > 0) & (b < 0),
    lambda a, b: (a < 0) & (b > 0),
    lambda a, b: np.cos(a - b),
    lambda a, b: np.sin(a - b),
    lambda a, b: np.cos(b),
]


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize(
    "kinds, sizes",
    [
        (("all",), (1, 1)),
        (("all",), (2,)),
        (("residue",), (1, 1)),
        (("neighbours",), (1, 1)),
        (("backbone", "sidechain"), (2,)),
        (("torsion",), (2,)),
        (("torsion", "neighbours", "small"), (1, 1)),
        (("small",), (1, 1)),
    ],
)
def test_every_kind_of_move_alone_reaches_the_same_distribution(engine, kinds, sizes):
    system = cases.chain(5, COUPLED)
    torsions = cases.chain_torsions(5, sizes, [True, False])
    # Weights that depend on the other block, a local component, and means that are off.
    density = cases.mixture(
        torsions, [1.5, -1.8], [0.6, 0.5], [0.3, 0.0], gates=1.0, local=0.4, uniform_weight=0.2
    )
    shares = dict.fromkeys(kinds, 1.0)
    run = cases.ExactRun(
        engine, system, cases.chain_positions([1.5, 1.0]), torsions, density, shares,
        moves=12, step_ps=cases.STANDSTILL_PS, small_width=1.2,
    )  # fmt: skip
    t = run.sample(1200)
    for f, expected in zip(PAIRS, cases.quadrature(coupled, PAIRS, 2), strict=True):
        cases.assert_agrees(f(t[:, 0], t[:, 1]), expected)
    tried = run.statistics()
    assert {kind for kind, (count, _) in tried.items() if count} == set(kinds)


DOUBLE_WELL = "18*(1+cos(2*t1))+1.5*sin(t1)"


def double_well(t):
    return 18 * (1 + np.cos(2 * t)) + 1.5 * np.sin(t)


class WrongDensity:
    """Says that it draws torsions above 0 more often than it does, by half a kT."""

    def __init__(self, density, error):
        self._density, self._error = density, error

    def __getattr__(self, name):
        return getattr(self._density, name)

    def log_block(self, block, to, at, gates="sequential"):
        right = self._density.log_block(block, to, at, gates)
        return right + (self._error if to[0] > 0 else 0.0)


@pytest.mark.parametrize("error", [-0.5, 0.0, 0.5])
def test_a_density_that_is_wrong_by_half_a_kt_is_caught(error):
    # The barrier of 14 kT is crossed by moves alone, so that the odds are theirs.
    torsions = cases.chain_torsions(4)
    density = WrongDensity(cases.mixture(torsions, [1.6, -1.6], [0.4, 0.4], [0.0, 0.0]), error)
    run = cases.ExactRun(
        "driver", cases.chain(4, DOUBLE_WELL), cases.chain_positions([1.5]), torsions, density,
        interval=2, moves=6,
    )  # fmt: skip
    up = run.sample(2500)[:, 0] > 0
    p, spread = cases.estimate(up)
    spread /= p * (1 - p)
    (right,) = cases.quadrature(double_well, [lambda t: t > 0])
    shift = math.log(p / (1 - p)) - math.log(right / (1 - right))
    assert abs(shift + error) <= cases.WIDE * spread
    # The statistic tells half a kT from nothing.
    assert cases.WIDE * spread < 0.4


def net_flow(cells, count):
    """Sum over pairs of cells of (n_ij - n_ji)^2 / (n_ij + n_ji), and how many pairs there are."""
    flows = np.zeros((count, count))
    np.add.at(flows, (cells[:-1], cells[1:]), 1)
    total, net = flows + flows.T, flows - flows.T
    pairs = np.triu(total, 1) >= 10
    return float((net[pairs] ** 2 / total[pairs]).sum()), int(pairs.sum())


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize("kinds", [("all",), ("residue", "torsion"), ("neighbours", "small")])
def test_detailed_balance_counted_on_the_torus(engine, kinds):
    torsions = cases.chain_torsions(5, (1, 1))
    density = cases.mixture(
        torsions, [1.5, -1.8], [0.6, 0.5], [0.3, 0.0], gates=1.0, local=0.4, uniform_weight=0.3
    )
    run = cases.ExactRun(
        engine, cases.chain(5, COUPLED), cases.chain_positions([1.5, 1.0]), torsions, density,
        dict.fromkeys(kinds, 1.0), moves=1, step_ps=cases.STANDSTILL_PS,
    )  # fmt: skip
    t = run.sample(6000)
    cells = (np.floor((t + np.pi) / (2 * np.pi) * 4).astype(int).clip(0, 3) * [4, 1]).sum(axis=1)
    flow, pairs = net_flow(cells, 16)
    # Were every count independent the sum would have the chi square distribution with as many
    # degrees as pairs; what flows into a cell flows out again, which leaves it fewer.
    assert pairs >= 15
    assert flow <= stats.chi2.ppf(1 - 1e-4, pairs)


def test_counting_finds_a_circular_flow():
    rng = np.random.default_rng(1)
    steps = rng.choice([-1, 0, 1], p=[0.2, 0.5, 0.3], size=6000)
    flow, pairs = net_flow(np.cumsum(steps) % 16, 16)
    assert flow > stats.chi2.ppf(1 - 1e-4, pairs)


@lru_cache
def amber(sequence):
    """A peptide in amber14 and GBn2, minimised."""
    topology, x = build_peptide(sequence)
    field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    system = field.createSystem(topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.amu)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("CPU"), {"Threads": "1"}
    )
    context.setPositions(x)
    openmm.LocalEnergyMinimizer.minimize(context)
    x = context.getState(positions=True).getPositions(asNumpy=True)._value
    return topology, system, np.array(x)


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize("sequence, name, fold", [
    ("ACE-TYR-NME", "TYR2 chi2", 2),
    ("ACE-VAL-NME", "VAL2 CB-CG1", 3),
])  # fmt: skip
def test_populations_that_symmetry_fixes(engine, sequence, name, fold):
    topology, system, x = amber(sequence)
    torsions = cases.chosen(find_torsions(topology, system=system, methyls=True), [name])
    # One of the places that are alike is proposed e^1.5 times as often as the others.
    at = torsions.measure(x)[0]
    means = [at + 2 * np.pi * k / fold for k in range(fold)]
    density = cases.mixture(torsions, means, [0.4] * fold, [1.5] + [0.0] * (fold - 1))
    run = cases.ExactRun(
        engine, system, x, torsions, density, interval=2, moves=3, platform="CPU", step_ps=0.002
    )
    t = run.sample(700)[:, 0]
    place = np.round((t - at) / (2 * np.pi / fold)).astype(int) % fold
    for k in range(fold):
        cases.assert_agrees(place == k, 1 / fold)
        mean, error = cases.estimate(place == k)
        # Sharp enough to see a factor that is left out.
        assert cases.WIDE * error < 0.2


@pytest.mark.parametrize("engine", cases.ENGINES)
def test_a_d_residue_stays_one(engine):
    topology, system, x = amber("ACE-ALA-NME")
    mirrored = x * [1, 1, -1]
    with pytest.warns(UserWarning):
        torsions = find_torsions(topology, positions=mirrored, system=system)
    run = cases.ExactRun(
        engine, system, mirrored, torsions, cases.uniform(torsions), interval=5, platform="CPU"
    )
    for _ in range(60):
        run.advance()
        assert alpha_handedness(topology, run.positions()).tolist() == [-1]
    assert sum(accepted for _, accepted in run.statistics().values()) > 10


LINKS = 9
STIFF = 4e5


def flat_energy():
    """Mean energy of a chain without energy of its torsions, by quadrature."""
    r = np.linspace(0.1, 0.2, 20001)
    u = 0.5 * STIFF * (r - 0.15) ** 2
    w = r**2 * np.exp(-u / cases.KT)
    bond = (u * w).sum() / w.sum()
    a = np.linspace(0.8, 3.0, 20001)
    u = 0.5 * 400 * (a - 1.9) ** 2
    w = np.sin(a) * np.exp(-u / cases.KT)
    return LINKS * bond + (LINKS - 1) * (u * w).sum() / w.sum()


def energies_and_temperatures(engine, interval, jumps, friction=5.0):
    """Of a chain that moves at every jump, in steps of 4 fs."""
    count = LINKS + 1
    torsions = cases.chosen(cases.chain_torsions(count), ["T4"])
    run = cases.ExactRun(
        engine, cases.chain(count, bond=STIFF), cases.chain_positions([1.0] * (count - 3)),
        torsions, cases.uniform(torsions), interval=interval, moves=1, step_ps=0.004,
        friction=friction,
    )  # fmt: skip
    energies, temperatures = [], []
    for k in range(jumps + 50):
        run.advance()
        state = run.context.getState(energy=True, velocities=True)
        v = state.getVelocities(asNumpy=True)._value
        if k >= 50:
            energies.append(state.getPotentialEnergy()._value)
            temperatures.append(12.0 * (v**2).sum() / (3 * count) / (cases.KT / 300.0))
    # The energy does not depend on the torsion, so that every move is accepted.
    assert sum(accepted for _, accepted in run.statistics().values()) == jumps + 49
    return np.array(energies), np.array(temperatures)


@pytest.mark.parametrize("engine", cases.ENGINES)
@pytest.mark.parametrize("interval", [1, 10, 20, 100])
def test_velocities_kept_in_the_middle_of_the_step_heat_nothing(engine, interval):
    # The highest frequency times the step is 1.46: what is drawn at the wrong time shows.
    jumps = {1: 12000, 10: 4000, 20: 3000, 100: 3000}[interval]
    # A picosecond of energies that hardly change is one sample: the thermostat has to be strong
    # where jumps are close.
    friction = 30.0 if interval == 1 else 5.0
    energies, temperatures = energies_and_temperatures(engine, interval, jumps, friction)
    mean, error = cases.estimate(energies)
    # The scheme is exact for harmonic energies; the anharmonic part leaves an error of its own.
    assert abs(mean - flat_energy()) <= cases.WIDE * error + 0.01 * flat_energy()
    assert error < 0.02 * flat_energy()
    cases.assert_agrees(temperatures, 300.0)


def test_velocities_of_the_wrong_time_are_caught(monkeypatch):
    # Drawn at the end of the step and moved back by half a kick they heat, which the test above
    # would see.
    monkeypatch.setattr(velocities, "_half_step_ps", lambda integrator: 0.0)
    monkeypatch.setattr(velocities, "_kick_ps", lambda integrator: 0.002)
    energies, temperatures = energies_and_temperatures("driver", 10, 4000)
    mean, error = cases.estimate(energies)
    assert mean - flat_energy() > cases.WIDE * error + 0.01 * flat_energy()
    mean, error = cases.estimate(temperatures)
    assert mean - 300.0 > cases.WIDE * error
