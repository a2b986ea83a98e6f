"""Files of other programs and System XML in the commands, and what they print and keep."""

from __future__ import annotations

import json

import mdtraj
import numpy as np
import openmm
import program_files as files
import pytest
from model_support import declaration, network
from systems_support import write_pdb

from atmos_openmm.cli import main
from atmos_openmm.commands._system import split_ligands
from atmos_openmm.model.model_file import save_model
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.inputs import read_molecule

EXACT = [
    "--acceptance", "metropolis", "--density", "uniform", "--adapt", "0", "--walkers", "1",
    "--cycles", "2", "--equilibrate", "2", "--timestep-fs", "2", "--platform", "Reference",
    "--seed", "3", "--no-page",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dipeptide as AMBER, GROMACS and CHARMM files, a PDB file, its System, and frames."""
    path = tmp_path_factory.mktemp("inputs")
    made = files.structure()
    files.save(made, path / "a.prmtop", path / "a.rst7")
    files.charmm(made, path)
    files.save(files.structure(width_nm=3.0), path / "a.top", path / "a.gro")
    molecule = read_molecule([path / "a.prmtop", path / "a.rst7"])
    write_pdb(path / "a.pdb", molecule.topology, molecule.positions_nm)
    system = create_system(molecule.topology, files.FIELD)
    (path / "a.xml").write_text(openmm.XmlSerializer.serialize(system))
    rng = np.random.default_rng(0)
    for name in ("f.xtc", "g.xtc"):
        frames = molecule.positions_nm + 0.002 * rng.standard_normal((30, 22, 3))
        trajectory = mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(molecule.topology))
        trajectory.save(str(path / name))
    return path


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (
            ("a.prmtop", "a.rst7"),
            ["--implicit", "obc2", "--nonbonded", "CutoffNonPeriodic", "--cutoff", "0.7"],
            {"parameters": "a.prmtop", "nonbonded": "CutoffNonPeriodic, cutoff 0.7 nm",
             "implicit solvent": "obc2", "hydrogen mass": "1.5 dalton"},
        ),
        (
            ("a.top", "a.gro"),
            ["--nonbonded", "pme", "--cutoff", "0.8", "--constraints", "none"],
            {"parameters": "a.top", "nonbonded": "PME, cutoff 0.8 nm",
             "constraints": "None, none"},
        ),
        (
            ("charmm.psf", "charmm.rtf", "charmm.par", "charmm.crd"),
            ["--hydrogen-mass", "0"],
            {"parameters": "charmm.psf, charmm.rtf, charmm.par", "hydrogen mass": "1.008 dalton",
             "nonbonded": "NoCutoff"},
        ),
        (("a.pdb",), ["--system", "a.xml"], {"parameters": "a.xml", "implicit solvent": "none"}),
        (("a.pdb",), ["--implicit", "none"], {"force field": "amber14-all.xml"}),
    ],
)  # fmt: skip
def test_a_run_prints_and_keeps_what_was_chosen(folder, names, options, expected, tmp_path, capsys):
    words = [str(folder / word) if word.endswith(".xml") else word for word in options]
    given = [str(folder / name) for name in names]
    assert main(["run", *given, "-o", str(tmp_path / "run"), *EXACT, *words]) == 0
    said = capsys.readouterr().err.splitlines()
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    for name, value in expected.items():
        assert f"{name}: {value}" in said
        assert kept["notes"]["system"][name] == value
    assert kept["settings"]["forcefield"] == next(iter(expected.values())).split(", ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.prmtop", "a.rst7", "--forcefield", "amber14-all.xml"], "--forcefield cannot go with"),
        (["a.prmtop", "a.rst7", "--cutoff", "1", "--nonbonded", "NoCutoff"], "has none"),
        (["a.prmtop"], "no coordinates"),
        (["a.pdb", "--system", "a.xml", "--constraints", "HBonds"], "--constraints cannot go with"),
        (["--sequence", "ACE-ALA-NME", "--system", "a.xml"], "--system goes with a structure"),
        (["charmm.psf", "charmm.crd"], "has no parameters"),
        (["a.prmtop", "a.rst7", "--nonbonded", "PME"], "no periodic box"),
    ],
)
def test_contradictions_are_refused(folder, words, message, tmp_path, capsys):
    there = {path.name for path in folder.iterdir()}
    given = [str(folder / word) if word in there else word for word in words]
    assert main(["run", "-o", str(tmp_path / "run"), *EXACT, *given]) in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_rollout_of_amber_files(folder, tmp_path, capsys):
    save_model(tmp_path / "tiny.atmos", network(), declaration())
    words = ["--model", str(tmp_path / "tiny.atmos"), "--frames", "1", "--on-invalid", "keep"]
    given = [str(folder / "a.prmtop"), str(folder / "a.rst7")]
    assert main(["rollout", *given, "-o", str(tmp_path / "out"), *words]) == 0


def test_frames_are_reweighted_with_the_parameters_of_their_topology(folder, tmp_path, capsys):
    words = ["reweight", str(folder / "f.xtc"), "--topology", str(folder / "a.prmtop")]
    words += ["-o", str(tmp_path / "out"), "--walkers", "2", "--adapt", "20", "--cycles", "10"]
    words += ["--platform", "Reference", "--implicit", "obc2", "--seed", "1", "--no-page"]
    assert main(words) == 0
    assert "parameters: a.prmtop" in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "run" / "run.json").read_text())
    assert kept["notes"]["system"]["implicit solvent"] == "obc2"


def test_energies_of_an_evaluation_are_those_of_the_topologys_parameters(folder, tmp_path, capsys):
    words = ["evaluate", str(folder / "g.xtc"), "--reference", str(folder / "f.xtc")]
    words += ["--topology", str(folder / "a.prmtop"), "--panel", "energy", "--bootstrap", "0"]
    words += ["--platform", "Reference", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    output = capsys.readouterr()
    assert "parameters: a.prmtop" in output.err and "nonbonded: NoCutoff" in output.err
    assert "Left out: energy" not in output.out
    assert main([*words, "--system", str(folder / "a.xml"), "--cutoff", "1"]) == 2
    assert "--cutoff cannot go with a.xml" in capsys.readouterr().err


def test_ligands_are_files_records_of_files_or_smiles(tmp_path):
    (tmp_path / "odd:name.sdf").write_text("")
    odd = str(tmp_path / "odd:name.sdf")
    found, smiles = split_ligands(["a.sdf:one", "a.sdf:two", odd, "LIG=CC(=O)[O-]"])
    assert [str(path) for path in found] == ["a.sdf:one", "a.sdf:two", odd]
    assert smiles == {"LIG": "CC(=O)[O-]"}
