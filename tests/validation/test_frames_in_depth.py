"""Flat groups, rings, ligands' stereochemistry, rounded coordinates, workers, second potentials."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import in_depth_cases
import numpy as np
import openmm
import pytest
import validation_cases as cases
from openmm import app

from atmos_openmm.systems.inputs import Molecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.validation import EnergyValidator, SecondPotential, WorkerError
from atmos_openmm.validation.flatness import pucker_amplitudes
from atmos_openmm.validation.rounding import coordinate_spacing

mdtraj = pytest.importorskip("mdtraj")

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def peptide_validator(sequence, **options):
    topology, positions = build_peptide(sequence, seed=1)
    system = app.ForceField("amber14-all.xml").createSystem(topology, constraints=app.HBonds)
    return EnergyValidator(topology, system, **{"relaxationIterations": 0, **options}), positions


def number(topology, residue, name):
    return cases.atom(topology, residue, name)


# -- flat groups and rings


def test_a_bent_carbonyl_and_a_buckled_ring_are_told_by_name():
    validator, positions = peptide_validator("ACE-PHE-NME")
    topology = validator.topology
    assert not validator.validate(positions).geometry.bent_groups
    carbon = number(topology, "PHE", "C")
    around = [number(topology, "PHE", "CA"), number(topology, "PHE", "O"),
              number(topology, "NME", "N")]  # fmt: skip
    normal = np.cross(*(positions[around[:2]] - positions[around[2]]))
    normal /= np.linalg.norm(normal)
    bent = positions.copy()
    bent[carbon] += 0.06 * normal
    found = validator.validate(bent).geometry
    assert "A/PHE2/C" in found.bent_groups
    assert any(defect.reason == "planarity" for defect in found.defects)
    buckled = positions.copy()
    ring = [number(topology, "PHE", n) for n in ("CG", "CD1", "CE1", "CZ", "CE2", "CD2")]
    normal = np.cross(*(positions[ring[:2]] - positions[ring[3]]))
    buckled[ring[0]] += 0.05 * normal / np.linalg.norm(normal)
    detail = next(
        d.detail for d in validator.validate(buckled).geometry.defects if d.reason == "planarity"
    )
    assert "CG" in detail and "expected" in detail


def test_a_ring_is_puckered_only_so_far():
    validator, positions = peptide_validator("ACE-PRO-NME")
    topology = validator.topology
    assert not validator.validate(positions).geometry.puckered_rings
    far = positions.copy()
    gamma = number(topology, "PRO", "CG")
    plane = [number(topology, "PRO", name) for name in ("CB", "CD", "CA")]
    normal = np.cross(*(positions[plane[:2]] - positions[plane[2]]))
    normal /= np.linalg.norm(normal)
    height = float((positions[gamma] - positions[plane].mean(axis=0)) @ normal)
    moved = [gamma, *(number(topology, "PRO", name) for name in ("HG2", "HG3"))]
    far[moved] += np.sign(height) * 0.07 * normal
    found = validator.validate(far).geometry
    assert found.puckered_rings and "PRO2" in found.puckered_rings[0]
    # A structure that is known to be right may have it so.
    native, _ = peptide_validator("ACE-PRO-NME", nativePositions=far)
    assert not native.validate(far).geometry.puckered_rings


def test_amplitudes_are_those_of_cremer_and_pople():
    """An ideal chair of sides 0.153 nm and tetrahedral angles: z = +-b/6."""
    side = 0.153
    height, radius = side / 6, side * np.sqrt(8 / 9)
    turn = np.pi / 3 * np.arange(6)
    chair = np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), height * (-1.0) ** np.arange(6)], axis=1
    )
    assert np.linalg.norm(chair[0] - chair[1]) == pytest.approx(side)
    assert pucker_amplitudes(chair) == pytest.approx(np.sqrt(6) * height)
    assert pucker_amplitudes(chair * [1, 1, 0]) == pytest.approx(0)


def md_frames():
    if not (SHARED / "md").exists():
        pytest.skip("needs the dynamics of capped amino acids")
    return SHARED / "md"


@pytest.mark.parametrize("name", ["hie", "phe", "trp", "tyr", "pro", "arg", "glu"])
def test_frames_of_real_dynamics_are_flat_and_puckered_as_they_should_be(name):
    folder = md_frames()
    structure = folder / f"ace_{name}_nme.pdb"
    if not structure.exists():
        pytest.skip(f"there is no {structure.name}")
    topology = app.PDBFile(str(structure)).topology
    system = app.ForceField("amber14-all.xml").createSystem(topology, constraints=app.HBonds)
    geometry = EnergyValidator(topology, system, relaxationIterations=0)._judge.geometry
    for path in sorted(folder.glob(f"ace_{name}_nme_?.npz")):
        for frame in np.load(path)["positions_nm"][::5].astype(float):
            found = geometry.measure(frame)
            assert not found.bent_groups and not found.puckered_rings


# -- ligands


@pytest.fixture(scope="module")
def ligand():
    """A molecule with a stereocentre and a double bond, and springs between its atoms."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(r"C[C@H](F)/C=C/C1CCCCC1"))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    return as_molecule(mol), mol


