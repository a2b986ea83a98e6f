"""Rollouts that cannot start or go on: wrong input, other folders, damaged files, full disks."""

import json
import resource
import signal

import numpy as np
import pytest
import sampling_cases as cases
from openmm import unit
from rollout_cases import bound, model_file, rollout

from atmos_openmm import AtmosPropagator, OutOfDomainWarning
from atmos_openmm.core.files import StorageError
from atmos_openmm.sampling import Rollout, read_rollout
from atmos_openmm.sampling.csv_table import CsvTable, read_csv_table


@pytest.fixture(scope="module")
def propagator(tmp_path_factory):
    """A real model with random weights, for lags of 1 to 100 ps."""
    path = model_file(tmp_path_factory.mktemp("model"))
    topology, _, positions = cases.dipeptide()
    return AtmosPropagator(path, topology, positions=positions)


def test_values_outside_the_model(propagator, tmp_path):
    topology, _, positions = cases.dipeptide()
    for arguments, message in (
        ({"lag": 0.0}, "lag is 0 ps; it has to be positive"),
        ({"temperature": -1.0}, "temperature is -1 K; it has to be positive"),
        ({"onInvalid": "drop"}, "Unknown onInvalid 'drop'; use retry, keep, stop"),
        ({"maxAttempts": 0}, "at least 1"),
        ({"walkers": 0}, "at least one"),
        ({"threads": 0}, "at least 1"),
        ({"trajectoryFormat": "pdb"}, "use dcd or xtc"),
    ):
        with pytest.raises(ValueError, match=message):
            Rollout(topology, positions, propagator, tmp_path / "run", **arguments)
    for device, message in (("abacus", "abacus"), ("meta", "'meta'"), ("cuda:99", "'cuda:99'")):
        other = AtmosPropagator(bound("torsion"), topology, lag=10.0, device=device)
        with pytest.raises(ValueError, match=f"cannot compute on the device.*{message}"):
            Rollout(topology, positions, other, tmp_path / "run")
    # What is refused leaves no folder behind that would stand in the way.
    assert not (tmp_path / "run").exists()
    # What the model was not trained for is warned of.
    for number, (arguments, message) in enumerate(
        (
            ({"lag": 1000.0}, "a lag of 1000 ps .1 to 100 ps."),
            ({"lag": 0.5 * unit.femtosecond}, "a lag of 0.0005 ps .1 to 100 ps."),
            ({"temperature": 700.0}, "a temperature of 700 K .280 to 400 K."),
        )
    ):
        folder = tmp_path / f"warned {number}"
        with pytest.warns(OutOfDomainWarning, match=message):
            Rollout(topology, positions, propagator, folder, **arguments).close()
    with Rollout(topology, positions, propagator, tmp_path / "run") as made:
        assert made.folder.settings["lag_ps"] == 100.0
        assert made.folder.settings["temperature_K"] == 300.0


def test_starts_of_something_else(propagator, tmp_path):
    topology, _, positions = cases.dipeptide()
    mirrored = positions * [1, 1, -1]
    for start, message in (
        (positions[:-1], r"\[21, 3\]; expected \[22, 3\]"),
        (np.stack([positions] * 3)[:, :5], r"\[3, 5, 3\]"),
        (positions * np.nan, "not finite"),
        (positions[::-1], "walker 0 does not pass the screen: bond .* nm long.*order of the Topo"),
        (10 * positions, "in nm"),
        (np.stack([positions, mirrored]), "walker 1 .* wrong hand.*D residue"),
    ):
        with pytest.raises(ValueError, match=message):
            Rollout(topology, start, propagator, tmp_path / "run")
    from atmos_openmm.systems.peptides import build_peptide

    other, elsewhere = build_peptide("ACE-GLY-NME")
    with pytest.raises(ValueError, match="the Topology has 19 atoms.*bound to"):
        Rollout(other, elsewhere, propagator, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_of_other_runs(tmp_path):
    with cases.hybrid_sampler(tmp_path / "hybrid"):
        pass
    with pytest.raises(StorageError, match="holds a hybrid run, not a rollout.*another folder"):
        rollout(tmp_path / "hybrid")
    with pytest.raises(StorageError, match="holds a hybrid run, not a rollout"):
        read_rollout(tmp_path / "hybrid")
    with rollout(tmp_path / "run") as made:
        made.run(2)
        with pytest.raises(StorageError, match="Another process"):
            rollout(tmp_path / "run")
    with pytest.raises(StorageError, match="holds a rollout, not a hybrid run"):
        cases.hybrid_sampler(tmp_path / "run")
    with pytest.raises(StorageError, match="lag_ps: 50.0 there, 60.0 now.*seed: 11 there, 12 now"):
        rollout(tmp_path / "run", lag=60.0, seed=12)
    with pytest.raises(StorageError, match="model_sha256"):
        rollout(tmp_path / "run", kind="network", onInvalid="retry")
    with pytest.raises(StorageError, match="no run.json"):
        read_rollout(tmp_path)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "frames.csv").write_text("mine")
    with pytest.raises(StorageError, match="frames.csv but no run.json"):
        rollout(tmp_path / "strange")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Cannot write to the folder .*Choose another folder"):
        rollout(tmp_path / "file" / "run")
    # The limit of attempts only says when to give up: it may change.
    with rollout(tmp_path / "run", maxAttempts=50) as made:
        assert made.run(3).complete


