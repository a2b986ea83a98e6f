"""`atmos-openmm rollout`: from a file or a sequence to a folder, and its errors."""

import json
import os
import signal
import subprocess
import sys
import time

import mdtraj
import numpy as np
import pytest
import sampling_cases as cases
from openmm import app, unit
from rollout_cases import model_file
from systems_support import displaced, embedded, write_sdf

from atmos_openmm.cli import main
from atmos_openmm.core.settings import read_settings
from atmos_openmm.sampling import Rollout, read_rollout


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(model_file(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def structure(tmp_path_factory):
    topology, _, positions = cases.dipeptide()
    path = tmp_path_factory.mktemp("structure") / "ala.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)
    return path


def test_a_structure_is_rolled_out_and_made_longer(model, structure, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["rollout", str(structure), "-o", str(folder), "--model", model, "--seed", "5"]
    arguments += ["--walkers", "2", "--lag", "30", "--on-invalid", "keep", "--format", "xtc"]
    assert main([*arguments, "--frames", "2"]) == 0
    assert "2 x 2" in capsys.readouterr().out
    assert main([*arguments, "--frames", "4"]) == 0
    streams = capsys.readouterr()
    assert "Going on" in streams.err and "largest |h|" in streams.out
    top = str(folder / "topology.pdb")
    lengths = [
        mdtraj.load(str(folder / f"trajectory_000{w}.xtc"), top=top).n_frames for w in (0, 1)
    ]
    assert lengths == [4, 4]
    settings = read_settings(folder)
    assert settings["lag_ps"] == 30 and settings["molecule"] == "ala"
    assert settings["temperature_K"] == 300 and settings["kind"] == "rollout"
    assert "command" in json.loads((folder / "run.json").read_text())["notes"]
    # Another seed in the same folder is refused, and says so in a sentence.
    assert main([*arguments, "--frames", "4", "--seed", "6"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "seed: 5 there, 6 now" in error and "Traceback" not in error


def test_a_ligand_is_taken_from_its_sdf(structure, tmp_path, capsys):
    model = str(model_file(tmp_path, max_tokens=5))
    sdf = write_sdf(tmp_path / "drug.sdf", displaced(embedded("CO", "methanol"), (9, 0, 0)))
    arguments = ["rollout", str(structure), "-o", str(tmp_path / "run"), "--model", model]
    arguments += ["--frames", "1", "--lag", "30", "--on-invalid", "keep", "--ligand", str(sdf)]
    assert main(arguments) == 0
    assert "methanol of drug.sdf is added as residue LIG" in capsys.readouterr().err
    topology = mdtraj.load(str(tmp_path / "run" / "topology.pdb")).topology
    assert [residue.name for residue in topology.residues] == ["ACE", "ALA", "NME", "LIG"]
    assert main(["rollout", "--sequence", "ACE-ALA-NME", *arguments[2:]]) == 2
    assert "--ligand goes with a structure file" in capsys.readouterr().err


def test_frames_that_cannot_be_made_are_explained(model, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["rollout", "--sequence", "ACE-ALA-NME", "-o", str(folder), "--model", model]
    assert main([*arguments, "--frames", "3", "--max-attempts", "4"]) == 1
    output = capsys.readouterr().out
    assert "each of 4 attempts failed" in output and "--on-invalid keep" in output
    assert not read_rollout(folder)["written"].any()
    assert len(read_rollout(folder)["frame"]) == 4


def test_an_interrupted_command_commits_and_goes_on(model, structure, tmp_path):
    arguments = ["rollout", str(structure), "--model", model, "--on-invalid", "keep", "--seed", "3"]
    folder = tmp_path / "run"
    command = [sys.executable, "-u", "-m", "atmos_openmm", *arguments, "-o", str(folder)]
    with subprocess.Popen(
        [*command, "--frames", "100000", "--commit", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        # The progress line comes first after 30 s where there is no terminal: the first commit
        # tells that the loop is on its way.
        while not (folder / "checkpoint.npz").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "Stopped at frame" in output and "Traceback" not in error
    table = read_rollout(folder)
    done = len(table["frame"])
    assert done > 0 and (table["frame"] == np.arange(done)).all()
    # Another process makes it longer; the class makes the same frames.
    assert main([*arguments, "-o", str(folder), "--frames", str(done + 2)]) == 0
    from atmos_openmm import AtmosPropagator
    from atmos_openmm.systems.inputs import read_structure

    molecule = read_structure(structure)
    propagator = AtmosPropagator(model, molecule.topology, positions=molecule.positions_nm)
    with Rollout(
        molecule.topology,
        molecule.positions_nm,
        propagator,
        tmp_path / "whole",
        seed=3,
        onInvalid="keep",
    ) as made:
        made.run(done + 2)
    assert (folder / "frames.csv").read_text() == (tmp_path / "whole/frames.csv").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.pdb"], "There is no file missing.pdb"),
        (["--sequence", "ACE-XYZ-NME"], "Unknown residue 'XYZ'"),
        (["--sequence", "ACE-ALA-NME", "--model", "nonesuch"], "no bundled model 'nonesuch'"),
        (["--sequence", "ACE-ALA-NME", "--temperature", "-3"], "temperature is -3 K"),
        (["--sequence", "ACE-ALA-NME", "--lag", "0"], "lag is 0 ps"),
        (["--sequence", "ACE-ALA-NME", "--solute", "resname XYZ"], "fits no atom"),
        (["--sequence", "ACE-ALA-NME", "--solute", "0-17"], "heavy atoms stay in place"),
        (["--sequence", "ACE-ALA-NME", "--device", "abacus"], "cannot compute on the device"),
    ],
)
def test_bad_input_is_one_clear_sentence(model, tmp_path, capsys, arguments, message):
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    assert main(["rollout", "-o", str(tmp_path / "run"), *arguments]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert error.startswith("Error: ") and message in error


def test_a_module_that_fails_is_one_clear_sentence(model, tmp_path, capsys, monkeypatch):
    from atmos_openmm.sampling import rollout_proposer

    def failing(*arguments, **keywords):
        raise RuntimeError("The propagator module failed: out of memory.")

    monkeypatch.setattr(rollout_proposer, "propose_frames", failing)
    folder = str(tmp_path / "run")
    assert main(["rollout", "--sequence", "ACE-ALA-NME", "-o", folder, "--model", model]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "out of memory. What was generated before is in" in error and "Traceback" not in error


def test_contradictory_options_are_usage_errors(structure, tmp_path, capsys):
    output = ["-o", str(tmp_path / "run")]
    assert main(["rollout", *output]) == 2
    assert main(["rollout", str(structure), "--sequence", "ACE-ALA-NME", *output]) == 2
    assert main(["rollout", str(structure), *output, "--on-invalid", "drop"]) == 2
    assert main(["rollout", "--help"]) == 0
    text = capsys.readouterr().out
    assert "ps; the model's longest" in " ".join(text.split()) and "model, K." in text


def test_an_unwritable_folder_is_named_at_once(structure, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert main(["rollout", str(structure), "-o", str(blocked / "run")]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "Cannot write to the folder" in error and "--output" in error
