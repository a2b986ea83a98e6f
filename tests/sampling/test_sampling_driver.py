"""HybridDriver: schedule, exact restoration, verdicts and velocities."""

import math

import numpy as np
import openmm
import pytest
import sampling_cases as cases
from openmm import unit

from atmos_openmm.jump.snapshot import Snapshot
from atmos_openmm.jump.velocities import GAS_CONSTANT_KJ_PER_MOL_K
from atmos_openmm.sampling.driver import HybridDriver
from atmos_openmm.systems.screening import ScreenSpec


def driver(context, module=None, **changes):
    arguments = {"lag": 50.0, "jumpInterval": 10, "seed": 5, "windowSamples": 4}
    arguments.update(changes)
    return HybridDriver(context, module or cases.phi_module(), cases.screen(), **arguments)


def test_no_jumps_is_plain_dynamics_bit_for_bit():
    plain = cases.context(cases.langevin())
    plain.getIntegrator().step(50)
    expected = cases.phase_point(plain)
    made = cases.context(cases.langevin())
    hybrid = driver(made, jumpInterval=0)
    hybrid.step(50)
    np.testing.assert_array_equal(cases.phase_point(made), expected)
    assert hybrid.getNumProposed() == 0


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("nan", "nonfinite"),
        ("nan state", "nonfinite"),
        ("far", "displaced"),
        ("coincident", "bonds"),
        ("mirrored", "chirality"),
    ],
)
def test_rejections_leave_no_trace(kind, reason):
    plain = cases.context(cases.langevin())
    plain.getIntegrator().step(60)
    expected = cases.phase_point(plain)
    made = cases.context(cases.langevin())
    hybrid = driver(made, cases.script(cases.Fixed(22, kind)), acceptance="none")
    hybrid.step(60)
    # Five jumps were due, each was turned down, and the trajectory is that of plain dynamics.
    assert hybrid.getReasons() == {reason: 5}
    np.testing.assert_array_equal(cases.phase_point(made), expected)
    assert hybrid.getLearnedTime() == 0 * unit.picosecond


@pytest.mark.parametrize("kind", ["raise", "shape", "state shape"])
def test_failing_modules_raise_and_restore(kind):
    made = cases.context(cases.langevin())
    hybrid = driver(made, cases.script(cases.Fixed(22, kind)), acceptance="none")
    hybrid.step(10)
    before = cases.phase_point(made)
    with pytest.raises(openmm.OpenMMException) as error:
        hybrid.step(1)
    message = str(error.value)
    assert "\n" not in message
    expected = {"raise": "out of order", "shape": "[1, 22, 3]", "state shape": "[1, 1]"}[kind]
    assert expected in message
    np.testing.assert_array_equal(cases.phase_point(made), before)
    assert hybrid.getNumProposed() == 0 and hybrid.getNumWindowSamples() == 0
    # The jump is still due, and the Context is usable.
    with pytest.raises(openmm.OpenMMException):
        hybrid.step(1)
    made.getIntegrator().step(1)


def test_calls_of_step_do_not_matter():
    results = []
    for chunks in ([200], [7] * 28 + [4], [1] * 200):
        made = cases.context(cases.langevin())
        hybrid = driver(made)
        for chunk in chunks:
            hybrid.step(chunk)
        results.append(cases.phase_point(made))
        assert made.getStepCount() == 200
        # Jumps were due after 10, 20, ..., 190 steps; the first three filled the window.
        assert hybrid.getNumProposed() == 16
        assert hybrid.getNumWindowSamples() == 19
        assert 0 < hybrid.getNumAccepted() < 16
        assert hybrid.getLearnedTime() / unit.picosecond == pytest.approx(
            50 * hybrid.getNumAccepted()
        )
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_checkpoints_continue_bit_for_bit():
    first = cases.context(cases.langevin())
    hybrid = driver(first)
    hybrid.step(137)
    saved = hybrid.createCheckpoint()
    hybrid.step(80)
    expected = cases.phase_point(first), hybrid.getReasons(), hybrid.getLearnedTime()
    # Another driver with other seeds, which has gone its own way before.
    second = cases.context(cases.langevin(3), seed=4)
    other = driver(second, seed=77)
    other.step(33)
    other.loadCheckpoint(saved)
    other.step(80)
    np.testing.assert_array_equal(cases.phase_point(second), expected[0])
    assert (other.getReasons(), other.getLearnedTime()) == expected[1:]
    assert other.getSeed() == hybrid.getSeed() == 5
    pair = driver([first, second])
    with pytest.raises(ValueError, match="1 walkers, but this driver has 2"):
        pair.loadCheckpoint(saved)
    with pytest.raises(ValueError, match="another module"):
        driver(first, cases.script(cases.Fixed(22, "nan"))).loadCheckpoint(saved)


