"""Files of all layouts together: samples, policies, manifests, and what `data check` says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from crash_cases import crash_or_report
from data_cases import FRAMES, SHARED, write_mdcath, write_misato
from openmm import app, unit

from atmos_openmm.cli import main
from atmos_openmm.data.check import check_file, check_files, in_processes
from atmos_openmm.data.faults import DataFileError, DataFileWarning, FaultLog
from atmos_openmm.data.frames import close_files
from atmos_openmm.data.manifest import read_manifest, verify_manifest
from atmos_openmm.data.manifest_building import build_manifest
from atmos_openmm.data.sample import Provenance, Sample
from atmos_openmm.data.sources import detect, open_samples
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file


def write_own(path: Path, **changes) -> Path:
    topology, x = build_peptide("ACE-ALA-NME")
    rng = np.random.default_rng(0)
    frames = x + rng.normal(0, 1e-3, (6, *x.shape))
    time = changes.get("time", np.arange(1.0, 7.0) * 2.0)
    data = [
        TrajectoryData(frames, time, "dynamics", 300.0, "beta", 5, {"copy": 0}),
        TrajectoryData(frames[::-1], np.arange(6.0), "exchange", 400.0, "beta", 5, {"ladder": 3}),
    ]
    write_trajectory_file(path, "ACE-ALA-NME", topology, "", {"forcefield": ["a.xml"]}, data)
    return path


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good file of each layout."""
    folder = Path(tmp_path_factory.mktemp("originals"))
    write_own(folder / "own.h5")
    write_mdcath(folder / "mdcath_dataset_1abcA00.h5")
    write_misato(folder / "MD.hdf5")
    topology, x = build_peptide("ALA-SER-GLY")
    with open(folder / "1xyz.pdb", "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    """Copies to spoil."""
    for path in originals.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file())


def test_the_spacing_is_free_of_the_rounding_of_float32(tmp_path: Path) -> None:
    time = (1e5 + 0.2 * np.arange(6)).astype(np.float32)
    moving, _ = open_samples([write_own(tmp_path / "own.h5", time=time)])
    assert moving.spacing_ps == 0.2


def test_a_folder_stands_for_the_files_below_it(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no data")
    files = sorted(f for f in folder.iterdir() if f.suffix in (".h5", ".hdf5", ".pdb"))
    assert [s.name for s in open_samples([folder])] == [s.name for s in open_samples(files)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match="the folder holds no data file"):
        open_samples([tmp_path / "empty"])


def test_all_layouts_are_samples_of_one_description(folder: Path):
    found = open_samples(files(folder))
    assert [detect(p) for p in files(folder)] == ["structure", "misato", "mdcath", "atmos-openmm"]
    assert [s.name for s in found] == [
        "1xyz",
        "1ABC",
        "1abcA00/320/0",
        "1abcA00/320/1",
        "1abcA00/450/0",
        "1abcA00/450/1",
        "ACE-ALA-NME/0000",
        "ACE-ALA-NME/0001",
    ]
    assert [s.kind for s in found] == ["static"] + ["dynamics"] * 6 + ["exchange"]
    assert [s.spacing_ps for s in found] == [None, 80.0, *[1000.0] * 4, 2.0, None]
    assert [s.temperature_kelvin for s in found][-3:] == [450.0, 300.0, 400.0]
    assert found.faults == ()
    for sample in found:
        features = sample.features("heavy")
        x = sample.positions_nm(slice(0, 2), features)
        assert x.shape == (min(2, sample.num_frames), features.num_atoms, 3)
        lengths = np.linalg.norm(x[:, features.bonds[:, 0]] - x[:, features.bonds[:, 1]], axis=-1)
        # nm, not angstrom: all covalent bonds of heavy atoms but C-Cl are 0.11 to 0.2 nm long.
        assert 0.11 < lengths.min() and lengths.max() < 0.21
    assert found.samples[-1].provenance.details["ladder"] == 3
    assert found.samples[-2].provenance.details["force_field"] == ["a.xml"]


def test_readers_take_options(folder: Path):
    options = {"structure": {"hydrogens": True}, "misato": {"charges": {"1abc": 0}}}
    plain = open_samples([folder / "1xyz.pdb", folder / "MD.hdf5"])
    told = open_samples([folder / "1xyz.pdb", folder / "MD.hdf5"], options=options)
    assert told.samples[0].features("all").num_atoms == told.samples[0].num_atoms
    assert told.samples[0].num_atoms > plain.samples[0].num_atoms
    assert (plain.samples[1].source.charge, told.samples[1].source.charge) == (None, 0)
    with pytest.raises(ValueError, match="options names 'pdb'"):
        open_samples([folder / "own.h5"], options={"pdb": {}})


def test_a_sample_refuses_what_does_not_go_together(folder: Path):
    good = open_samples([folder / "own.h5"]).samples[0]
    given = {
        "name": "x",
        "kind": good.kind,
        "frames": good.frames,
        "source": good.source,
        "temperature_kelvin": 300.0,
        "spacing_ps": 1.0,
        "provenance": Provenance("a", "b"),
    }
    Sample(**given)
    for change in (
        {"kind": "static"},
        {"kind": "movie"},
        {"spacing_ps": None},
        {"spacing_ps": 0.0},
        {"temperature_kelvin": None},
        {"temperature_kelvin": -1.0},
        {"kind": "exchange"},
        {"spacing_ps": float("nan")},
    ):
        with pytest.raises(ValueError, match=r"kind|temperature"):
            Sample(**(given | change))


def test_faulty_files_stop_or_are_skipped_by_name(folder: Path):
    cut = folder / "mdcath_dataset_cut.h5"
    cut.write_bytes((folder / "mdcath_dataset_1abcA00.h5").read_bytes()[:5000])
    paths = files(folder)
    with pytest.raises(DataFileError, match="mdcath_dataset_cut.h5.*truncated or damaged"):
        open_samples(paths)
    with pytest.warns(DataFileWarning, match="Left out: .*mdcath_dataset_cut.h5"):
        found = open_samples(paths, on_error="skip")
    assert len(found) == 8 and [f.kind for f in found.faults] == ["unreadable"]
    with (
        pytest.warns(DataFileWarning),
        pytest.raises(ValueError, match="no sample that can be used.*cut.h5"),
    ):
        open_samples([cut], on_error="skip")
    with pytest.raises(ValueError, match="'skip' or 'stop'"):
        open_samples(paths, on_error="hide")
    (folder / "notes.h5").write_text("no data")
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = 1
    for name, says in (("notes.h5", "no HDF5"), ("other.h5", "no layout that is known")):
        with pytest.raises(DataFileError, match=says):
            detect(folder / name)


def test_uneven_times_are_a_fault(tmp_path: Path):
    path = write_own(tmp_path / "own.h5", time=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0]))
    with pytest.warns(DataFileWarning, match="not evenly spaced"):
        found = open_samples([path], on_error="skip")
    assert [s.kind for s in found] == ["exchange"]


def test_a_manifest_tells_when_files_change(folder: Path):
    paths = files(folder)
    made = build_manifest(paths, folder, FaultLog())
    (folder / "set.json").write_text(json.dumps(made))
    assert [f["path"] for f in made["files"]] == [p.name for p in paths]
    assert made["files"][2]["samples"][0] == {
        "name": "1abcA00/320/0",
        "entry": "1abcA00/320/0",
        "kind": "dynamics",
        "frames": FRAMES,
        "atoms": 58,
        "temperature_K": 320.0,
        "spacing_ps": 1000.0,
    }
    assert verify_manifest(folder / "set.json") == []
    assert len(open_samples([folder / "set.json"])) == 8
    # The folder may move as a whole.
    moved = folder / "moved"
    moved.mkdir()
    for path in [*paths, folder / "set.json"]:
        shutil.copy(path, moved)
    assert verify_manifest(moved / "set.json") == []
    close_files()
    data = bytearray((moved / "own.h5").read_bytes())
    data[-1] ^= 1
    (moved / "own.h5").write_bytes(data)
    (moved / "1xyz.pdb").unlink()
    (moved / "MD.hdf5").write_bytes((moved / "MD.hdf5").read_bytes()[:-10])
    faults = {Path(f.path).name: f.kind for f in verify_manifest(moved / "set.json")}
    assert faults == {"own.h5": "changed", "1xyz.pdb": "missing", "MD.hdf5": "changed"}
    # Sizes alone do not show the flipped bit.
    assert len(verify_manifest(moved / "set.json", hashes=False)) == 2
    with pytest.raises(DataFileError, match="cut off|gone"):
        open_samples([moved / "set.json"])
    for text in ("{}", "[]", "no json", '{"format": "x", "version": 1, "files": []}'):
        (moved / "set.json").write_text(text)
        with pytest.raises(DataFileError, match="no manifest"):
            read_manifest(moved / "set.json")


def damage(folder: Path, what: str) -> tuple[Path, str, str]:
    """Spoil a file; return it, the kind of fault, and words of the message."""
    close_files()
    cath, own = folder / "mdcath_dataset_1abcA00.h5", folder / "own.h5"
    with h5py.File(cath, "r+") as file:
        coords = file["1abcA00/320/1/coords"]
        if what == "nan":
            coords[4, 7] = np.nan
            return cath, "nonfinite", "not finite in frame 4"
        if what == "broken":
            coords[5, 20] += 30.0
            return cath, "broken", "bonds are broken in frame 5"
        if what == "unit":
            coords[...] = coords[...] * 0.1
            return cath, "broken", "bonds are broken in 12 frames (0, 1, 2, 3, 4, ...)"
        if what == "frozen":
            coords[...] = coords[0]
            return cath, "inconsistent", "repeated in 11 frames"
        if what == "one repeated":
            coords[8] = coords[7]
            return cath, "inconsistent", "repeated in frame 8"
        if what == "statistics":
            file["1abcA00/320/1/gyrationRadius"][...] *= 10.0
            return cath, "inconsistent", "stored gyrationRadius is up to"
    assert what == "bits"
    with h5py.File(own) as file:
        offset = file["trajectories/0000/positions"].id.get_chunk_info(0).byte_offset
    data = bytearray(own.read_bytes())
    data[offset + 10] ^= 255
    own.write_bytes(data)
    return own, "unreadable", "the file is damaged"


@pytest.mark.parametrize(
    "what, fatal",
    [
        ("nan", True),
        ("broken", True),
        ("unit", True),
        ("frozen", True),
        ("one repeated", False),
        ("statistics", False),
        ("bits", True),
    ],
)
def test_frames_are_checked(folder: Path, what: str, fatal: bool):
    path, kind, says = damage(folder, what)
    report = check_file(path)
    found = [f for f in report.faults if f.kind == kind and says in f.message]
    assert len(found) == 1 and found[0].fatal == fatal, report.faults
    assert report.usable != fatal
    # One trajectory of the file is at fault, the others are not.
    total = 2 if what == "bits" else 4
    expected = total - fatal
    # The molecule's reference positions are in the first trajectory.
    assert len(report.samples) == (0 if what == "bits" else expected)
    if what != "bits":
        assert found[0].entry == "1abcA00/320/1"


def test_good_files_pass(folder: Path):
    for path in files(folder):
        report = check_file(path)
        assert report.usable and report.faults == (), report.faults
    assert (
        "4 samples (dynamics), 48 frames of 58 atoms"
        in check_file(folder / "mdcath_dataset_1abcA00.h5").summary()
    )


def test_a_file_that_kills_its_process_is_named():
    paths = ["a", "crash-1", "b", "c", "crash-2"]
    reports = list(in_processes(crash_or_report, paths, 2))
    assert [r.path for r in reports] == paths
    assert [r.usable for r in reports] == [True, False, True, True, False]
    assert "crashes the HDF5 library" in reports[1].faults[0].message


def test_any_damage_is_reported(folder: Path):
    """Bytes overwritten at random: a report for each file, and no error of Python's or h5py's."""
    rng = np.random.default_rng(20)
    damaged = []
    for k in range(24):
        path = files(folder)[k % 4]
        data = bytearray(path.read_bytes())
        for place in rng.integers(0, len(data), 30):
            data[place] = int(rng.integers(256))
        damaged.append(folder / f"{k:02d}-{path.name}")
        damaged[-1].write_bytes(data[: int(rng.integers(len(data) // 2, len(data)))])
    reports = list(check_files(damaged, workers=1))
    assert [r.path for r in reports] == [str(p) for p in damaged]
    for report in reports:
        assert all(f.path and f.message for f in report.faults)
        # All HDF5 files are cut off, which HDF5 sees by itself.
        assert report.path.endswith(".pdb") or not report.usable


def test_a_damaged_part_of_a_file_leaves_the_others(folder: Path):
    path = folder / "mdcath_dataset_1abcA00.h5"
    with h5py.File(path) as file:
        place = h5py.h5o.get_info(file["1abcA00/320/1/coords"].id).addr
    data = bytearray(path.read_bytes())
    data[place : place + 16] = b"\xff" * 16
    path.write_bytes(data)
    report = check_file(path)
    assert [s.name for s in report.samples] == ["1abcA00/320/0", "1abcA00/450/0", "1abcA00/450/1"]
    (fault,) = report.faults
    assert (fault.entry, fault.kind) == ("1abcA00/320/1", "unreadable")


def test_a_molecule_that_makes_no_sense_is_told_once(folder: Path):
    path = folder / "mdcath_dataset_1abcA00.h5"
    close_files()
    with h5py.File(path, "r+") as file:
        for temperature in ("320", "450"):
            for replica in ("0", "1"):
                coords = file[f"1abcA00/{temperature}/{replica}/coords"]
                coords[...] = np.random.default_rng(1).normal(0, 20, coords.shape)
    report = check_file(path)
    assert not report.samples and {f.kind for f in report.faults} == {"chemistry"}
    assert sum("see above" in f.message for f in report.faults) == 3


def test_the_command_tells_and_exits(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "check", *map(str, files(folder))]) == 0
    out = capsys.readouterr().out
    assert "4 files checked: all can be used." in out and "error" not in out
    assert (
        main(["data", "manifest", *map(str, files(folder)), "--out", str(folder / "set.json")]) == 0
    )
    assert "4 files, 8 samples" in capsys.readouterr().out
    assert main(["data", "check", "--workers", "0", str(folder / "set.json")]) == 0
    capsys.readouterr()
    damage(folder, "broken")
    assert main(["data", "check", "--workers", "0", str(folder / "set.json")]) == 1
    out = capsys.readouterr().out
    assert "error: [1abcA00/320/1] bonds are broken in frame 5" in out
    # HDF5 writes more than the frame that was changed, so the size or the hash tells.
    assert "mdcath_dataset_1abcA00.h5 (of " in out and "own.h5: atmos-openmm: 2 samples" in out
    assert (
        main(
            ["data", "check", "--on-error", "stop", str(folder / "none.h5"), str(folder / "own.h5")]
        )
        == 1
    )
    out = capsys.readouterr().out
    assert "there is no such file" in out and "Stopped at the first" in out
    assert "own.h5" not in out
    assert main(["data", "check", str(folder / "empty.json")]) == 1
    assert "no manifest that can be read" in capsys.readouterr().out


def test_a_manifest_of_faulty_files_lists_their_faults(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    (folder / "cut.h5").write_bytes((folder / "own.h5").read_bytes()[:3000])
    out = str(folder / "set.json")
    assert main(["data", "manifest", str(folder), "--out", out]) == 1
    assert "cut.h5" in capsys.readouterr().err and not (folder / "set.json").exists()
    assert main(["data", "manifest", str(folder), "--out", out, "--on-error", "skip"]) == 0
    assert "Left out: " in capsys.readouterr().out
    listed = {f["path"]: f for f in json.loads((folder / "set.json").read_text())["files"]}
    assert listed["cut.h5"]["samples"] == [] and listed["cut.h5"]["faults"][0]["fatal"]
    with pytest.warns(DataFileWarning, match="cut.h5: it had no sample"):
        assert len(open_samples([folder / "set.json"])) == 8


@pytest.mark.skipif(not (SHARED / "mdcath").exists(), reason="no real mdCATH file")
def test_a_real_file_passes():
    report = check_file(SHARED / "mdcath" / "mdcath_dataset_2hbaA00_partial.h5")
    assert report.usable and report.faults == () and len(report.samples) == 1


ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_on_data_is_run_as_it_is_written(folder: Path):
    snippets = FENCE.findall((ROOT / "docs" / "data.md").read_text(encoding="utf-8"))
    assert {language for language, _ in snippets} == {"python", "bash"}
    for language, code in snippets:
        if language == "python":
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stderr
            continue
        for line in code.strip().splitlines():
            program, *arguments = shlex.split(line)
            assert program == "atmos-openmm"
            inside = [str(folder / a) if "." in a or a == "frames" else a for a in arguments]
            if "check" in inside:  # in this process, to be fast
                inside += ["--workers", "0"]
            assert main(inside) == 0, line
    assert (folder / "own.h5").exists() and (folder / "set.json").exists()