def as_molecule(mol):
    """A ligand in its own coordinates, as residue LIG of chain L."""
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    atoms = [
        topology.addAtom(f"{a.GetSymbol()}{a.GetIdx()}", app.Element.getByAtomicNumber(
            a.GetAtomicNum()), residue)
        for a in mol.GetAtoms()
    ]  # fmt: skip
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    positions = np.array(mol.GetConformer().GetPositions()) / 10
    return Molecule(topology, positions, {"LIG": mol}, "ligand")


def test_a_ligand_is_judged_by_its_molecule(ligand):
    molecule, mol = ligand
    system = in_depth_cases.springs(molecule.topology, molecule.positions_nm)
    validator = EnergyValidator(
        molecule.topology, system, ligands=molecule.molecules, relaxationIterations=0
    )
    assert validator.validate(molecule.positions_nm).reason == "accepted"
    mirrored = validator.validate(molecule.positions_nm * [1, 1, -1])
    assert (mirrored.verdict, mirrored.reason) == ("invalid", "chirality")
    assert "L/LIG1/C1" in mirrored.detail
    # Half a turn about the double bond between C3 and C4.
    turned = cases.turned(molecule.topology, molecule.positions_nm, 3, 4, np.pi)
    found = validator.validate(turned)
    assert (found.verdict, found.reason) == ("invalid", "cis_trans")
    assert "cis" in found.detail and "C3-C4" in found.detail


@pytest.mark.parametrize("target", ["tyk2", "mcl1"])
def test_real_ligands_pass_as_they_are_and_fail_as_mirror_images(target):
    path = SHARED / "complexes" / "plb" / target / "02_ligands" / "ligands.sdf"
    if not path.exists():
        pytest.skip(f"needs the ligands of {target}")
    from rdkit import Chem

    chiral = 0
    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
        molecule = as_molecule(mol)
        system = in_depth_cases.springs(molecule.topology, molecule.positions_nm)
        validator = EnergyValidator(
            molecule.topology, system, ligands=molecule.molecules, relaxationIterations=0
        )
        found = validator.validate(molecule.positions_nm)
        assert found.reason == "accepted", f"{mol.GetProp('_Name')}: {found.detail}"
        if Chem.FindMolChiralCenters(mol, useLegacyImplementation=False):
            chiral += 1
            assert validator.validate(molecule.positions_nm * [1, 1, -1]).reason == "chirality"
    assert chiral == {"tyk2": 3, "mcl1": 0}[target]


def test_a_native_of_the_other_hand_than_the_molecule_is_refused(ligand):
    molecule, _ = ligand
    system = in_depth_cases.springs(molecule.topology, molecule.positions_nm)
    wrong = molecule.positions_nm * [1, 1, -1]
    with pytest.raises(ValueError, match="broken itself.*L/LIG1/C1 has the wrong hand"):
        EnergyValidator(
            molecule.topology,
            system,
            ligands=molecule.molecules,
            nativePositions=wrong,
            relaxationIterations=0,
        )


def test_a_hand_that_the_molecule_leaves_open_is_the_natives(ligand):
    from rdkit import Chem

    molecule, mol = ligand
    system = in_depth_cases.springs(molecule.topology, molecule.positions_nm)
    open_one = Chem.Mol(mol)
    open_one.RemoveAllConformers()
    open_one.GetAtomWithIdx(1).SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    options = {"ligands": {"LIG": open_one}, "relaxationIterations": 0}
    mirrored = molecule.positions_nm * [1, 1, -1]
    validator = EnergyValidator(molecule.topology, system, nativePositions=mirrored, **options)
    assert validator.validate(mirrored).reason == "accepted"
    assert validator.validate(molecule.positions_nm).reason == "chirality"
    with pytest.raises(ValueError, match="unknown hand: C1"):
        EnergyValidator(molecule.topology, system, **options)