def test_the_first_jump_comes_after_the_interval():
    made = cases.context(cases.langevin())
    hybrid = driver(made, acceptance="none")
    hybrid.step(10)
    assert hybrid.getNumProposed() == 0
    hybrid.step(1)
    assert hybrid.getNumProposed() == 1
    proposal = hybrid.getLastProposal()
    assert proposal.attempt == 0 and proposal.accepted
    assert made.getTime().value_in_unit(unit.picosecond) == pytest.approx(11 * cases.STEP_PS)


def test_walkers_do_not_depend_on_their_company():
    # Verlet has no thermostat noise, so walkers can be compared bit for bit.
    def start(seed):
        return cases.context(openmm.VerletIntegrator(0.001), seed)

    together = [start(1), start(2), start(3)]
    batch = driver(together, temperature=300.0, seed=[21, 22, 23])
    batch.step(120)
    for index, made in enumerate(together):
        alone_context = start(index + 1)
        alone = driver(alone_context, temperature=300.0, seed=[21 + index])
        alone.step(120)
        assert alone.getReasons() == batch.getReasons(index)
        assert 0 < batch.getNumAccepted(index)
        # Batched tensor arithmetic may round single-precision results differently (6e-8 relative,
        # 0.5 nm); 50 steps after the last jumps this has grown by less than a factor of 1000.
        np.testing.assert_allclose(
            cases.phase_point(made)[0], cases.phase_point(alone_context)[0], atol=3e-5
        )


def test_an_integrator_without_temperature_needs_one():
    with pytest.raises(ValueError, match="temperature"):
        driver(cases.context(openmm.VerletIntegrator(0.001)))


def test_the_state_reaches_the_next_proposal_only_after_acceptance():
    made = cases.context(cases.langevin())
    hybrid = driver(made)
    hybrid.step(400)
    assert hybrid.getReasons().keys() - {"accepted"}
    # TorsionJump counts its calls in the second state number: only accepted ones are kept.
    assert hybrid._walkers[0].state[1] == hybrid.getNumAccepted()


def test_velocities_after_a_jump_are_thermal():
    # An identity jump at each step: velocities are drawn afresh every time, and the kinetic energy
    # follows a gamma distribution with the degrees of freedom that constraints and drift leave.
    module = cases.script(cases.Fixed(22, "identity"))
    made = cases.context(cases.langevin())
    hybrid = driver(made, module, acceptance="none", jumpInterval=1)
    system = cases.dipeptide()[1]
    dof = 3 * 22 - system.getNumConstraints() - 3
    kinetic = []
    for _ in range(300):
        hybrid._jump()
        velocities = cases.phase_point(made)[1]
        masses = hybrid._masses[:, None]
        assert np.abs((masses * velocities).sum(axis=0)).max() < 1e-10
        # The State's kinetic energy is that of velocities moved to the time of the positions.
        kinetic.append(made.getState(energy=True).getKineticEnergy()._value)
    expected = 0.5 * dof * GAS_CONSTANT_KJ_PER_MOL_K * 300
    # Relative standard deviation of one kinetic energy: sqrt(2 / dof).
    tolerance = 5 * math.sqrt(2 / dof / len(kinetic))
    assert abs(np.mean(kinetic) / expected - 1) < tolerance
    assert hybrid.getNumAccepted() == 300


def test_velocities_are_kept_where_the_integrator_keeps_them():
    # Behind by half a step for leapfrog schemes, at the time of the positions for others.
    module = cases.script(cases.Fixed(22, "identity"))
    drawn = {}
    # Off the minimum, so that there are forces.
    start = cases.dipeptide()[2] + 0.003 * np.random.default_rng(1).normal(size=(22, 3))
    for name, integrator in (
        ("leapfrog", openmm.VerletIntegrator(0.002)),
        ("other", openmm.CustomIntegrator(0.002)),
        ("compound", openmm.CompoundIntegrator()),
    ):
        if name == "compound":
            integrator.addIntegrator(openmm.VerletIntegrator(0.002))
        made = cases.context(integrator)
        made.setPositions(start)
        made.applyConstraints(1e-8)
        hybrid = driver(made, module, acceptance="none", temperature=300.0)
        hybrid._jump()
        drawn[name] = cases.phase_point(made)[1]
    forces = made.getState(forces=True).getForces(asNumpy=True)._value
    np.testing.assert_array_equal(drawn["leapfrog"], drawn["compound"])
    # Constraints take their part out of the kick; atoms without constraints feel all of it.
    system = cases.dipeptide()[1]
    pairs = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
    free = np.setdiff1d(np.arange(22), np.array(pairs).ravel())
    kick = 0.001 * forces[free] / hybrid._masses[free, None]
    assert len(free) > 2 and np.abs(kick).max() > 0.01
    # Both were rid of their drift, which the kick of a force that sums to zero does not change.
    np.testing.assert_allclose(drawn["other"][free] - drawn["leapfrog"][free], kick, atol=1e-7)


