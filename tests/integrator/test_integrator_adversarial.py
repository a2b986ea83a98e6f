"""Modules that fail, and modules whose frames are no molecules: errors or counted rejections."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from integrator_support import (
    NUM_ATOMS,
    STEP_PS,
    TEMPERATURE,
    make_context,
    make_integrator,
    molecule_positions,
    molecule_screen,
    molecule_system,
    no_screen,
    phase_point,
)

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes

INTERVAL = 5


class _Faulty(Identity):
    """Does one thing wrong; the name says what."""

    def __init__(self, fault: str, num_atoms: int = NUM_ATOMS) -> None:
        super().__init__(num_atoms)
        self.fault = fault

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
        x = positions.clone()
        new_state = state + 1.0
        ratio = torch.zeros(positions.shape[0])
        if self.fault == "nan":
            x[0, 3, 1] = float("nan")
        if self.fault == "infinite state":
            new_state = new_state / 0.0
        if self.fault == "translation":
            x = x + 100.0
        if self.fault == "coincident":
            x[0, 2] = x[0, 1]
        if self.fault == "broken bond":
            x[0, 5] = x[0, 1]
        if self.fault == "mirror":
            x = x * torch.tensor([1.0, 1.0, -1.0])
        if self.fault == "atom missing":
            x = x[:, 1:]
        if self.fault == "double":
            x = x.to(torch.float64)
        if self.fault == "state shape":
            new_state = torch.zeros(1, 3)
        if self.fault == "ratio shape":
            ratio = torch.zeros(1, 1)
        if self.fault == "raise":
            raise ValueError("the lag is outside of what was trained")
        return x, new_state, ratio


def _prepared(fault, mode="none", screen=None, **settings):
    """An integrator one step before its first jump, its Context and the state of both."""
    integrator = make_integrator(module_bytes(_Faulty(fault)), interval=INTERVAL, mode=mode)
    integrator.setScreen(molecule_screen() if screen is None else screen)
    for name, value in settings.items():
        getattr(integrator, name)(value)
    context = make_context(integrator)
    integrator.setHiddenState([0.5, -0.25])
    integrator.step(INTERVAL)
    return integrator, context


def _first_plain_step(point):
    """The phase point after a plain step from a phase point, from the same random numbers."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(11)
    context = make_context(integrator)
    integrator.step(INTERVAL)
    np.testing.assert_array_equal(phase_point(context), point)
    integrator.step(1)
    return phase_point(context)


@pytest.mark.parametrize("restore", ["never", "always"])
@pytest.mark.parametrize(
    "fault, reason, screened",
    [
        ("nan", "nonfinite", True),
        ("infinite state", "nonfinite", True),
        ("translation", "displaced", True),
        ("coincident", "chirality", True),
        ("broken bond", "bonds", True),
        ("mirror", "chirality", True),
        # Without the geometry checks the force field has the last word.
        ("nan", "nonfinite", False),
        ("translation", "displaced", False),
        ("coincident", "energy", False),
        ("broken bond", "constraints", False),
    ],
)
def test_bad_frames_are_counted_and_undone(fault, reason, screened, restore):
    screen = molecule_screen() if screened else no_screen(NUM_ATOMS)
    integrator, context = _prepared(fault, "filter", screen, setCheckpointRestore=restore)
    integrator.setWindowStatistics(100, 10.0, 5.0)
    before = phase_point(context)
    time, count = context.getTime(), context.getStepCount()
    # The step after the rejected jump must be the step that the base class makes from there.
    integrator.step(1)
    assert integrator.getRejections() == {reason: 1}
    assert integrator.getNumAccepted() == 0
    assert integrator.getLearnedTime()._value == 0
    np.testing.assert_array_equal(phase_point(context), _first_plain_step(before))
    np.testing.assert_array_equal(integrator.getHiddenState(), [0.5, -0.25])
    assert context.getStepCount() == count + 1
    assert context.getTime() > time
    assert integrator.getLastProposal().reason == reason


def test_a_finite_energy_without_forces_is_not_enough():
    # The square root of a distance of 0 is an energy without a gradient: taking the frame would
    # fill the Context with NaN one step later, even in mode "none".
    system = molecule_system()
    force = openmm.CustomCompoundBondForce(2, "10*sqrt(distance(p1, p2))")
    force.addBond([1, 2], [])
    system.addForce(force)
    integrator = make_integrator(module_bytes(_Faulty("coincident")), interval=INTERVAL)
    integrator.setScreen(no_screen(NUM_ATOMS))
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule_positions())
    integrator.step(INTERVAL + 1)
    record = integrator.getLastProposal()
    assert np.isfinite(record.energy_after_kj_per_mol) and record.reason == "energy"
    assert np.isfinite(phase_point(context)).all()


