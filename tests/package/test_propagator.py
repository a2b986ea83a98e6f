"""AtmosPropagator: models and modules bound to a Topology."""

import dataclasses
import warnings

import numpy as np
import openmm
import pytest
import sampling_cases as cases
import torch
from model_support import declaration, network
from openmm import app, unit

from atmos_openmm import AtmosPropagator, OutOfDomainWarning
from atmos_openmm.core.geometry import rmsd, superpose
from atmos_openmm.jump import domain
from atmos_openmm.jump.module_call import call_module, module_sizes
from atmos_openmm.jump.noise import proposal_noise
from atmos_openmm.model.model_file import load_model, save_model
from atmos_openmm.systems.peptides import build_peptide


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A model file with random weights that declares what a real one does."""
    path = tmp_path_factory.mktemp("model") / "tiny.atmos"
    declared = declaration()
    save_model(path, network(), declared)
    return path


@pytest.fixture(scope="module")
def propagator(model_file):
    topology, _, positions = cases.dipeptide()
    return AtmosPropagator(model_file, topology, positions=positions, seed=3)


def test_it_says_what_it_is(propagator):
    info = propagator.info()
    assert info["num_atoms"] == 22 and info["residues"] == ["ACE", "ALA", "NME"]
    assert info["lag_ps"] == 100.0 and info["lag_range_ps"] == (1.0, 100.0)
    assert info["capabilities"]["licence"] == "MIT"
    text = str(propagator)
    assert "ACE-ALA-NME" in text and "1 to 100 ps" in text and "280 to 400 K" in text
    assert propagator.atomIndices == list(range(22))


def test_path_loaded_model_and_name_are_the_same_model(model_file, propagator, monkeypatch):
    topology, _, positions = cases.dipeptide()
    loaded = AtmosPropagator(load_model(model_file), topology, positions=positions, seed=3)
    assert loaded.fingerprint() == propagator.fingerprint()
    first = propagator.propagate(positions, attempt=4)
    second = loaded.propagate(positions, attempt=4)
    np.testing.assert_array_equal(first._value, second._value)
    with pytest.raises(ValueError, match="no bundled model 'nonesuch'.*\\.atmos"):
        AtmosPropagator("nonesuch", topology)
    with pytest.raises(ValueError, match="does not exist"):
        AtmosPropagator("missing/file.atmos", topology)
    with pytest.raises(TypeError, match="openmm.app.Topology"):
        AtmosPropagator(model_file)
    with pytest.raises(TypeError, match="model is int"):
        AtmosPropagator(3, topology)


def test_propagate_is_the_bound_module_superposed(propagator):
    _, _, positions = cases.dipeptide()
    module = propagator.bind()
    sizes = module_sizes(module)
    centred = positions - positions.mean(axis=0)
    raw, state, _ = call_module(
        module,
        centred[None].astype(np.float32),
        np.zeros((1, sizes.state_size), dtype=np.float32),
        proposal_noise(3, 9, sizes.noise_size)[None],
        50.0,
        310.0,
    )
    shifted = positions + [1.0, -2.0, 0.3]
    frame = propagator.propagate(
        shifted * unit.nanometer, lag=50 * unit.picosecond, temperature=310, attempt=9
    )
    assert frame.unit == unit.nanometer
    # Single-precision rounding of the shifted, re-centred input through a network of random
    # weights, whose frames are 10 nm wide.
    np.testing.assert_allclose(frame._value, superpose(raw[0], shifted), atol=1e-2)
    np.testing.assert_allclose(frame._value.mean(axis=0), shifted.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(propagator.getLastState(), state[0], atol=1e-3)


def test_a_batch_is_as_many_single_frames(propagator):
    _, _, positions = cases.dipeptide()
    rng = np.random.default_rng(1)
    frames = positions + 0.002 * rng.normal(size=(3, 22, 3))
    batch = propagator.propagate(frames, attempt=[5, 6, 11])._value
    states = propagator.getLastState()
    assert batch.shape == (3, 22, 3) and states.shape[0] == 3
    for row, attempt in enumerate([5, 6, 11]):
        single = propagator.propagate(frames[row], attempt=attempt)._value
        # Sums in another order inside the network: single precision (6e-8) of frames of 10 nm
        # (random weights), which twelve denoising steps amplify by a thousand.
        np.testing.assert_allclose(batch[row], single, atol=1e-2)
    assert rmsd(batch[0], batch[1]) > 0.1
    with pytest.raises(ValueError, match="2 attempt numbers were given for 3"):
        propagator.propagate(frames, attempt=[1, 2])


def test_it_counts_its_proposals():
    topology, _, positions = cases.dipeptide()
    first = AtmosPropagator(cases.phi_module(), topology, lag=10.0, seed=8)
    frames = [first.propagate(positions)._value for _ in range(2)]
    pair = first.propagate([positions, positions])._value
    again = AtmosPropagator(cases.phi_module(), topology, lag=10.0, seed=8)
    np.testing.assert_array_equal(again.propagate(positions, attempt=0)._value, frames[0])
    np.testing.assert_array_equal(again.propagate(positions, attempt=1)._value, frames[1])
    assert rmsd(frames[0], frames[1]) > 1e-3
    # One after the other and as a batch: single precision.
    np.testing.assert_allclose(again.propagate(positions, attempt=3)._value, pair[1], atol=1e-6)


def test_state_carries_history():
    topology, _, positions = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(spoil=-9.0), topology, lag=10.0, seed=2)
    assert propagator.getLastState() is None
    propagator.propagate(positions, attempt=0)
    first = propagator.getLastState()
    assert first.shape == (2,) and first[1] == 1
    # The angle of the next turn is shifted by a tenth of the remembered one.
    with_history = propagator.propagate(positions, state=first, attempt=1)
    assert propagator.getLastState()[1] == 2
    without = propagator.propagate(positions, attempt=1)
    assert propagator.getLastState()[1] == 1
    assert rmsd(with_history._value, without._value) > 1e-6
    with pytest.raises(ValueError, match=r"state has the shape \[3\]"):
        propagator.propagate(positions, state=np.zeros(3))


def test_solvent_stays_where_it_is():
    topology, _, positions = cases.dipeptide()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    water = app.Topology()
    residue = water.addResidue("HOH", water.addChain())
    atoms = [
        water.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2")
    ]
    water.addBond(atoms[0], atoms[1])
    water.addBond(atoms[0], atoms[2])
    place = np.array([[2.0, 2, 2], [2.1, 2, 2], [2.0, 2.1, 2]])
    modeller.add(water, place * unit.nanometer)
    everything = np.vstack([positions, place])
    propagator = AtmosPropagator(cases.phi_module(), modeller.topology, lag=10.0, seed=3)
    assert propagator.atomIndices == list(range(22))
    frame = propagator.propagate(everything, attempt=0)._value
    np.testing.assert_array_equal(frame[22:], place)
    assert rmsd(frame[:22], positions) > 1e-3


def test_lags_and_temperatures_out_of_range_are_warned_of(propagator, model_file):
    topology, _, positions = cases.dipeptide()
    with pytest.warns(OutOfDomainWarning, match="a lag of 200 ps .1 to 100 ps.") as caught:
        propagator.propagate(positions, lag=0.2 * unit.nanosecond)
    assert caught[0].filename == __file__ and caught[0].message.kinds == ("lag",)
    with pytest.warns(OutOfDomainWarning, match="a temperature of 500 K .280 to 400 K."):
        propagator.propagate(positions, temperature=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        propagator.propagate(positions, temperature=500)  # has been said
    with pytest.warns(OutOfDomainWarning, match="a temperature of 250 K"):
        propagator.createIntegrator(250, 1, 0.002)
    with pytest.raises(ValueError, match="positive"):
        AtmosPropagator(model_file, topology, lag=float("nan"))
    with pytest.raises(ValueError, match="carries all atoms"):
        AtmosPropagator(model_file, topology, atoms="heavy")


def test_molecules_outside_of_the_training_are_bound_with_a_warning(model_file):
    longer, positions = build_peptide("ACE-ALA-ALA-NME")
    with pytest.warns(OutOfDomainWarning, match=r"4 tokens \(at most 3\); 32 atoms") as caught:
        bound = AtmosPropagator(model_file, longer)
    told = next(each for each in caught if each.category is OutOfDomainWarning)
    assert told.filename == __file__ and told.message.kinds == ("tokens", "atoms")
    assert np.isfinite(bound.propagate(positions)._value).all()
    assert bound.info()["outside_training"] == ["4 tokens (at most 3)", "32 atoms (at most 30)"]
    assert "untrained    4 tokens" in str(bound)
    sulphur, _ = build_peptide("ACE-CYS-NME")
    with pytest.warns(OutOfDomainWarning, match=r"numbers \[16\] .*; residues CYS"):
        AtmosPropagator(model_file, sulphur)
    # What the model knows brings none, protonation states of known residues neither.
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        within = AtmosPropagator(model_file, build_peptide("ACE-ALA-NME")[0])
    assert within.info()["outside_training"] == []


def test_charged_ends_are_told_where_training_had_caps_alone():
    charged, positions = build_peptide("ALA-ALA")
    with pytest.warns(OutOfDomainWarning, match="charged ends of chains"):
        AtmosPropagator("capped-amino-acids", charged, positions=positions)
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        AtmosPropagator("peptide-torsions", charged, positions=positions)
        capped, positions = build_peptide("ACE-ALA-NME")
        AtmosPropagator("capped-amino-acids", capped, positions=positions)


def test_molecules_that_the_network_cannot_take_in_are_refused(model_file, monkeypatch):
    topology, _, _ = cases.dipeptide()
    atoms = list(topology.atoms())
    silane = app.Topology()
    residue = silane.addResidue("SIM", silane.addChain())
    silicon, carbon = (
        silane.addAtom(name, app.Element.getBySymbol(name), residue) for name in ("Si", "C")
    )
    silane.addBond(silicon, carbon, order=1)
    for number in range(6):
        hydrogen = silane.addAtom(f"H{number}", app.element.hydrogen, residue)
        silane.addBond(silicon if number < 3 else carbon, hydrogen, order=1)
    with pytest.raises(ValueError, match=r"no code for elements .* \[14\]"):
        AtmosPropagator(model_file, silane)
    monkeypatch.setattr(domain, "LARGEST_PAIR_TABLE_BYTES", 4 * 41 * 21**2)
    with pytest.raises(ValueError, match=f"pairs of {len(atoms)} atoms .* up to"):
        AtmosPropagator(model_file, topology)


class OldNetwork(torch.nn.Module):
    """A network whose context takes other inputs than those that are made now."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def context(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_a_model_of_another_version_is_named(model_file):
    topology, _, _ = cases.dipeptide()
    loaded = load_model(model_file)
    old = dataclasses.replace(loaded, module=torch.jit.script(OldNetwork()))
    with pytest.raises(ValueError, match="tiny cannot be bound by this version") as error:
        AtmosPropagator(old, topology).bind()
    assert len(str(error.value)) < 500


