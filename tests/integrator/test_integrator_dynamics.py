"""The schedule of the jumps and their counters."""

from __future__ import annotations

import math

import numpy as np
import openmm
import pytest
from integrator_support import (
    LAG_PS,
    NUM_ATOMS,
    STEP_PS,
    TEMPERATURE,
    make_context,
    make_integrator,
    molecule_screen,
    phase_point,
)
from openmm import unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes


def _plain_integrator():
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(11)
    return integrator


def _trajectory(integrator, calls):
    """The phase points after each of some calls of step().

    One run at a time: the Reference platform has one random number generator for the whole process,
    which a new Context seeds.
    """
    context = make_context(integrator)
    points = []
    for steps in calls:
        integrator.step(steps)
        points.append(phase_point(context))
    return np.array(points)


def test_without_jumps_every_step_is_that_of_the_base_class():
    bare = AtmosIntegrator(TEMPERATURE, 1.0, STEP_PS)
    bare.setRandomNumberSeed(11)
    unused = make_integrator(interval=0)
    plain = _trajectory(_plain_integrator(), [1] * 200)
    np.testing.assert_array_equal(_trajectory(bare, [1] * 200), plain)
    np.testing.assert_array_equal(_trajectory(unused, [1] * 200), plain)
    assert unused.getNumProposed() == 0


def test_before_the_first_jump_every_step_is_that_of_the_base_class():
    jumping = make_integrator(interval=40)
    plain = _trajectory(_plain_integrator(), [1] * 40)
    np.testing.assert_array_equal(_trajectory(jumping, [1] * 40), plain)
    assert jumping.getNumProposed() == 0
    context = make_context(jumping := make_integrator(interval=40))
    jumping.step(40)
    assert jumping.getNumProposed() == 0
    jumping.step(1)
    assert jumping.getNumProposed() == 1
    assert np.isfinite(phase_point(context)).all()


def test_step_calls_may_be_split_in_any_way():
    whole, split = make_integrator(interval=17), make_integrator(interval=17)
    first = _trajectory(whole, [1000])[-1]
    second = _trajectory(split, [10] * 100)[-1]
    np.testing.assert_array_equal(first, second)
    assert split.getNumProposed() == whole.getNumProposed() == 999 // 17
    assert 0 < whole.getNumAccepted() < whole.getNumProposed()
    assert split.getRejections() == whole.getRejections()


def test_jumps_take_no_step_and_no_time():
    integrator = make_integrator(interval=10)
    context = make_context(integrator)
    integrator.step(101)
    assert integrator.getNumProposed() == 10
    assert context.getStepCount() == 101
    time = context.getTime().value_in_unit(unit.picosecond)
    assert time == pytest.approx(101 * STEP_PS, rel=1e-12)
    learned = integrator.getLearnedTime().value_in_unit(unit.picosecond)
    assert learned == LAG_PS * integrator.getNumAccepted()


def test_a_jump_comes_at_the_start_of_a_step():
    # The module is given the frame in the middle of the step before, half a step back with the old
    # velocity. The frame that a reporter sees after the jump has had half a step with the drawn
    # velocity and one step of dynamics. The constrained bond is mended in between.
    integrator = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=5)
    context = make_context(integrator)
    integrator.step(5)
    x, v = phase_point(context)
    integrator.step(1)
    record = integrator.getLastProposal()
    assert record.step == 5 and record.accepted
    middle = x - 0.5 * STEP_PS * v
    np.testing.assert_allclose(record.positions_before_nm[:4], middle[:4], atol=1e-15)
    np.testing.assert_allclose(record.positions_before_nm, middle, atol=1e-4)
    moved = np.abs(phase_point(context)[0] - x).max()
    assert 1e-5 < moved < 0.05


def test_the_identity_comes_back_where_it_was():
    # Superposition and centroid undo the centring and the rounding to single precision: what is
    # left is the rounding, 2^-24 of a coordinate of at most 0.3 nm, twice.
    integrator = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=5)
    context = make_context(integrator)
    context.setPositions(molecule_array_shifted(context))
    integrator.step(6)
    record = integrator.getLastProposal()
    error = np.abs(record.positions_raw_nm - record.positions_before_nm).max()
    assert 0 < error < 2 * 0.3 * 2.0**-24


def molecule_array_shifted(context):
    """The Context's positions, 30 nm away, where single precision would lose 2e-6 nm."""
    return phase_point(context)[0] + np.array([30.0, -20.0, 10.0])


