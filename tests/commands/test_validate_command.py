"""`atmos-openmm validate` and the example: files in, a CSV and a table out, exit codes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
import validation_cases as cases
from openmm import app

from atmos_openmm import cli

mdtraj = pytest.importorskip("mdtraj")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A topology, the System, dynamics as the reference, and frames of which two are invalid."""
    folder = tmp_path_factory.mktemp("validate")
    topology, system, minimum = cases.peptide("A")
    with (folder / "start.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, minimum * 10, file)
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    md = mdtraj.Topology.from_openmm(topology)
    mdtraj.Trajectory(cases.dynamics()[::2], md).save(str(folder / "md.dcd"))
    frames = cases.dynamics()[1:25:2].copy()
    frames[4] *= -1
    frames[7, 0] = np.nan
    mdtraj.Trajectory(frames, md).save(str(folder / "samples.dcd"))
    mdtraj.Trajectory(frames[:4], md).save(str(folder / "good.dcd"))
    return folder


def run(files, *arguments):
    return cli.main(["validate", *(str(a) for a in arguments)])


def common(files, name="samples.dcd"):
    return [files / name, "--topology", files / "start.pdb", "--system", files / "system.xml"]


def test_csv_table_and_summary_are_written(files, tmp_path, capsys):
    out, summary = tmp_path / "out.csv", tmp_path / "summary.json"
    code = run(files, *common(files), "--reference", files / "md.dcd", "--out", out,
               "--json", summary, "--relax", 30)  # fmt: skip
    assert code == 0
    printed = capsys.readouterr().out
    assert "12 frames" in printed and f"All frames: {out}" in printed
    for text in ("chirality", "nonfinite", "Wasserstein-1, kT", "HarmonicBondForce"):
        assert text in printed
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    verdicts = [row["verdict"] for row in rows]
    assert len(rows) == 12 and verdicts[4] == verdicts[7] == "invalid"
    assert verdicts.count("valid") == 10
    assert [row["reason"] for row in rows if row["verdict"] == "invalid"] == [
        "chirality",
        "nonfinite",
    ]
    numbers = json.loads(summary.read_text())
    assert numbers["verdicts"]["invalid"] == 2
    assert numbers["reference"]["num_energies"] == 100
    assert numbers["distance"]["fraction_in_window"] == pytest.approx(11 / 12)


def test_strict_asks_for_valid_frames_only(files, tmp_path):
    out = ["--out", tmp_path / "out.csv", "--no-relax"]
    assert run(files, *common(files), *out) == 0
    assert run(files, *common(files), *out, "--strict") == 1
    assert run(files, *common(files, "good.dcd"), *out, "--strict") == 0


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--frames", "3"], [0, 1, 2]),
        (["--frames", "3:9", "--stride", "4"], [3, 7]),
        (["--frames", "10:"], [10, 11]),
    ],
)
def test_frames_are_chosen(files, tmp_path, arguments, expected):
    out = tmp_path / "out.csv"
    assert run(files, *common(files), "--no-relax", "--out", out, *arguments) == 0
    with out.open(newline="") as file:
        assert [int(row["frame"]) for row in csv.DictReader(file)] == expected


def test_the_csv_has_a_default_name(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(files, *common(files), "--no-relax", "--frames", "2") == 0
    assert len((tmp_path / "samples.validation.csv").read_text().splitlines()) == 3


def test_the_force_field_is_found_by_name(files, tmp_path, capsys):
    """The same System made from the force field's name gives the same energies."""
    rows = []
    for source in (["--forcefield", "amber14-all.xml"], ["--system", files / "system.xml"]):
        out = tmp_path / f"{len(rows)}.csv"
        assert run(files, files / "good.dcd", "--topology", files / "start.pdb", *source,
                   "--no-relax", "--out", out) == 0  # fmt: skip
        with out.open(newline="") as file:
            rows.append(list(csv.DictReader(file)))
    for first, second in zip(*rows, strict=True):
        assert first["energy_raw_kj_per_mol"] == second["energy_raw_kj_per_mol"]


def test_the_default_force_field_is_amber14_with_gbn2(files, tmp_path):
    out = tmp_path / "out.csv"
    assert run(files, files / "good.dcd", "--topology", files / "start.pdb", "--no-relax",
               "--frames", "1", "--out", out) == 0  # fmt: skip
    with out.open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["energy_CustomGBForce_kj_per_mol"]) < 0