def test_a_flat_cyclohexane_is_no_chair(ligand):
    molecule, mol = ligand
    system = in_depth_cases.springs(molecule.topology, molecule.positions_nm)
    validator = EnergyValidator(
        molecule.topology, system, ligands=molecule.molecules, relaxationIterations=0
    )
    (ring,) = mol.GetRingInfo().AtomRings()
    points = molecule.positions_nm[list(ring)]
    normal = np.linalg.svd(points - points.mean(axis=0))[2][2]
    flat = molecule.positions_nm.copy()
    flat[list(ring)] -= np.outer((points - points.mean(axis=0)) @ normal, normal)
    assert validator.validate(flat).geometry.puckered_rings


# -- rounded coordinates


def save(path, positions, topology):
    mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology)).save(str(path))
    return path


def test_spacings_are_told_from_the_numbers():
    positions = cases.dynamics()[3]
    assert coordinate_spacing(positions) == 0
    assert coordinate_spacing(positions.astype(np.float32).astype(float)) == 0
    for digits in (2, 3, 4):
        rounded = np.round(positions, digits).astype(np.float32).astype(float)
        assert coordinate_spacing(rounded) == pytest.approx(10.0**-digits)
        in_angstrom = (10 * rounded).astype(np.float32).astype(float) / 10
        assert coordinate_spacing(in_angstrom) == pytest.approx(10.0**-digits)
    rounded[0] = np.nan
    assert coordinate_spacing(rounded) == pytest.approx(1e-4)
    assert coordinate_spacing(positions[:2]) == 0  # too few numbers


def test_the_same_frames_rounded_get_the_same_verdicts(tmp_path):
    """As DCD and as XTC, with good frames, strained ones and hot ones."""
    topology, system, _ = cases.peptide("F")
    frames = cases.dynamics("F", 60).copy()
    frames[3] = cases.stretched(topology, frames[3], number(topology, "PHE", "CA"),
                                number(topology, "PHE", "CB"), 0.045)  # fmt: skip
    rng = np.random.default_rng(5)
    frames[7:10] += rng.normal(scale=0.03, size=frames[7:10].shape)
    reference = cases.dynamics("F", 200)[60:]
    validator = EnergyValidator(
        topology, system, reference=reference, relaxationIterations=0, energyWindow=4
    )
    exact = validator.validateTrajectory(save(tmp_path / "a.dcd", frames, topology))
    rounded = validator.validateTrajectory(save(tmp_path / "a.xtc", frames, topology))
    assert [v.verdict for v in exact] == [v.verdict for v in rounded]
    assert [v.reason for v in exact] == [v.reason for v in rounded]
    assert exact.verdicts["invalid"] == 4
    assert exact.summary()["remarks"] == []
    assert "all frames have coordinates rounded to 0.001 nm" in rounded.summary()["remarks"][0]
    good = np.array([v.verdict == "valid" for v in exact])
    shift = np.array([v.energies.constrained_kj_per_mol for v in rounded])[good]
    shift -= exact.constrained_energies_kj_per_mol[good]
    told = np.array([v.energies.rounding_kj_per_mol for v in rounded])[good]
    assert shift.mean() == pytest.approx(told.mean(), rel=0.35)
    assert told.min() > 0


@pytest.mark.parametrize("name", ["phe", "pro", "lys"])
def test_real_dynamics_rounded_gets_the_same_verdicts(name, tmp_path):
    """Frames of amber14 with GBn2 at 300 K from one start, against those from the others."""
    folder = md_frames()
    topology = app.PDBFile(str(folder / f"ace_{name}_nme.pdb")).topology
    field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    system = field.createSystem(topology, constraints=app.HBonds)
    starts = [
        np.load(path)["positions_nm"][::10].astype(float)
        for path in sorted(folder.glob(f"ace_{name}_nme_?.npz"))
    ]
    validator = EnergyValidator(
        topology, system, reference=np.concatenate(starts[1:]), relaxationIterations=0
    )
    frames = starts[0]
    exact = validator.validateTrajectory(save(tmp_path / "a.dcd", frames, topology))
    rounded = validator.validateTrajectory(save(tmp_path / "a.xtc", frames, topology))
    assert exact.verdicts["valid"] == rounded.verdicts["valid"] == len(frames)
    shift = np.mean(rounded.constrained_energies_kj_per_mol - exact.constrained_energies_kj_per_mol)
    told = np.mean([v.energies.rounding_kj_per_mol for v in rounded])
    assert abs(shift) < told  # most of it is told


