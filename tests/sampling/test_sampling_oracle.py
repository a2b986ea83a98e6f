"""The compiled AtmosIntegrator against the Python driver: same noise, same trajectory."""

import io

import numpy as np
import openmm
import pytest
import sampling_cases as cases
import torch

from atmos_openmm.density.block_density import BlockDensity
from atmos_openmm.density.torsion_density import TorsionDensity
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.sampling.driver import HybridDriver
from atmos_openmm.systems.screening import ScreenSpec
from atmos_openmm.systems.torsions import find_torsions

INTERVAL = 5

compiled_moves = pytest.mark.skipif(
    not hasattr(AtmosIntegrator, "setTorsionMoves"),
    reason="the compiled integrator was built before it jumped in the middle of a step",
)


def compiled(module, **settings):
    """A Context with an AtmosIntegrator on this module."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    integrator = AtmosIntegrator(300.0, 1.0, cases.STEP_PS)
    integrator.setRandomNumberSeed(7)
    integrator.setModule(buffer.getvalue(), range(22))
    integrator.setScreen(cases.screen())
    integrator.setLag(50.0)
    integrator.setJumpSeed(5)
    integrator.setJumpInterval(INTERVAL)
    integrator.setWindowSamples(4)
    integrator.setAcceptanceMode(settings.get("acceptance", "filter"))
    integrator.setRelaxationStages(settings.get("relaxation", ()))
    return cases.context(integrator), integrator


def recorded(advance, proposed, last, context, cycles):
    """Advance by cycles; the phase point after each, and the proposals."""
    points, proposals = [], []
    for _ in range(cycles):
        before = proposed()
        advance(INTERVAL)
        points.append(cases.phase_point(context))
        if proposed() > before:
            proposals.append(last())
    return points, proposals


@compiled_moves
@pytest.mark.parametrize(
    "settings, noise_nm",
    [
        ({"acceptance": "filter"}, 0.05),
        ({"acceptance": "none"}, 0.05),
        ({"acceptance": "filter", "relaxation": [2, 4]}, 0.012),
        ({"acceptance": "none", "relaxation": [2]}, 0.02),
    ],
)
def test_the_compiled_integrator_follows_the_driver(settings, noise_nm):
    module = cases.phi_module(spoil=-0.3, noise_nm=noise_nm)
    cycles = 30
    # One after the other: on Reference all Contexts of a process share one random generator, which
    # the creation of a Context seeds.
    context, integrator = compiled(module, **settings)
    points, proposals = recorded(
        integrator.step, integrator.getNumProposed, integrator.getLastProposal, context, cycles
    )
    plain = cases.context(cases.langevin())
    driver = HybridDriver(
        plain,
        module,
        cases.screen(),
        lag=50.0,
        jumpInterval=INTERVAL,
        windowSamples=4,
        seed=5,
        **settings,
    )
    oracle_points, oracle_proposals = recorded(
        driver.step, driver.getNumProposed, driver.getLastProposal, plain, cycles
    )
    reasons = [proposal.reason for proposal in proposals]
    assert len(set(reasons)) > 1 and "accepted" in reasons
    assert reasons == [proposal.reason for proposal in oracle_proposals]
    assert [p.stage for p in proposals] == [p.stage for p in oracle_proposals]
    assert integrator.getNumAccepted() == driver.getNumAccepted()
    assert integrator.getNumWindowSamples() == driver.getNumWindowSamples() == cycles - 1
    # The first jump: everything before it is the same arithmetic, so the module sees the same
    # numbers. The superpositions are different algorithms, which agree to some units in the last
    # place of 1 nm (2e-16).
    first, oracle_first = proposals[0], oracle_proposals[0]
    assert first.energy_before_kj_per_mol == oracle_first.energy_before_kj_per_mol
    assert first.log_ratio == oracle_first.log_ratio
    np.testing.assert_array_equal(first.positions_before_nm, oracle_first.positions_before_nm)
    np.testing.assert_allclose(first.positions_raw_nm, oracle_first.positions_raw_nm, atol=1e-14)
    # From then on the difference grows as chaos has it (by far less than tenfold in the 10 fs
    # between jumps) and a few iterations of the minimiser multiply it (its line search divides by
    # small differences of energies: 1e3 was seen). But the module rounds what it sees to single
    # precision (6e-8 nm), which wipes the difference out again at each accepted jump, or, where a
    # rounding falls the other way, replaces it by up to 6e-8 nm, times the minimiser's factor at
    # the worst. A wrong order of operations shows as 1e-3 nm or more.
    for (x, v), (oracle_x, oracle_v) in zip(points, oracle_points, strict=True):
        np.testing.assert_allclose(x, oracle_x, atol=1e-6)
        np.testing.assert_allclose(v, oracle_v, atol=1e-3)
    for mine, other in zip(proposals, oracle_proposals, strict=True):
        assert (mine.attempt, mine.step) == (other.attempt, other.step)
        np.testing.assert_allclose(mine.positions_raw_nm, other.positions_raw_nm, atol=1e-6)
        assert (mine.positions_after_nm is None) == (other.positions_after_nm is None)
        assert mine.energy_before_kj_per_mol == pytest.approx(
            other.energy_before_kj_per_mol, abs=1e-2
        )


def test_until_the_first_accepted_jump_the_two_agree_bit_for_bit():
    # Rejections restore exactly on both sides, whatever was tried in between.
    for kind in ("nan", "mirrored", "coincident", "far"):
        module = cases.script(cases.Fixed(22, kind))
        context, integrator = compiled(module, acceptance="none")
        integrator.step(6 * INTERVAL)
        plain = cases.context(cases.langevin())
        driver = HybridDriver(
            plain,
            module,
            cases.screen(),
            lag=50.0,
            jumpInterval=INTERVAL,
            acceptance="none",
            seed=5,
        )
        driver.step(6 * INTERVAL)
        np.testing.assert_array_equal(cases.phase_point(context), cases.phase_point(plain))
        assert (
            integrator.getRejections()
            == driver.getReasons()
            == {driver.getLastProposal().reason: 5}
        )


@compiled_moves
def test_redrawn_velocities_agree_to_rounding():
    # An identity jump: positions come back up to single precision, velocities are the same draw.
    module = cases.script(cases.Fixed(22, "identity"))
    context, integrator = compiled(module, acceptance="none")
    integrator.step(INTERVAL + 1)
    plain = cases.context(cases.langevin())
    driver = HybridDriver(
        plain, module, cases.screen(), lag=50.0, jumpInterval=INTERVAL, acceptance="none", seed=5
    )
    driver.step(INTERVAL + 1)
    assert integrator.getNumAccepted() == driver.getNumAccepted() == 1
    # One step after the jump: rounding of the superposition (2e-16 nm), and the projection on the
    # constraints, which stops anywhere within its tolerance of 1e-5 but at the same point for both.
    x, v = cases.phase_point(context)
    oracle_x, oracle_v = cases.phase_point(plain)
    np.testing.assert_allclose(x, oracle_x, atol=1e-12)
    np.testing.assert_allclose(v, oracle_v, atol=1e-9)


def crowded_system():
    """A constrained dimer (the solute) among others in a periodic box.

    Three free particles, a massless one that stands still, and a virtual site between two.
    """
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors([2.0, 0, 0], [0.3, 2.0, 0], [0, 0.3, 2.0])
    for mass in (40.0, 40.0, 20.0, 20.0, 20.0, 0.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(6, openmm.TwoParticleAverageSite(2, 3, 0.3, 0.7))
    system.addConstraint(0, 1, 0.4)
    bonds = openmm.HarmonicBondForce()
    bonds.addBond(2, 3, 0.3, 1e4)
    system.addForce(bonds)
    nonbonded = openmm.NonbondedForce()
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    nonbonded.setCutoffDistance(0.8)
    for charge in (0.2, -0.2, 0.1, -0.3, 0.2, 0.1, -0.1):
        nonbonded.addParticle(charge, 0.25, 0.5)
    for pair in ((0, 1), (2, 3), (2, 6), (3, 6)):
        nonbonded.addException(*pair, 0, 1, 0)
    system.addForce(nonbonded)
    positions = [[0, 0, 0], [0.4, 0, 0], [0.1, 0.4, 0], [0.4, 0.4, 0], [-0.3, -0.2, 0.1]]
    positions += [[0.5, 0.0, -0.35], [0, 0, 0]]
    positions = np.array(positions, dtype=float)
    # One of the free particles is near the dimer only as an image across two edges of the box.
    positions[4] += [2.3, 2.0, 0]
    return system, positions


@compiled_moves
def test_the_two_agree_in_a_periodic_box_with_virtual_sites_and_massless_particles():
    system, start = crowded_system()
    none = np.zeros((0, 4), dtype=np.int64)
    spec = ScreenSpec(
        bonds=none[:, :2],
        bond_lengths_nm=np.zeros(0),
        chiral_centers=none,
        chiral_signs=np.zeros(0),
        cis_trans=none,
        rings=(),
        radii_nm=np.full(2, 0.15),
        clash_factor=0.0,
        environment_distance_nm=0.36,
        constraint_tolerance_nm=0.02,
    )
    module = cases.script(cases.TorsionJump((0, 1), [False] * 2, 10.0, 0.0, 0.01))
    results = []
    for kind in ("compiled", "driver"):
        if kind == "compiled":
            buffer = io.BytesIO()
            torch.jit.save(module, buffer)
            integrator = AtmosIntegrator(300.0, 1.0, cases.STEP_PS)
            integrator.setModule(buffer.getvalue(), [0, 1])
            integrator.setScreen(spec)
            integrator.setJumpSeed(9)
            integrator.setJumpInterval(INTERVAL)
            integrator.setLag(10.0)
            integrator.setAcceptanceMode("none")
        else:
            integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, cases.STEP_PS)
        integrator.setRandomNumberSeed(7)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
        context.setPositions(start)
        context.computeVirtualSites()
        context.setVelocitiesToTemperature(300.0, 2)
        if kind == "compiled":
            integrator.step(40 * INTERVAL)
            reasons = {"accepted": integrator.getNumAccepted(), **integrator.getRejections()}
        else:
            hybrid = HybridDriver(
                context,
                module,
                spec,
                solute=[0, 1],
                lag=10.0,
                jumpInterval=INTERVAL,
                acceptance="none",
                seed=9,
            )
            hybrid.step(40 * INTERVAL)
            reasons = hybrid.getReasons()
        results.append((cases.phase_point(context), reasons))
    (points, reasons), (oracle_points, oracle_reasons) = results
    assert reasons == oracle_reasons
    assert {"accepted", "environment", "constraints"} <= reasons.keys()
    # 0.4 ps of five soft particles: rounding, and single precision inside the module (6e-8 nm).
    np.testing.assert_allclose(points[0], oracle_points[0], atol=1e-6)
    np.testing.assert_allclose(points[1], oracle_points[1], atol=1e-4)
    np.testing.assert_array_equal(points[0][5], start[5])
    x = points[0]
    np.testing.assert_allclose(x[6], 0.3 * x[2] + 0.7 * x[3], atol=1e-12)
    assert np.linalg.norm(x[0] - x[1]) == pytest.approx(0.4, rel=2e-5)


def move_settings(methyls=False):
    """Torsions of the dipeptide, and a density of them with a local component and gates."""
    topology, system, _ = cases.dipeptide()
    torsions = find_torsions(topology, system=system, methyls=methyls)
    rng = np.random.default_rng(4)
    blocks = []
    for block, size in enumerate(torsions.block_sizes):
        start = sum(torsions.block_sizes[:block])
        gates = np.array([k for k in range(len(torsions)) if not start <= k < start + size][:2])
        conditional = rng.normal(size=(3, 1 + 2 * len(gates)))
        sequential = np.array(conditional)
        for g, torsion in enumerate(gates.tolist()):
            if torsion >= start:
                sequential[:, 1 + 2 * g : 3 + 2 * g] = 0.0
        blocks.append(
            BlockDensity(
                rng.uniform(-np.pi, np.pi, (2, size)),
                np.stack([(0.1 + 0.2 * k) * np.eye(size) for k in range(2)]),
                gates,
                sequential,
                conditional,
                0.02 * np.eye(size),
            )
        )
    layout = torsions.names, torsions.block_sizes, torsions.previous
    return torsions, TorsionDensity(*layout, tuple(blocks), 0.1)


@compiled_moves
@pytest.mark.parametrize("methyls", [False, True])
@pytest.mark.parametrize("trials", [1, 6])
def test_moves_of_the_compiled_integrator_follow_the_driver(methyls, trials):
    torsions, density = move_settings(methyls)
    shares = dict.fromkeys(("all", "residue", "torsion", "small"), 1.0)
    if methyls:
        shares |= {"backbone": 1.0, "sidechain": 1.0}
    integrator = AtmosIntegrator(300.0, 1.0, cases.STEP_PS)
    integrator.setRandomNumberSeed(7)
    integrator.setTorsionMoves(torsions, density)
    integrator.setMoveShares(shares)
    integrator.setMovesPerJump(4)
    integrator.setTrialsPerMove(trials)
    integrator.setSmallMoveWidth(0.3)
    integrator.setAcceptanceMode("metropolis")
    integrator.setJumpSeed(5)
    integrator.setJumpInterval(INTERVAL)
    context = cases.context(integrator)
    cycles = 40
    points = []
    for _ in range(cycles):
        integrator.step(INTERVAL)
        points.append(cases.phase_point(context))
    plain = cases.context(cases.langevin())
    driver = HybridDriver(
        plain,
        acceptance="metropolis",
        torsions=torsions,
        density=density,
        moves=4,
        trials=trials,
        moveShares=shares,
        smallMoveWidth=0.3,
        jumpInterval=INTERVAL,
        seed=5,
    )
    # Everything is in double precision, so that the two differ by roundings (1e-16), by the point
    # within their tolerance (1e-5 of a bond) at which constraints stop where the roundings decide
    # it, and by the growth of both in 10 fs between jumps.
    for x, v in points:
        driver.step(INTERVAL)
        oracle_x, oracle_v = cases.phase_point(plain)
        np.testing.assert_allclose(x, oracle_x, atol=1e-6)
        np.testing.assert_allclose(v, oracle_v, atol=1e-3)
    assert dict(integrator.getMoveStatistics()) == driver.getMoveStatistics()
    assert integrator.getNumJumps() == driver.getNumJumps() == cycles - 1
    assert integrator.getNumProposed() == driver.getNumProposed() == 4 * (cycles - 1)
    assert integrator.getNumAccepted() == driver.getNumAccepted() > 20
    tried = driver.getMoveStatistics()
    assert all(tried[kind][0] > 0 for kind in shares)


@compiled_moves
def test_the_window_of_both_follows_the_temperature():
    module = cases.phi_module(spoil=-0.3, noise_nm=0.012)
    temperatures = (450.0, 300.0, 450.0)
    cycles = 8

    def heated(integrator, advance, proposed, last, samples, context):
        seen = []
        for temperature in temperatures:
            integrator.setTemperature(temperature)
            points, proposals = recorded(advance, proposed, last, context, cycles)
            seen.append((points, [(p.reason, p.energy_limit_kj_per_mol) for p in proposals]))
            seen[-1] += (samples(),)
        return seen

    context, integrator = compiled(module)
    found = heated(
        integrator,
        integrator.step,
        integrator.getNumProposed,
        integrator.getLastProposal,
        integrator.getNumWindowSamples,
        context,
    )
    plain = cases.context(cases.langevin())
    settings = {"lag": 50.0, "jumpInterval": INTERVAL, "windowSamples": 4, "seed": 5}
    driver = HybridDriver(plain, module, cases.screen(), **settings)
    expected = heated(
        plain.getIntegrator(),
        driver.step,
        driver.getNumProposed,
        driver.getLastProposal,
        driver.getNumWindowSamples,
        plain,
    )
    # Seven energies at 450 K (the first jump comes after an interval), eight at 300 K, and then
    # those at 450 K again, which are known already.
    assert [samples for *_, samples in found] == [7, 8, 15]
    assert [len(proposals) for _, proposals, _ in found] == [4, 5, 8]
    for (points, proposals, samples), (others, oracle_proposals, oracle_samples) in zip(
        found, expected, strict=True
    ):
        assert samples == oracle_samples
        assert [reason for reason, _ in proposals] == [reason for reason, _ in oracle_proposals]
        np.testing.assert_allclose(
            [limit for _, limit in proposals], [limit for _, limit in oracle_proposals], rtol=1e-4
        )
        for (x, v), (oracle_x, oracle_v) in zip(points, others, strict=True):
            np.testing.assert_allclose(x, oracle_x, atol=1e-6)
            np.testing.assert_allclose(v, oracle_v, atol=1e-3)


def test_noise_is_the_same_in_both_languages():
    from atmos_openmm import atmos
    from atmos_openmm.jump import noise

    for seed, stream, attempt in ((1, 0, 0), (2**63 + 5, 1, 7), (99, 2, 2**40)):
        np.testing.assert_array_equal(
            atmos.gaussians(seed, stream, attempt, 501), noise.normal(seed, stream, attempt, 501)
        )
        np.testing.assert_array_equal(
            atmos.uniforms(seed, stream, attempt, 11), noise.uniform(seed, stream, attempt, 11)
        )


def test_openmm_is_the_version_that_orders_random_numbers_as_assumed():
    # The comparison rests on seeds: same seed, same steps, same noise.
    points = []
    for _ in range(2):
        context = cases.context(cases.langevin())
        context.getIntegrator().step(20)
        points.append(cases.phase_point(context))
    np.testing.assert_array_equal(points[0], points[1])
    assert isinstance(context.getIntegrator(), openmm.LangevinMiddleIntegrator)
