"""`atmos-openmm run`: from a file or a sequence to a folder, and its errors."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import mdtraj
import numpy as np
import pytest
import sampling_cases as cases
from model_support import declaration, network
from openmm import app, unit

from atmos_openmm import OutOfDomainWarning
from atmos_openmm.cli import main
from atmos_openmm.core.settings import read_settings
from atmos_openmm.model.model_file import save_model
from atmos_openmm.sampling.storage import read_run
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.inputs import read_structure

FAST = [
    "--forcefield", "amber14-all.xml", "--platform", "Reference", "--interval", "5",
    "--equilibrate", "10", "--timestep-fs", "2", "--window-samples", "2", "--seed", "5",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A real model file; with random weights, so all of its proposals are turned down."""
    path = tmp_path_factory.mktemp("model") / "tiny.atmos"
    declared = declaration()
    save_model(path, network(), declared)
    return str(path)


@pytest.fixture(scope="module")
def structure(tmp_path_factory):
    topology, _, positions = cases.dipeptide()
    path = tmp_path_factory.mktemp("structure") / "ala.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)
    return path


def test_a_structure_is_sampled_and_the_run_made_longer(model, structure, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["run", str(structure), "-o", str(folder), "--model", model, *FAST]
    arguments += ["--walkers", "2", "--report", "5", "--format", "xtc", "--lag", "30"]
    assert main([*arguments, "--cycles", "4"]) == 0
    output = capsys.readouterr().out
    assert "2 x 4" in output and "biased" in output
    # The first two cycles fill the window's two energies; proposals come in cycles 2 and 3.
    proposals = read_run(folder).proposals
    assert (proposals["cycle"] == [2, 2, 3, 3]).all()
    assert main([*arguments, "--cycles", "6"]) == 0
    assert "Going on" in capsys.readouterr().err
    top = mdtraj.load(str(folder / "topology.pdb")).topology
    for walker in range(2):
        assert mdtraj.load(str(folder / f"trajectory_000{walker}.xtc"), top=top).n_frames == 6
    settings = read_settings(folder)
    assert settings["lag_ps"] == 30 and settings["forcefield"] == ["amber14-all.xml"]
    assert "command" in json.loads((folder / "run.json").read_text())["notes"]
    # Another seed in the same folder is refused, and says so in a sentence.
    assert main([*arguments, "--cycles", "6", "--seed", "6"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "seed: 5 there, 6 now" in error and "Traceback" not in error


def test_a_sequence_with_too_few_valid_frames_ends_with_the_reason(model, tmp_path, capsys):
    code = main(
        ["run", "--sequence", "ACE-ALA-NME", "-o", str(tmp_path / "run"), "--model", model]
        + [*FAST, "--valid-frames", "5", "--max-cycles", "5"]
    )
    assert code == 1
    output = capsys.readouterr().out
    assert "Only 0 of 5 valid frames after 5 cycles" in output and "rejected" in output


def test_a_solute_among_others(model, structure, tmp_path):
    # Two copies far apart; only the second is moved by the model.
    pdb = app.PDBFile(str(structure))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    shifted = pdb.getPositions(asNumpy=True) + np.array([2.0, 0, 0]) * unit.nanometer
    modeller.add(pdb.topology, shifted)
    path = tmp_path / "two.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    folder = tmp_path / "run"
    code = main(
        ["run", str(path), "-o", str(folder), "--model", model, "--solute", "22-43", *FAST]
        + ["--cycles", "3"]
    )
    assert code == 0
    proposals = read_run(folder).proposals
    assert proposals["positions_before_nm"].shape[1:] == (22, 3)
    assert proposals["positions_before_nm"][0].mean(axis=0)[0] == pytest.approx(
        pdb.getPositions(asNumpy=True)._value.mean(axis=0)[0] + 2, abs=0.2
    )


def test_a_hopeless_start_is_explained(model, structure, tmp_path, capsys):
    lines = structure.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("HETATM"))
    lines[first + 3] = lines[first + 3][:30] + lines[first][30:54] + lines[first + 3][54:]
    path = tmp_path / "collapsed.pdb"
    path.write_text("\n".join(lines) + "\n")
    arguments = ["--model", model, *FAST, "--cycles", "3"]
    assert main(["run", str(path), "-o", str(tmp_path / "run"), *arguments]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "energy of the start is not finite" in error and "0.0000 nm" in error


def test_an_interrupted_command_commits(model, structure, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "atmos_openmm", "run", str(structure), "-o", str(folder)]
    command += ["--model", model, *FAST, "--cycles", "100000", "--commit", "0.1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoint.npz").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate()
    assert process.returncode == 130, error
    assert "Stopped at cycle" in output and "Traceback" not in error
    cycles = read_run(folder).segments["cycle"]
    assert (cycles == np.arange(len(cycles))).all() and len(cycles) > 0
    assert len(np.load(folder / "segments.npy", mmap_mode="r")) == len(cycles)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.pdb"], "There is no file missing.pdb"),
        (["--sequence", "ACE-XYZ-NME"], "Unknown residue 'XYZ'"),
        (["--sequence", "ACE-ALA-NME", "--model", "nonesuch"], "no bundled model 'nonesuch'"),
        (["--sequence", "ACE-ALA-NME", "--temperature", "-3"], "temperature is -3 K"),
        (["--sequence", "ACE-ALA-NME", "--lag", "0"], "lag is 0 ps"),
        (["--sequence", "ACE-ALA-NME", "--forcefield", "none.xml"], "none.xml cannot be loaded"),
        (["--sequence", "ACE-ALA-NME", "--forcefield", "tip3p.xml"], "does not fit the molecule"),
        (["--sequence", "ACE-ALA-NME", "--solute", "resname XYZ"], "fits no atom"),
        (["--sequence", "ACE-ALA-NME", "--solute", "0-17"], "heavy atoms stay in place"),
        (["--sequence", "ACE-ALA-NME", "--platform", "Abacus"], "no OpenMM platform 'Abacus'"),
    ],
)
def test_bad_input_is_one_clear_sentence(model, tmp_path, capsys, arguments, message):
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    assert main(["run", "-o", str(tmp_path / "run"), *arguments]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith("Error: ") and message in error


def test_structures_without_hydrogens_or_known_residues(model, structure, tmp_path, capsys):
    lines = structure.read_text().splitlines()
    bare = tmp_path / "bare.pdb"
    bare.write_text("\n".join(line for line in lines if line[76:78].strip() != "H") + "\n")
    assert main(["run", str(bare), "-o", str(tmp_path / "a"), "--model", model]) == 1
    assert "hydrogen" in capsys.readouterr().err
    alien = tmp_path / "alien.pdb"
    alien.write_text(structure.read_text().replace("ALA", "XYZ"))
    assert main(["run", str(alien), "-o", str(tmp_path / "b"), "--model", model]) == 1
    assert "XYZ" in capsys.readouterr().err
    garbage = tmp_path / "garbage.pdb"
    garbage.write_bytes(bytes(range(256)) * 20)
    assert main(["run", str(garbage), "-o", str(tmp_path / "c"), "--model", model]) == 1
    assert "garbage.pdb" in capsys.readouterr().err


def test_pdb_and_mmcif_are_read_alike(structure, tmp_path):
    pdb = read_structure(structure)
    path = tmp_path / "ala.cif"
    with open(path, "w") as file:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions_nm * unit.nanometer, file)
    cif = read_structure(path)
    assert [a.name for a in cif.topology.atoms()] == [a.name for a in pdb.topology.atoms()]
    np.testing.assert_allclose(cif.positions_nm, pdb.positions_nm, atol=1e-4)
    with pytest.raises(ValueError, match="structures are read from"):
        read_structure(tmp_path.parent / tmp_path.name)


def test_systems_are_made_for_long_steps():
    topology, _, _ = cases.dipeptide()
    system = create_system(topology, ["amber14-all.xml"])
    masses = [system.getParticleMass(i)._value for i in range(22)]
    elements = [atom.element.symbol for atom in topology.atoms()]
    assert {m for m, e in zip(masses, elements, strict=True) if e == "H"} == {1.5}
    assert system.getNumConstraints() == elements.count("H")
    assert not system.usesPeriodicBoundaryConditions()
    topology.setUnitCellDimensions([1.8, 1.8, 1.8] * unit.nanometer)
    try:
        boxed = create_system(topology, ["amber14-all.xml"], hydrogen_mass_dalton=None)
    finally:
        topology.setPeriodicBoxVectors(None)
    assert boxed.usesPeriodicBoundaryConditions()
    assert boxed.getParticleMass(elements.index("H"))._value == pytest.approx(1.008)


def test_contradictory_options_are_usage_errors(structure, tmp_path, capsys):
    output = ["-o", str(tmp_path / "run")]
    assert main(["run", *output]) == 2
    assert main(["run", str(structure), "--sequence", "ACE-ALA-NME", *output]) == 2
    assert main(["run", str(structure), *output, "--cycles", "1", "--valid-frames", "1"]) == 2
    assert main(["run", str(structure), *output, "--relax", "ten"]) == 2
    assert "not a list of whole numbers" in capsys.readouterr().err


def test_an_unwritable_folder_is_named_at_once(structure, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["run", str(structure), "-o", str(blocked / "run")]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "Cannot write to the folder" in error and "--output" in error


EXACT = ["--acceptance", "metropolis", *FAST, "--adapt", "0", "--cycles", "30"]


def test_an_exact_run_ends_with_averages(structure, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["run", str(structure), "-o", str(folder), "--density", "uniform", *EXACT]
    arguments += ["--walkers", "2", "--moves", "3", "--move-share", "all=1"]
    arguments += ["--move-share", "torsion=2", "--dynamics", "hmc"]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "2 x 30" in output and "each of weight 1" in output and "HMC trajectories" in output
    assert "ALA2 phi, psi  beta/PPII" in output and "Boltzmann" in output
    assert "biased" not in output
    document = json.loads((folder / "averages.json").read_text())
    assert set(document["moves"]) == {"all", "torsion", "series"}
    series = document["moves"].pop("series")
    assert series[0] == 2 * 30 * 3 and series[1] > 0.9 * series[0]
    assert sum(counts[0] for counts in document["moves"].values()) == 100 * series[0]
    assert (folder / "averages.csv").exists() and (folder / "report.html").exists()
    # The same command makes nothing; another density is another run.
    assert main(arguments) == 0
    assert "Going on" in capsys.readouterr().err
    settings = read_settings(folder)
    assert settings["density"] == "uniform" and settings["dynamics"] == "hmc"
    arguments[arguments.index("uniform")] = str(folder / "density.safetensors")
    assert main(arguments) == 1
    assert "density: 'uniform' there" in " ".join(capsys.readouterr().err.split())


def test_the_density_is_uniform_where_the_model_does_not_fit(model, structure, tmp_path, capsys):
    arguments = ["--cycles", "2", "--walkers", "1", "--no-page", "--temperature", "900"]
    asked = ["run", str(structure), "-o", str(tmp_path / "hot"), *EXACT, *arguments]
    # The bundled model knows no such temperature.
    assert main(asked) == 0
    captured = capsys.readouterr()
    assert "The density is uniform: the model" in captured.err and "900" in captured.err
    assert "one walker only" in captured.out and not (tmp_path / "hot" / "report.html").exists()


def test_what_a_model_was_not_trained_on_is_a_line_of_warning(model, tmp_path, capsys):
    arguments = ["--sequence", "ACE-CYS-NME", "--cycles", "1", "--no-page", *FAST]
    with warnings.catch_warnings():
        warnings.simplefilter("always", OutOfDomainWarning)
        asked = ["run", "-o", str(tmp_path / "run"), "--model", model, *arguments]
        assert main([*asked, "--temperature", "450", "--lag", "200"]) in (0, 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if "not trained" in line]
    assert len(lines) == 3 and all(line.startswith("Warning: The model tiny") for line in lines)
    assert "atomic numbers [16]" in lines[0] and "residues CYS" in lines[0]
    assert "a lag of 200 ps (1 to 100 ps)" in lines[1]
    assert "a temperature of 450 K (280 to 400 K)" in lines[2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--density", "uniform"], "only with --acceptance metropolis"),
        (["--move-share", "all=2", "--methyls"], "--move-share, --methyls: only with"),
        (["--temperatures", "300,400"], "--temperatures: only with"),
        ([*EXACT[:2], "--temperatures", "300;400"], "no list of numbers such as 300,360"),
        ([*EXACT[:2], "--valid-frames", "3"], "Give --cycles"),
        ([*EXACT[:2], "--move-share", "all"], "residue=2"),
        ([*EXACT[:2], "--density", "none.safetensors"], "there is no file none.safetensors"),
        ([*EXACT[:2], "--density", "uniform", "--move-share", "some=1"], "some"),
    ],
)
def test_wrong_options_of_exact_runs_are_named(tmp_path, capsys, arguments, message):
    command = ["run", "--sequence", "ACE-ALA-NME", "-o", str(tmp_path / "run"), *FAST]
    assert main([*command, *arguments]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
