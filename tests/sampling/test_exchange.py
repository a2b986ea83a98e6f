"""Replicas that exchange configurations keep Boltzmann's distribution at each temperature."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest

from atmos_openmm.jump.context_state import state_positions, state_velocities
from atmos_openmm.sampling import exchange
from atmos_openmm.sampling.exchange import ReplicaLadder, exchange_log_ratio

TEMPERATURES = (300.0, 390.0)
PARTICLES = 8
GAS_CONSTANT = 0.00831446261815324
# omega = 10 / ps with dt = 0.01 ps: x_half is narrower by (omega dt)^2 / 4 = 0.25 % of <U>.
STEP_PS, SPRING, MASS = 0.01, 1000.0, 10.0


def contexts(temperatures=TEMPERATURES):
    system = openmm.System()
    well = openmm.CustomExternalForce("0.5*k*(x^2+y^2+z^2)")
    well.addGlobalParameter("k", SPRING)
    for index in range(PARTICLES):
        system.addParticle(MASS)
        well.addParticle(index)
    system.addForce(well)
    platform = openmm.Platform.getPlatformByName("Reference")
    made = []
    for index, kelvin in enumerate(temperatures):
        integrator = openmm.LangevinMiddleIntegrator(kelvin, 10.0, STEP_PS)
        integrator.setRandomNumberSeed(11 + index)
        context = openmm.Context(system, integrator, platform)
        context.setPositions(np.zeros((PARTICLES, 3)))
        context.setVelocitiesToTemperature(kelvin, 5 + index)
        made.append(context)
    return made


def phase_point(context):
    state = context.getState(positions=True, velocities=True)
    return state_positions(state), state_velocities(state)


def z_scores(cycles=5000, seed=3):
    """<U> and <K> of each replica in units of 3/2 N k T, by how many errors they are off 1."""
    replicas = contexts()
    ladder = ReplicaLadder(replicas, TEMPERATURES, seed)
    values = np.zeros((cycles, 2, 2))
    for cycle in range(cycles):
        for context in replicas:
            context.getIntegrator().step(5)
        ladder.exchange(cycle)
        for index, context in enumerate(replicas):
            state = context.getState(energy=True, velocities=True)
            v = state.getVelocities(asNumpy=True)._value
            unit = 1.5 * PARTICLES * GAS_CONSTANT * TEMPERATURES[index]
            values[cycle, index] = (
                state.getPotentialEnergy()._value / unit,
                0.5 * MASS * (v**2).sum() / unit,
            )
    batches = values[cycles // 10 :].reshape(25, -1, 2, 2).mean(axis=1)
    error = batches.std(axis=0, ddof=1) / math.sqrt(len(batches))
    # The integrator's own error, of second order, is allowed for beside the statistical one.
    error = np.hypot(error, 0.25 * (STEP_PS**2) * SPRING / MASS)
    return (batches.mean(axis=0) - 1) / error, ladder


def test_energies_are_those_of_each_temperature():
    z, ladder = z_scores()
    assert np.abs(z).max() < 4
    assert ladder.tried.tolist() == [2500]
    assert 0.1 < ladder.accepted[0] / ladder.tried[0] < 0.9
    assert ladder.round_trips > 10


@pytest.mark.parametrize("wrong", [lambda *_: 0.0, lambda *args: -exchange_log_ratio(*args)])
def test_a_wrong_criterion_is_caught(monkeypatch, wrong):
    monkeypatch.setattr(exchange, "exchange_log_ratio", wrong)
    z, _ = z_scores()
    assert np.abs(z[:, 0]).min() > 6


def test_refused_exchanges_leave_everything_bit_for_bit(monkeypatch):
    monkeypatch.setattr(exchange, "exchange_log_ratio", lambda *_: -math.inf)
    replicas = contexts()
    for context in replicas:
        context.getIntegrator().step(7)
    before = [phase_point(context) for context in replicas]
    assert ReplicaLadder(replicas, TEMPERATURES, 1).exchange(0) == []
    for (x, v), context in zip(before, replicas, strict=True):
        now = phase_point(context)
        assert np.array_equal(now[0], x) and np.array_equal(now[1], v)


def test_the_ratio_is_that_of_two_boltzmann_factors():
    a, b, cold, hot = -10.0, 4.0, 300.0, 400.0
    swapped = -b / (GAS_CONSTANT * cold) - a / (GAS_CONSTANT * hot)
    present = -a / (GAS_CONSTANT * cold) - b / (GAS_CONSTANT * hot)
    assert exchange_log_ratio(a, b, cold, hot) == pytest.approx(swapped - present)
    assert exchange_log_ratio(math.nan, b, cold, hot) == -math.inf


@pytest.mark.parametrize("temperatures", [(300.0,), (400.0, 300.0), (300.0, 300.0)])
def test_temperatures_have_to_rise(temperatures):
    with pytest.raises(ValueError, match="two or more that rise"):
        ReplicaLadder(contexts(temperatures), temperatures, 1)


def test_dynamics_without_a_middle_is_refused():
    kept = contexts()  # a System lives as long as its Context
    system = kept[0].getSystem()
    platform = openmm.Platform.getPlatformByName("Reference")
    replicas = [openmm.Context(system, openmm.VerletIntegrator(0.001), platform) for _ in range(2)]
    with pytest.raises(ValueError, match="VerletIntegrator; exchanges are made in the middle"):
        ReplicaLadder(replicas, TEMPERATURES, 1)
