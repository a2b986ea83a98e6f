"""The run folder: commits, interruptions at every point, full disks, damaged files."""

import errno
import os
import resource
import signal
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
from openmm import app

from atmos_openmm.core.files import StorageError, write_atomically
from atmos_openmm.core.locks import FolderLock
from atmos_openmm.sampling.checkpoint import RunCheckpoint, WalkerCheckpoint
from atmos_openmm.sampling.storage import RunFolder, read_run
from atmos_openmm.sampling.tables import TABLES, Rows, columns_of
from atmos_openmm.sampling.trajectory_files import open_trajectory

ATOMS = 4
SETTINGS = {"seed": 3, "walkers": 1}


@pytest.fixture
def open_run():
    """RunFolder, closed at the end of the test."""
    opened = []

    def open_folder(path, settings=SETTINGS):
        opened.append(RunFolder(path, settings))
        return opened[-1]

    yield open_folder
    for folder in opened:
        folder.close()


def topology(atoms=ATOMS, box=None):
    made = app.Topology()
    residue = made.addResidue("MOL", made.addChain())
    for index in range(atoms):
        made.addAtom(f"C{index}", app.element.carbon, residue)
    if box is not None:
        made.setPeriodicBoxVectors(box)
    return made


def rows(cycle, positions=True):
    """One row a table, recognisable by its cycle."""
    made = []
    for name, columns in TABLES.items():
        record = {column: cycle for column in columns}
        record.update(reason=0, verdict=0, origin=0, generated=True, stage=0)
        for column in ("positions_before_nm", "positions_raw_nm", "positions_after_nm"):
            record[column] = np.full((ATOMS, 3), cycle)
        made.append(columns_of(name, [record], ATOMS if positions else None))
    return Rows(*made)


def checkpoint(number, frames=0, size=0):
    walker = WalkerCheckpoint(b"\x00\xffcontext" * number, frames, size, number, 10 * number, 1.5)
    return RunCheckpoint(number, number, 0.25 * number, number, (walker,))


def commit(folder, count):
    for number in range(folder.commit_number + 1, folder.commit_number + count + 1):
        folder.commit(rows(number), checkpoint(number))


def test_rows_come_back_from_parts_and_from_the_record(tmp_path, open_run):
    folder = open_run(tmp_path)
    commit(folder, 5)
    assert not (tmp_path / "record.h5").exists()
    np.testing.assert_array_equal(read_run(tmp_path).proposals["cycle"], [1, 2, 3, 4, 5])
    folder.merge()
    assert not (tmp_path / "parts").exists()
    commit(folder, 3)
    read = read_run(tmp_path)
    for name in TABLES:
        np.testing.assert_array_equal(read.table(name)["cycle"], range(1, 9))
    np.testing.assert_array_equal(read.proposals["positions_raw_nm"][:, 0, 0], range(1, 9))
    assert read.proposals["positions_raw_nm"].dtype == np.float32
    folder.merge()
    np.testing.assert_array_equal(read_run(tmp_path).frames["cycle"], range(1, 9))


def test_many_commits_are_merged_on_the_way(tmp_path, open_run):
    folder = open_run(tmp_path)
    commit(folder, 40)
    assert (tmp_path / "record.h5").exists()
    assert len(list((tmp_path / "parts").glob("*"))) < 10
    np.testing.assert_array_equal(read_run(tmp_path).segments["cycle"], range(1, 41))


def test_checkpoint_round_trip_is_exact(tmp_path, open_run):
    folder = open_run(tmp_path)
    folder.commit(rows(1), checkpoint(1))
    assert RunCheckpoint.read(tmp_path / "checkpoint.npz") == checkpoint(1)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("point", range(12))
