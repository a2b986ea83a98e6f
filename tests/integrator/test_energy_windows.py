"""The energy window belongs to the temperature and the Context parameters it was learned at."""

from __future__ import annotations

import random

import numpy as np
import openmm
import pytest
from integrator_support import (
    STEP_PS,
    make_context,
    make_integrator,
    molecule_positions,
    molecule_system,
    phase_point,
)
from openmm import app, unit

from atmos_openmm.jump.acceptance import WINDOWS_KEPT, EnergyConditions, EnergyWindows

INTERVAL = 10
HOT, COLD = 450.0, 300.0


def _limit(integrator) -> float:
    """Highest energy that the window accepts, in kJ/mol."""
    deviation = integrator.getWindowStandardDeviation()._value
    return integrator.getWindowMean()._value + integrator.getEnergyWindow() * deviation


def _filtered(steps: int = 0, temperature: float = HOT):
    integrator = make_integrator(interval=INTERVAL, mode="filter")
    integrator.setTemperature(temperature)
    context = make_context(integrator)
    integrator.step(steps)
    return integrator, context


def test_the_limit_after_cooling_is_that_of_a_cold_run():
    # 400 energies a temperature, which tell the two apart: a mean of 7 or of 9 degrees of freedom
    # times kT/2.
    steps = 400 * INTERVAL
    integrator, _ = _filtered(steps)
    hot = _limit(integrator)
    integrator.setTemperature(COLD)
    assert integrator.getNumWindowSamples() == 0
    proposed = integrator.getNumProposed()
    integrator.step(4 * INTERVAL)
    assert integrator.getNumProposed() == proposed, "nothing is known of this temperature yet"
    integrator.step(steps)
    cooled = _limit(integrator)
    only_cold = _limit(_filtered(steps, COLD)[0])
    assert abs(cooled - only_cold) < 0.25 * (hot - only_cold)
    # What was learned at 450 K is there again.
    integrator.setTemperature(HOT)
    assert _limit(integrator) == hot
    integrator.step(1)
    assert integrator.getLastProposal().energy_limit_kj_per_mol == pytest.approx(hot, rel=0.05)


def test_context_parameters_have_windows_of_their_own():
    integrator = make_integrator(interval=INTERVAL, mode="filter")
    system = molecule_system()
    offset = openmm.CustomExternalForce("offset")
    offset.addGlobalParameter("offset", 0.0)
    offset.addParticle(0)
    system.addForce(offset)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(molecule_positions())
    context.setVelocitiesToTemperature(COLD, 3)
    integrator.step(8 * INTERVAL)
    low = integrator.getWindowMean()._value
    context.setParameter("offset", 1000.0)
    assert integrator.getNumWindowSamples() == 0
    integrator.step(8 * INTERVAL)
    assert integrator.getNumWindowSamples() == 8
    assert integrator.getWindowMean()._value > 900.0
    context.setParameter("offset", 0.0)
    assert integrator.getWindowMean()._value == low and integrator.getNumWindowSamples() == 7
    # So have the force groups that the energy is taken of.
    integrator.setIntegrationForceGroups({1})
    assert integrator.getNumWindowSamples() == 0


def test_statistics_set_before_a_context_are_those_of_its_first_temperature():
    integrator = make_integrator(interval=INTERVAL, mode="filter")
    integrator.setWindowStatistics(50, -3.0, 2.0)
    context = make_context(integrator)
    assert _limit(integrator) == -3.0 + 6 * 2.0
    context.getIntegrator().step(INTERVAL + 1)
    assert integrator.getNumWindowSamples() == 51
    integrator.setTemperature(HOT)
    assert integrator.getNumWindowSamples() == 0


def _reheated(integrator):
    """Go on at both temperatures, with jumps at each."""
    for temperature in (HOT, COLD):
        integrator.setTemperature(temperature)
        integrator.step(7 * INTERVAL)