def test_relaxation_mends_what_the_filter_turns_down():
    # Noise of 0.007 nm on every atom keeps the geometry and lifts the energy far above the window;
    # the minimiser brings it back, and the record says after how many stages.
    shaken = cases.script(cases.TorsionJump((0, 1), [False] * 22, 10.0, 0.0, 0.007))
    strict = driver(cases.context(cases.langevin()), shaken)
    strict.step(300)
    assert strict.getReasons().get("energy", 0) > 20 and strict.getNumAccepted() == 0
    mended = driver(cases.context(cases.langevin()), shaken, relaxation=[1, 200])
    mended.step(41)
    accepted = []
    for _ in range(25):
        mended.step(10)
        proposal = mended.getLastProposal()
        if proposal.accepted:
            accepted.append(proposal)
    assert len(accepted) > 20
    for proposal in accepted:
        assert proposal.stage in (1, 2)
        assert proposal.energy_raw_kj_per_mol > proposal.energy_limit_kj_per_mol
        assert proposal.energy_after_kj_per_mol <= proposal.energy_limit_kj_per_mol
        assert not np.array_equal(proposal.positions_after_nm, proposal.positions_raw_nm)
    # With `none` every stage is applied although any finite energy would do.
    every = driver(cases.context(cases.langevin()), shaken, relaxation=[1, 1], acceptance="none")
    every.step(50)
    assert every.getLastProposal().stage == 2


def test_window_is_learned_from_the_energies_before_jumps():
    made = cases.context(cases.langevin())
    hybrid = driver(made, cases.script(cases.Fixed(22, "nan")))
    energies = []
    for _ in range(6):
        hybrid.step(10)
        # The window knows the energies where jumps are made, in the middle of the step.
        snapshot = Snapshot.of(made)
        energies.append(snapshot.energy_kj_per_mol)
        snapshot.restore(made)
    hybrid.step(1)
    statistics = hybrid._walkers[0].window.statistics
    assert statistics.count == 6
    assert statistics.mean == pytest.approx(np.mean(energies))
    assert statistics.standard_deviation == pytest.approx(np.std(energies, ddof=1))
    assert hybrid.getNumProposed() == 3


def test_environment_and_constraints_are_screened():
    # Two argon atoms and one neighbour: the module moves the two onto the third.
    system = openmm.System()
    for _ in range(3):
        system.addParticle(39.9)
    system.addConstraint(0, 1, 0.4)
    positions = np.array([[0.0, 0, 0], [0.4, 0, 0], [0.2, 0.1, 0.0]])
    empty = np.zeros((0, 4), dtype=np.int64)
    spec = ScreenSpec(
        bonds=np.zeros((0, 2), dtype=np.int64),
        bond_lengths_nm=np.zeros(0),
        chiral_centers=empty,
        chiral_signs=np.zeros(0),
        cis_trans=empty,
        rings=(),
        radii_nm=np.full(2, 0.188),
        clash_factor=0.0,
    )

    def verdict(place, module):
        made = openmm.Context(
            system,
            openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002),
            openmm.Platform.getPlatform("Reference"),
        )
        made.setPositions(np.vstack([positions[:2], place]))
        hybrid = HybridDriver(
            made, module, spec, lag=1.0, jumpInterval=1, acceptance="none", seed=1
        )
        hybrid._jump()
        return hybrid.getLastProposal().reason

    identity = cases.script(cases.Fixed(2, "identity"))
    squeezed = cases.script(cases.Fixed(2, "coincident"))
    assert verdict([0.2, 0.5, 0.0], identity) == "accepted"
    assert verdict([0.0, 0.1, 0.0], identity) == "environment"
    assert verdict([0.0, 0.5, 0.0], squeezed) == "constraints"


def test_wrong_arguments_are_named():
    made = cases.context(cases.langevin())
    with pytest.raises(ValueError, match="Unknown acceptance 'always'; use one of none, filter, m"):
        driver(made, acceptance="always")
    with pytest.raises(ValueError, match="'metropolis' needs torsions"):
        HybridDriver(made, acceptance="metropolis")
    with pytest.raises(ValueError, match="'filter' needs a module, a screen and a lag"):
        HybridDriver(made)
    with pytest.raises(ValueError, match="bound to 3 atoms"):
        driver(made, cases.script(cases.Fixed(3, "identity")), solute=[0, 1])
    with pytest.raises(ValueError, match="jumpInterval"):
        driver(made, jumpInterval=-1)
    with pytest.raises(ValueError, match="2 seeds were given for 1"):
        driver(made, seed=[1, 2])
