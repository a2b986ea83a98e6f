"""Jumps among constraints, virtual sites, fixed particles and barostats; their velocities."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest
import torch
from integrator_support import (
    BOND_LENGTHS,
    LAG_PS,
    MASSES,
    NUM_ATOMS,
    TEMPERATURE,
    add_molecule,
    make_context,
    make_integrator,
    molecule_positions,
    molecule_screen,
    molecule_system,
    no_screen,
    phase_point,
    rotor_bytes,
)
from openmm import unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
CONSTRAINT_TOLERANCE = 1e-6

# TIP4P-Ew: the weights of O, H, H in the position of the charge, and the constrained distances.
SITE_WEIGHTS = (0.786646558, 0.106676721, 0.106676721)
O_H, H_H = 0.09572, 0.15139
EDGE = 4


def _solvated():
    """The molecule and a particle that is held in place among TIP4P water, with a barostat."""
    system = openmm.System()
    add_molecule(system)
    positions = [molecule_positions() + 0.62]
    nonbonded = openmm.NonbondedForce()
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    nonbonded.setCutoffDistance(0.5)
    for _ in range(NUM_ATOMS):
        nonbonded.addParticle(0.0, 0.3, 0.3)
    for i in range(NUM_ATOMS):
        for j in range(i):
            nonbonded.addException(i, j, 0.0, 1.0, 0.0)
    spacing = 0.31
    box = spacing * EDGE
    water = np.array([[0, 0, 0], [O_H, 0, 0], [0, 0, 0]], dtype=float)
    angle = 2 * math.asin(0.5 * H_H / O_H)
    water[2] = O_H * np.array([math.cos(angle), math.sin(angle), 0])
    sites, free = [], 0
    for cell in np.ndindex(EDGE, EDGE, EDGE):
        origin = spacing * np.array(cell)
        delta = (origin - positions[0] + 0.5 * box) % box - 0.5 * box
        if np.linalg.norm(delta, axis=1).min() < 0.3:
            continue
        first = system.getNumParticles()
        if free == 0:
            # The first place is for a particle without mass.
            system.addParticle(0.0)
            nonbonded.addParticle(0.0, 0.3, 0.5)
            positions.append(origin[None])
            fixed = first
            free += 1
            continue
        for mass in (15.9994, 1.008, 1.008, 0.0):
            system.addParticle(mass)
        for charge, sigma, epsilon in (
            (0.0, 0.316435, 0.680946),
            (0.52422, 1.0, 0.0),
            (0.52422, 1.0, 0.0),
            (-1.04844, 1.0, 0.0),
        ):
            nonbonded.addParticle(charge, sigma, epsilon)
        for i in range(4):
            for j in range(i):
                nonbonded.addException(first + i, first + j, 0.0, 1.0, 0.0)
        system.setVirtualSite(
            first + 3, openmm.ThreeParticleAverageSite(first, first + 1, first + 2, *SITE_WEIGHTS)
        )
        for i, j, distance in ((0, 1, O_H), (0, 2, O_H), (1, 2, H_H)):
            system.addConstraint(first + i, first + j, distance)
        sites.append(first)
        atoms = origin + water
        positions.append(np.concatenate([atoms, [np.dot(SITE_WEIGHTS, atoms)]]))
        free += 1
    system.addForce(nonbonded)
    system.setDefaultPeriodicBoxVectors([box, 0, 0], [0, box, 0], [0, 0, box])
    system.addForce(openmm.MonteCarloBarostat(1.0, TEMPERATURE, 5))
    return system, np.concatenate(positions), sites, fixed


def test_constraints_virtual_sites_fixed_particles_boxes_and_barostats_survive():
    system, positions, sites, fixed = _solvated()
    integrator = AtmosIntegrator(TEMPERATURE, 5.0, 0.001)
    integrator.setConstraintTolerance(CONSTRAINT_TOLERANCE)
    integrator.setRandomNumberSeed(2)
    integrator.setModule(rotor_bytes(), range(NUM_ATOMS))
    integrator.setScreen(molecule_screen())
    integrator.setAcceptanceMode("none")
    integrator.setJumpSeed(5)
    integrator.setLag(LAG_PS)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 50)
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    integrator.setJumpInterval(4)
    start = phase_point(context)[0]
    box_before = context.getState().getPeriodicBoxVolume()
    volumes = set()
    for _ in range(30):
        integrator.step(4)
        state = context.getState(positions=True, velocities=True, energy=True)
        x = state.getPositions(asNumpy=True)._value
        v = state.getVelocities(asNumpy=True)._value
        assert np.isfinite(x).all() and np.isfinite(v).all()
        assert math.isfinite(state.getPotentialEnergy()._value)
        # Constraints hold to their tolerance, in the solute and in the water.
        for i in range(system.getNumConstraints()):
            a, b, distance = system.getConstraintParameters(i)
            length = np.linalg.norm(x[a] - x[b])
            assert length == pytest.approx(distance._value, rel=2 * CONSTRAINT_TOLERANCE)
        # Virtual sites are where their parents put them, to the rounding of 1 nm.
        for first in sites:
            np.testing.assert_allclose(
                x[first + 3], np.dot(SITE_WEIGHTS, x[first : first + 3]), atol=1e-13
            )
            assert not v[first + 3].any()
        # What has no mass has not been touched, but for the scaling by the barostat.
        assert not v[fixed].any()
        volumes.add(state.getPeriodicBoxVolume()._value)
    assert integrator.getNumAccepted() >= 5
    assert integrator.getNumRejected() >= 1
    # The barostat went on: several volumes, near the first.
    assert len(volumes) > 3
    assert 0.5 < min(volumes) / box_before._value and max(volumes) / box_before._value < 2
    # The solute stays in its image: a jump moves nothing across the box.
    moved = phase_point(context)[0][:NUM_ATOMS].mean(axis=0) - start[:NUM_ATOMS].mean(axis=0)
    assert np.linalg.norm(moved) < 0.3


def test_a_jump_leaves_the_box_and_the_rest_alone():
    system, positions, _sites, fixed = _solvated()
    system.removeForce(system.getNumForces() - 1)
    integrator = AtmosIntegrator(TEMPERATURE, 0.0, 1e-9)
    integrator.setModule(rotor_bytes(), range(NUM_ATOMS))
    integrator.setScreen(molecule_screen())
    integrator.setAcceptanceMode("none")
    integrator.setJumpSeed(5)
    integrator.setJumpInterval(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.applyConstraints(1e-10)
    before = phase_point(context)[0]
    box = context.getState().getPeriodicBoxVectors(asNumpy=True)._value
    integrator.step(21)
    assert integrator.getNumAccepted() > 0
    after = phase_point(context)[0]
    assert np.abs(after[5] - before[5]).max() > 0.02
    # Steps of 1e-9 ps at a few nm/ps move nothing by more than 1e-7 nm.
    np.testing.assert_allclose(after[NUM_ATOMS:], before[NUM_ATOMS:], atol=1e-7)
    np.testing.assert_array_equal(after[fixed], before[fixed])
    np.testing.assert_array_equal(
        context.getState().getPeriodicBoxVectors(asNumpy=True)._value, box
    )


def _drawn_kinetic_energies(system, jumps):
    """2 K / kT right after each of many jumps: steps of 1e-9 ps change nothing in between."""
    integrator = AtmosIntegrator(TEMPERATURE, 0.0, 1e-9)
    integrator.setConstraintTolerance(1e-9)
    integrator.setModule(module_bytes(Identity(NUM_ATOMS)), range(NUM_ATOMS))
    integrator.setScreen(molecule_screen())
    integrator.setAcceptanceMode("none")
    integrator.setJumpSeed(9)
    integrator.setJumpInterval(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    positions = np.zeros((system.getNumParticles(), 3))
    positions[:NUM_ATOMS] = molecule_positions()
    positions[NUM_ATOMS:] = 3.0
    context.setPositions(positions)
    integrator.step(1)
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    values, drifts, stretches = [], [], []
    for _ in range(jumps):
        integrator.step(1)
        state = context.getState(positions=True, velocities=True, energy=True)
        values.append(2 * state.getKineticEnergy()._value / (GAS_CONSTANT * TEMPERATURE))
        x = state.getPositions(asNumpy=True)._value
        v = state.getVelocities(asNumpy=True)._value
        drifts.append(np.abs(masses @ v).max() / masses.sum())
        stretches.append(abs(np.dot(v[4] - v[5], x[4] - x[5])) / BOND_LENGTHS[-1])
    assert integrator.getNumAccepted() == jumps
    return np.array(values), max(drifts), max(stretches)


@pytest.mark.parametrize("removed", [False, True])
def test_drawn_velocities_follow_maxwell_and_boltzmann(removed):
    # 2 K / kT is a chi-square variable of n degrees of freedom: mean n, variance 2n. Over m
    # independent draws the mean has the standard deviation sqrt(2n/m) and the variance one of about
    # sqrt((8n^2 + 48n)/m). The centre of mass has 3 of them where the System does not remove its
    # motion; leaving the constraint would add 1 to n.
    system = molecule_system()
    if removed:
        system.addForce(openmm.CMMotionRemover())
    jumps = 1500
    values, drift, stretch = _drawn_kinetic_energies(system, jumps)
    n = 3 * NUM_ATOMS - 1 - (3 if removed else 0)
    assert abs(values.mean() - n) < 4 * math.sqrt(2 * n / jumps)
    assert abs(values.var(ddof=1) - 2 * n) < 4 * math.sqrt((8 * n**2 + 48 * n) / jumps)
    assert stretch < 1e-5
    assert drift < 1e-12 if removed else drift > 1e-2


def test_dynamics_between_jumps_keeps_the_temperature():
    # Between jumps bonds and angles swap kinetic and potential energy, so velocities that do not
    # fit the positions show before the next jump as a wrong temperature. The velocities that the
    # scheme keeps are those of the middle of the step, which have Maxwell's distribution at any
    # step size for harmonic forces. Drawn at the end of the step they heat by 0.48 here, and by
    # 0.07 when they are moved back by half a kick.
    interval, jumps = 10, 1500
    integrator = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=interval)
    integrator.setStepSize(0.004)
    context = make_context(integrator)
    masses = np.array(MASSES)
    values = []
    for _ in range(jumps):
        integrator.step(interval)
        v = phase_point(context)[1]
        inner = v - masses @ v / masses.sum()
        values.append((masses[:, None] * inner**2).sum() / (GAS_CONSTANT * TEMPERATURE))
    n = 3 * NUM_ATOMS - 1 - 3
    # The first tenth is left out. Potential energy is remembered for some jumps: an effective
    # sample is taken as five of them.
    values = np.array(values[jumps // 10 :])
    assert abs(values.mean() / n - 1) < 4 * math.sqrt(2 / (n * len(values) / 5))


@pytest.mark.parametrize("interval", [10, 20, 100])
def test_redrawn_velocities_leave_harmonic_wells_as_they_are(interval):
    # The scheme samples a harmonic well exactly at any step size: the middle of the step has the
    # variance kT/k (1 - (w dt)^2/4), and half a step with a Maxwell velocity adds what is missing.
    # With w dt = 1 a step turns the phase by pi/3, so 10, 20 and 100 steps turn it by 60 or 120
    # degrees (but for a sign): U, which goes with the squared cosine of 1/2, is remembered by 1/4
    # from jump to jump and the mean of m values has the variance of m (1 - 1/4) / (1 + 1/4).
    # Velocities drawn at the end of the step are independent of the wrong positions.
    wells, step, jumps = 6, 0.004, 1500
    system = openmm.System()
    force = openmm.CustomExternalForce("0.5*k*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for name in ("k", "x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    centers = 3.0 * molecule_positions()
    for i, mass in enumerate(MASSES):
        system.addParticle(mass)
        force.addParticle(i, [mass / step**2, *centers[i]])
    system.addForce(force)
    integrator = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=interval)
    integrator.setScreen(no_screen(NUM_ATOMS))
    integrator.setStepSize(step)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(centers)
    context.setVelocitiesToTemperature(TEMPERATURE, 3)
    integrator.step(5 * interval)
    potential, kinetic = [], []
    for _ in range(jumps):
        integrator.step(interval)
        v = phase_point(context)[1]
        potential.append(context.getState(energy=True).getPotentialEnergy()._value)
        kinetic.append(0.5 * (np.array(MASSES)[:, None] * v**2).sum())
    assert integrator.getNumAccepted() == integrator.getNumProposed() >= jumps
    expected = 1.5 * wells * GAS_CONSTANT * TEMPERATURE
    error = expected * math.sqrt(2 / (3 * wells)) * math.sqrt(5 / 3 / jumps)
    assert abs(np.mean(potential) - expected) < 4 * error
    assert abs(np.mean(kinetic) - expected) < 4 * error


def test_the_thermostats_temperature_is_the_jumps():
    # At 600 K the module is asked for 600 K and the velocities are drawn at it.
    integrator = AtmosIntegrator(2 * TEMPERATURE, 0.0, 1e-9)
    integrator.setModule(module_bytes(_Thermometer(NUM_ATOMS)), range(NUM_ATOMS))
    integrator.setScreen(molecule_screen())
    integrator.setAcceptanceMode("none")
    integrator.setLag(12.5)
    integrator.setJumpInterval(1)
    context = make_context(integrator)
    integrator.step(2)
    np.testing.assert_array_equal(integrator.getHiddenState(), [12.5, 2 * TEMPERATURE])
    first = phase_point(context)[1]
    integrator.setTemperature(TEMPERATURE / 2)
    integrator.step(1)
    np.testing.assert_array_equal(integrator.getHiddenState(), [12.5, TEMPERATURE / 2])
    assert np.abs(first).max() > 0


class _Thermometer(Identity):
    """Writes lag and temperature into its state."""

    @torch.jit.export
    def state_size(self) -> int:
        return 2

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return positions, torch.stack([lag, temperature], dim=1), torch.zeros(1)


class _Stretcher(Identity):
    """Stretches the constrained bond."""

    def __init__(self, stretch: float) -> None:
        super().__init__(NUM_ATOMS)
        self.scale = stretch / BOND_LENGTHS[-1]

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = positions.clone()
        x[:, 5] += self.scale * (x[:, 5] - x[:, 4])
        return x, state, torch.zeros(1)


@pytest.mark.parametrize("stretch, reason", [(0.02, "accepted"), (0.06, "constraints")])
def test_a_slightly_stretched_constraint_is_mended_and_a_far_one_rejected(stretch, reason):
    # The limit is 0.05 nm.
    integrator = make_integrator(module_bytes(_Stretcher(stretch)), interval=1)
    integrator.setScreen(molecule_screen(bond_tolerance_nm=1.0))
    _context = make_context(integrator)
    integrator.step(2)
    record = integrator.getLastProposal()
    assert record.reason == reason
    if reason == "accepted":
        after = record.positions_after_nm
        length = np.linalg.norm(after[5] - after[4])
        tolerance = integrator.getConstraintTolerance()
        assert length == pytest.approx(BOND_LENGTHS[-1], rel=2 * tolerance)


def test_only_integration_force_groups_count():
    system = molecule_system()
    offset = openmm.CustomExternalForce("1000")
    offset.addParticle(0, [])
    offset.setForceGroup(3)
    system.addForce(offset)

    def energy(groups):
        integrator = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=1)
        integrator.setIntegrationForceGroups(groups)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(molecule_positions())
        integrator.step(2)
        return integrator.getLastProposal().energy_before_kj_per_mol

    assert energy({0, 3}) - energy({0}) == pytest.approx(1000.0, abs=50.0)


def test_the_cpu_platform_jumps_too():
    integrator = make_integrator(interval=10)
    context = openmm.Context(
        molecule_system(), integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"}
    )
    context.setPositions(molecule_positions())
    context.setVelocitiesToTemperature(TEMPERATURE, 3)
    integrator.step(201)
    assert integrator.getNumProposed() == 20
    assert 0 < integrator.getNumAccepted() < 20
    checkpoint = context.createCheckpoint()
    integrator.step(100)
    end = phase_point(context)
    context.loadCheckpoint(checkpoint)
    integrator.step(100)
    np.testing.assert_array_equal(phase_point(context), end)