@pytest.mark.parametrize("carrier", ["checkpoint", "state"])
def test_windows_of_all_temperatures_are_kept(carrier):
    integrator, context = _filtered(8 * INTERVAL)
    integrator.setTemperature(COLD)
    integrator.step(9 * INTERVAL)
    other, other_context = _filtered(temperature=COLD)
    if carrier == "checkpoint":
        other_context.loadCheckpoint(context.createCheckpoint())
    else:
        state = context.getState(
            positions=True, velocities=True, parameters=True, integratorParameters=True
        )
        xml = openmm.XmlSerializer.serialize(state)
        other_context.setState(openmm.XmlSerializer.deserialize(xml))
    for temperature, samples in ((HOT, 7), (COLD, 9)):
        for each in (integrator, other):
            each.setTemperature(temperature)
        assert other.getNumWindowSamples() == integrator.getNumWindowSamples() == samples
        assert _limit(other) == _limit(integrator)
    if carrier == "state":
        return  # which does not hold the thermostat's random numbers
    checkpoint = context.createCheckpoint()
    _reheated(integrator)
    end = phase_point(context), _limit(integrator), integrator.getRejections()
    context.loadCheckpoint(checkpoint)
    _reheated(integrator)
    np.testing.assert_array_equal(phase_point(context), end[0])
    assert (_limit(integrator), integrator.getRejections()) == end[1:]


def test_openmms_replica_exchange_keeps_temperatures_apart():
    # The integrator's run state, windows and latent, travels with the replica; the temperature
    # stays with the state.
    integrator = make_integrator(interval=INTERVAL, mode="filter")
    system = molecule_system()
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for index in range(system.getNumParticles()):
        topology.addAtom(f"C{index}", app.Element.getBySymbol("C"), residue)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(molecule_positions())
    simulation.context.setVelocitiesToTemperature(COLD, 3)
    states = [{"temperature": t * unit.kelvin} for t in (COLD, HOT)]
    exchange = app.ReplicaExchangeSampler(states, simulation, 20 * INTERVAL)
    limits: dict[int, list[float]] = {0: [], 1: []}

    def simulated(index, steps=None):
        integrator.takeProposals()
        type(exchange).simulateReplica(exchange, index, steps)
        taken = integrator.takeProposals()
        limits[exchange.replicaStateIndex[index]] += [p.energy_limit_kj_per_mol for p in taken]

    visited = []
    exchange.simulateReplica = simulated
    exchange.reporters.append(lambda sampler: visited.append(sampler.replicaStateIndex[0]))
    random.seed(1)
    exchange.simulate(40)
    assert 10 < sum(visited) < 30
    # Energies and their deviations are proportional to the temperature in this molecule.
    ratio = np.median(limits[0]) / np.median(limits[1])
    assert ratio == pytest.approx(COLD / HOT, abs=0.1)
    for conformation in exchange.replicaConformation:
        simulation.context.setState(conformation)
        samples, means = [], []
        for temperature in (COLD, HOT):
            integrator.setTemperature(temperature)
            samples.append(integrator.getNumWindowSamples())
            means.append(integrator.getWindowMean()._value)
        assert sum(samples) == pytest.approx(40 * 20, abs=1) and min(samples) > 100
        assert means[0] < 0.9 * means[1]


def test_windows_of_the_driver_are_kept_as_the_compiled_ones():
    integrator = openmm.LangevinMiddleIntegrator(COLD, 1.0, STEP_PS)
    context = make_context(integrator)
    windows = EnergyWindows(6.0, 5)
    windows.use(EnergyConditions.of(context, COLD)).statistics.add(1.0)
    for number in range(WINDOWS_KEPT - 1):
        windows.use(EnergyConditions.of(context, 1000.0 + number)).statistics.add(1.0)
    assert windows.use(EnergyConditions.of(context, COLD)).statistics.count == 1
    windows.use(EnergyConditions.of(context, 2000.0))
    assert len(windows.known) == WINDOWS_KEPT
    assert windows.use(EnergyConditions.of(context, COLD)).statistics.count == 1
    assert windows.use(EnergyConditions.of(context, 1000.0)).statistics.count == 0
