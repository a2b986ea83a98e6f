"""Exact jumps go on bit for bit from checkpoints, States and copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import openmm
import pytest
from integrator_support import phase_point
from torsion_support import (
    PlainDensity,
    chain_positions,
    chain_system,
    chain_torsions,
    exact_integrator,
    mixture,
    start,
)

from atmos_openmm.integrator import AtmosIntegrator

INTERVAL = 20
DENSITY = PlainDensity((1, 1), (mixture([1.0], [[2.0]], [[0.6]]),) * 2, uniform_weight=0.3)


def _integrator(dynamics):
    return exact_integrator(chain_torsions(5), DENSITY, interval=INTERVAL, dynamics=dynamics)


def _started(dynamics, steps):
    integrator = _integrator(dynamics)
    context = start(chain_system(5, constrained=True), integrator, chain_positions(5))
    integrator.step(steps)
    return integrator, context


def _end(integrator, context, steps=205):
    integrator.step(steps)
    return phase_point(context), _counts(integrator)


def _counts(integrator):
    return (
        integrator.getMoveStatistics(),
        integrator.getTrajectoryStatistics(),
        integrator.getNumJumps(),
        integrator.getRejections(),
        integrator.getStepsSinceJump(),
    )


def _assert_same(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


# At the end of an interval, and in the middle of one.
@pytest.mark.parametrize("steps", [200, 207])
@pytest.mark.parametrize("dynamics", ["langevin", "hmc"])
def test_checkpoints_continue_bitwise(dynamics, steps):
    integrator, context = _started(dynamics, steps)
    checkpoint = context.createCheckpoint()
    end = _end(integrator, context)
    context.loadCheckpoint(checkpoint)
    _assert_same(_end(integrator, context), end)
    other, other_context = _started(dynamics, 0)
    other_context.loadCheckpoint(checkpoint)
    _assert_same(_end(other, other_context), end)
    context.loadCheckpoint(checkpoint)
    context.reinitialize(preserveState=True)
    _assert_same(_end(integrator, context), end)


@pytest.mark.parametrize("steps", [200, 207])
def test_states_continue_bitwise_where_the_dynamics_draws_nothing(steps):
    # A thermostat's random numbers are not in a State; trajectories take none of them.
    integrator, context = _started("hmc", steps)
    state = context.getState(positions=True, velocities=True, integratorParameters=True)
    xml = openmm.XmlSerializer.serialize(state)
    end = _end(integrator, context)
    other, other_context = _started("hmc", 0)
    other_context.setState(openmm.XmlSerializer.deserialize(xml))
    _assert_same(_end(other, other_context), end)


@pytest.mark.parametrize("steps", [200, 207])
def test_calls_of_step_may_be_split(steps):
    for dynamics in ("langevin", "hmc"):
        whole = _started(dynamics, steps)
        whole = (phase_point(whole[1]), _counts(whole[0]))
        integrator, context = _started(dynamics, 0)
        for _ in range(steps):
            integrator.step(1)
        _assert_same((phase_point(context), _counts(integrator)), whole)


def test_what_the_user_changes_ends_the_trajectory():
    # Else its end would be judged against another beginning, and perhaps put back.
    integrator, context = _started("hmc", 207)
    proposed = integrator.getTrajectoryStatistics()[0]
    context.setPositions(chain_positions(5, 1.0))
    integrator.step(13)
    assert integrator.getTrajectoryStatistics()[0] == proposed
    assert integrator.getStepsSinceJump() == 13
    integrator.step(7)
    assert integrator.getTrajectoryStatistics()[0] == proposed + 1


def _through_serializer(integrator):
    xml = openmm.XmlSerializer.serialize(integrator)
    return AtmosIntegrator.cast(openmm.XmlSerializer.deserialize(xml))


def _through_pickle(integrator):
    return pickle.loads(pickle.dumps(integrator))


@pytest.mark.parametrize(
    "duplicate", [_through_serializer, _through_pickle, copy.copy, copy.deepcopy]
)
def test_duplicates_run_the_same(duplicate):
    integrator = _integrator("hmc")
    integrator.setMoveShares({"torsion": 2.0, "small": 1.0})
    integrator.setSmallMoveWidth(0.5)
    integrator.setMovesPerJump(3)
    integrator.setTrialsPerMove(4)
    other = duplicate(integrator)
    assert other.getDynamics() == "hmc" and other.getMovesPerJump() == 3
    assert other.getTrialsPerMove() == 4
    assert other.getMoveShares() == integrator.getMoveShares()
    ends = []
    for each in (integrator, other):
        context = start(chain_system(5), each, chain_positions(5))
        ends.append(_end(each, context))
    _assert_same(*ends)
    assert sum(accepted for _, accepted in other.getMoveStatistics().values()) > 0


def test_the_cpu_platform_moves_too():
    integrator = _integrator("langevin")
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(chain_system(5), integrator, platform, {"Threads": "1"})
    context.setPositions(chain_positions(5))
    integrator.step(205)
    checkpoint = context.createCheckpoint()
    end = _end(integrator, context)
    context.loadCheckpoint(checkpoint)
    _assert_same(_end(integrator, context), end)