def test_wrong_positions_are_named(propagator):
    with pytest.raises(ValueError, match=r"shape \[21, 3\]; expected \[22, 3\]"):
        propagator.propagate(np.zeros((21, 3)))
    with pytest.raises(ValueError, match="not finite"):
        propagator.propagate(np.full((22, 3), np.nan))


def test_frames_that_are_not_finite_are_an_error():
    topology, _, positions = cases.dipeptide()
    propagator = AtmosPropagator(cases.script(cases.Fixed(22, "nan")), topology, lag=1.0)
    with pytest.raises(RuntimeError, match=r"not finite for frame\(s\) \[0, 1\]"):
        propagator.propagate([positions] * 2)
    broken = AtmosPropagator(cases.script(cases.Fixed(22, "raise")), topology, lag=1.0)
    with pytest.raises(RuntimeError, match="module failed: .*out of order"):
        broken.propagate(positions)


def test_the_integrator_gets_everything(propagator):
    topology, system, positions = cases.dipeptide()
    integrator = propagator.createIntegrator(
        310 * unit.kelvin,
        2 / unit.picosecond,
        2 * unit.femtosecond,
        system=system,
        jumpInterval=7,
        lag=20.0,
        acceptance="none",
        energyWindow=4.0,
        windowSamples=9,
        relaxation=[5, 10],
        seed=12,
    )
    assert integrator.getTemperature() == 310 * unit.kelvin
    assert integrator.getStepSize() == 0.002 * unit.picosecond
    assert integrator.getJumpInterval() == 7 and integrator.getLag() == 20 * unit.picosecond
    assert integrator.getAcceptanceMode() == "none" and integrator.getEnergyWindow() == 4.0
    assert integrator.getWindowSamples() == 9
    assert list(integrator.getRelaxationStages()) == [5, 10]
    assert integrator.getJumpSeed() == 12
    assert integrator.getModule() == propagator.moduleBytes()
    np.testing.assert_array_equal(
        integrator.getScreen().bond_lengths_nm, propagator.getScreen(system).bond_lengths_nm
    )
    simulation = app.Simulation(
        topology, system, integrator, openmm.Platform.getPlatform("Reference")
    )
    simulation.context.setPositions(positions)
    simulation.step(8)
    # Random weights make no molecules: the proposal is judged, and the run goes on.
    assert integrator.getNumProposed() == 1 and integrator.getRejections()


