"""Exact jumps: averages of small molecules against quadrature, and what spoils them."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest
from integrator_support import make_integrator, phase_point
from torsion_support import (
    BOND,
    KT,
    TEMPERATURE,
    PlainBlock,
    PlainDensity,
    chain_positions,
    chain_system,
    chain_torsions,
    exact_integrator,
    measure,
    mixture,
    start,
    torsion_potential,
    uniform_density,
)

from atmos_openmm.integrator import AtmosIntegrator

GRID = np.linspace(-np.pi, np.pi, 3600, endpoint=False)
WEIGHTS = np.exp(-torsion_potential(GRID) / KT) / np.exp(-torsion_potential(GRID) / KT).sum()
# A density that favours the wrong side, with wrong places and widths.
BAD = PlainDensity((1,), (mixture([0.6, 0.4], [[0.9], [-2.0]], [[0.6], [0.5]]),))


def _is_gauche(t):
    return (t > 0) & (t < 2.1)


def _is_trans(t):
    return np.abs(t) > 2.1


def _sampled(system, integrator, frames, torsions, *, positions=None):
    """The torsions of frames at the jump interval, [F, T]."""
    if positions is None:
        positions = chain_positions(system.getNumParticles())
    context = start(system, integrator, positions)
    interval, out = integrator.getJumpInterval(), []
    integrator.step(50 * interval)
    for _ in range(frames):
        integrator.step(interval)
        x = context.getState(positions=True).getPositions(asNumpy=True)._value
        out.append(measure(x, torsions))
    return np.array(out)


def _scores(t):
    """Standard scores of two populations, with errors from 40 batches.

    The batches are far longer than the correlations (below 10 frames), so a score is Student's of
    39 degrees of freedom: 4 is passed by one in 3,700.
    """
    scores = []
    for basin in (_is_gauche, _is_trans):
        batches = basin(t)[: len(t) // 40 * 40].reshape(40, -1).mean(axis=1)
        error = batches.std(ddof=1) / math.sqrt(40)
        scores.append((batches.mean() - WEIGHTS[basin(GRID)].sum()) / error)
    return np.array(scores)


@pytest.mark.parametrize(
    "constrained, step, dynamics",
    [(False, 0.002, "langevin"), (True, 0.004, "langevin"), (False, 0.004, "hmc")],
)
def test_a_bad_density_gives_the_right_populations(constrained, step, dynamics):
    torsions = chain_torsions(4)
    integrator = exact_integrator(torsions, BAD, step=step, dynamics=dynamics)
    t = _sampled(chain_system(4, constrained=constrained), integrator, 8000, torsions)[:, 0]
    assert np.abs(_scores(t)).max() < 4
    statistics = integrator.getMoveStatistics()
    assert set(statistics) == {"all", "residue", "torsion"}
    assert all(0.05 < accepted / proposed < 0.5 for proposed, accepted in statistics.values())


def _gated_density():
    """Two blocks of two torsions whose weights depend on each other, one with a local part."""
    generator = np.random.default_rng(4)
    blocks = []
    for gate, has_local in ((2, True), (1, False)):
        rows = 2 + has_local
        conditional = generator.normal(0.0, 0.5, (rows, 3))
        sequential = conditional.copy()
        if gate == 2:
            sequential[:, 1:] = 0.0
        blocks.append(
            PlainBlock(
                means=np.array([[3.1, 3.1], [1.2, -1.2]]),
                covariances=np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.4]]]),
                gate_torsions=np.array([gate]),
                sequential=sequential,
                conditional=conditional,
                local_covariance=np.array([[0.1, 0.02], [0.02, 0.08]]) if has_local else None,
            )
        )
    return PlainDensity((2, 2), tuple(blocks), uniform_weight=0.3)


@pytest.mark.parametrize(
    "kinds",
    [["all"], ["residue"], ["neighbours"], ["backbone", "sidechain"], ["torsion"], ["small"]],
)
def test_each_kind_of_move_alone_reaches_the_distribution(kinds):
    # Four independent torsions, moved by one kind only, each against quadrature. The dynamics in
    # between is so short that it alone would hardly leave the well where it began.
    torsions = chain_torsions(7, block=2)
    integrator = exact_integrator(torsions, _gated_density(), interval=5, moves=10, step=0.001)
    integrator.setMoveShares(dict.fromkeys(kinds, 1.0))
    integrator.setSmallMoveWidth(1.5)
    t = _sampled(chain_system(7), integrator, 6000, torsions)
    scores = np.array([_scores(t[:, k]) for k in range(4)])
    # The largest of eight.
    assert np.abs(scores).max() < 4.5
    assert set(integrator.getMoveStatistics()) == set(kinds)


def test_a_virtual_site_and_heavy_hydrogens_in_a_box():
    # The site on the turning part carries a term of the potential, so the moves must move it. Its
    # height makes the populations those of a chain whose potential has one term more.
    system = chain_system(4, constrained=True, mass=3.0)
    site = system.addParticle(0.0)
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(2, 3, 0.4, 0.6))
    extra = openmm.CustomTorsionForce("3*(1+cos(theta-0.5))")
    extra.addTorsion(0, 1, 2, site, [])
    system.addForce(extra)
    system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
    nonbonded = openmm.NonbondedForce()
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    nonbonded.setCutoffDistance(0.9)
    for _ in range(5):
        nonbonded.addParticle(0.0, 0.1, 0.0)
    system.addForce(nonbonded)
    torsions = chain_torsions(4)
    positions = chain_positions(5)
    positions[site] = 0.4 * positions[2] + 0.6 * positions[3]
    integrator = exact_integrator(torsions, BAD)
    t = _sampled(system, integrator, 8000, torsions, positions=positions)[:, 0]
    weights = WEIGHTS * np.exp(-3 * (1 + np.cos(GRID - 0.5)) / KT)
    weights /= weights.sum()
    for basin in (_is_gauche, _is_trans):
        batches = basin(t).reshape(40, -1).mean(axis=1)
        error = batches.std(ddof=1) / math.sqrt(40)
        assert abs(batches.mean() - weights[basin(GRID)].sum()) < 4 * error


def test_bonds_and_constraints_are_as_they_were():
    torsions = chain_torsions(7, block=2)
    integrator = exact_integrator(
        torsions, uniform_density((2, 2)), step=1e-9, interval=1, moves=20
    )
    system = chain_system(7, constrained=True)
    context = start(system, integrator, chain_positions(7))
    integrator.step(200)
    assert sum(accepted for _, accepted in integrator.getMoveStatistics().values()) > 100
    x = phase_point(context)[0]
    np.testing.assert_allclose(np.linalg.norm(np.diff(x, axis=0), axis=1), BOND, rtol=2e-8)


@pytest.mark.parametrize("friction", [1.0, 50.0])
def test_trajectories_of_harmonic_wells(friction):
    # U = k r^2 / 2 with w dt = 0.5: leapfrog's shadow oscillator has k' = k (1 - (w dt)^2/4), and
    # the acceptance makes up for the difference. <x^2> = kT/k, <U> = 3N kT/2. The friction is
    # that of the thermostat, which has no part in trajectories.
    step, frames, wells = 0.004, 6000, 3
    mass = 14.0
    k = mass * (0.5 / step) ** 2
    system = openmm.System()
    force = openmm.CustomExternalForce(f"0.5*{k}*(x^2+y^2+z^2)")
    for i in range(wells):
        system.addParticle(mass)
        force.addParticle(i, [])
    system.addForce(force)
    integrator = exact_integrator(
        None, None, step=step, moves=0, interval=3, dynamics="hmc", friction=friction
    )
    context = start(system, integrator, np.zeros((wells, 3)))
    integrator.step(3 * 100)
    x, energies = [], []
    for _ in range(frames):
        integrator.step(3)
        state = context.getState(positions=True, energy=True)
        x.append(state.getPositions(asNumpy=True)._value)
        energies.append(state.getPotentialEnergy()._value / KT)
    x = np.array(x).reshape(frames, -1) * math.sqrt(k / KT)
    proposed, accepted = integrator.getTrajectoryStatistics()
    assert proposed == frames + 100
    # The start and the end of a trajectory in the stationary state have energy errors D with
    # mean(exp(-D)) = 1, for small ones the acceptance is erfc(s/sqrt 8) of the errors' deviation s.
    # One step changes H by at most (w dt)^2/8 of the energies involved; measured .96 to 1.
    assert 0.9 < accepted / proposed < 1
    # The phase turns by 3 * 0.505 rad: the correlation of x is cos(1.52) = .05 from frame to frame.
    n = 3 * wells
    assert abs(np.mean(energies) - n / 2) < 4 * math.sqrt(n / 2 / frames) * 1.1
    assert abs(x.mean()) < 4 / math.sqrt(frames * n) * 1.1
    assert abs((x**2).mean() - 1) < 4 * math.sqrt(2 / (frames * n)) * 1.1


def test_a_step_that_is_too_long_shows_in_the_acceptance():
    # With w dt = 1.9 nearly every trajectory is far off, but what is kept is right.
    step, mass = 0.004, 14.0
    k = mass * (1.9 / step) ** 2
    system = openmm.System()
    force = openmm.CustomExternalForce(f"0.5*{k}*(x^2+y^2+z^2)")
    system.addParticle(mass)
    force.addParticle(0, [])
    system.addForce(force)
    integrator = exact_integrator(None, None, step=step, moves=0, interval=3, dynamics="hmc")
    context = start(system, integrator, np.zeros((1, 3)))
    energies = []
    for _ in range(4000):
        integrator.step(3)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value / KT)
    proposed, accepted = integrator.getTrajectoryStatistics()
    assert 0.1 < accepted / proposed < 0.8
    batches = np.array(energies).reshape(40, -1).mean(axis=1)
    assert abs(batches.mean() - 1.5) < 4 * batches.std(ddof=1) / math.sqrt(40)


def test_moves_that_are_all_turned_down_leave_no_trace():
    # A wall that no move may pass: the step after is that of plain dynamics, bit for bit.
    torsions = chain_torsions(4)
    system = chain_system(4)
    wall = openmm.CustomTorsionForce("1e9*step(1.5-abs(theta))")
    wall.addTorsion(0, 1, 2, 3, [])
    system.addForce(wall)
    narrow = PlainDensity((1,), (mixture([1.0], [[0.0]], [[0.1]]),), uniform_weight=0.0)
    ends = []
    for restore in ("plain", "never", "always"):
        if restore == "plain":
            integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 5.0, 0.002)
            integrator.setRandomNumberSeed(11)
            integrator.setConstraintTolerance(1e-8)
        else:
            integrator = exact_integrator(torsions, narrow, interval=10)
            integrator.setCheckpointRestore(restore)
        context = start(system, integrator, chain_positions(4))
        integrator.step(101)
        ends.append(phase_point(context))
        if restore != "plain":
            assert integrator.getRejections() == {"metropolis": 50}
            assert integrator.getNumJumps() == 10 and integrator.getNumAccepted() == 0
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], ends[2])


def test_energies_that_are_no_numbers_are_turned_down():
    torsions = chain_torsions(4)
    system = chain_system(4)
    hole = openmm.CustomTorsionForce("select(step(theta), sqrt(-1-theta), 0)")
    hole.addTorsion(0, 1, 2, 3, [])
    system.addForce(hole)
    integrator = exact_integrator(torsions, uniform_density((1,)), interval=2, step=1e-6)
    context = start(system, integrator, chain_positions(4, -2.0))
    integrator.step(100)
    assert integrator.getRejections()["metropolis"] > 50
    assert np.isfinite(phase_point(context)).all()


def test_what_is_missing_or_does_not_fit_is_said():
    torsions = chain_torsions(4)
    integrator = exact_integrator(None, None)
    with pytest.raises(openmm.OpenMMException, match=r"call setTorsionMoves\(\)"):
        start(chain_system(4), integrator, chain_positions(4))
    integrator.setTorsionMoves(torsions, BAD)
    context = start(chain_system(4), integrator, chain_positions(4))
    integrator.step(21)
    with pytest.raises(openmm.OpenMMException, match="are not kept, as there are thousands"):
        integrator.getLastProposal()
    assert integrator.takeProposals() == []
    with pytest.raises(openmm.OpenMMException, match=r"in blocks of \(1, 1\)"):
        integrator.setTorsionMoves(chain_torsions(5), BAD)
    with pytest.raises(openmm.OpenMMException, match="names particle 4, but the System has 4"):
        integrator.setTorsionMoves(chain_torsions(5), uniform_density((1, 1)))
    with pytest.raises(openmm.OpenMMException, match="no kind of move 'chi'; the kinds are all, "):
        integrator.setMoveShares({"chi": 1.0})
    with pytest.raises(openmm.OpenMMException, match="no kind of move that has a share"):
        integrator.setMoveShares({"sidechain": 1.0})
    assert integrator.getMoveShares() == {}
    integrator.step(20)
    assert np.isfinite(phase_point(context)).all()


def test_trajectories_refuse_what_would_spoil_them():
    def refused(change, match):
        system = chain_system(4)
        system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
        change(system)
        integrator = exact_integrator(None, None, moves=0, dynamics="hmc")
        with pytest.raises(openmm.OpenMMException, match=match):
            start(system, integrator, chain_positions(system.getNumParticles()))

    def external(system):
        system.addForce(openmm.CustomExternalForce("x^2"))
        system.addForce(openmm.CMMotionRemover())

    refused(lambda s: s.addForce(openmm.AndersenThermostat(300, 1)), "AndersenThermostat")
    refused(external, "an external force .* and a CMMotionRemover")
    integrator = make_integrator()
    integrator.setDynamics("hmc")
    with pytest.raises(openmm.OpenMMException, match="needs the acceptance mode 'metropolis'"):
        start(chain_system(6), integrator, chain_positions(6))


@pytest.mark.parametrize(
    "method, value",
    [
        ("setMovesPerJump", -1),
        ("setTrialsPerMove", 0),
        ("setMoveShares", {"all": -1.0}),
        ("setSmallMoveWidth", 0.0),
        ("setDynamics", "verlet"),
    ],
)
def test_settings_out_of_range_are_refused(method, value):
    integrator = AtmosIntegrator(TEMPERATURE, 1.0, 0.002)
    with pytest.raises(openmm.OpenMMException, match="but must be"):
        getattr(integrator, method)(value)
