"""`atmos-openmm adapt`: a kill in the middle, messages, and the snippets of its page."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import openmm
import pytest
from adapt_cases import alanine_dynamics, tiny_model

from atmos_openmm.cli import main
from atmos_openmm.model.model_file import load_model
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

PAGE = Path(__file__).parents[2] / "docs" / "adapting.md"
SHORTER = {
    "--copies 4 --length-ps 500": "--copies 2 --length-ps 44 --burn-in-ps 1",
    # A tiny network in the place of the bundled one, which takes a minute for this.
    "--minutes 5": "--steps 2 --proposals 10 --rollout-frames 20 --lag 5 --model tiny.atmos",
    "--cycles 1000": "--cycles 21 --interval 50",
}
QUICK = ["--steps", "4", "--proposals", "10", "--rollout-frames", "20", "--lag", "1"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A trajectory file and a model file."""
    folder = tmp_path_factory.mktemp("given")
    dynamics = alanine_dynamics()
    runs = [
        TrajectoryData(
            run.positions_nm, [0.04 * k for k in range(len(run))], "dynamics", 300.0, "beta", 1
        )
        for run in dynamics.runs
    ]
    system = openmm.XmlSerializer.serialize(dynamics.system)
    write_trajectory_file(folder / "ala.h5", "ALA", dynamics.topology, system, {}, runs)
    tiny_model(folder / "tiny.atmos")
    return folder


def _arguments(given, output):
    return ["adapt", str(given / "ala.h5"), "--model", str(given / "tiny.atmos"), "-o", str(output)]


def test_killed_and_given_again_it_ends_as_unbroken(given, tmp_path, capsys) -> None:
    broken = [*_arguments(given, tmp_path / "broken"), *QUICK]
    process = subprocess.Popen(
        [sys.executable, "-m", "atmos_openmm", *broken], stderr=subprocess.PIPE, text=True
    )
    validations = 0
    for line in process.stderr:
        # When the second is told, the checkpoint of the first has been written.
        validations += "validation" in line and line.startswith("step ")
        if validations == 2:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    process.stderr.close()
    assert (tmp_path / "broken" / "before.json").exists()
    assert not (tmp_path / "broken" / "adapted.atmos").exists()
    assert main(broken) == 0
    told = capsys.readouterr()
    assert "Going on in" in told.err and "going on from step" in told.err
    assert main([*_arguments(given, tmp_path / "whole"), *QUICK]) == 0
    documents = [
        json.loads((tmp_path / name / "adaptation.json").read_text())
        for name in ("broken", "whole")
    ]
    for key in ("weights_sha256", "numbers", "sentence", "frames"):
        assert documents[0][key] == documents[1][key]
    assert documents[0]["sentence"] in told.out
    assert re.search(r"denoising loss ↓ \*  .*(better|worse|no difference)", told.out)
    assert load_model(tmp_path / "broken" / "adapted.atmos").capabilities.name.endswith("to ALA")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.h5"], "There is no trajectory none.h5"),
        (["ala.h5", "--model", "no-such"], "There is no bundled model 'no-such'"),
        (["ala.h5", "--held-out", "1.5"], "share to hold out is 1.5"),
        (["ala.h5", "--learning-rate", "-1"], "learning_rate is -1; expected above 0"),
        (["ala.h5", "--minutes", "0"], "minutes is 0; expected above 0"),
        (["ala.h5", "--held-out", "0.05"], "at least 40 and 20 are needed"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    given, tmp_path, monkeypatch, capsys, arguments, message
) -> None:
    monkeypatch.chdir(given)
    model = [] if "--model" in arguments else ["--model", "tiny.atmos"]
    assert main(["adapt", *arguments, *model, "-o", str(tmp_path / "out")]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert message in told and "Traceback" not in told


def test_snippets_of_the_page_run(given, tmp_path) -> None:
    shutil.copy(given / "tiny.atmos", tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    program = tmp_path / "bin" / "atmos-openmm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m atmos_openmm "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    document = json.loads((tmp_path / "mine" / "adaptation.json").read_text())
    assert document["helped"] == document["sentence"].startswith("It helped: ")
    assert re.search(r"^proposals +[1-9]", done.stdout, re.MULTILINE)  # of the hybrid run
    assert "never saw CYS" in done.stderr