def test_the_filter_waits_for_its_window_and_counts_only_dynamics():
    integrator = make_integrator(interval=10, mode="filter")
    integrator.setWindowSamples(8)
    _context = make_context(integrator)
    integrator.step(10 * 7 + 1)
    assert integrator.getNumWindowSamples() == 7
    assert integrator.getNumProposed() == 0
    integrator.step(10)
    assert integrator.getNumWindowSamples() == 8
    assert integrator.getNumProposed() == 1


def test_the_window_holds_the_energies_before_the_jumps():
    integrator = make_integrator(interval=10)
    _context = make_context(integrator)
    integrator.step(301)
    energies = np.array([p.energy_before_kj_per_mol for p in integrator.takeProposals()])
    assert len(energies) == integrator.getNumWindowSamples() == 30
    assert integrator.getWindowMean()._value == pytest.approx(energies.mean(), rel=1e-12)
    deviation = integrator.getWindowStandardDeviation()._value
    assert deviation == pytest.approx(energies.std(ddof=1), rel=1e-10)


def test_the_filter_turns_down_what_is_above_the_window():
    # Angles of 400 kJ/mol/rad^2 that are bent by a rotor that also tilts the arm are far above.
    integrator = make_integrator(interval=10, mode="filter")
    integrator.setWindowStatistics(100, -1000.0 * unit.kilojoule_per_mole, 1.0)
    _context = make_context(integrator)
    integrator.step(11)
    record = integrator.getLastProposal()
    assert record.energy_limit_kj_per_mol < 0 < record.energy_raw_kj_per_mol
    assert record.reason == "energy" and integrator.getRejections() == {"energy": 1}
    assert integrator.getNumAccepted() == 0


def test_relaxation_stages_stop_inside_the_window():
    # A window that the third stage reaches at the latest: the energy falls from stage to stage.
    def record_with(limit):
        integrator = make_integrator(interval=10, mode="filter")
        integrator.setWindowStatistics(10**6, limit, 1e-6)
        integrator.setRelaxationStages([1, 5, 200])
        _context = make_context(integrator)
        integrator.step(11)
        return integrator.getLastProposal()

    full = record_with(-1.0)
    assert full.stage == 3 and full.reason == "energy"
    assert full.energy_after_kj_per_mol < full.energy_raw_kj_per_mol
    assert record_with(full.energy_raw_kj_per_mol + 1.0).stage == 0
    middle = 0.5 * (full.energy_raw_kj_per_mol + full.energy_after_kj_per_mol)
    relaxed = record_with(middle)
    assert 1 <= relaxed.stage <= 3 and relaxed.accepted
    assert relaxed.energy_after_kj_per_mol <= middle + 1e-3 < relaxed.energy_raw_kj_per_mol


def test_without_a_filter_every_stage_is_applied():
    integrator = make_integrator(interval=10)
    integrator.setRelaxationStages([2, 3])
    _context = make_context(integrator)
    integrator.step(11)
    assert integrator.getLastProposal().stage == 2


def test_the_seed_decides():
    def run(seed):
        integrator = make_integrator(interval=10, seed=seed)
        context = make_context(integrator)
        integrator.step(51)
        return phase_point(context), integrator.getCurrentJumpSeed()

    first, second, third = run(7), run(7), run(8)
    np.testing.assert_array_equal(first[0], second[0])
    assert np.abs(first[0] - third[0]).max() > 1e-3
    drawn = [run(0)[1] for _ in range(3)]
    assert len(set(drawn)) == 3 and 0 not in drawn


def test_proposals_can_be_drained_and_are_bounded():
    integrator = make_integrator(interval=10)
    integrator.setProposalRecording(3, True)
    _context = make_context(integrator)
    integrator.step(51)
    records = integrator.takeProposals()
    assert [record.attempt for record in records] == [2, 3, 4]
    assert integrator.getNumDroppedProposals() == 2
    assert all(record.positions_raw_nm.shape == (NUM_ATOMS, 3) for record in records)
    assert integrator.takeProposals() == []
    integrator.setProposalRecording(3, False)
    integrator.step(10)
    (record,) = integrator.takeProposals()
    assert record.positions_raw_nm is None
    assert integrator.getLastProposal().positions_raw_nm is not None


def test_counters_agree():
    integrator = make_integrator(interval=10)
    _context = make_context(integrator)
    integrator.step(501)
    assert integrator.getNumProposed() == 50
    assert integrator.getNumAccepted() + integrator.getNumRejected() == 50
    rejections = integrator.getRejections()
    assert sum(rejections.values()) == integrator.getNumRejected() > 0
    assert set(rejections) == {"bonds"}
    with pytest.raises(openmm.OpenMMException, match="the reasons are nonfinite, displaced"):
        integrator.getNumRejected("colour")


