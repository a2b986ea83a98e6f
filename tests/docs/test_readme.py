"""Every snippet of the README and of the pages in `RUN` is run as it is written; configurations are
read, and scripts for clusters parsed. Snippets of all other pages are parsed, and the command lines
of all pages are compared with the commands.

Some are cut shorter by the substitutions below. The two lines of the installation are compared
with what CI runs.
"""

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *("README.md", "CONTRIBUTING.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
# Pages whose snippets run, in this order, in one folder.
RUN = (
    "README.md",
    "docs/using-in-a-script.md",
    "docs/molecules.md",
    "docs/systems.md",
    "docs/training.md",
    "docs/data.md",
    "docs/ligands.md",
    "docs/validation.md",
)
# Pages whose snippets need an extra, by a package of it.
EXTRAS = {"docs/ligands.md": ("ligands", "openmmforcefields")}
INSTALLATION = ("pip install . && atmos-openmm demo", 'pip install ".[test]" && pytest')
SHORTER = {
    "--frames 200": "--frames 4",
    "frames=100": "frames=3",
    "--cycles 1000": "--cycles 21 --interval 100",
    "adapt=200, cycles=1000": "adapt=20, cycles=20, equilibrationSteps=100",
    "adapt=500": "adapt=20, equilibrationSteps=100",
    "cycles=5000, progress": "cycles=20, progress",
    "--cycles 5000": "--walkers 2 --cycles 30 --equilibrate 100",
    "stages.all.steps=20000": "stages.all.steps=2 --set stages.all.rollouts=2 "
    "--set validation.draws=2",
    "valid_frames=20": "valid_frames=3",
    "--valid 20": "--valid 2",
    "run(cycles=2000)": "run(cycles=5)",
    "--copies 4 --length-ps 10": "--copies 4 --length-ps 4",
    "--platform CPU": "--platform CPU --frames 10",
}
READ_SETTINGS = """
import sys
from atmos_openmm.training.training_settings import read_settings
read_settings("the snippet", text=sys.argv[1])
"""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _snippets(pages):
    found = []
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        extra, package = EXTRAS.get(page, ("", ""))
        marks = ()
        if package and importlib.util.find_spec(package) is None:
            marks = (pytest.mark.skip(reason=f"the extra [{extra}] is not installed"),)
        for number, match in enumerate(FENCE.finditer(text)):
            language, code = match.groups()
            if code.strip() not in INSTALLATION:
                name = f"{page}-{number}-{language}"
                found.append(pytest.param(language, code, id=name, marks=marks))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all snippets, in the order of the text, with the commands on the path."""
    from data_cases import write_mdcath, write_misato

    path = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "examples" / "alanine-dipeptide.pdb", path)
    write_mdcath(path / "mdcath_dataset_1abcA00.h5")
    write_misato(path / "MD.hdf5")
    programs = path / "bin"
    programs.mkdir()
    for name, arguments in (("atmos-openmm", "-m atmos_openmm"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(("language", "code"), _snippets(RUN))
def test_snippet_runs(folder, language, code):
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    command = {
        "bash": ["bash", "-e", "-c", code],
        "slurm": ["bash", "-n", "-c", code],
        "python": [sys.executable, "-c", code],
        "toml": [sys.executable, "-c", READ_SETTINGS, code],
    }[language]
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    if "accepted" in code:
        assert "accepted" in done.stdout


@pytest.mark.parametrize(("language", "code"), _snippets(sorted({*PAGES} - {*RUN})))
def test_snippet_of_another_page_is_parsed(language, code):
    assert language in ("bash", "python")
    if language == "python":
        compile(code, "snippet", "exec")
    else:
        subprocess.run(["bash", "-n", "-c", code], check=True)


def _options(command):
    """All options of a command, and of its subcommands."""
    found = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    for name in getattr(command, "commands", ()):
        found |= _options(command.commands[name])
    return found


@pytest.fixture(scope="module")
def commands():
    """Name to the options of the command."""
    import click

    from atmos_openmm.cli import COMMANDS, group

    context = click.Context(group)
    return {name: _options(group.get_command(context, name)) for name in COMMANDS}


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_are_those_of_the_commands(commands, page):
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"(?:atmos-openmm|-m atmos_openmm) ([a-z][a-z-]*)([^`\n&|]*)", text)
    for name, rest in lines:
        if name in commands:
            for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest):
                assert option in commands[name] | {"--help"}, f"{name} has no {option}"
        else:
            assert not rest.lstrip().startswith("-"), f"there is no command {name}"
    # Options that stand by themselves belong to some command or benchmark.
    known = set().union(*commands.values(), {"--help", "--version", "--traceback"})
    for script in (ROOT / "benchmarks").glob("*.py"):
        known |= set(re.findall(r'"(--[a-z][a-z-]*)"', script.read_text(encoding="utf-8")))
    spoken = set(re.findall(r"(?<=`)--[a-z][a-z-]*", text))
    assert spoken <= known, f"no command has {sorted(spoken - known)}"


def test_every_substitution_still_applies():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in RUN)
    for long in SHORTER:
        assert long in text, f"no snippet holds {long!r} any more"


def test_the_two_lines_of_the_installation():
    blocks = [
        code.strip() for _, code in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    ]
    for line in INSTALLATION:
        assert blocks.count(line) == 1
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    # CI takes its line out of the README by this pattern, and runs both halves of it.
    pattern = re.search(r"grep -E '([^']+)' README.md", ci)
    assert pattern and re.search(pattern[1], INSTALLATION[1])
    assert not re.search(pattern[1], INSTALLATION[0])


def test_the_script_adds_at_most_ten_lines():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    script = next(code for _, code in FENCE.findall(text) if "# new" in code)
    assert 1 <= script.count("# new") <= 10


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        headings = [
            re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        ]
        assert anchor in headings
