"""Every snippet of the README, and of the pages on scripts, molecules and training, is run as it is
written; configurations are read, and scripts for clusters parsed.

Some are cut shorter by the substitutions below. The two lines of the installation are compared
with what CI runs.
"""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/using-in-a-script.md", "docs/molecules.md", "docs/training.md")
INSTALLATION = ("pip install . && atmos-openmm demo", 'pip install ".[test]" && pytest')
SHORTER = {
    "--frames 200": "--frames 4",
    "frames=100": "frames=3",
    "--cycles 1000": "--cycles 21 --interval 100",
    "stages.all.steps=20000": "stages.all.steps=2 --set stages.all.rollouts=2 "
    "--set validation.draws=2",
    "valid_frames=20": "valid_frames=3",
    "--copies 4 --length-ps 10": "--copies 4 --length-ps 4",
    "--platform CPU": "--platform CPU --frames 10",
}
READ_SETTINGS = """
import sys
from atmos_openmm.training.training_settings import read_settings
read_settings("the snippet", text=sys.argv[1])
"""
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _snippets():
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for number, match in enumerate(FENCE.finditer(text)):
            language, code = match.groups()
            if code.strip() not in INSTALLATION:
                found.append(pytest.param(language, code, id=f"{page}-{number}-{language}"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all snippets, in the order of the text, with the commands on the path."""
    path = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "examples" / "alanine-dipeptide.pdb", path)
    programs = path / "bin"
    programs.mkdir()
    for name, arguments in (("atmos-openmm", "-m atmos_openmm"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(("language", "code"), _snippets())
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


def test_every_substitution_still_applies():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
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


@pytest.mark.parametrize(
    "page",
    ["README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))],
)
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
