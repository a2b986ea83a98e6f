"""`atmos-openmm train`: its options, what it says, and what it does with data that are faulty."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from training_cases import rows, settings, write_data

from atmos_openmm import cli
from atmos_openmm.training import training_settings as module
from atmos_openmm.training.training_settings import read_settings
from atmos_openmm.training.weights.checkpoint import CHECKPOINT, load_state


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "ala.h5")


@pytest.fixture()
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(settings(steps=2, every=2).to_toml(), encoding="utf-8")
    return path


def train(*arguments: object) -> int:
    given = [str(argument) for argument in arguments]
    return cli.main(["train", *given, "--accelerator=cpu", "--workers=0"])


def test_a_run_says_what_it_does_and_goes_on(data, config, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    assert train(data, "--output", folder, "--config", config) == 0
    out = capsys.readouterr().out
    assert "1 CPU process, 32-true" in out and "held out: dynamics" in out
    assert "step 2/2  loss" in out and "held-out" in out and "steps/s, waiting" in out
    assert out.rstrip().endswith("ended at step 2")
    more = ["--set", "stages.all.steps=3", "--set=stages.only.learning_rate=5e-4"]
    assert train(data, "--output", folder, "--config", config, *more) == 0
    out = capsys.readouterr().out
    assert "going on from step 2" in out
    assert "note: stages.only.learning_rate 0.001 -> 0.0005 from step 2 on" in out
    assert [row["step"] for row in rows(folder)] == [1, 2, 3]
    assert load_state(folder / CHECKPOINT)["settings"]["stages"][0]["learning_rate"] == 5e-4


def test_the_effective_configuration_is_shown(config, capsys) -> None:
    assert cli.main(["train", "--config", "full", "--set", "seed=9", "--show-config"]) == 0
    shown = capsys.readouterr().out
    assert read_settings("shown", text=shown) == read_settings("full", ["seed=9"])
    # What is shown can be changed and given back.
    config.write_text(shown)
    assert read_settings(config) == read_settings("full", ["seed=9"])


def test_the_configuration_is_shown_without_torch(config) -> None:
    code = (
        "import sys, json\nfrom atmos_openmm.cli import main\n"
        "code = [main(['train', '--show-config']), main(['train', '--help'])]\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    codes, modules = json.loads(done.stderr.splitlines()[-1])
    assert codes == [0, 0]
    assert "--set stages.all.steps=5000" in " ".join(done.stdout.split())
    for heavy in ("torch", "lightning_fabric", "tensorboardX", "h5py", "rdkit"):
        assert heavy not in modules


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--output", "run"], 2, "Missing argument 'DATA...'"),
        (["DATA"], 2, "Missing option '--output'"),
        (["DATA", "--output", "run", "--devices", "none"], 2, "neither a number above 0 nor"),
        (["DATA", "--output", "run", "--config", "medium"], 1, "no configuration 'medium'"),
        (["DATA", "--output", "run", "--set", "steps=3"], 1, "steps is no setting"),
        (
            ["DATA", "--output", "run", "--set", "stages.all.shares={static=1}"],
            1,
            "wants static, and there is none of it",
        ),
        (
            ["DATA", "--output", "run", "--set", "validation.share=0.999999"],
            1,
            "All of the data are held out",
        ),
    ],
)
def test_what_cannot_be_is_explained(
    data, tmp_path, capsys, monkeypatch, arguments, code, message
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(data) if a == "DATA" else a for a in arguments]
    assert train(*given) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_faulty_files_stop_or_are_left_out_and_named(data, config, tmp_path, capsys) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"\x89HDF\r\n\x1a\nno more")
    line = [data, broken, "--output", tmp_path / "run", "--config", config]
    assert train(*line) == 1
    assert "broken.h5: it is truncated or damaged" in " ".join(capsys.readouterr().err.split())
    assert train(*line, "--on-error", "skip") == 0
    captured = capsys.readouterr()
    assert f"left out: {broken}" in captured.err and "ended at step 2" in captured.out


def test_the_documentation_names_every_setting_and_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| (?:`\[\w+\]` )?`(\w+)` \|\s*([^|]*?)\s*\|", text, re.MULTILINE))
    parts = (
        module.TrainingSettings,
        module.StageSettings,
        module.OptimizerSettings,
        module.ValidationSettings,
    )
    for kind in parts:
        for item in dataclasses.fields(kind):
            if item.name in ("model", "stages", "optimizer", "validation"):
                continue
            defaults = [default for name, default in told if name == item.name]
            assert defaults, f"{kind.__name__}.{item.name} is not in docs/training.md"
            if isinstance(item.default, (bool, int, float)):
                assert any(json.loads(default) == item.default for default in defaults), item.name
    for item in dataclasses.fields(module.LossSettings):
        assert f"`{item.name}` {item.default:g}" in text