def test_a_trajectory_file_of_the_package_needs_nothing_else(tmp_path):
    from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

    topology, system, _ = cases.peptide("A")
    path = tmp_path / "own.h5"
    write_trajectory_file(
        path,
        "ala",
        topology,
        openmm.XmlSerializer.serialize(system),
        {},
        [TrajectoryData(cases.dynamics()[:5], np.arange(5.0), "dynamics", 300.0, "beta", 1)],
    )
    out = tmp_path / "out.csv"
    assert cli.main(["validate", str(path), "--no-relax", "--strict", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.dcd"], "no trajectory"),
        (["good.dcd"], "Give --topology"),
        (["good.dcd", "--topology", "missing.pdb"], "no file"),
        (["good.dcd", "--topology", "system.xml"], "PDB or mmCIF"),
        (["good.dcd", "--topology", "start.pdb", "--system", "start.pdb"], "no OpenMM XML"),
        (["good.dcd", "--topology", "start.pdb", "--system", "system.xml",
          "--forcefield", "amber14-all.xml"], "--forcefield cannot go with system.xml"),
        (["good.dcd", "--topology", "start.pdb", "--forcefield", "nothing.xml"], "nothing.xml"),
        (["good.dcd", "--topology", "start.pdb", "--forcefield", "tip3p.xml"], "No template"),
        (["good.dcd", "--topology", "start.pdb", "--frames", "x"], "A:B"),
        (["good.dcd", "--topology", "start.pdb", "--frames", "5:2"], "empty"),
        (["good.dcd", "--topology", "start.pdb", "--reference", "missing.dcd"], "no reference"),
        (["good.dcd", "--topology", "start.pdb", "--platform", "Abacus"], "Abacus"),
        (["good.dcd", "--topology", "start.pdb", "--out", "good.dcd"], "overwrite"),
        (["good.dcd", "--topology", "start.pdb", "--out", "nowhere/out.csv"], "nowhere"),
        (["good.dcd", "--topology", "start.pdb", "--json", "nowhere/s.json"], "folder is missing"),
        (["good.dcd", "--topology", "start.pdb", "--json", "md.dcd", "--reference", "md.dcd"],
         "overwrite"),
        (["good.dcd", "--topology", "start.pdb", "--out", "a.csv", "--json", "a.csv"], "overwrite"),
        (["good.dcd", "--topology", "start.pdb", "--system", "."], "no file . with a System"),
        (["cut.h5", "--topology", "start.pdb"], "truncated, damaged or no HDF5 file"),
        (["good.dcd", "--topology", "start.pdb", "--reference", "cut.npz"], "cut.npz cannot be"),
        (["good.dcd", "--topology", "start.pdb", "--reference", "not.npy"], "not.npy cannot be"),
        (["good.dcd", "--topology", "start.pdb", "--reference", "not.csv"], "not.csv is no CSV"),
        (["good.dcd", "--topology", "start.pdb", "--native", "other.pdb"], "the native structure"),
        (["folder.xtc", "--topology", "start.pdb"], "is a folder"),
    ],
)  # fmt: skip
def test_bad_input_is_explained_and_nothing_is_lost(
    files, tmp_path, monkeypatch, capsys, arguments, message
):
    for path in files.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    for name in ("not.npy", "not.csv"):
        (tmp_path / name).write_bytes(bytes(range(256)))
    topology, _, minimum = cases.peptide("G")
    with (tmp_path / "other.pdb").open("w") as file:
        app.PDBFile.writeFile(topology, minimum * 10, file)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "folder.xtc").mkdir()
    assert cli.main(["validate", *arguments]) in (1, 2)
    printed = capsys.readouterr().err
    assert message in " ".join(printed.split())
    assert "Traceback" not in printed
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named_with_what_is_safe(files, tmp_path, capsys):
    quick = [*common(files, "good.dcd"), "--no-relax"]
    assert run(files, *quick, "--out", "/dev/full") == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "/dev/full cannot be written (No space left on device); it holds 0 whole rows" in told
    assert run(files, *quick, "--out", tmp_path / "a.csv", "--json", "/dev/full") == 1
    printed = capsys.readouterr()
    assert "No space left on device: '/dev/full'" in " ".join(printed.err.split())
    assert "4 frames" in printed.out  # the table is not lost with the file


def test_a_trajectory_of_something_else_is_explained(files, tmp_path, capsys):
    topology, _, minimum = cases.peptide("F")
    other = tmp_path / "other.dcd"
    mdtraj.Trajectory(minimum[None], mdtraj.Topology.from_openmm(topology)).save(str(other))
    out = tmp_path / "out.csv"
    code = run(
        files,
        other,
        "--topology",
        files / "start.pdb",
        "--system",
        files / "system.xml",
        "--out",
        out,
    )
    assert code == 1
    assert "32 atoms, the topology 22" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_the_example_runs(tmp_path):
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / "energy_validation.py"), str(tmp_path / "verdicts.csv")],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "HarmonicBondForce" in result.stdout and "chirality" in result.stdout
    with (tmp_path / "verdicts.csv").open(newline="") as file:
        reasons = [row["reason"] for row in csv.DictReader(file)]
    assert reasons[:6] == ["accepted"] * 6
    assert reasons[7:] == ["chirality", "nonfinite"]


