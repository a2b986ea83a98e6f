"""The command line: lazy, fast help, and errors that end in one paragraph and exit code 1."""

import json
import resource
import subprocess
import sys

import click
import numpy as np
import pytest

from atmos_openmm import cli


def _python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_command_and_imports_nothing_heavy():
    code = (
        "import sys, json\nfrom atmos_openmm.cli import main\ncode = main(['--help'])\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    done = _python(code)
    exit_code, modules = json.loads(done.stderr.splitlines()[-1])
    assert exit_code == 0
    for name in cli.COMMANDS:
        assert f"\n  {name} " in done.stdout
    # OpenMM itself is imported with the package, which registers its integrator with it.
    for heavy in (
        "torch",
        "rdkit",
        "mdtraj",
        "h5py",
        "matplotlib",
        "scipy",
        "deeptime",
        "lightning_fabric",
        "tensorboardX",
    ):
        assert heavy not in modules, f"--help imports {heavy}"


def test_help_is_fast():
    # Processor time of the child, so that a busy machine does not count. Half a second is what a
    # person feels as at once. The best of three, since the first may read from a cold disk.
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "atmos_openmm", "--help"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_every_named_command_exists_and_has_help(capsys):
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        assert f"Usage: atmos-openmm {name}" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("atmos-openmm ")


def test_unknown_command_is_a_usage_error(capsys):
    assert cli.main(["smulate"]) == 2
    assert "smulate" in capsys.readouterr().err


def _command_raising(error):
    def body():
        raise error

    return click.Command("demo", callback=body)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("found 3 atoms, expected 22;\n  add the hydrogens first"),
        OSError("the folder /x cannot be written"),
        ImportError("torch 2.12 found, built against 2.13"),
    ],
)
def test_expected_errors_are_one_paragraph(monkeypatch, capsys, error):
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: _command_raising(error))
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Error: ")
    assert " ".join(printed.split()) == "Error: " + " ".join(str(error).split())
    assert "Traceback" not in printed


@pytest.mark.parametrize("arguments", [["--traceback", "demo"], ["demo", "--traceback"]])
def test_traceback_on_request(monkeypatch, capsys, arguments):
    monkeypatch.setattr(
        cli.LazyGroup, "get_command", lambda *_: _command_raising(ValueError("bad input"))
    )
    assert cli.main(arguments) == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed and "bad input" in printed


def test_openmm_exception_is_explained(monkeypatch, capsys):
    openmm = pytest.importorskip("openmm")
    monkeypatch.setattr(
        cli.LazyGroup,
        "get_command",
        lambda *_: _command_raising(openmm.OpenMMException("Particle is NaN")),
    )
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "Error: Particle is NaN\n"


def test_an_emptied_file_is_no_interruption(tmp_path, monkeypatch, capsys):
    path = tmp_path / "empty.npz"
    path.touch()
    command = click.Command("demo", callback=lambda: np.load(path))
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)
    assert cli.main(["demo"]) == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert "empty or ends too early" in printed and "Interrupted" not in printed


def test_faults_of_the_program_are_not_hidden(monkeypatch):
    monkeypatch.setattr(
        cli.LazyGroup, "get_command", lambda *_: _command_raising(ZeroDivisionError("a fault"))
    )
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_interrupt_is_clean(monkeypatch, capsys):
    monkeypatch.setattr(
        cli.LazyGroup, "get_command", lambda *_: _command_raising(KeyboardInterrupt())
    )
    assert cli.main(["demo"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_info_shows_what_the_bundled_model_declares(capsys):
    assert cli.main(["info", "capped-amino-acids"]) == 0
    shown = capsys.readouterr().out
    assert cli.main(["info", "--json", "capped-amino-acids"]) == 0
    declared = json.loads(capsys.readouterr().out)
    assert declared["weights_sha256"] in shown
    assert " ".join(declared["residues"]) in shown
    assert f"{declared['max_atoms']} atoms" in shown
    for unseen in ("VAL", "TYR", "GLN", "CYS"):
        assert unseen not in declared["residues"]


def test_info_explains_a_model_that_is_missing_or_damaged(tmp_path, capsys):
    assert cli.main(["info", "no-such-model"]) == 1
    assert "capped-amino-acids" in capsys.readouterr().err
    damaged = tmp_path / "damaged.atmos"
    damaged.write_bytes(b"PK" + bytes(1000))
    assert cli.main(["info", str(damaged)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "damaged.atmos" in error and "truncated" in error
