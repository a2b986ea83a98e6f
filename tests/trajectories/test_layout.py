"""Trajectory files: what is written is read, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import openmm as mm
import pytest
from openmm import app

from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.layout import (
    FORMAT,
    TrajectoryData,
    TrajectoryFile,
    TrajectoryFileError,
    topology_from_pdb_text,
    topology_to_pdb_text,
    write_trajectory_file,
)

SETTINGS = {"forcefield": ["amber14-all.xml"], "seed": 5}


@pytest.fixture(scope="module")
def molecule() -> tuple[app.Topology, str]:
    topology, _ = build_peptide("ACE-GLY-NME")
    system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(topology)
    return topology, mm.XmlSerializer.serialize(system)


def _data(num_atoms: int, frames: int = 7, seed: int = 0) -> TrajectoryData:
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(frames, num_atoms, 3)) + 40.0
    return TrajectoryData(
        positions, np.arange(1.0, frames + 1), "dynamics", 310.0, "beta", 5, {"copy": 3}
    )


@pytest.fixture
def written(tmp_path: Path, molecule: tuple[app.Topology, str]) -> Path:
    topology, xml = molecule
    path = tmp_path / "gly.h5"
    num_atoms = topology.getNumAtoms()
    write_trajectory_file(
        path,
        "ACE-GLY-NME",
        topology,
        xml,
        SETTINGS,
        [_data(num_atoms), _data(num_atoms, 3, 1)],
        {"accepted": np.array([4]), "attempted": np.array([9])},
    )
    return path


def test_round_trip(written: Path, molecule: tuple[app.Topology, str]):
    topology, xml = molecule
    wanted = _data(topology.getNumAtoms())
    with TrajectoryFile(written) as file:
        assert (file.name, file.settings) == ("ACE-GLY-NME", SETTINGS)
        assert [len(t) for t in file.trajectories] == [7, 3]
        first = file.trajectories[0]
        assert (first.kind, first.temperature_kelvin, first.start, first.seed) == (
            "dynamics",
            310.0,
            "beta",
            5,
        )
        assert first.attributes["copy"] == 3
        np.testing.assert_array_equal(first.time_ps, wanted.time_ps)
        x = first.positions()
        assert x.dtype == np.float32
        centred = wanted.positions_nm - wanted.positions_nm.mean(axis=1, keepdims=True)
        # Centred in double and cut once: half a unit in the last place of float32.
        np.testing.assert_allclose(x, centred, rtol=2.0**-24, atol=1e-12)
        np.testing.assert_array_equal(first.positions(slice(2, 6, 2)), x[2:6:2])
        np.testing.assert_array_equal(first.positions(4), x[4])
        np.testing.assert_array_equal(first.positions(np.array([0, 5])), x[[0, 5]])
        assert file.exchange["accepted"].tolist() == [4]
        assert mm.XmlSerializer.serialize(file.system) == xml
        assert file.topology is file.topology  # parsed once
        assert [(a.name, a.residue.name) for a in file.topology.atoms()] == [
            (a.name, a.residue.name) for a in topology.atoms()
        ]


@pytest.mark.parametrize("sequence", ["ACE-HIS-NME", "ACE-TRP-NME", "GA", "ACE-PRO-LYS-NME"])
def test_topology_text_keeps_every_bond(sequence: str):
    topology, _ = build_peptide(sequence)
    again = topology_from_pdb_text(topology_to_pdb_text(topology))

    def bonds(t: app.Topology) -> set[frozenset[int]]:
        return {frozenset((a.index, b.index)) for a, b in t.bonds()}

    assert bonds(again) == bonds(topology)
    assert [a.name for a in again.atoms()] == [a.name for a in topology.atoms()]


def _copy(topology: app.Topology, number=lambda r: r.id, name=lambda a: a.name) -> app.Topology:
    """A topology with other numbers of residues or names of atoms."""
    copy, made = app.Topology(), {}
    for chain in topology.chains():
        new = copy.addChain(chain.id)
        for residue in chain.residues():
            there = copy.addResidue(residue.name, new, number(residue))
            made.update((a, copy.addAtom(name(a), a.element, there)) for a in residue.atoms())
    for a, b in topology.bonds():
        copy.addBond(made[a], made[b])
    return copy


def test_residues_that_share_a_number_stay_apart():
    """PDB readers take neighbours of one number for one residue, and drop atoms named twice."""
    topology, _ = build_peptide("ACE-ALA-ALA-NME")
    for number in ("5", "", "123456"):
        again = topology_from_pdb_text(topology_to_pdb_text(_copy(topology, lambda r, n=number: n)))
        assert [a.name for a in again.atoms()] == [a.name for a in topology.atoms()]
        assert [r.name for r in again.residues()] == ["ACE", "ALA", "ALA", "NME"]
        assert again.getNumBonds() == topology.getNumBonds()


def test_sulfurs_are_bonded_only_where_they_were():
    """Readers bond those of cysteines without HG that are near."""
    topology, x = build_peptide("ACE-CYS-CYS-CYS-NME")
    modeller = app.Modeller(topology, x * mm.unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
    heavy = modeller.topology
    sulfurs = [a for a in heavy.atoms() if a.name == "SG"]
    for bonded in (False, True):
        if bonded:
            heavy.addBond(sulfurs[0], sulfurs[2])
        again = topology_from_pdb_text(topology_to_pdb_text(heavy))
        pairs = [{a.name, b.name} for a, b in again.bonds()]
        assert pairs.count({"SG"}) == bonded and len(pairs) == heavy.getNumBonds()


@pytest.mark.parametrize("name", ["HB123", "HB"])
def test_names_that_would_be_lost_are_refused(tmp_path: Path, name: str):
    """Longer than a PDB file has room for, or the same for several atoms of a residue."""
    topology, _ = build_peptide("ACE-ALA-NME")
    renamed = ("HB1", "HB2") if name == "HB" else ("HB1",)
    odd = _copy(topology, name=lambda a: name if a.name in renamed else a.name)
    with pytest.raises(ValueError, match=r"cannot hold this molecule: atom 1\d, HB"):
        write_trajectory_file(tmp_path / "a.h5", "x", odd, "", {}, [_data(22)])
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_is_refused(written: Path):
    content = written.read_bytes()
    for keep in (len(content) // 2, len(content) - 64, 40, 0):
        written.write_bytes(content[:keep])
        with pytest.raises(TrajectoryFileError, match=r"truncated|damaged"):
            TrajectoryFile(written)


def test_flipped_bytes_in_the_frames_are_noticed(written: Path):
    with h5py.File(written) as file:
        dataset = file["trajectories/0000/positions"]
        offset = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(written.read_bytes())
    content[offset + 100] ^= 0xFF
    written.write_bytes(bytes(content))
    with TrajectoryFile(written) as file, pytest.raises(TrajectoryFileError, match="0000"):
        file.trajectories[0].positions()


def test_foreign_files_are_refused(tmp_path: Path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(TrajectoryFileError, match="another kind of file"):
        TrajectoryFile(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(TrajectoryFileError, match="another format"):
        TrajectoryFile(other)
    with pytest.raises(FileNotFoundError, match="nothing.h5"):
        TrajectoryFile(tmp_path / "nothing.h5")


def test_a_newer_version_is_refused(written: Path):
    with h5py.File(written, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(TrajectoryFileError, match="version 99"):
        TrajectoryFile(written)


@pytest.mark.parametrize("damage", ["positions", "time_ps", "kind", "atoms", "settings"])
def test_parts_that_are_missing_or_wrong_are_named(written: Path, damage: str):
    with h5py.File(written, "a") as file:
        group = file["trajectories/0001"]
        if damage in ("positions", "time_ps"):
            del group[damage]
        elif damage == "kind":
            group.attrs["kind"] = "dream"
        elif damage == "atoms":
            del group["positions"]
            group["positions"] = np.zeros((3, 5, 3), np.float32)
        else:
            del file.attrs["settings"]
    with pytest.raises(TrajectoryFileError, match="settings" if damage == "settings" else "0001"):
        TrajectoryFile(written)


def test_a_failed_write_leaves_the_old_file(written: Path, molecule: tuple[app.Topology, str]):
    topology, xml = molecule
    before = written.read_bytes()

    def broken() -> Iterator[TrajectoryData]:
        yield _data(topology.getNumAtoms())
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        write_trajectory_file(written, "x", topology, xml, {}, broken())
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "dream"}, "kind"),
        ({"positions_nm": np.zeros((7, 5, 3))}, "shape"),
        ({"positions_nm": np.zeros((0, 19, 3)), "time_ps": np.zeros(0)}, "at least one frame"),
        ({"time_ps": np.zeros(7)}, "increasing"),
        ({"time_ps": np.arange(6.0)}, "increasing"),
        ({"positions_nm": np.full((7, 19, 3), np.nan)}, "finite"),
    ],
)
def test_bad_trajectories_are_not_written(
    tmp_path: Path, molecule: tuple[app.Topology, str], change: dict, message: str
):
    from dataclasses import replace

    topology, xml = molecule
    assert topology.getNumAtoms() == 19
    with pytest.raises(ValueError, match=message):
        write_trajectory_file(
            tmp_path / "x.h5", "x", topology, xml, {}, [replace(_data(19), **change)]
        )
    assert list(tmp_path.iterdir()) == []


def test_the_format_is_named_in_the_file(written: Path):
    with h5py.File(written) as file:
        assert file.attrs["format"] == FORMAT == "atmos-openmm-trajectories"
        assert set(file) == {"topology_pdb", "system_xml", "trajectories", "exchange"}
