"""The run folder: commits, interruptions at every point, full disks, damaged files."""

import errno
import json
import os
import resource
import signal
from collections import Counter

import mdtraj
import numpy as np
import pytest
from openmm import app

from atmos_openmm.core.files import StorageError, write_atomically
from atmos_openmm.core.locks import FolderLock
from atmos_openmm.jump.proposal import REASONS
from atmos_openmm.sampling.growing_file import GrowingFile, Length
from atmos_openmm.sampling.hybrid_state import HybridState, WalkerState
from atmos_openmm.sampling.storage import HybridFolder, read_run
from atmos_openmm.sampling.tables import ORIGINS, PROPOSAL_POSITIONS, TABLES, packed_records
from atmos_openmm.sampling.trajectory_files import open_trajectory

ATOMS = 4
SETTINGS = {"seed": 3, "walkers": 1, "format": "dcd"}


class Run:
    """The folder of a run of one walker, and how far it is."""

    def __init__(self, path, settings, atoms):
        self.folder = HybridFolder(path, settings)
        try:
            self.state = self.folder.open(topology(), 1, 0.5, atoms)
        except BaseException:
            self.folder.close()
            raise
        self.cycle = 0 if self.state is None else self.state.cycle

    def commit(self, count=1, context=b""):
        for _ in range(count):
            cycle = self.cycle + 1
            self.folder.commit([[frame(cycle)]], rows(cycle), state(cycle, context))
            self.cycle = cycle


@pytest.fixture
def open_run():
    """Runs, closed at the end of the test."""
    opened = []

    def open_folder(path, settings=SETTINGS, atoms=ATOMS):
        opened.append(Run(path, settings, atoms))
        return opened[-1]

    yield open_folder
    for run in opened:
        run.folder.close()


def topology(atoms=ATOMS, box=None):
    made = app.Topology()
    residue = made.addResidue("MOL", made.addChain())
    for index in range(atoms):
        made.addAtom(f"C{index}", app.element.carbon, residue)
    if box is not None:
        made.setPeriodicBoxVectors(box)
    return made


def rows(cycle):
    """One row a table, recognisable by its cycle."""
    made = {}
    for name, columns in TABLES.items():
        record = {column: cycle for column in columns}
        record.update(reason=0, verdict=0, origin=0, generated=True, stage=0)
        for column in PROPOSAL_POSITIONS:
            record[column] = np.full((ATOMS, 3), cycle)
        made[name] = packed_records(name, [record], ATOMS)
    return made


def state(cycle, context=b""):
    walker = WalkerState(b"\x00\xffcontext" * cycle + context, cycle, cycle, 10 * cycle, np.inf)
    return HybridState(cycle, 0.25 * cycle, cycle, Counter(bonds=cycle), (walker,))


def test_rows_and_state_come_back(tmp_path, open_run):
    run = open_run(tmp_path)
    assert run.state is None and len(read_run(tmp_path).proposals["cycle"]) == 0
    run.commit(5)
    np.testing.assert_array_equal(read_run(tmp_path).proposals["cycle"], [1, 2, 3, 4, 5])
    run.folder.close()
    run = open_run(tmp_path)
    assert run.state == state(5)
    run.commit(3)
    read = read_run(tmp_path)
    for name, columns in TABLES.items():
        np.testing.assert_array_equal(read.table(name)["cycle"], range(1, 9))
        for column, kind in columns.items():
            assert read.table(name)[column].dtype == np.dtype(kind)
    np.testing.assert_array_equal(read.proposals["positions_raw_nm"][:, 0, 0], range(1, 9))
    assert read.proposals["positions_raw_nm"].dtype == np.float32
    assert set(read_run(tmp_path, positions=False).proposals) == set(TABLES["proposals"])


def test_anybody_can_load_the_tables_at_any_time(tmp_path, open_run):
    run = open_run(tmp_path)
    for cycle in range(12):
        for name in TABLES:
            for mode in (None, "r"):
                loaded = np.load(tmp_path / f"{name}.npy", mmap_mode=mode)
                np.testing.assert_array_equal(loaded["cycle"], range(1, cycle + 1))
        assert loaded.dtype.isnative and loaded.dtype.itemsize == 54
        run.commit()
    assert loaded.flags.writeable is False
    proposals = np.load(tmp_path / "proposals.npy")
    assert proposals["positions_after_nm"].shape == (12, ATOMS, 3)
    codes = json.loads((tmp_path / "tables.json").read_text())
    assert codes["reasons"] == list(REASONS) and codes["origins"] == list(ORIGINS)
    # What is written and not committed is not in sight.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", _die)
        with pytest.raises(Killed):
            run.commit()
    assert len(np.load(tmp_path / "frames.npy")) == len(read_run(tmp_path).frames["cycle"]) == 12


class Killed(BaseException):
    """Stands for the end of the process."""


def _die(*arguments):
    raise Killed


def dying(monkeypatch, point, *operations):
    """Let the process "die" at the n-th call of these (object, name)."""
    calls = 0

    def wrapped(operation):
        def wrapper(*arguments, **keywords):
            nonlocal calls
            calls += 1
            if calls == point + 1:
                raise Killed
            return operation(*arguments, **keywords)

        return wrapper

    for owner, name in operations:
        monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))