def test_a_kill_at_any_file_operation_loses_and_doubles_nothing(
    tmp_path, monkeypatch, point, open_run
):
    # The process "dies" at the n-th rename or removal of a commit and of the merge that follows.
    folder = open_run(tmp_path)
    commit(folder, 3)
    calls = 0

    def dying(operation):
        def wrapper(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls == point + 1:
                raise Killed
            return operation(*arguments, **keywords)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        try:
            folder.commit(rows(4), checkpoint(4))
            folder.merge()
        except Killed:
            pass
    folder.close()
    again = open_run(tmp_path)
    assert again.commit_number in (3, 4)
    expected = list(range(1, again.commit_number + 1))
    np.testing.assert_array_equal(read_run(tmp_path).proposals["cycle"], expected)
    commit(again, 2)
    again.merge()
    np.testing.assert_array_equal(
        read_run(tmp_path).proposals["cycle"], range(1, again.commit_number + 1)
    )
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_settings_are_refused_with_the_differences(tmp_path, open_run):
    open_run(tmp_path).close()
    with pytest.raises(StorageError, match=r"walkers: 1 there, 2 now"):
        open_run(tmp_path, {**SETTINGS, "walkers": 2})
    # The lock was released by the refusal.
    open_run(tmp_path).close()


def test_a_folder_in_use_is_refused(tmp_path, open_run):
    folder = open_run(tmp_path)
    with pytest.raises(StorageError, match="Another process"):
        open_run(tmp_path)
    folder.close()
    FolderLock(tmp_path).release()


def test_foreign_and_damaged_folders_are_refused(tmp_path, open_run):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "topology.pdb").write_text("ATOM")
    with pytest.raises(StorageError, match="no run.json"):
        open_run(foreign)
    folder = open_run(tmp_path / "run")
    commit(folder, 2)
    folder.close()
    part = next((tmp_path / "run" / "parts").glob("*000001.h5"))
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(StorageError, match="lacks part 1"):
        open_run(tmp_path / "run")
    part.write_bytes(content[: len(content) // 2])
    with pytest.raises(StorageError, match="damaged"):
        read_run(tmp_path / "run")
    part.write_bytes(content)
    saved = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    (tmp_path / "run" / "checkpoint.npz").write_bytes(saved[:-40])
    with pytest.raises(StorageError, match="checkpoint.npz is damaged"):
        open_run(tmp_path / "run")


def test_an_unwritable_folder_is_named(tmp_path, open_run):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StorageError, match="Cannot write to the folder .*Choose another"):
        open_run(blocked / "run")


@pytest.fixture
def small_disk():
    """No file may grow beyond 200 kB: writes beyond fail as on a full disk (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_keeps_what_was_committed(tmp_path, small_disk, open_run):
    folder = open_run(tmp_path)
    commit(folder, 2)
    big = checkpoint(3)
    big.walkers[0].__dict__["context"] = bytes(400_000)
    with pytest.raises(StorageError, match="No space is left.*cycle 2 is safe.*same command"):
        folder.commit(rows(3), big)
    assert folder.commit_number == 2
    # The same process may try again after room was made.
    commit(folder, 1)
    folder.close()
    again = open_run(tmp_path)
    np.testing.assert_array_equal(read_run(tmp_path).frames["cycle"], [1, 2, 3])
    again.close()


def test_write_atomically_leaves_the_old_file(tmp_path, small_disk):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(OSError) as error:
        write_atomically(path, bytes(400_000))
    assert error.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def frame(number, box=None):
    return np.arange(3 * ATOMS).reshape(ATOMS, 3) * 0.1 + number, box


def load(path, made):
    return mdtraj.load(str(path), top=mdtraj.Topology.from_openmm(made))


@pytest.mark.parametrize("suffix", ["dcd", "xtc"])
@pytest.mark.parametrize("boxed", [False, True])
def test_trajectories_grow_by_commits(tmp_path, suffix, boxed):
    box = np.array([[3.0, 0, 0], [0.5, 3.0, 0], [0.5, 0.5, 3.0]]) if boxed else None
    made = topology(box=box)
    path = tmp_path / f"t.{suffix}"
    trajectory = open_trajectory(path, made, 0.5)
    trajectory.append([frame(0, box), frame(1, box)])
    trajectory.confirm()
    # A batch that was written and never committed, then written again, counts once.
    trajectory.append([frame(7, box)])
    length = trajectory.append([frame(2, box), frame(3, box)])
    trajectory.confirm()
    assert length == (4, path.stat().st_size)
    read = load(path, made)
    expected = np.stack([frame(n)[0] for n in range(4)])
    np.testing.assert_allclose(read.xyz, expected, atol=6e-4 if suffix == "xtc" else 1e-6)
    if boxed:
        np.testing.assert_allclose(read.unitcell_vectors[3], box, atol=1e-5)
    # A killed process left more behind: it is cut off, and the file goes on.
    with open(path, "ab") as file:
        file.write(b"garbage" * 100)
    again = open_trajectory(path, made, 0.5, *length)
    assert load(path, made).n_frames == 4
    again.append([frame(4, box)])
    read = load(path, made)
    assert read.n_frames == 5
    if suffix == "xtc":
        np.testing.assert_allclose(read.time, 0.5 * np.arange(5), atol=1e-6)
    with pytest.raises(StorageError, match="were committed"):
        open_trajectory(path, made, 0.5, 99, path.stat().st_size + 1)


@pytest.mark.parametrize("suffix", ["dcd", "xtc"])
def test_trajectories_on_a_full_disk(tmp_path, small_disk, suffix):
    atoms = 2000
    made = topology(atoms)
    path = tmp_path / f"t.{suffix}"
    trajectory = open_trajectory(path, made, 0.5)
    positions = np.random.default_rng(1).normal(size=(atoms, 3))
    good = trajectory.append([(positions, None)])
    trajectory.confirm()
    with pytest.raises(OSError):
        trajectory.append([(positions, None)] * 40)
    again = open_trajectory(path, made, 0.5, *good)
    again.append([(positions, None)])
    assert load(path, made).n_frames == 2


def test_part_files_are_plain_hdf5(tmp_path, open_run):
    folder = open_run(tmp_path)
    commit(folder, 1)
    folder.merge()
    with h5py.File(tmp_path / "record.h5") as file:
        assert file.attrs["format"] == "atmos-openmm-run"
        assert set(file) == set(TABLES)
        assert '"accepted"' in file.attrs["reasons"]
        assert '"seed": 3' in file.attrs["settings"]


def test_locks_are_optional_where_a_system_has_none(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    FolderLock(tmp_path).release()