def test_hidden_state_goes_round():
    # The Rotor's state is a decaying average of its noise; only accepted jumps change it.
    from atmos_openmm import atmos

    integrator = make_integrator(interval=10)
    _context = make_context(integrator)
    assert len(integrator.getHiddenState()) == 0
    integrator.step(201)
    state = np.zeros(2, dtype=np.float32)
    for record in integrator.takeProposals():
        if record.accepted:
            noise = np.array(atmos.gaussians(7, 0, record.attempt, 3), dtype=np.float32)
            state = np.float32(0.5) * state + np.float32(0.5) * noise[:2]
    np.testing.assert_array_equal(integrator.getHiddenState(), state)
    integrator.setHiddenState([0.25, -0.5])
    np.testing.assert_array_equal(integrator.getHiddenState(), [0.25, -0.5])
    with pytest.raises(openmm.OpenMMException, match="3 numbers, but the module's has 2"):
        integrator.setHiddenState([0.0, 0.0, 0.0])


def test_units_in_and_out():
    integrator = AtmosIntegrator(300 * unit.kelvin, 1000 / unit.nanosecond, 2 * unit.femtoseconds)
    assert integrator.getTemperature() == 300 * unit.kelvin
    assert integrator.getFriction() == 1 / unit.picosecond
    assert integrator.getStepSize() == 0.002 * unit.picosecond
    integrator.setLag(0.1 * unit.nanosecond)
    assert integrator.getLag() == 100 * unit.picosecond
    integrator.setLag(20)
    assert integrator.getLag() == 20 * unit.picosecond
    integrator.setWindowStatistics(3, 1.0 * unit.kilocalorie_per_mole, 2.0)
    assert integrator.getWindowMean() == 4.184 * unit.kilojoule_per_mole
    deviation = integrator.getWindowStandardDeviation()._value
    assert math.isclose(deviation, 2.0, rel_tol=1e-15)


@pytest.mark.parametrize(
    "method, value",
    [
        ("setJumpInterval", -1),
        ("setLag", 0.0),
        ("setLag", math.nan),
        ("setAcceptanceMode", "metropolis"),
        ("setEnergyWindow", 0.0),
        ("setWindowSamples", 1),
        ("setRelaxationStages", [5, 0]),
        ("setRelaxationTolerance", -1.0),
        ("setJumpSeed", -5),
        ("setTorchThreads", -1),
        ("setCheckpointRestore", "sometimes"),
    ],
)
def test_settings_out_of_range_are_refused(method, value):
    integrator = AtmosIntegrator(TEMPERATURE, 1.0, STEP_PS)
    with pytest.raises(openmm.OpenMMException, match="but must be"):
        getattr(integrator, method)(value)


def test_the_screen_can_be_read_back():
    integrator = AtmosIntegrator(TEMPERATURE, 1.0, STEP_PS)
    screen = molecule_screen(
        rings=((0, 1, 2), (3, 4, 5, 0)), cis_trans=np.array([[1, 0, 4, 5]]), clash_factor=0.5
    )
    integrator.setScreen(screen)
    found = integrator.getScreen()
    for name in (
        "bonds",
        "bond_lengths_nm",
        "chiral_centers",
        "chiral_signs",
        "cis_trans",
        "radii_nm",
    ):
        np.testing.assert_array_equal(getattr(found, name), getattr(screen, name))
    assert found.rings == screen.rings
    assert found.clash_factor == 0.5


def test_torch_threads_are_the_callers_again():
    import torch

    torch.set_num_threads(2)
    integrator = make_integrator(interval=10)
    integrator.setTorchThreads(1)
    _context = make_context(integrator)
    integrator.step(31)
    assert integrator.getNumProposed() == 3
    assert torch.get_num_threads() == 2


def test_every_public_method_is_described():
    # The compiled ones take their text from the C++ headers.
    own = [cls for cls in AtmosIntegrator.__mro__ if cls.__module__.startswith("atmos_openmm")]
    names = {name for cls in own for name in vars(cls) if name[0] != "_"} - {"thisown"}
    assert {"setModule", "setJumpInterval", "takeProposals", "getNumProposed"} <= names
    for name in names:
        assert (getattr(AtmosIntegrator, name).__doc__ or "").strip(), name
    assert "0 for no jumps" in AtmosIntegrator.setJumpInterval.__doc__