def test_the_integrator_and_propagate_propose_the_same_frame():
    topology, system, positions = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(spoil=-9.0), topology, lag=10.0, seed=31)
    integrator = propagator.createIntegrator(
        300, 1, 0.002, system=system, jumpInterval=3, acceptance="none", seed=31
    )
    context = cases.context(integrator)
    context.getIntegrator().step(4)
    proposal = integrator.getLastProposal()
    frame = propagator.propagate(proposal.positions_before_nm, attempt=0)._value
    # The same float32 arithmetic in C++ and Python, then two algorithms of superposition.
    np.testing.assert_allclose(proposal.positions_raw_nm, frame, atol=1e-6)


def test_the_filter_waits_for_as_many_energies_as_it_is_told():
    topology, system, _ = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(), topology, lag=10.0, seed=3)
    proposed = {}
    for samples in (None, 2):
        changes = {} if samples is None else {"windowSamples": samples}
        integrator = propagator.createIntegrator(
            300, 1, 0.002, system=system, jumpInterval=1, **changes
        )
        context = cases.context(integrator)
        context.getIntegrator().step(11)
        proposed[samples] = integrator.getNumProposed()
    # Ten jumps were due; with the default of 20 energies none is made yet.
    assert proposed == {None: 0, 2: 9}


def test_a_screen_is_made_once_and_notices_another_system(monkeypatch):
    from atmos_openmm.systems import screen_building

    rings, calls = screen_building._small_rings, []
    monkeypatch.setattr(
        screen_building, "_small_rings", lambda features: calls.append(1) or rings(features)
    )
    topology, system, _ = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(), topology, lag=10.0)
    spec = propagator.getScreen(system)
    copy = openmm.XmlSerializer.clone(system)
    assert propagator.getScreen(system) is spec and propagator.getScreen(copy) is spec
    # The same object with a changed constraint, then with a changed bond.
    first, second, length = copy.getConstraintParameters(0)
    copy.setConstraintParameters(0, first, second, length + 0.01 * unit.nanometer)
    longer = propagator.getScreen(copy)
    assert np.abs(longer.bond_lengths_nm - spec.bond_lengths_nm).max() == pytest.approx(0.01)
    (force,) = (f for f in copy.getForces() if isinstance(f, openmm.HarmonicBondForce))
    i, j, length, stiffness = force.getBondParameters(0)
    force.setBondParameters(0, i, j, length + 0.02 * unit.nanometer, stiffness)
    longest = propagator.getScreen(copy)
    assert np.abs(longest.bond_lengths_nm - longer.bond_lengths_nm).max() == pytest.approx(0.02)
    again = propagator.getScreen(system)
    np.testing.assert_array_equal(again.bond_lengths_nm, spec.bond_lengths_nm)
    typical = propagator.getScreen()
    assert np.abs(typical.bond_lengths_nm - spec.bond_lengths_nm).max() > 1e-4
    assert typical.rings == spec.rings and len(calls) == 1
    # What is shared cannot be changed by whoever was given it.
    with pytest.raises(ValueError, match="read-only"):
        typical.bond_lengths_nm[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        typical.radii_nm[0] = 1.0
    with pytest.raises(ValueError, match="System of this Topology"):
        propagator.getScreen(openmm.System())


def test_the_module_is_written_and_read_once(monkeypatch):
    topology, system, _ = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(), topology, lag=10.0)
    counts = {"save": 0, "load": 0}
    for name in counts:
        original = getattr(torch.jit, name)

        def counted(*arguments, original=original, name=name, **keywords):
            counts[name] += 1
            return original(*arguments, **keywords)

        monkeypatch.setattr(torch.jit, name, counted)
    for _ in range(3):
        propagator.createIntegrator(300, 1, 0.002, system=system)
        propagator.fingerprint()
        propagator.moduleOnDevice()
    assert counts == {"save": 1, "load": 1}