def test_several_trajectories_have_a_table_each_and_one_in_all(files, tmp_path, capsys):
    summary = tmp_path / "summary.json"
    code = run(files, files / "good.dcd", *common(files), "--no-relax", "--out",
               tmp_path / "tables", "--json", summary, "--workers", "2", "--strict")  # fmt: skip
    assert code == 1
    printed = capsys.readouterr().out
    assert "2 trajectories: 16 frames" in printed
    assert printed.index("good.dcd: 4 frames") < printed.index("samples.dcd: 12 frames")
    rows = [
        len((tmp_path / "tables" / f"{name}.validation.csv").read_text().splitlines())
        for name in ("good", "samples")
    ]
    assert rows == [5, 13]
    numbers = json.loads(summary.read_text())
    assert numbers["num_frames"] == 16 and len(numbers["files"]) == 2
    file = tmp_path / "file.csv"
    file.write_text("")
    assert run(files, files / "good.dcd", *common(files), "--out", file) == 2
    assert "names a folder" in capsys.readouterr().err


def test_trajectories_of_one_name_do_not_share_a_table(files, tmp_path):
    paths = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "run.dcd")
        paths[-1].write_bytes((files / "good.dcd").read_bytes())
    options = ["--topology", files / "start.pdb", "--system", files / "system.xml", "--no-relax"]
    assert run(files, *paths, *options, "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "first_run.validation.csv",
        "second_run.validation.csv",
    ]


def test_a_second_force_field_is_beside_the_first(files, tmp_path, capsys):
    out = tmp_path / "out.csv"
    code = run(files, *common(files, "good.dcd"), "--no-relax", "--out", out,
               "--second-forcefield", "amber99sbildn.xml")  # fmt: skip
    assert code == 0
    assert "Energy in amber99sbildn.xml" in capsys.readouterr().out
    with out.open(newline="") as file:
        assert all(float(row["second_energy_kj_per_mol"]) for row in csv.DictReader(file))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--relax-when", "needed"], "goes with --reference"),
        (["--second-potential", "ani2x", "--second-forcefield", "a.xml"], "Give one of"),
        (["--ligand", "missing.sdf"], "missing.sdf"),
    ],
)
def test_new_options_are_explained(files, tmp_path, capsys, arguments, message):
    out = ["--out", tmp_path / "out.csv"]
    assert run(files, *common(files, "good.dcd"), *out, *arguments) in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_ligand_is_read_by_its_title(tmp_path, capsys):
    """Two molecules in one SDF file; the structure holds one of them, beside a peptide."""
    import in_depth_cases
    from openmm import unit
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecules = []
    for name, smiles in (("right", "C[C@H](F)Cl"), ("wrong", "CCO")):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMolecule(mol, randomSeed=3)
        mol.SetProp("_Name", name)
        molecules.append(mol)
    with Chem.SDWriter(str(tmp_path / "ligands.sdf")) as writer:
        for mol in molecules:
            writer.write(mol)
    mol = molecules[0]
    topology, _, x = cases.peptide("G")
    ligand = app.Topology()
    residue = ligand.addResidue("XYZ", ligand.addChain("L"))
    atoms = [
        ligand.addAtom(f"{a.GetSymbol()}{a.GetIdx()}", app.Element.getByAtomicNumber(
            a.GetAtomicNum()), residue)
        for a in mol.GetAtoms()
    ]  # fmt: skip
    for bond in mol.GetBonds():
        ligand.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    y = np.array(mol.GetConformer().GetPositions()) / 10 + [1.5, 0, 0]
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.add(ligand, y * unit.nanometer)
    positions = np.concatenate([x, y])
    with (tmp_path / "complex.pdb").open("w") as file:
        app.PDBFile.writeFile(modeller.topology, positions * 10, file)
    system = in_depth_cases.springs(modeller.topology, positions)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    mirrored = positions.copy()
    mirrored[len(x) :, 2] *= -1
    mdtraj.Trajectory(
        np.array([positions, mirrored]), mdtraj.Topology.from_openmm(modeller.topology)
    ).save(str(tmp_path / "two.dcd"))
    out = tmp_path / "out.csv"
    code = cli.main(
        ["validate", str(tmp_path / "two.dcd"), "--topology", str(tmp_path / "complex.pdb"),
         "--system", str(tmp_path / "system.xml"), "--no-relax", "--out", str(out),
         "--ligand", f"{tmp_path / 'ligands.sdf'}:right"]
    )  # fmt: skip
    assert code == 0
    assert "right of ligands.sdf" in capsys.readouterr().err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == ["accepted", "chirality"]
    assert "/XYZ1/C1" in rows[1]["detail"]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_an_interruption_ends_the_workers(files, tmp_path):
    import os
    import signal
    import time

    many = tmp_path / "many.dcd"
    topology, _, _ = cases.peptide("A")
    # Far more than can be judged before the signal comes, on however fast a machine.
    frames = np.tile(cases.dynamics()[::2], (1000, 1, 1))
    mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology)).save(str(many))
    out = tmp_path / "out.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "atmos_openmm", "validate", str(many), "--topology",
         str(files / "start.pdb"), "--system", str(files / "system.xml"), "--workers", "2",
         "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not (out.exists() and len(out.read_text().splitlines()) > 3):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130 and "Interrupted" in told and "Traceback" not in told
    assert len(out.read_text().splitlines()) > 3  # what was done is there