@pytest.mark.parametrize("point", range(11))
def test_a_kill_at_any_file_operation_loses_and_doubles_nothing(
    tmp_path, monkeypatch, point, open_run
):
    # At the n-th flush to the disk (trajectory, tables, checkpoint, folder) or rename of a commit,
    # or within what comes after it.
    run = open_run(tmp_path)
    run.commit(3)
    with monkeypatch.context() as patch:
        dying(patch, point, (os, "fsync"), (os, "replace"), (GrowingFile, "confirm"))
        with pytest.raises(Killed):
            run.commit()
    run.folder.close()
    again = open_run(tmp_path)
    assert again.cycle == (3 if point < 6 else 4)
    for _ in range(2):
        expected = range(1, again.cycle + 1)
        for name in TABLES:
            np.testing.assert_array_equal(read_run(tmp_path).table(name)["cycle"], expected)
            np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy")["cycle"], expected)
        assert load(tmp_path / "trajectory_0000.dcd", topology()).n_frames == again.cycle
        again.commit(2)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("point", range(7))
def test_a_kill_in_the_first_commit_starts_anew(tmp_path, monkeypatch, point, open_run):
    # As above; the checkpoint of nothing comes first, which is flushed, renamed, and its folder
    # flushed.
    run = open_run(tmp_path)
    with monkeypatch.context() as patch:
        dying(patch, point, (os, "fsync"), (os, "replace"))
        with pytest.raises(Killed):
            run.commit()
    run.folder.close()
    assert len(read_run(tmp_path).frames["cycle"]) == 0
    again = open_run(tmp_path)
    assert again.state is None
    again.commit(2)
    np.testing.assert_array_equal(read_run(tmp_path).frames["cycle"], [1, 2])


def test_other_settings_are_refused_with_the_differences(tmp_path, open_run):
    open_run(tmp_path).folder.close()
    with pytest.raises(StorageError, match=r"walkers: 1 there, 2 now"):
        open_run(tmp_path, {**SETTINGS, "walkers": 2})
    # The lock was released by the refusal.
    open_run(tmp_path).folder.close()


def test_a_folder_in_use_is_refused(tmp_path, open_run):
    run = open_run(tmp_path)
    with pytest.raises(StorageError, match="Another process"):
        open_run(tmp_path)
    run.folder.close()
    FolderLock(tmp_path).release()


def test_foreign_and_damaged_folders_are_refused(tmp_path, open_run):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "topology.pdb").write_text("ATOM")
    with pytest.raises(StorageError, match="no run.json"):
        open_run(foreign)
    run = open_run(tmp_path / "run")
    run.commit(2)
    run.folder.close()
    table = tmp_path / "run" / "segments.npy"
    content = table.read_bytes()
    table.write_bytes(content[:-1])
    with pytest.raises(StorageError, match="segments.npy has .* bytes, but .* were committed"):
        open_run(tmp_path / "run")
    with pytest.raises(StorageError, match="segments.npy is damaged"):
        read_run(tmp_path / "run")
    table.unlink()
    with pytest.raises(StorageError, match="segments.npy has 0 bytes"):
        open_run(tmp_path / "run")
    table.write_bytes(b"x" + content[1:])
    with pytest.raises(StorageError, match="segments.npy is damaged.*magic"):
        open_run(tmp_path / "run")
    table.write_bytes(content)
    with pytest.raises(StorageError, match="proposals.npy has other columns"):
        open_run(tmp_path / "run", atoms=ATOMS + 1)
    saved = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    (tmp_path / "run" / "checkpoint.npz").write_bytes(saved[:-40])
    with pytest.raises(StorageError, match="checkpoint.npz is damaged"):
        open_run(tmp_path / "run")
    # Without a checkpoint nothing is cut back, and readers do not take the run for an empty one.
    (tmp_path / "run" / "checkpoint.npz").unlink()
    for read in (open_run, read_run):
        with pytest.raises(StorageError, match="segments.npy, traj.* no checkpoint.*Put it back"):
            read(tmp_path / "run")
    (tmp_path / "run" / "checkpoint.npz").write_bytes(saved)
    assert open_run(tmp_path / "run").cycle == 2


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
    run = open_run(tmp_path)
    run.commit(2)
    with pytest.raises(StorageError, match="No space is left.*cycle 2 is safe.*same command"):
        run.commit(context=bytes(400_000))
    assert run.cycle == 2
    # The same process may try again after room was made.
    run.commit()
    run.folder.close()
    assert open_run(tmp_path).state == state(3)
    np.testing.assert_array_equal(read_run(tmp_path).frames["cycle"], [1, 2, 3])


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
    again = open_trajectory(path, made, 0.5, length)
    assert load(path, made).n_frames == 4
    again.append([frame(4, box)])
    read = load(path, made)
    assert read.n_frames == 5
    if suffix == "xtc":
        np.testing.assert_allclose(read.time, 0.5 * np.arange(5), atol=1e-6)
    with pytest.raises(StorageError, match="were committed"):
        open_trajectory(path, made, 0.5, Length(99, path.stat().st_size + 1))


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
    again = open_trajectory(path, made, 0.5, good)
    again.append([(positions, None)])
    assert load(path, made).n_frames == 2


def test_locks_are_optional_where_a_system_has_none(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    locks = [FolderLock(tmp_path), FolderLock(tmp_path)]
    assert (tmp_path / ".lock").exists()
    for lock in locks:
        lock.release()