def test_coarse_rounding_is_no_strain():
    """Rounded to 0.01 nm, bonds are off by ten widths; the frames are what they were."""
    topology, positions = build_peptide("ACE-ALA-NME", seed=1)
    system = app.ForceField("amber14-all.xml").createSystem(topology)
    minimum = cases.dynamics()[::40]
    reference = np.random.default_rng(1).normal(0, 30, size=100)
    validator = EnergyValidator(topology, system, reference=reference, relaxationIterations=0)
    for frame in minimum:
        rounded = validator.validate(np.round(frame, 2))
        assert rounded.reason != "strain"
        plain = validator.validate(np.round(frame, 2) + np.full((22, 3), 0.00123) * np.pi)
        assert abs(plain.geometry.worst_bond_sigma) > abs(rounded.geometry.worst_bond_sigma)


# -- relaxation where it is needed


def test_relaxing_where_needed_gives_the_same_verdicts():
    topology, system, _ = cases.peptide("A")
    frames = cases.dynamics()[1:13:2].copy()
    frames[2] *= -1
    bond = number(topology, "ALA", "CA"), number(topology, "ALA", "C")
    frames[4] = cases.stretched(topology, frames[4], *bond, 0.045)
    options = {"reference": cases.dynamics()[::2], "relaxationIterations": 60}
    every = EnergyValidator(topology, system, **options).validateTrajectory(frames)
    needed = EnergyValidator(topology, system, relax="needed", **options).validateTrajectory(frames)
    assert [(v.verdict, v.reason) for v in every] == [(v.verdict, v.reason) for v in needed]
    relaxed = np.isfinite(needed.relaxed_energies_kj_per_mol)
    assert relaxed.sum() == 1 and relaxed[4]
    with pytest.raises(ValueError, match="needs a reference"):
        EnergyValidator(topology, system, relax="needed")


# -- workers


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    topology, _, _ = cases.peptide("A")
    frames = cases.dynamics()[1:25:2].copy()
    frames[5] *= -1
    return save(tmp_path_factory.mktemp("workers") / "samples.dcd", frames, topology)


def test_two_workers_give_what_one_gives(samples, tmp_path):
    topology, system, _ = cases.peptide("A")
    tables = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.csv"
        with EnergyValidator(
            topology, system, reference=cases.dynamics()[::2], workers=workers,
            relaxationIterations=20,
        ) as validator:  # fmt: skip
            report = validator.validateTrajectory(samples, csv=path)
        tables.append((path.read_bytes(), report.summary()))
    assert tables[0] == tables[1]
    assert tables[0][1]["verdicts"]["invalid"] == 1


def test_a_killed_worker_is_an_error(samples):
    topology, system, _ = cases.peptide("A")
    validator = EnergyValidator(topology, system, workers=2, relaxationIterations=0)
    frames = validator.iterateTrajectory(samples)
    next(frames)
    for process in list(validator._runner._pool._pool._processes.values()):
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="killed"):
        list(frames)
    validator.close()
    assert len(list(validator.iterateTrajectory(samples))) == 12  # new ones are started
    validator.close()


# -- several trajectories, second potentials, summaries


def test_several_trajectories_are_summed_up(samples):
    topology, system, _ = cases.peptide("A")
    validator = EnergyValidator(
        topology, system, reference=cases.dynamics()[::2], relaxationIterations=0
    )
    reports, every = validator.validateTrajectories([samples, samples], keepFrames=False)
    one, summary = reports[0].summary(), every.summary()
    assert every.num_frames == 24 and summary["verdicts"]["invalid"] == 2
    assert [file["num_frames"] for file in summary["files"]] == [12, 12]
    for name, spread in summary["forces"].items():
        assert spread["mean"] == pytest.approx(one["forces"][name]["mean"])
        assert spread["reference_mean"] == one["forces"][name]["reference_mean"]
    assert summary["worst_frames"][0]["reason"] == "chirality"
    assert "2 trajectories: 24 frames" in every.table()
    assert len(summary["residues"]) == 3
    alanine = summary["residues"][1]
    assert alanine["residue"] == "A/ALA2" and abs(alanine["excess_sds"]) < 1


