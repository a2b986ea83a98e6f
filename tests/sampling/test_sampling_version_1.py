"""Runs of version 1 of the record are read, and taken up without losing anything."""

import os
import shutil
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app
from version_1_cases import downgrade, unpack

from atmos_openmm.core.files import StorageError
from atmos_openmm.core.settings import read_settings
from atmos_openmm.jump.proposal import REASONS
from atmos_openmm.sampling import version_1
from atmos_openmm.sampling.growing_file import GrowingFile
from atmos_openmm.sampling.npy_table import NpyTable
from atmos_openmm.sampling.storage import HybridFolder, read_run
from atmos_openmm.sampling.tables import PROPOSAL_POSITIONS, TABLES

NAMES = ["run_v1_finished", "run_v1_unfinished"]
CYCLES, ATOMS = 10, 22


def assert_rows(folder, expected):
    rows = read_run(folder)
    for name, columns in expected.items():
        found = rows.table(name)
        assert found.keys() == columns.keys()
        for column, values in columns.items():
            assert found[column].dtype == values.dtype
            np.testing.assert_array_equal(found[column], values, err_msg=column)


def take_up(path):
    """The folder with its files open, and where the run is."""
    settings = read_settings(path)
    topology = app.PDBFile(str(path / "topology.pdb")).topology
    folder = HybridFolder(path, settings)
    try:
        stored = ATOMS if settings["store_positions"] else None
        return folder, folder.open(topology, settings["walkers"], 0.01, stored)
    except BaseException:
        folder.close()
        raise


@pytest.mark.parametrize("name", NAMES)
def test_a_genuine_folder_is_read(name, tmp_path):
    folder, expected = unpack(name, tmp_path)
    assert_rows(folder, expected)
    assert ("positions_raw_nm" in expected["proposals"]) == (name == NAMES[1])
    few = read_run(folder, positions=False)
    assert not set(PROPOSAL_POSITIONS) & few.proposals.keys()
    assert len(few.frames["frame"]) == 40
    # Reading changes nothing.
    assert (folder / "record.h5").exists() and not (folder / "frames.npy").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_genuine_folder_is_taken_up(name, tmp_path, monkeypatch):
    path, expected = unpack(name, tmp_path)
    monkeypatch.setattr(version_1, "_BLOCK_ROWS", 7)
    folder, state = take_up(path)
    assert_rows(path, expected)
    assert not (path / "record.h5").exists() and not (path / "parts").exists()
    for table in TABLES:
        loaded = np.load(path / f"{table}.npy", mmap_mode="r")
        assert len(loaded) == len(expected[table]["cycle"])
    assert state.cycle == CYCLES and state.walltime_s > 0
    codes = expected["proposals"]["reason"]
    assert state.reasons == {REASONS[c]: int((codes == c).sum()) for c in np.unique(codes)}
    assert state.generated == expected["frames"]["generated"].sum()
    for walker in state.walkers:
        assert (walker.frames, walker.segment, walker.step) == (20, 10, 100)
        assert len(walker.context) > 1000 and 0 < walker.energy_limit_kj_per_mol < 100
    for walker in range(2):
        # Frames that no commit names are cut off.
        file = path / f"trajectory_{walker:04d}.dcd"
        assert mdtraj.load(str(file), top=str(path / "topology.pdb")).n_frames == 20
    folder.close()
    # From now on it is a run of this version.
    folder, again = take_up(path)
    assert again == state
    folder.close()
    assert_rows(path, expected)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("operation", ["append", "confirm", "fsync", "replace", "unlink", "rmtree"])
def test_a_kill_while_it_is_taken_up_loses_nothing(operation, tmp_path, monkeypatch):
    whole, expected = unpack(NAMES[1], tmp_path)
    owner = {"append": NpyTable, "confirm": GrowingFile, "unlink": Path, "rmtree": shutil}
    owner = owner.get(operation, os)
    original = getattr(owner, operation)
    for point in range(100):
        path = tmp_path / "copy"
        shutil.copytree(whole, path)
        calls = 0

        def dying(*arguments, point=point, **keywords):
            nonlocal calls
            calls += 1
            if calls > point:
                raise Killed
            return original(*arguments, **keywords)

        killed = False
        with monkeypatch.context() as patch:
            patch.setattr(owner, operation, dying)
            try:
                take_up(path)[0].close()
            except Killed:
                killed = True
        if killed:
            assert_rows(path, expected)
        folder, state = take_up(path)
        assert state.cycle == CYCLES
        folder.close()
        assert_rows(path, expected)
        assert not (path / "record.h5").exists() and not (path / "parts").exists()
        shutil.rmtree(path)
        if not killed:
            break
    assert not killed and point > 0


def test_folders_that_lost_something_are_refused(tmp_path):
    path, _ = unpack(NAMES[1], tmp_path)
    part = path / "parts" / "part_000000009.h5"
    content = part.read_bytes()
    part.unlink()
    with pytest.raises(StorageError, match="lacks part 9"):
        take_up(path)
    part.write_bytes(content[: len(content) // 2])
    for read in (take_up, read_run):
        with pytest.raises(StorageError, match="damaged"):
            read(path)
    part.write_bytes(content)
    with np.load(path / "checkpoint.npz") as archive:
        arrays = dict(archive)
    meta = arrays["meta"].tobytes()
    for changed, message in (
        (meta.replace(b'"commit": 10', b'"commit": 5'), "files of two runs were mixed"),
        (meta.replace(b'"version": 1', b'"version": 9'), "another version"),
        (meta.replace(b'"segment"', b'"segnemt"'), "damaged"),
    ):
        assert changed != meta
        arrays["meta"] = np.frombuffer(changed, np.uint8)
        np.savez(path / "checkpoint.npz", **arrays)
        with pytest.raises(StorageError, match=message):
            take_up(path)


@pytest.mark.parametrize("merged", [0, 4, 6])
def test_it_goes_on_bit_for_bit(merged, tmp_path):
    import sampling_cases as cases

    for name, counts in (("whole", [10]), ("old", [6, 10])):
        for count in counts:
            with cases.hybrid_sampler(tmp_path / name) as sampler:
                assert sampler.cycle == (0 if count == counts[0] else 6)
                summary = sampler.run(cycles=count)
            if count == 6:
                downgrade(tmp_path / name, merged)
                assert len(read_run(tmp_path / name).segments["cycle"]) == 12
    rows = read_run(tmp_path / "whole")
    assert_rows(tmp_path / "old", {name: rows.table(name) for name in TABLES})
    assert sum(summary.reasons.values()) == len(rows.proposals["reason"])
    for walker in range(2):
        files = [tmp_path / name / f"trajectory_{walker:04d}.dcd" for name in ("whole", "old")]
        assert files[0].read_bytes()[276:] == files[1].read_bytes()[276:]
