"""Energies by force: against ParmEd, against published energies, and the check on the sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.validation import EnergyDecomposer, EnergySumError, decomposeEnergy

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def alanine():
    """Alanine dipeptide in implicit solvent, away from its minimum."""
    topology, positions = build_peptide("A", caps=True, seed=1)
    field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    system = field.createSystem(topology, nonbondedMethod=app.NoCutoff)
    positions = positions + np.random.default_rng(1).normal(scale=0.005, size=positions.shape)
    return topology, system, positions


def test_parts_agree_with_parmed(alanine):
    """ParmEd splits a System by groups of its own; the two are independent but for OpenMM."""
    parmed = pytest.importorskip("parmed")
    topology, system, positions = alanine
    structure = parmed.openmm.load_topology(topology, xyz=positions * 10)
    theirs = parmed.openmm.energy_decomposition_system(
        structure, system, platform="Reference", nrg=unit.kilojoule_per_mole
    )
    ours = decomposeEnergy(system, positions).energies_kj_per_mol
    assert [name for name, _ in theirs] == [type(force).__name__ for force in system.getForces()]
    with_energy = [(name, value) for name, value in theirs if name in ours]
    assert len(with_energy) == len(ours) == 5
    for name, value in with_energy:
        # Both are double precision; ParmEd hands positions over in angstrom (a rounding of 1e-16
        # of 1 nm under forces of 1e5 kJ/mol/nm).
        assert ours[name] == pytest.approx(value, abs=1e-8)


def test_published_energies_of_a_tetrapeptide():
    """NNQQ: 200 frames with energies computed by others (given to single precision)."""
    folder = SHARED / "peptides" / "2olx_nnqq"
    if not folder.exists():
        pytest.skip("needs the data of NNQQ")
    pdb = app.PDBFile(str(folder / "implicit-2olx-traj-state0.pdb"))
    field = app.ForceField("amber99sbildn.xml", "amber99_obc.xml")
    system = field.createSystem(
        pdb.topology,
        nonbondedMethod=app.CutoffNonPeriodic,
        nonbondedCutoff=2.0 * unit.nanometer,
        constraints=None,
    )
    data = np.load(folder / "implicit-2olx-traj-arrays.npz")
    decomposer = EnergyDecomposer(system)
    for frame in range(0, 200, 40):
        split = decomposer.decompose(data["positions"][frame])
        assert split.total_kj_per_mol == pytest.approx(data["energies"][frame, 0], abs=1e-3)
        assert sum(split.energies_kj_per_mol.values()) == pytest.approx(
            split.total_kj_per_mol, abs=split.tolerance_kj_per_mol
        )


def test_parts_of_many_forces_are_analytic():
    """Seventy springs, more than twice the force groups of a Context, each with its own energy."""
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    constants = 10.0 * np.arange(1, 71)
    for constant in constants:
        spring = openmm.HarmonicBondForce()
        spring.addBond(0, 1, 0.1, constant)
        system.addForce(spring)
    split = decomposeEnergy(system, [[0, 0, 0], [0.3, 0, 0]])
    assert len(split.energies_kj_per_mol) == 70
    assert list(split.energies_kj_per_mol) == [f"HarmonicBondForce#{i}" for i in range(70)]
    energies = np.array(list(split.energies_kj_per_mol.values()))
    np.testing.assert_allclose(energies, 0.5 * constants * 0.2**2, rtol=1e-12)


def test_forces_that_share_a_parameter_stay_together():
    """A force may read a global parameter that another force declares."""
    system = openmm.System()
    system.addParticle(1.0)
    for index in range(40):
        external = openmm.CustomExternalForce("scale*x^2")
        external.addGlobalParameter("scale", 3.0)
        external.addParticle(0, [])
        external.setName(f"trap {index}")
        system.addForce(external)
    split = decomposeEnergy(system, [[2.0, 0, 0]])
    assert split.energies_kj_per_mol == {f"trap {i}": pytest.approx(12.0) for i in range(40)}


def test_system_is_left_alone_and_groups_do_not_matter(alanine):
    _, system, positions = alanine
    before = openmm.XmlSerializer.serialize(system)
    plain = decomposeEnergy(system, positions)
    assert openmm.XmlSerializer.serialize(system) == before
    grouped = openmm.XmlSerializer.deserialize(before)
    for force in grouped.getForces():
        force.setForceGroup(7)
    assert decomposeEnergy(grouped, positions).energies_kj_per_mol == plain.energies_kj_per_mol


def test_reciprocal_space_counts_with_its_force():
    """A NonbondedForce whose reciprocal space has a group of its own is still one force."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors([2, 0, 0], [0, 2, 0], [0, 0, 2])
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.PME)
    force.setCutoffDistance(0.9)
    force.setReciprocalSpaceForceGroup(5)
    for charge in (1.0, -1.0):
        system.addParticle(20.0)
        force.addParticle(charge, 0.3, 0.5)
    system.addForce(force)
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    system.addForce(openmm.CMMotionRemover())
    split = decomposeEnergy(system, [[0, 0, 0], [0.4, 0.1, 0]])
    assert list(split.energies_kj_per_mol) == ["NonbondedForce"]
    total = split.energies_kj_per_mol["NonbondedForce"]
    assert total == pytest.approx(split.total_kj_per_mol, abs=split.tolerance_kj_per_mol)


def test_a_sum_that_does_not_hold_is_an_error():
    """A parameter changed for the whole System only, by one part in a million, is noticed."""
    system = openmm.System()
    system.addParticle(1.0)
    force = openmm.CustomExternalForce("scale*x^2")
    force.addGlobalParameter("scale", 3.0)
    force.addParticle(0, [])
    system.addForce(force)
    decomposer = EnergyDecomposer(system)
    decomposer.decompose([[2.0, 0, 0]])
    decomposer.context.setParameter("scale", 3.000003)
    with pytest.raises(EnergySumError, match="differ by 1.2e-05"):
        decomposer.decompose([[2.0, 0, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_frames_without_an_energy_are_refused(alanine, bad):
    _, system, positions = alanine
    broken = positions.copy()
    broken[3, 1] = bad
    with pytest.raises(ValueError, match="particle 3"):
        decomposeEnergy(system, broken)
    with pytest.raises(ValueError, match=r"22 particles"):
        decomposeEnergy(system, positions[:5])


def test_the_example_in_the_documentation_holds():
    import doctest

    from atmos_openmm.validation import energies

    result = doctest.testmod(energies)
    assert result.attempted > 5 and result.failed == 0


def test_quantities_go_in_and_come_out(alanine):
    _, system, positions = alanine
    split = decomposeEnergy(system, (positions * 10).tolist() * unit.angstrom)
    bare = decomposeEnergy(system, positions)
    assert split.getTotal().unit == unit.kilojoule_per_mole
    assert split.getTotal()._value == pytest.approx(bare.total_kj_per_mol, rel=1e-9)
    with pytest.raises(KeyError, match="HarmonicBondForce"):
        bare.getEnergy("NoSuchForce")
