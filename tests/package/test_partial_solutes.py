"""Parts of molecules as the solute: what moves, what stays, and exact moves of side chains."""

import io
import json
import math

import numpy as np
import openmm
import pytest
import sampling_cases as cases
import torch
from openmm import unit

from atmos_openmm import AtmosIntegrator, AtmosPropagator, HybridDriver
from atmos_openmm.cli import main
from atmos_openmm.core.geometry import bond_lengths
from atmos_openmm.density import TorsionDensity
from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import find_torsions

# What the module of the tests turns about phi: all beyond N, CA on the axis.
BEYOND = "resid 2 or (resid 1 and not name N H)"
STAYS = np.arange(8)  # ACE with N and H
KT = 1.380649e-23 * 6.02214076e23 / 1000 * 300.0


@pytest.fixture(scope="module")
def partial():
    topology, _, positions = cases.dipeptide()
    module = cases.phi_module(spoil=-0.3, noise_nm=0.05)
    return AtmosPropagator(module, topology, solute=BEYOND, positions=positions, lag=50.0, seed=3)


def test_frames_differ_in_what_was_named_alone(partial):
    topology, _, positions = cases.dipeptide()
    assert partial.atomIndices == list(range(22))
    assert partial.movedIndices == list(range(8, 22))
    assert partial.info()["num_moved_atoms"] == 14 and "moved        14 of" in str(partial)
    moved = 0
    bonds = np.array([[a.index, b.index] for a, b in topology.bonds()])
    for _ in range(20):
        frame = partial.propagate(positions)._value
        np.testing.assert_array_equal(frame[STAYS], positions[STAYS])
        lengths = bond_lengths(np.array([positions, frame]), bonds)
        # Those proposals that noise did not spoil keep bonds across the border too.
        if np.abs(lengths[1] - lengths[0]).max() < 1e-5:
            moved += np.abs(frame - positions).max() > 0.01
    assert moved >= 5


def integrator_of(partial, **settings):
    integrator = AtmosIntegrator(300.0, 1.0, cases.STEP_PS)
    integrator.setRandomNumberSeed(7)
    integrator.setModule(partial.moduleBytes(), partial.atomIndices)
    integrator.setScreen(partial.getScreen())
    integrator.setLag(50.0)
    integrator.setJumpSeed(5)
    integrator.setJumpInterval(5)
    integrator.setWindowSamples(4)
    integrator.setProposalRecording(100, True)
    return integrator


def check_proposals(proposals):
    """Accepted and rejected ones there are, and none moves what stays."""
    assert {p.reason for p in proposals} >= {"accepted", "bonds"}
    for proposal in proposals:
        before, raw = proposal.positions_before_nm, proposal.positions_raw_nm
        np.testing.assert_array_equal(raw[STAYS], before[STAYS])
        assert np.abs(raw[8:] - before[8:]).max() > 1e-4


def test_the_compiled_integrator_and_the_driver_move_the_same_parts(partial):
    integrator = integrator_of(partial)
    context = cases.context(integrator)
    points = []
    for _ in range(30):
        integrator.step(5)
        points.append(cases.phase_point(context))
    proposals = integrator.takeProposals()
    check_proposals(proposals)
    plain = cases.context(cases.langevin())
    driver = HybridDriver(
        plain,
        partial.bind(),
        partial.getScreen(),
        lag=50.0,
        jumpInterval=5,
        windowSamples=4,
        seed=5,
    )
    found = []
    for x, v in points:
        driver.step(5)
        oracle_x, oracle_v = cases.phase_point(plain)
        np.testing.assert_allclose(x, oracle_x, atol=1e-6)
        np.testing.assert_allclose(v, oracle_v, atol=1e-3)
        if driver.getLastProposal() is not None and driver.getLastProposal() not in found:
            found.append(driver.getLastProposal())
    check_proposals(found)
    assert [p.reason for p in found] == [p.reason for p in proposals]
    # A copy knows the fragments as well.
    copy = AtmosIntegrator.cast(openmm.XmlSerializer.clone(integrator))
    (fragment,) = copy.getScreen().fragments
    (expected,) = partial.getScreen().fragments
    np.testing.assert_array_equal(fragment.atoms, expected.atoms)
    np.testing.assert_array_equal(fragment.anchors, expected.anchors)


