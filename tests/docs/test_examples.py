"""Every example runs as it is, with few steps, and does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ligand_parameter_cases import needs_extra
from systems_support import SHARED

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(folder, name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in text, f"{path.name} has no test here"


def test_plain_openmm_script(tmp_path):
    # 21 intervals of 100 steps: twenty learn the energy window, the last one jumps.
    output = _run(tmp_path, "plain_openmm_script.py", "2200")
    match = re.search(r"(\d+) of (\d+) jumps accepted", output)
    assert match and int(match[2]) >= 1
    # One frame each 100 steps: jumps take none.
    mdtraj = pytest.importorskip("mdtraj")
    with mdtraj.formats.DCDTrajectoryFile(str(tmp_path / "trajectory.dcd")) as file:
        assert len(file) == 22


def test_plain_openmm_script_adds_at_most_ten_lines():
    lines = (EXAMPLES / "plain_openmm_script.py").read_text(encoding="utf-8").splitlines()
    ours = [
        line
        for line in lines
        if re.search(
            r"[Aa]tmos|[Pp]ropagator|integrator\.|jumpInterval|"
            r"createIntegrator",
            line,
        )
    ]
    marked = [line for line in lines if re.search(r"# new", line)]
    code = [line for line in ours if not line.startswith(("assert", '"""'))]
    assert set(code) <= set(marked), "a line that uses the package is not marked as new"
    assert 1 <= len(marked) <= 10


@pytest.mark.parametrize("case", ["psf", "trpzip2"])
def test_files_of_other_programs(tmp_path, case):
    folder = SHARED / "peptides" / "trpzip2" if case == "trpzip2" else tmp_path / "made"
    if case != "psf" and not folder.exists():
        pytest.skip("real data")
    output = _run(tmp_path, "files_of_other_programs.py", case, str(folder), "run", "2")
    energy, other = re.search(r"all +(\S+) kJ/mol, by ParmEd +(\S+)", output).groups()
    assert float(energy) == pytest.approx(float(other), rel=1e-4)
    assert "constraints: HBonds" in output and "frames validated" in output
    assert "walkers x cycles" in output and (tmp_path / "run" / "run.json").exists()


def test_hybrid_run(tmp_path):
    output = _run(tmp_path, "hybrid_run.py", "run", "21")
    assert re.search(r"walkers x cycles +2 x 21", output)
    assert "42 stretches of dynamics, 4200 steps" in output


def test_energy_validation(tmp_path):
    output = _run(tmp_path, "energy_validation.py", "verdicts.csv")
    rows = (tmp_path / "verdicts.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 9
    assert "chirality" in output and "nonfinite" in output


@needs_extra
def test_ligand_in_protein(tmp_path):
    folder = SHARED / "complexes" / "plb" / "tyk2"
    if not folder.is_dir():
        pytest.skip("the protein-ligand benchmark is not there")
    output = _run(tmp_path, "ligand_in_protein.py", str(folder), "lig_ejm_54", "10")
    assert "LIG: C15H14Cl2N4O2, openff-2.2.1 with NAGL charges." in output
    assert "after 10 steps" in output and "valid" in output
