"""The compiled AtmosIntegrator against the Python driver: same noise, same trajectory."""

import io

import numpy as np
import openmm
import pytest
import sampling_cases as cases
import torch

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.sampling.driver import HybridDriver

INTERVAL = 5


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


def test_noise_is_the_same_in_both_languages():
    from atmos_openmm import atmos
    from atmos_openmm.sampling import noise

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
