"""Units, hands and copies of an mdCATH file, as every command that reads it meets them."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from data_cases import SHARED, write_mdcath, write_misato

from atmos_openmm.adapting.data import read_dynamics
from atmos_openmm.cli import main
from atmos_openmm.data.check import check_file, require_sound
from atmos_openmm.data.frames import close_files
from atmos_openmm.data.sources import open_samples
from atmos_openmm.evaluation.loading import read_ensemble

RUNS = ("320/0", "320/1", "450/0", "450/1")
REAL = SHARED / "mdcath" / "mdcath_dataset_2hbaA00_partial.h5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_mdcath(tmp_path / "mdcath_dataset_1abcA00.h5")


def change(path: Path, what: str) -> str:
    """Spoil a file; return what is said of it."""
    close_files()
    with h5py.File(path, "r+") as file:
        group = file["1abcA00"]
        if what == "copy":
            for name in ("coords", "gyrationRadius", "rmsf"):
                group[f"320/1/{name}"][...] = group[f"320/0/{name}"][...]
            return "12 of its 12 frames are frames of 1abcA00/320/0"
        if what == "one mirrored":
            group["320/1/coords"][...] *= -1
            return "has another hand than in the molecule's first frame in 12 frames"
        if what == "some mirrored":
            group["320/1/coords"][5:] = -group["320/1/coords"][5:]
            return "first frame in 7 frames (5, 6, 7, 8, 9, ...)"
        for run in RUNS:
            group[f"{run}/coords"][...] *= 0.1 if what == "nm" else -1
    if what == "nm":
        return "neighbouring atoms are 0.011 nm apart, a tenth of what they should be"
    return "3 of its 3 alpha carbons have the hand of D amino acids"


SPOILT = ["nm", "mirrored", "one mirrored", "some mirrored", "copy"]


@pytest.mark.parametrize("what", SPOILT)
def test_every_command_refuses_what_the_check_does(path: Path, tmp_path: Path, capsys, what: str):
    says = change(path, what)
    report = check_file(path)
    first = report.faults[0]
    assert first.fatal and says in first.message, report.faults
    whole = what in ("nm", "mirrored")
    assert len(report.samples) == (0 if whole else 3)
    if what == "copy":
        assert [f.kind for f in report.faults] == ["copy"]
    out = ["--out", str(tmp_path / "out")]
    commands = (
        ["data", "check", "--workers", "0", str(path)],
        ["data", "export", str(path), *out],
        ["evaluate", "--reference", str(path), "--temperature", "320", *out],
        ["adapt", str(path), "--temperature", "320", "-o", str(tmp_path / "adapted")],
    )
    for command in commands:
        assert main(command) == 1, command
        printed = capsys.readouterr()
        assert says in " ".join((printed.out + printed.err).split()), command


def test_nothing_is_said_of_a_good_file(path: Path, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert require_sound(open_samples([path]).samples) == []
        assert len(read_dynamics([path], tmp_path).runs) == 4
    loaded = read_ensemble([path], name="MD", temperature=320.0)
    assert loaded.notes == ("mdcath_dataset_1abcA00.h5: 1abcA00/320/0, 1abcA00/320/1.",)


def test_a_copy_at_another_temperature_is_one(path: Path):
    close_files()
    with h5py.File(path, "r+") as file:
        group = file["1abcA00"]
        # Turned, shifted and in another order, as no comparison of bytes sees.
        x = group["320/1/coords"][...]
        group["450/0/coords"][...] = x[::-1, :, [1, 2, 0]] + 5.0
        for name in ("gyrationRadius", "rmsf"):
            group[f"450/0/{name}"][...] = group[f"320/1/{name}"][...]
    faults = [f for f in check_file(path).faults if f.kind == "copy"]
    assert [(f.entry, f.fatal) for f in faults] == [("1abcA00/450/0", True)]
    assert "frames of 1abcA00/320/1" in faults[0].message


def test_one_residue_of_another_hand_is_a_note_and_no_warning(path: Path, capsys):
    """A D residue is chemistry; half of the residues and more are a mirror image."""
    close_files()
    with h5py.File(path, "r+") as file:
        for run in RUNS:
            coords = file[f"1abcA00/{run}/coords"]
            x = coords[...]
            names = [a.name for a in open_samples([path]).samples[0].molecule().topology.atoms()]
            ca, beta, alpha = (names.index(n) for n in ("CA", "CB", "HA"))
            # CB and its hydrogens change places with HA, through the plane of N, CA and C.
            n, c = x[:, names.index("N")], x[:, ca + 0]
            normal = np.cross(n - c, x[:, names.index("C", ca)] - c)
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            for atom in (beta, alpha, *(k for k in range(ca, ca + 9) if names[k].startswith("HB"))):
                away = ((x[:, atom] - c) * normal).sum(-1, keepdims=True)
                x[:, atom] -= 2 * away * normal
            coords[...] = x
    close_files()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_file(path)
        assert main(["data", "check", "--workers", "0", str(path)]) == 0
    notes = [f for f in report.faults if f.kind == "chemistry"]
    assert len(notes) == 1 and not notes[0].fatal
    assert "ALA" in notes[0].message and "opposite hand" in notes[0].message
    printed = capsys.readouterr()
    assert "note: [1abcA00/320/0] residue ALA 2" in printed.out and printed.err == ""


def test_alpha_carbons_alone_are_told_as_such(path: Path):
    close_files()
    with h5py.File(path, "r+") as file:
        for run in RUNS:
            group = file[f"1abcA00/{run}"]
            group["ca_coords"] = group["coords"][:, ::19]
            del group["coords"]
    report = check_file(path)
    assert not report.samples and {f.kind for f in report.faults} == {"missing"}
    assert all("alpha carbons alone (ca_coords)" in f.message for f in report.faults)
    assert not any("failed" in f.message for f in report.faults)


def test_a_misato_file_in_nm_or_mirrored_is_refused(tmp_path: Path):
    for factor, kind, says in ((0.1, "layout", "seem to be in nm"), (-1.0, "mirrored", "D amino")):
        path = write_misato(tmp_path / f"MD{kind}.hdf5")
        with h5py.File(path, "r+") as file:
            for name in ("trajectory_coordinates", "atoms_coordinates_ref"):
                file[f"1ABC/{name}"][...] *= factor
        (fault,) = check_file(path).faults
        assert fault.fatal and fault.kind == kind and says in fault.message


def misato_run(path: Path, moved) -> tuple:
    """Faults of a MISATO file of 20 frames with other coordinates."""
    close_files()
    write_misato(path, frames=20)
    with h5py.File(path, "r+") as file:
        starts = file["1ABC/molecules_begin_atom_index"][...].tolist()
        data = file["1ABC/trajectory_coordinates"]
        data[...] = moved(data[...], starts)
    return check_file(path).faults


def turned(x):
    """Every frame turned and moved as a whole, as no program superposed them."""
    rng = np.random.default_rng(4)
    turns = np.linalg.qr(rng.normal(size=(len(x), 3, 3)))[0]
    turns *= np.sign(np.linalg.det(turns))[:, None, None]
    return x @ turns + rng.normal(0, 30.0, (len(x), 1, 3))


@pytest.mark.parametrize("superposed", [True, False])
@pytest.mark.parametrize(
    ("first", "last", "size", "frames"),
    [
        (0, 1, 85.0, range(8, 13)),  # a chain
        (1, 2, 85.0, range(8, 13)),
        (1, 3, 85.0, range(8, 13)),  # a chain and the ligand bound to it
        (2, 3, 40.0, range(8, 13)),
        (2, 3, 25.0, range(8, 13)),  # less far, and straight back
        (0, 1, 85.0, range(14, 20)),  # not back before the end
    ],
)
def test_a_jump_of_a_whole_molecule_is_an_image(
    tmp_path: Path, first, last, size, frames, superposed
):
    def moved(x, starts):
        ends = [*starts, x.shape[1]]
        x[frames.start : frames.stop, ends[first] : ends[last]] += [size, 0.0, 0.0]
        return x if superposed else turned(x)

    (fault,) = misato_run(tmp_path / "MD.hdf5", moved)
    assert (fault.kind, fault.fatal) == ("image", True)
    assert f"as a whole by {size / 10:.1f} nm from frame {frames.start - 1} to" in fault.message
    assert ("and comes back" in fault.message) == (frames.stop < 20)
    assert "has left" not in fault.message and "no unbinding" in fault.message
    # Where the largest molecule is the one that jumps, the others do, beside it.
    assert f"in {len(frames)} frames (" in fault.message


def test_molecules_that_diffuse_or_unbind_are_no_images(tmp_path: Path):
    rng = np.random.default_rng(6)

    def diffusing(x, starts):
        """0.7 nm in 80 ps, as a small molecule in water, and never back."""
        path = np.cumsum(rng.normal(0, 4.0, (len(x), 1, 3)) + [0, 3.0, 0], axis=0)
        x[:, starts[2] :] += path - path[0]
        return turned(x)

    def leaving(x, starts):
        x[12:, starts[2] :] += [0.0, 25.0, 0.0]
        return x

    for moved in (diffusing, leaving, lambda x, starts: turned(x)):
        kinds = {fault.kind for fault in misato_run(tmp_path / "MD.hdf5", moved)}
        assert kinds <= {"ligand-gone"}
    assert misato_run(tmp_path / "MD.hdf5", lambda x, starts: turned(x)) == ()


def test_charged_ends_in_mid_chain_are_named(tmp_path: Path):
    path = write_misato(tmp_path / "MD.hdf5")
    with h5py.File(path, "r+") as file:
        start = int(file["1ABC/molecules_begin_atom_index"][1])
        for name in ("trajectory_coordinates", "atoms_coordinates_ref"):
            x = file[f"1ABC/{name}"][...]
            x[..., :start, 0] -= 9.0
            file[f"1ABC/{name}"][...] = x
    (fault,) = check_file(path).faults
    assert (fault.kind, fault.fatal) == ("incomplete", False)
    assert "GLY 3 ends a chain and PRO 1 begins the next one 0.49 nm away" in fault.message


@pytest.mark.skipif(not REAL.exists(), reason="no real mdCATH file")
@pytest.mark.parametrize("factor", [0.1, -1.0])
def test_a_real_file_in_nm_or_mirrored_is_refused(tmp_path: Path, factor: float):
    path = tmp_path / REAL.name
    path.write_bytes(REAL.read_bytes())
    with h5py.File(path, "r+") as file:
        coords = file["2hbaA00/320/0/coords"]
        coords[...] = coords[...] * factor
    assert not check_file(path).samples
    with pytest.raises(ValueError, match="seem to be in nm|hand of D amino acids"):
        read_ensemble([path], name="MD")
