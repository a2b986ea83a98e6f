"""The user's molecular dynamics: what is read, and what is said where it cannot be."""

from __future__ import annotations

import dataclasses

import mdtraj
import numpy as np
import openmm
import pytest
from adapt_cases import SPACING_PS, alanine_dynamics
from openmm import unit
from openmm.app import PDBFile

from atmos_openmm.adapting.data import read_dynamics
from atmos_openmm.adapting.distributions import molecule_torsions
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file


def _own_file(path, topology, frames, system=None, kind="dynamics", kelvin=(300.0,)):
    text = "" if system is None else openmm.XmlSerializer.serialize(system)
    times = np.arange(1.0, len(frames) + 1)
    data = [TrajectoryData(frames, times, kind, t, "beta", 1) for t in kelvin]
    write_trajectory_file(path, path.stem, topology, text, {}, data)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same frames as an own file, DCD, XTC and the structure."""
    folder = tmp_path_factory.mktemp("md")
    dynamics = alanine_dynamics()
    frames = dynamics.runs[0].positions_nm
    _own_file(folder / "ala.h5", dynamics.topology, frames, dynamics.system)
    with open(folder / "ala.pdb", "w") as file:
        PDBFile.writeFile(dynamics.topology, frames[0].astype(float) * unit.nanometer, file)
    trajectory = mdtraj.Trajectory(
        frames, mdtraj.Topology.from_openmm(dynamics.topology), time=np.arange(len(frames)) * 1.0
    )
    trajectory.save(str(folder / "ala.dcd"))
    trajectory.save(str(folder / "ala.xtc"))
    return folder


def _pair_distances(x):
    return np.linalg.norm(x[:, None] - x[None], axis=-1)


@pytest.mark.parametrize("name", ["ala.h5", "ala.xtc", "ala.dcd"])
def test_frames_of_any_format(files, tmp_path, name) -> None:
    options = {}
    if name != "ala.h5":
        options = {"topology": files / "ala.pdb", "temperature": 310.0}
    if name == "ala.dcd":
        options["spacing_ps"] = SPACING_PS
    found = read_dynamics([files / name], tmp_path, **options)
    run = found.runs[0]
    assert run.temperature_kelvin == (300.0 if name == "ala.h5" else 310.0)
    assert run.spacing_ps == pytest.approx(SPACING_PS if name == "ala.dcd" else 1.0)
    assert (found.system is not None) == (name == "ala.h5")
    expected = alanine_dynamics().runs[0].positions_nm
    heavy = [a.index for a in found.topology.atoms() if a.element.symbol != "H"]
    for k in (0, 7, 59):
        # XTC keeps 0.001 nm; places of like hydrogens may be exchanged.
        np.testing.assert_allclose(
            _pair_distances(run.positions_nm[k][heavy]),
            _pair_distances(expected[k][heavy]),
            atol=2e-3,
        )


def test_force_field_gives_a_system(files, tmp_path) -> None:
    found = read_dynamics(
        [files / "ala.xtc"],
        tmp_path,
        topology=files / "ala.pdb",
        temperature=300.0,
        forcefield=("amber14-all.xml", "implicit/gbn2.xml"),
    )
    assert found.system.getNumParticles() == found.topology.getNumAtoms() == 22


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.h5", {}, "There is no trajectory .*none.h5"),
        ("ala.xtc", {}, "say at which temperature"),
        ("ala.xtc", {"temperature": 300.0}, "give a PDB"),
        ("ala.dcd", {"temperature": 300.0, "topology": "ala.pdb"}, "no times that can be trusted"),
        ("ala.h5", {"temperature": 400.0}, "trajectories at 300 K and none at 400 K"),
        ("cut.h5", {}, "truncated or damaged"),
        ("cut.xtc", {"temperature": 300.0, "topology": "ala.pdb"}, "cut.xtc cannot be read"),
        ("ala.xtc", {"temperature": 300.0, "topology": "gly.pdb"}, "atoms"),
    ],
)
def test_what_cannot_be_read_is_said(files, tmp_path, name, options, message) -> None:
    (files / "cut.h5").write_bytes((files / "ala.h5").read_bytes()[:3000])
    (files / "cut.xtc").write_bytes(b"not a trajectory")
    topology, positions = build_peptide("ACE-GLY-NME")
    with open(files / "gly.pdb", "w") as file:
        PDBFile.writeFile(topology, positions * unit.nanometer, file)
    if "topology" in options:
        options = {**options, "topology": files / options["topology"]}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_dynamics([files / name], tmp_path, **options)


def test_two_molecules_are_refused(files, tmp_path) -> None:
    topology, positions = build_peptide("ACE-GLY-NME")
    frames = positions + np.random.default_rng(0).normal(0.0, 0.002, (3, *positions.shape))
    other = _own_file(tmp_path / "gly.h5", topology, frames)
    with pytest.raises(ValueError, match="is another molecule than ala/0000"):
        read_dynamics([files / "ala.h5", other], tmp_path)
    again = _own_file(
        tmp_path / "again.h5", alanine_dynamics().topology, alanine_dynamics().runs[1].positions_nm
    )
    assert len(read_dynamics([files / "ala.h5", again], tmp_path).runs) == 2


def test_frames_that_are_not_finite_are_named(tmp_path) -> None:
    dynamics = alanine_dynamics()
    # The writer refuses such frames, so they are put in afterwards.
    import h5py

    path = _own_file(tmp_path / "nan.h5", dynamics.topology, dynamics.runs[0].positions_nm)
    with h5py.File(path, "r+") as file:
        file["trajectories/0000/positions"][7, 3, 1] = np.nan
    with pytest.raises(ValueError, match=r"nan.h5 .*: coordinates are not finite in frame 7"):
        read_dynamics([path], tmp_path)


def test_a_temperature_is_chosen(tmp_path) -> None:
    dynamics = alanine_dynamics()
    frames = dynamics.runs[0].positions_nm
    path = _own_file(
        tmp_path / "two.h5", dynamics.topology, frames, kind="exchange", kelvin=(300.0, 360.0)
    )
    assert [r.temperature_kelvin for r in read_dynamics([path], tmp_path).runs] == [300.0, 360.0]
    (run,) = read_dynamics([path], tmp_path, temperature=360.0).runs
    assert run.temperature_kelvin == 360.0 and run.spacing_ps is None


def test_ligand_from_sdf_has_torsions_and_features(tmp_path) -> None:
    """2-phenylethanol: chemistry from SDF, and the two bonds that turn outside of the ring."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("c1ccccc1CCO"))
    AllChem.EmbedMolecule(mol, randomSeed=5)
    with Chem.SDWriter(str(tmp_path / "lig.sdf")) as writer:
        writer.write(mol)
    info = Chem.AtomPDBResidueInfo()
    counts: dict[str, int] = {}
    for atom in mol.GetAtoms():
        symbol = atom.GetSymbol()
        counts[symbol] = counts.get(symbol, 0) + 1
        info = Chem.AtomPDBResidueInfo()
        info.SetName(f"{symbol}{counts[symbol]}".ljust(4))
        info.SetResidueName("LIG")
        info.SetResidueNumber(1)
        info.SetIsHeteroAtom(True)
        atom.SetMonomerInfo(info)
    (tmp_path / "lig.pdb").write_text(Chem.MolToPDBBlock(mol))
    x = 0.1 * mol.GetConformer().GetPositions()
    rng = np.random.default_rng(0)
    frames = (x + 0.002 * rng.standard_normal((20, *x.shape))).astype(np.float32)
    trajectory = mdtraj.Trajectory(frames, mdtraj.load(str(tmp_path / "lig.pdb")).topology)
    trajectory.save(str(tmp_path / "lig.dcd"))
    found = read_dynamics(
        [tmp_path / "lig.dcd"],
        tmp_path,
        topology=tmp_path / "lig.pdb",
        temperature=300.0,
        spacing_ps=1.0,
        ligands=[tmp_path / "lig.sdf"],
    )
    features = found.features()
    assert features.num_atoms == mol.GetNumAtoms() and "LIG" in found.molecules
    torsions = molecule_torsions(found)
    # Ring to chain and along the chain; C-O has no heavy atom beyond the oxygen.
    assert len(torsions.names) == 2 and torsions.pairs.size == 0
    plain = dataclasses.replace(found, molecules={})
    assert molecule_torsions(plain) is None