def test_a_second_system_is_compared(samples):
    topology, system, _ = cases.peptide("A")
    other = app.ForceField("amber99sbildn.xml").createSystem(topology)
    validator = EnergyValidator(
        topology,
        system,
        reference=cases.dynamics()[::2],
        relaxationIterations=0,
        second=SecondPotential("amber99sbildn", other),
    )
    report = validator.validateTrajectory(samples)
    second = report.summary()["second"]
    assert second["name"] == "amber99sbildn" and 0.5 < second["correlation"] <= 1
    assert second["mean"] == pytest.approx(
        np.mean([v.energies.second_kj_per_mol for v in report]), rel=1e-9
    )
    assert "Energy in amber99sbildn" in report.table()
    assert "second_energy_kj_per_mol" in report.frames[0].row()
    with pytest.raises(ValueError, match="of 3 particles"):
        EnergyValidator(topology, system, second=three_particles())


def three_particles():
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    return system


def test_a_learned_potential_that_is_not_there_is_named(monkeypatch):
    topology, system, _ = cases.peptide("A")
    monkeypatch.setitem(__import__("sys").modules, "openmmml", None)
    with pytest.raises(ImportError, match="'ani2x' needs openmm-ml.*install"):
        EnergyValidator(topology, system, second="ani2x")
    with pytest.raises(TypeError, match="second potential"):
        EnergyValidator(topology, system, second=3)


def test_only_invalid_frames_are_said(samples):
    topology, system, _ = cases.peptide("A")
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    report = validator.validateTrajectory(-cases.dynamics()[:4])
    assert "no frame is valid; the most frequent reason is chirality (4 of 4)" in report.table()
    with pytest.raises(ValueError, match="has no frames 50::1; it holds 12"):
        validator.validateTrajectory(samples, start=50)


@pytest.mark.parametrize("name", ["nothing.xtc", "nothing.dcd", "header.dcd"])
def test_a_trajectory_without_frames_is_said_before_any_work(samples, tmp_path, name):
    topology, system, _ = cases.peptide("A")
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    path, tables = tmp_path / name, [tmp_path / "a.csv", tmp_path / "b.csv"]
    with path.open("wb") as file:
        if name.startswith("header"):
            app.DCDFile(file, topology, 0.002)
    with pytest.raises(ValueError, match=f"{name}.*(empty|no frames)"):
        validator.validateTrajectories([samples, path], csv=tables)
    assert not any(table.exists() for table in tables)


def test_a_box_that_is_not_there_or_not_the_systems_is_said():
    topology, positions, box = in_depth_cases.peptide_in_water()
    system = app.ForceField("amber14-all.xml", "amber14/tip3p.xml").createSystem(
        topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=0.9
    )
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    assert any("no box of their own" in note for note in validator.validate(positions).notes)
    assert validator.validate(positions, periodicBoxVectors=1.02 * box).notes == ()
    long = box * np.array([[1.0], [1.0], [1.5]])
    notes = validator.validate(positions, periodicBoxVectors=long).notes
    assert any("another shape" in note for note in notes)


def test_made_from_a_simulation_and_from_files(tmp_path):
    topology, system, minimum = cases.peptide("A")
    integrator = openmm.LangevinMiddleIntegrator(310, 1, 0.002)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    with pytest.raises(ValueError, match="no positions"):
        EnergyValidator.fromSimulation(simulation)
    simulation.context.setPositions(minimum)
    validator = EnergyValidator.fromSimulation(simulation, relaxationIterations=0)
    assert validator.temperature_K == 310
    assert validator.validate(minimum).isValid
    with (tmp_path / "start.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, minimum * 10, file)
    other = EnergyValidator.fromFiles(tmp_path / "start.pdb", relaxationIterations=0)
    assert "CustomGBForce" in other.forceNames
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    files = [tmp_path / "start.pdb", tmp_path / "system.xml"]
    same = EnergyValidator.fromFiles(files, relaxationIterations=0)
    assert same.forceNames == validator.forceNames
