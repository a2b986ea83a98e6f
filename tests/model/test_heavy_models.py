"""Heavy-atom models: hydrogens inside the bound module, from propagator to hybrid run.

The heavy move is one of known physics: the torsion jump of the sampling tests, on the heavy atoms
of the dipeptide alone. Turning a bond moves every hydrogen rigidly with its heavy atoms, so the
all-atom module of the same jump says where each must be.
"""

import dataclasses

import numpy as np
import openmm
import pytest
import sampling_cases as cases
import torch
from model_support import declaration, network
from openmm import app, unit

from atmos_openmm import AtmosPropagator
from atmos_openmm.core.geometry import rmsd, superpose
from atmos_openmm.jump.module_call import module_sizes
from atmos_openmm.jump.proposal import REASONS
from atmos_openmm.model.model_file import save_model
from atmos_openmm.sampling.storage import read_run
from atmos_openmm.systems.features import features_from_topology


def heavy_atoms(topology):
    return [a.index for a in topology.atoms() if a.element.atomic_number > 1]


def heavy_phi_module(spoil=-9.0, width=0.3):
    """The phi jump of the dipeptide, of its ten heavy atoms."""
    topology, _, _ = cases.dipeptide()
    whole = cases.phi_module(spoil, width)
    heavy = heavy_atoms(topology)
    flags = whole.moving[heavy].tolist()
    axis = (heavy.index(whole.first), heavy.index(whole.second))
    return cases.script(cases.TorsionJump(axis, flags, spoil, width))


@pytest.fixture(scope="module")
def propagator():
    topology, _, positions = cases.dipeptide()
    return AtmosPropagator(
        heavy_phi_module(), topology, atoms="heavy", positions=positions, lag=10.0, seed=5
    )


def test_all_atoms_are_the_solute(propagator):
    topology, system, _ = cases.dipeptide()
    assert propagator.atomIndices == list(range(22))
    assert propagator.getScreen(system).num_atoms == 22
    sizes = module_sizes(propagator.bind())
    # State and noise are those of the heavy module (six numbers and three an atom).
    assert (sizes.num_atoms, sizes.state_size, sizes.noise_size) == (22, 2, 36)
    assert propagator.info()["num_placed_hydrogens"] == 12
    assert "12 hydrogens placed" in str(propagator)


def test_hydrogens_follow_a_turned_bond_exactly(propagator):
    topology, _, positions = cases.dipeptide()
    whole = AtmosPropagator(
        cases.phi_module(spoil=-9.0), topology, positions=positions, lag=10.0, seed=5
    )
    for attempt in range(4):
        frame = propagator.propagate(positions, attempt=attempt)._value
        expected = whole.propagate(positions, attempt=attempt)._value
        # float32 (6e-8) of coordinates of about 1 nm, through some ten operations.
        np.testing.assert_allclose(frame, expected, atol=3e-6)
        assert rmsd(frame, positions) > 1e-3


def test_the_identity_changes_nothing():
    topology, _, positions = cases.dipeptide()
    identity = cases.script(cases.Fixed(10, "identity"))
    propagator = AtmosPropagator(identity, topology, atoms="heavy", lag=1.0)
    np.testing.assert_allclose(propagator.propagate(positions)._value, positions, atol=1e-6)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_jumps_of_heavy_atoms_are_accepted(propagator, platform):
    topology, system, positions = cases.dipeptide()
    integrator = propagator.createIntegrator(
        300, 1, 0.002, system=system, jumpInterval=10, acceptance="filter", seed=5
    )
    integrator.setRandomNumberSeed(3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform(platform))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300.0, 2)
    integrator.step(1000)
    accepted = integrator.getNumAccepted()
    # 80 jumps are proposed; turning phi by 17 degrees in the dipeptide stays in the window, but
    # for a clash now and then.
    assert integrator.getNumProposed() >= 70 and accepted >= 0.8 * integrator.getNumProposed()
    state = context.getState(positions=True, energy=True)
    x = state.getPositions(asNumpy=True)._value
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        tolerance = 2 * integrator.getConstraintTolerance() * length._value
        assert np.linalg.norm(x[i] - x[j]) == pytest.approx(length._value, abs=tolerance)
    # Hydrogens lag behind nowhere: the energy is that of 22 atoms at 300 K.
    proposal = integrator.getLastProposal()
    assert np.isfinite(proposal.positions_raw_nm).all()
    kinetic = 2 * state.getKineticEnergy()._value
    freedom = 3 * 22 - system.getNumConstraints() - 3
    # Five standard deviations of a kinetic energy: sqrt(2 / freedom) of its mean.
    mean = freedom * 8.314e-3 * 300
    assert abs(kinetic - mean) < 5 * mean * np.sqrt(2 / freedom)


def test_the_integrator_and_propagate_propose_the_same_frame(propagator):
    _, system, _ = cases.dipeptide()
    integrator = propagator.createIntegrator(
        300, 1, 0.002, system=system, jumpInterval=3, acceptance="none", seed=31
    )
    context = cases.context(integrator)
    context.getIntegrator().step(4)
    proposal = integrator.getLastProposal()
    same = AtmosPropagator(
        heavy_phi_module(), cases.dipeptide()[0], atoms="heavy", lag=10.0, seed=31
    )
    frame = same.propagate(proposal.positions_before_nm, attempt=0)._value
    # The same float32 arithmetic in C++ and Python, then two algorithms of superposition.
    np.testing.assert_allclose(proposal.positions_raw_nm, frame, atol=2e-6)


def test_the_hybrid_sampler_runs_heavy_models(propagator, tmp_path):
    with cases.hybrid_sampler(tmp_path / "run", propagator) as sampler:
        sampler.run(cycles=12)
    reasons = read_run(tmp_path / "run").table("proposals")["reason"]
    assert len(reasons) >= 10
    # Small turns of phi: nearly all are accepted, and half is asked for.
    assert np.count_nonzero(reasons == REASONS.index("accepted")) >= len(reasons) // 2