def test_what_stays_may_be_held_in_place(partial):
    _, system, positions = cases.dipeptide()
    held = openmm.XmlSerializer.clone(system)
    while held.getNumConstraints():
        held.removeConstraint(0)
    held.setParticleMass(1, 0.0)
    partial.createIntegrator(300, 1, 0.001, system=held, acceptance="none")
    integrator = integrator_of(partial)
    context = openmm.Context(held, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    integrator.setStepSize(0.0005)
    integrator.step(50)
    np.testing.assert_array_equal(cases.phase_point(context)[0][1], positions[1])
    held.setParticleMass(10, 0.0)
    with pytest.raises(ValueError, match="Particle 10 .*no mass"):
        partial.createIntegrator(300, 1, 0.001, system=held, acceptance="none")


def test_what_cannot_work_is_refused_with_the_reason(partial):
    topology, _, _ = cases.dipeptide()
    with pytest.raises(FeatureError, match="heavy atoms stay in place; it takes 3"):
        AtmosPropagator(cases.phi_module(), topology, solute="not (resid 0 and name CH3)", lag=1.0)
    # Moves of a module have the ratio of the whole frame, not that of a part.
    stateless = cases.script(cases.Identity(22))
    moving = AtmosPropagator(stateless, topology, solute=BEYOND, lag=1.0)
    buffer = io.BytesIO()
    torch.jit.save(stateless, buffer)
    integrator = AtmosIntegrator(300.0, 1.0, 0.002)
    integrator.setModule(buffer.getvalue(), range(22))
    integrator.setScreen(moving.getScreen())
    integrator.setAcceptanceMode("metropolis")
    integrator.setJumpInterval(5)
    with pytest.raises(openmm.OpenMMException, match="only parts of the module's molecule move"):
        cases.context(integrator)
    peptide, positions = build_peptide("ACE-ALA-NME")
    head = AtmosPropagator("peptide-torsions", peptide, solute=BEYOND, positions=positions)
    assert head.torsionDensity(lag=100 * unit.picosecond).names == head.torsions().names
    assert head.torsions().names == ("ALA2 psi",) or "ALA2 phi" in head.torsions().names
    with pytest.raises(ValueError, match="parts of a molecule cannot"):
        head.torsionModule()


@pytest.mark.parametrize("trials", [1, 20])
def test_side_chains_in_a_protein_have_their_exact_populations(trials):
    # U = h (1 + cos(chi1 - 1)) for one residue and nothing else: chi1 has the density
    # exp(-h cos(chi1 - 1) / kT) / (2 pi I0(h/kT)), and all other torsions are uniform. The step is
    # too short for the dynamics to move anything.
    topology, positions = build_peptide("ACE-LEU-GLU-SER-ALA-NME")
    solute = "sidechain and (resid 1 2)"
    torsions = find_torsions(topology, solute=solute, positions=positions)
    assert torsions.names == ("LEU2 chi1", "LEU2 chi2", "GLU3 chi1", "GLU3 chi2", "GLU3 chi3")
    height = 1.5 * KT
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    force = openmm.PeriodicTorsionForce()
    force.addTorsion(*map(int, torsions.atoms[0]), 1, 1.0, height)
    system.addForce(force)
    integrator = AtmosIntegrator(300.0, 1.0, 1e-9)
    integrator.setTorsionMoves(
        torsions,
        TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous),
    )
    integrator.setAcceptanceMode("metropolis")
    integrator.setJumpInterval(1)
    integrator.setMovesPerJump(10 if trials == 1 else 1)
    integrator.setTrialsPerMove(trials)
    integrator.setJumpSeed(11)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    angles = []
    for _ in range(6000):
        integrator.step(1)
        x = context.getState(positions=True).getPositions(asNumpy=True)._value
        angles.append(torsions.measure(x))
    first, *others = np.array(angles).T
    batches = np.cos(first - 1.0).reshape(30, -1).mean(axis=1)
    z = np.linspace(-np.pi, np.pi, 4001)
    weight = np.exp(-height / KT * (1 + np.cos(z)))
    expected = (np.cos(z) * weight).sum() / weight.sum()
    assert abs(batches.mean() - expected) < 4 * batches.std(ddof=1) / math.sqrt(30)
    assert batches.std(ddof=1) / math.sqrt(30) < 0.03
    for other in others:
        for moment in (np.cos(other), np.sin(other), np.cos(2 * other)):
            parts = moment.reshape(30, -1).mean(axis=1)
            assert abs(parts.mean()) < 4 * parts.std(ddof=1) / math.sqrt(30)
    # Nothing else has moved but for the dynamics (a nanometre a picosecond times 6 attoseconds).
    still = np.setdiff1d(np.arange(len(x)), np.concatenate(torsions.groups))
    np.testing.assert_allclose(x[still], np.array(positions)[still], atol=1e-7)


def test_an_exact_run_of_a_selection_turns_its_side_chains(tmp_path):
    code = main(
        [
            "run", "--sequence", "ACE-SER-LEU-NME", "--acceptance", "metropolis",
            "--solute", "sidechain and resname LEU", "--density", "uniform", "--adapt", "0",
            "--forcefield", "amber14-all.xml", "--platform", "Reference", "--walkers", "1",
            "--cycles", "3", "--interval", "5", "--equilibrate", "10", "--no-page",
            "--output", str(tmp_path / "run"),
        ]
    )  # fmt: skip
    assert code == 0
    averages = json.loads((tmp_path / "run" / "averages.json").read_text())
    assert "LEU3" in json.dumps(averages) and "SER2" not in json.dumps(averages)
