"""`atmos-openmm reweight` from files to the page."""

import json

import mdtraj
import numpy as np
import openmm
import pytest
import sampling_cases as cases
from ligand_cases import glycerol, springs
from openmm import app, unit
from systems_support import write_pdb

from atmos_openmm.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A structure and somebody's frames, which shake around it."""
    folder = tmp_path_factory.mktemp("reweight")
    topology, _, positions = cases.dipeptide()
    x = np.asarray(positions, dtype=float)
    with open(folder / "start.pdb", "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    frames = x + 0.002 * np.random.default_rng(0).standard_normal((50, *x.shape))
    mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology)).save(str(folder / "f.xtc"))
    return folder


def test_frames_are_corrected_and_gone_on_with(files, capsys):
    output = files / "out"
    words = ["reweight", str(files / "f.xtc"), "--topology", str(files / "start.pdb")]
    words += ["-o", str(output), "--walkers", "2", "--adapt", "30", "--seed", "1"]
    words += ["--platform", "CPU", "--threads", "1"]
    assert main([*words, "--cycles", "20"]) == 0
    assert "frames say" in capsys.readouterr().out
    assert {"report.html", "changes.png", "reweighted.json", "run"} <= {
        path.name for path in output.iterdir()
    }
    assert main([*words, "--cycles", "30"]) == 0
    kept = json.loads((output / "reweighted.json").read_text())
    assert kept["after"]["frames"] + kept["after"]["discarded"] == 30


def test_wrong_input_is_named(files, tmp_path, capsys):
    topology = ["--topology", str(files / "start.pdb"), "-o", str(tmp_path / "new")]
    assert main(["reweight", str(files / "none.xtc"), *topology]) == 1
    assert "There is no trajectory" in capsys.readouterr().err
    assert main(["reweight", str(files / "f.xtc"), "-o", str(tmp_path / "new")]) == 2
    assert "--topology" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_frames_of_a_ligand(tmp_path, capsys):
    molecule = glycerol(tmp_path)
    system, torsions = springs(molecule)
    assert molecule.molecules
    write_pdb(tmp_path / "start.pdb", molecule.topology, molecule.positions_nm)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    x = molecule.positions_nm + 0.002 * np.random.default_rng(0).standard_normal((50, 14, 3))
    mdtraj.Trajectory(x, mdtraj.Topology.from_openmm(molecule.topology)).save(
        str(tmp_path / "f.xtc")
    )
    words = ["reweight", str(tmp_path / "f.xtc"), "--system", str(tmp_path / "system.xml")]
    words += ["-o", str(tmp_path / "out"), "--walkers", "2", "--adapt", "30", "--cycles", "20"]
    words += ["--platform", "Reference", "--timestep-fs", "1", "--interval", "2", "--seed", "1"]
    ligand = ["--ligand", str(tmp_path / "glycerol.sdf")]
    assert main([*words, *ligand]) == 2
    assert "--ligand needs --topology" in capsys.readouterr().err
    assert main([*words, *ligand, "--topology", str(tmp_path / "start.pdb")]) == 0
    assert torsions.names[0] in capsys.readouterr().out