def test_solvent_and_hydrogens_left_out_of_solute():
    topology, _, positions = cases.dipeptide()
    heavy = heavy_atoms(topology)
    propagator = AtmosPropagator(
        heavy_phi_module(), topology, atoms="heavy", solute=heavy, lag=10.0, seed=5
    )
    assert propagator.atomIndices == list(range(22))
    # A Topology of heavy atoms alone has no hydrogens to place.
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.atomic_number == 1])
    bare = AtmosPropagator(heavy_phi_module(), modeller.topology, atoms="heavy", lag=10.0, seed=5)
    assert len(bare.atomIndices) == 10 and bare.info()["num_placed_hydrogens"] == 0
    whole = AtmosPropagator(heavy_phi_module(), topology, atoms="heavy", lag=10.0, seed=5)
    np.testing.assert_allclose(
        bare.propagate(positions[heavy], attempt=1)._value,
        # Superposed on heavy atoms, as where there are no others.
        superpose(whole.propagate(positions, attempt=1)._value[heavy], positions[heavy]),
        atol=2e-6,
    )


def test_some_of_the_hydrogens_are_not_enough():
    """Polar hydrogens alone would stay behind, or take the places of others."""
    topology, _, positions = cases.dipeptide()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.name.startswith("HB")])
    with pytest.raises(ValueError, match="hydrogens"):
        AtmosPropagator(heavy_phi_module(), modeller.topology, atoms="heavy", lag=1.0)


def test_wrong_sizes_are_refused():
    topology, system, _ = cases.dipeptide()
    with pytest.raises(ValueError, match="bound to 22 atoms, but .* has 10 heavy atoms"):
        AtmosPropagator(cases.phi_module(), topology, atoms="heavy", lag=1.0)
    screen = AtmosPropagator(cases.phi_module(), topology, lag=1.0).getScreen(system)
    given = AtmosPropagator(heavy_phi_module(), topology, atoms="heavy", lag=1.0, screen=screen)
    assert given.getScreen() is screen
    short = dataclasses.replace(
        screen,
        bonds=screen.bonds[:0],
        bond_lengths_nm=screen.bond_lengths_nm[:0],
        chiral_centers=screen.chiral_centers[:0],
        chiral_signs=screen.chiral_signs[:0],
        cis_trans=screen.cis_trans[:0],
        rings=(),
        radii_nm=screen.radii_nm[:10],
    )
    with pytest.raises(ValueError, match="22 atoms, but the screen is for 10"):
        AtmosPropagator(heavy_phi_module(), topology, atoms="heavy", lag=1.0, screen=short)


def test_numbers_that_are_not_finite_come_through():
    topology, system, _ = cases.dipeptide()
    broken = AtmosPropagator(
        cases.script(cases.Fixed(10, "nan")), topology, atoms="heavy", lag=1.0, seed=1
    )
    integrator = broken.createIntegrator(
        300, 1, 0.002, system=system, jumpInterval=2, acceptance="none", seed=1
    )
    context = cases.context(integrator)
    context.getIntegrator().step(7)
    assert integrator.getRejections() == {"nonfinite": 3}


def test_a_network_of_heavy_atoms_is_bound_and_judged(tmp_path):
    """A model file with random weights: its frames are no molecules, and are rejected as such."""
    topology, system, positions = cases.dipeptide()
    path = tmp_path / "heavy.atmos"
    declared = declaration(name="heavy", atoms="heavy", elements=[6, 7, 8], max_atoms=10)
    save_model(path, network(), declared)
    propagator = AtmosPropagator(path, topology, positions=positions, seed=3)
    assert propagator.atomIndices == list(range(22))
    frame = propagator.propagate(positions, attempt=0)._value
    features = features_from_topology(topology, positions=positions)
    to_hydrogen = (features.ref_element[features.bonds] == 1).any(axis=1)
    for i, j in features.bonds[to_hydrogen]:
        # Whatever the heavy atoms do, hydrogens keep their bonds (float32 at up to 10 nm).
        before = np.linalg.norm(positions[i] - positions[j])
        assert np.linalg.norm(frame[i] - frame[j]) == pytest.approx(before, abs=1e-5)
    integrator = propagator.createIntegrator(
        300, 1, 0.002, system=system, jumpInterval=5, acceptance="none", seed=3
    )
    context = cases.context(integrator)
    context.getIntegrator().step(11)
    assert integrator.getNumProposed() == 2 and integrator.getNumAccepted() == 0


def test_the_bound_module_is_batched_and_pure(propagator):
    _, _, positions = cases.dipeptide()
    module = propagator.bind()
    rng = np.random.default_rng(4)
    frames = torch.tensor(positions + 0.003 * rng.normal(size=(3, 22, 3)), dtype=torch.float32)
    noise = torch.tensor(rng.normal(size=(3, 36)), dtype=torch.float32)
    state = torch.zeros(3, 2)
    lag, temperature = torch.full((3,), 10.0), torch.full((3,), 300.0)
    before = [t.clone() for t in (frames, state, noise)]
    first = module.propagate(frames, state, noise, lag, temperature)
    again = module.propagate(frames, state, noise, lag, temperature)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    for a, b in zip((frames, state, noise), before, strict=True):
        assert torch.equal(a, b)
    for row in range(3):
        one = slice(row, row + 1)
        single = module.propagate(frames[one], state[one], noise[one], lag[one], temperature[one])
        for a, b in zip(single, first, strict=True):
            torch.testing.assert_close(a, b[one], atol=1e-6, rtol=0)