@pytest.mark.parametrize("name", ["trajectory_0001.dcd", "frames.csv", "trajectory_0000.xtc"])
def test_files_that_lost_frames(tmp_path, name):
    changes = {"trajectoryFormat": name[-3:]} if name.startswith("traj") else {}
    with rollout(tmp_path / "run", **changes) as made:
        made.run(3)
    path = tmp_path / "run" / name
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(StorageError, match=f"{name} has .* bytes, but .* committed.*Put the file"):
        rollout(tmp_path / "run", **changes)
    path.unlink()
    with pytest.raises(StorageError, match="has 0 bytes"):
        rollout(tmp_path / "run", **changes)
    path.write_bytes(content)
    with rollout(tmp_path / "run", **changes) as made:
        assert made.run(4).complete


def test_damaged_files(tmp_path):
    with rollout(tmp_path / "run") as made:
        made.run(3)
    path = tmp_path / "run" / "checkpoint.npz"
    content = path.read_bytes()
    # Every place: the archive's own checksums tell.
    for place in range(100, len(content), len(content) // 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            rollout(tmp_path / "run").close()
        except StorageError as error:
            assert "checkpoint.npz is damaged" in str(error) and "another folder" in str(error)
        else:
            # Dates of the archive's members mean nothing.
            with np.load(path) as damaged:
                whole = {name: damaged[name].tobytes() for name in damaged}
            path.write_bytes(content)
            with np.load(path) as archive:
                assert whole == {name: archive[name].tobytes() for name in archive}
    path.write_bytes(content[:-40])
    with pytest.raises(StorageError, match="checkpoint.npz is damaged"):
        rollout(tmp_path / "run")
    path.write_bytes(content)
    with np.load(path) as archive:
        arrays = dict(archive)
    meta = json.loads(arrays["meta"].tobytes())
    arrays["meta"] = np.frombuffer(json.dumps({**meta, "version": 99}).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(StorageError, match="another version"):
        rollout(tmp_path / "run")
    path.unlink()
    for read in (rollout, read_rollout):
        with pytest.raises(StorageError, match="frames.csv, traj.* but no checkpoint.*Put it back"):
            read(tmp_path / "run")
    path.write_bytes(content)
    assert len(read_rollout(tmp_path / "run")["frame"]) >= 6
    settings = tmp_path / "run" / "run.json"
    settings.write_text(settings.read_text()[:-30])
    with pytest.raises(StorageError, match="run.json is damaged"):
        rollout(tmp_path / "run")


def test_pickles_are_not_read(tmp_path):
    class Code:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    with rollout(tmp_path / "run") as made:
        made.run(1)
    path = tmp_path / "run" / "checkpoint.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "latents": np.array([Code()], dtype=object)})
    with pytest.raises(StorageError, match="damaged"):
        rollout(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def small_disk():
    """No file may grow beyond 100 kB: writes beyond fail as on a full disk (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("suffix", ["dcd", "xtc"])
def test_a_full_disk(tmp_path, small_disk, suffix):
    with rollout(tmp_path / "run", trajectoryFormat=suffix, commitSeconds=1e9) as made:
        made.run(3)
        small_disk(4000)
        with pytest.raises(StorageError, match="Everything up to frame 3 is safe.*same command"):
            made.run(40)
        assert set(read_rollout(tmp_path / "run")["frame"]) == {0, 1, 2}
        # The same object goes on when there is room again.
        small_disk(10**7)
        made.run(40)
    with rollout(tmp_path / "other", trajectoryFormat=suffix) as made:
        made.run(40)
    names = ["frames.csv"] + ([f"trajectory_0000.{suffix}"] if suffix == "xtc" else [])
    for name in names:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_new_rollout_has_an_empty_table(tmp_path):
    with rollout(tmp_path / "run") as made:
        assert made.run(0).complete and made.frame == 0
        table = read_rollout(tmp_path / "run")
    assert all(len(values) == 0 for values in table.values())
    assert table["frame"].dtype == np.int64 and table["written"].dtype == np.bool_


def test_tables_keep_any_text(tmp_path):
    columns = {"n": "int", "x": "float", "text": "str"}
    path = tmp_path / "t.csv"
    table = CsvTable(path, columns)
    rows = [
        {"n": 1, "x": 0.1, "text": 'a "b", c'},
        {"n": -2, "x": np.float32(np.nan), "text": "two\nlines"},
        {"n": 3, "x": np.inf, "text": ""},
    ]
    table.append(rows[:1])
    table.confirm()
    # What was written and not confirmed is written over.
    table.append(rows[:2])
    length = table.append(rows[1:])
    table.confirm()
    size = length.size
    assert length == (3, path.stat().st_size)
    read = read_csv_table(path, columns, size)
    assert list(read["n"]) == [1, -2, 3] and list(read["text"]) == [r["text"] for r in rows]
    np.testing.assert_array_equal(read["x"], [0.1, np.nan, np.inf])
    with open(path, "a") as file:
        file.write("garbage")
    assert len(read_csv_table(path, columns, size)["n"]) == 3
    CsvTable(path, columns, length)
    assert path.stat().st_size == size
    with pytest.raises(StorageError, match="its columns are n, x, text"):
        read_csv_table(path, {"m": "int", "x": "float", "text": "str"}, size)
    with pytest.raises(StorageError, match="damaged"):
        read_csv_table(path, columns, size + 1)


def test_a_module_needs_a_lag(tmp_path):
    topology, _, positions = cases.dipeptide()
    with pytest.raises(ValueError, match="No lag was given"):
        Rollout(topology, positions, bound("torsion"), tmp_path / "run")