def test_systems_that_do_not_belong_are_refused(propagator):
    _, system, _ = cases.dipeptide()
    short = openmm.System()
    short.addParticle(1.0)
    with pytest.raises(ValueError, match="has 1 particles, but the Topology has 22"):
        propagator.createIntegrator(300, 1, 0.002, system=short)
    frozen = openmm.XmlSerializer.clone(system)
    while frozen.getNumConstraints():
        frozen.removeConstraint(0)
    frozen.setParticleMass(4, 0.0)
    with pytest.raises(ValueError, match="Particle 4 .*no mass"):
        propagator.createIntegrator(300, 1, 0.002, system=frozen)


def test_your_own_module_is_checked():
    topology, _, _ = cases.dipeptide()
    with pytest.raises(ValueError, match="bound to 7 atoms.*has 22"):
        AtmosPropagator(cases.script(cases.Fixed(7, "identity")), topology, lag=1.0)
    with pytest.raises(ValueError, match="No lag was given"):
        AtmosPropagator(cases.phi_module(), topology).propagate(np.zeros((22, 3)))

    class Lacking(torch.nn.Module):
        @torch.jit.export
        def propagate(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def num_atoms(self) -> int:
            return 22

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(TypeError, match="no method state_size, noise_size"):
        AtmosPropagator(torch.jit.script(Lacking()), topology, lag=1.0)


def test_fingerprints_tell_modules_apart():
    topology, _, _ = cases.dipeptide()

    def fingerprint(module):
        return AtmosPropagator(module, topology, lag=1.0).fingerprint()

    same = fingerprint(cases.phi_module())
    assert fingerprint(cases.phi_module()) == same
    assert fingerprint(cases.phi_module(width=0.31)) != same
    assert fingerprint(cases.script(cases.Fixed(22, "nan"))) != fingerprint(
        cases.script(cases.Fixed(22, "far"))
    )
