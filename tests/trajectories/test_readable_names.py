"""Trajectories in folders, and with remarks, of any language."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.readable_names import readable_name
from atmos_openmm.trajectories.reader import open_frames


@pytest.fixture(scope="module")
def frames():
    topology, positions = build_peptide("ACE-ALA-NME")
    return topology, np.stack([positions, positions + 0.1]).astype(np.float32)


@pytest.mark.parametrize("extension", ["xtc", "trr", "dcd", "pdb", "gro", "xyz"])
def test_a_path_need_not_be_ascii(frames, tmp_path, monkeypatch, extension):
    topology, x = frames
    trajectory = mdtraj.Trajectory(x, mdtraj.Topology.from_openmm(topology))
    trajectory.save(str(tmp_path / f"plain.{extension}"))
    folder = tmp_path / "weiß"
    folder.mkdir()
    path = folder / f"läuft.{extension}"
    (tmp_path / f"plain.{extension}").rename(path)
    monkeypatch.chdir(folder)
    for name in (path, path.name):
        source = open_frames(name, topology)
        found = np.stack([frame.positions_nm for frame in source.frames()])
        np.testing.assert_allclose(found, x, atol=6e-4)
        assert source.name == str(name)


def test_remarks_in_latin_1_are_no_hindrance(frames, tmp_path):
    topology, x = frames
    path = tmp_path / "frames.pdb"
    with open(path, "w") as file:
        for k, frame in enumerate(x):
            app.PDBFile.writeModel(topology, frame * unit.nanometer, file, modelIndex=k + 1)
    path.write_bytes("REMARK Universität\n".encode("latin-1") + path.read_bytes())
    found = np.stack([frame.positions_nm for frame in open_frames(path, topology).frames()])
    np.testing.assert_allclose(found, x, atol=6e-4)


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "ö.pdb"
    path.write_text("REMARK one\n")
    first = readable_name(path)
    assert first == readable_name(path) and first.isascii() and first.endswith(".pdb")
    path.write_bytes("REMARK zwölf\n".encode("latin-1"))
    second = readable_name(path)
    assert second != first
    with open(second, encoding="utf-8") as file:
        assert file.read().startswith("REMARK zw")
    plain = tmp_path / "plain.pdb"
    plain.write_text("END\n")
    assert readable_name(plain) == str(plain)