@pytest.mark.parametrize(
    "fault, cause",
    [
        ("raise", r"ValueError: the lag is outside of what was trained$"),
        ("atom missing", r"positions of float \[1, 5, 3\]; expected float \[1, 6, 3\]$"),
        ("double", r"positions of double \[1, 6, 3\]; expected float \[1, 6, 3\]$"),
        ("state shape", r"state of float \[1, 3\]; expected float \[1, 2\]$"),
        ("ratio shape", r"log_ratio of float \[1, 1\]; expected float \[1\]$"),
    ],
)
def test_modules_that_fail_raise_and_leave_everything_as_it_was(fault, cause):
    integrator, context = _prepared(fault)
    before = phase_point(context)
    samples = integrator.getNumWindowSamples()
    for _ in range(2):
        with pytest.raises(openmm.OpenMMException, match=cause) as caught:
            integrator.step(1)
        assert "\n" not in str(caught.value)
        np.testing.assert_array_equal(phase_point(context), before)
        assert integrator.getNumProposed() == 0
        assert integrator.getNumWindowSamples() == samples
        assert integrator.getStepsSinceJump() == INTERVAL
        np.testing.assert_array_equal(integrator.getHiddenState(), [0.5, -0.25])
        assert context.getStepCount() == INTERVAL
    # The Context is usable: without jumps it goes on as plain dynamics does.
    integrator.setJumpInterval(0)
    integrator.step(1)
    np.testing.assert_array_equal(phase_point(context), _first_plain_step(before))


def test_a_failing_module_can_be_replaced():
    integrator, _context = _prepared("raise")
    with pytest.raises(openmm.OpenMMException):
        integrator.step(1)
    integrator.setModule(module_bytes(Identity(NUM_ATOMS)), range(NUM_ATOMS))
    integrator.step(1)
    assert integrator.getNumAccepted() == 1


class _NoState(torch.nn.Module):
    @torch.jit.export
    def propagate(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: b"no archive", "cannot load the propagator module: "),
        (lambda: module_bytes(Identity(NUM_ATOMS))[:-500], "cannot load the propagator module: "),
        (lambda: module_bytes(_NoState()), "has no method num_atoms"),
        (lambda: module_bytes(Identity(5)), "moves 5 atoms, but 6 atom indices were given"),
        (lambda: module_bytes(Identity(0)), r"num_atoms\(\) returns 0"),
    ],
)
def test_what_is_no_module_is_refused_and_changes_nothing(make, message):
    integrator = make_integrator()
    before = integrator.getModule()
    with pytest.raises(openmm.OpenMMException, match=message) as caught:
        integrator.setModule(make(), range(NUM_ATOMS))
    assert "\n" not in str(caught.value)
    assert integrator.getModule() == before


def test_text_is_no_module():
    with pytest.raises(TypeError):
        make_integrator().setModule("archive", range(NUM_ATOMS))


def test_a_jump_needs_a_module():
    integrator = AtmosIntegrator(TEMPERATURE, 1.0, STEP_PS)
    integrator.setJumpInterval(5)
    with pytest.raises(openmm.OpenMMException, match=r"call setModule\(\)"):
        _context = make_context(integrator)
    # The integrator is free for another try.
    integrator.setModule(module_bytes(Identity(NUM_ATOMS)), range(NUM_ATOMS))
    integrator.setAcceptanceMode("none")
    _context = make_context(integrator)
    integrator.step(6)
    assert integrator.getNumProposed() == 1


@pytest.mark.parametrize(
    "indices, message",
    [
        ([0, 1, 2, 3, 4, 6], "names particle 6, but the System has 6 particles"),
        ([0, 1, 2, 3, 4, -1], "names particle -1"),
        ([0, 1, 2, 3, 4, 4], "names particle 4 twice"),
    ],
)
def test_particles_must_exist(indices, message):
    integrator = AtmosIntegrator(TEMPERATURE, 1.0, STEP_PS)
    integrator.setModule(module_bytes(Identity(NUM_ATOMS)), indices)
    with pytest.raises(openmm.OpenMMException, match=message):
        _context = make_context(integrator)


def test_massless_particles_are_not_for_the_module():
    system = molecule_system()
    system.setParticleMass(1, 0.0)
    integrator = make_integrator()
    with pytest.raises(openmm.OpenMMException, match="held in place"):
        openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


def test_a_screen_must_fit_the_module():
    integrator = make_integrator()
    screen = molecule_screen(
        bonds=np.array([[0, 6]]), bond_lengths_nm=np.array([0.1]), radii_nm=np.zeros(7)
    )
    with pytest.raises(openmm.OpenMMException, match="names atom 6, but the model's atoms are"):
        integrator.setScreen(screen)


def test_failed_dynamics_is_not_blamed_on_the_jump():
    integrator = make_integrator(interval=INTERVAL)
    context = make_context(integrator)
    positions = phase_point(context)[0]
    positions[0, 0] = np.nan
    integrator.step(INTERVAL)
    context.setPositions(positions)
    with pytest.raises(openmm.OpenMMException, match="the dynamics has failed|NaN"):
        integrator.step(1)
    assert integrator.getNumProposed() == 0
