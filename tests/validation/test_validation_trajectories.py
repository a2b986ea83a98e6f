"""Trajectories of all kinds: read in chunks, compared with the topology, summed up."""

from __future__ import annotations

import csv
import json
import tracemalloc

import numpy as np
import openmm
import pytest
import validation_cases as cases

from atmos_openmm.trajectories.formats import CHUNK_FRAMES
from atmos_openmm.trajectories.reader import open_frames
from atmos_openmm.validation import EnergyValidator, TrajectoryMismatchError

mdtraj = pytest.importorskip("mdtraj")


@pytest.fixture(scope="module")
def validator():
    """Without relaxation: the tests here are about frames, not about verdicts."""
    topology, system, _ = cases.peptide("A")
    return EnergyValidator(
        topology, system, reference=cases.dynamics()[::2], relaxationIterations=0
    )


def trajectory(positions, topology=None):
    topology = cases.peptide("A")[0] if topology is None else topology
    return mdtraj.Trajectory(
        np.asarray(positions),
        mdtraj.Topology.from_openmm(topology),
        time=0.2 * np.arange(len(positions)),
    )


#: What a format keeps of a coordinate, in nm.
FORMATS = {"dcd": 1e-6, "xtc": 5.1e-4, "trr": 1e-6, "nc": 1e-6, "h5": 1e-6, "pdb": 5.1e-5,
           "gro": 5.1e-4, "xyz": 5.1e-5, "mdcrd": 5.1e-5, "rst7": 1e-6}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_frames_come_back_from_every_format(kind, tmp_path):
    if kind in ("nc", "h5"):
        pytest.importorskip({"nc": "netCDF4", "h5": "tables"}[kind])
    count = 1 if kind == "rst7" else 70
    positions = cases.dynamics()[:count]
    path = tmp_path / f"frames.{kind}"
    trajectory(positions).save(str(path))
    topology = cases.peptide("A")[0]
    source = open_frames(path, topology)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(count))
    read = np.array([frame.positions_nm for frame in frames])
    np.testing.assert_allclose(read, positions, atol=FORMATS[kind])
    assert source.num_frames in (count, None)
    assert all(frame.box_nm is None for frame in frames)


def test_chunks_join_without_a_seam(tmp_path):
    """More frames than a chunk, with a stride that divides neither."""
    positions = cases.dynamics()[: 2 * CHUNK_FRAMES + 9]
    path = tmp_path / "frames.dcd"
    trajectory(positions).save(str(path))
    source = open_frames(path, cases.peptide("A")[0])
    assert source.count(5, 120, 7) == len(range(5, 120, 7))
    frames = list(source.frames(5, 120, 7))
    assert [frame.index for frame in frames] == list(range(5, 120, 7))
    for frame in frames:
        np.testing.assert_allclose(frame.positions_nm, positions[frame.index], atol=1e-6)


def test_times_are_kept(tmp_path, validator):
    path = tmp_path / "frames.xtc"
    trajectory(cases.dynamics()[:4]).save(str(path))
    times = [verdict.time_ps for verdict in validator.iterateTrajectory(path, start=1)]
    np.testing.assert_allclose(times, [0.2, 0.4, 0.6], rtol=1e-6)


def test_the_package_own_layout_is_read(tmp_path, validator):
    from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

    topology, system, _ = cases.peptide("A")
    hot = cases.dynamics()[:30] * 1.001
    path = tmp_path / "own.h5"
    write_trajectory_file(
        path,
        "ala",
        topology,
        openmm.XmlSerializer.serialize(system),
        {},
        [
            TrajectoryData(cases.dynamics()[:70], np.arange(70.0), "dynamics", 300.0, "beta", 1),
            TrajectoryData(hot, np.arange(30.0), "exchange", 400.0, "beta", 1),
        ],
    )
    report = validator.validateTrajectory(path, stride=10)
    assert [v.frame for v in report] == list(range(0, 100, 10))
    direct = validator.validate(cases.dynamics()[20])
    # Stored as float32: 1e-8 nm under forces of thousands.
    assert report.frames[2].energies.raw_kj_per_mol == pytest.approx(
        direct.energies.raw_kj_per_mol, abs=1e-2
    )
    as_reference = EnergyValidator(topology, system, reference=path, relaxationIterations=0)
    assert len(as_reference.reference.energies_kj_per_mol) == 70
    hot_one = EnergyValidator(
        topology, system, reference=path, temperature=400, relaxationIterations=0
    )
    assert len(hot_one.reference.energies_kj_per_mol) == 30
    with pytest.raises(ValueError, match=r"no trajectory at 350 K; it has \[300.0, 400.0\] K"):
        EnergyValidator(topology, system, reference=path, temperature=350)


def test_heavy_atoms_only_is_explained(tmp_path, validator):
    topology = cases.peptide("A")[0]
    heavy = [a.index for a in topology.atoms() if a.element.symbol != "H"]
    whole = trajectory(cases.dynamics()[:3])
    for kind in ("dcd", "pdb"):
        path = tmp_path / f"heavy.{kind}"
        whole.atom_slice(heavy).save(str(path))
        with pytest.raises(TrajectoryMismatchError, match="10 atoms, the topology 22.*hydrogens"):
            validator.validateTrajectory(path)
    with pytest.raises(TrajectoryMismatchError, match="heavy atoms"):
        validator.validateTrajectory(whole.atom_slice(heavy))
    with pytest.raises(TrajectoryMismatchError, match="5 atoms, the topology 22.*stripped"):
        validator.validateTrajectory(cases.dynamics()[:3, :5])


def exchanged(topology, first, second):
    """A copy of an mdtraj Topology in which two atoms of a residue have changed places."""
    result = topology.copy()
    a, b = result.atom(first), result.atom(second)
    a.name, b.name, a.element, b.element = b.name, a.name, b.element, a.element
    return result


def test_atoms_out_of_order_are_named(tmp_path, validator):
    whole = trajectory(cases.dynamics()[:3])
    topology = cases.peptide("A")[0]
    order = np.arange(22)
    ca, ha = cases.atom(topology, "ALA", "CA"), cases.atom(topology, "ALA", "HA")
    order[[ca, ha]] = order[[ha, ca]]
    mixed = mdtraj.Trajectory(whole.xyz[:, order], exchanged(whole.topology, ca, ha))
    with pytest.raises(TrajectoryMismatchError, match=f"atom {ca} is .*ALA2/CA"):
        validator.validateTrajectory(mixed)
    path = tmp_path / "mixed.pdb"
    mixed.save(str(path))
    with pytest.raises(TrajectoryMismatchError, match="order"):
        validator.validateTrajectory(path)
    order = np.arange(22)
    first, second = cases.atom(topology, "ALA", "HB1"), cases.atom(topology, "ALA", "HB2")
    order[[first, second]] = order[[second, first]]
    swapped = exchanged(whole.topology, first, second)
    with pytest.raises(TrajectoryMismatchError, match="HB2 there and HB1 in the topology"):
        validator.validateTrajectory(mdtraj.Trajectory(whole.xyz[:, order], swapped))


def test_other_names_of_the_same_elements_are_remarked_on(validator):
    whole = trajectory(cases.dynamics()[:2])
    renamed = whole.topology.copy()
    for atom in renamed.atoms:
        atom.name = "X" + atom.name
    report = validator.validateTrajectory(mdtraj.Trajectory(whole.xyz, renamed))
    assert report.remarks == ["22 atoms have other names in the trajectory (same elements)"]
    assert "22 atoms have other names" in report.table()


def test_files_that_are_damaged_or_unknown_are_explained(tmp_path, validator):
    whole = tmp_path / "whole.xtc"
    trajectory(cases.dynamics()[:100]).save(str(whole))
    cut = tmp_path / "cut.xtc"
    cut.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(ValueError, match="cannot be read beyond frame"):
        list(validator.iterateTrajectory(cut, stride=20))
    # mdtraj reads what is left of a DCD file; the header tells that there was more.
    trajectory(cases.dynamics()[:8]).save(str(tmp_path / "whole.dcd"))
    short = tmp_path / "short.dcd"
    short.write_bytes((tmp_path / "whole.dcd").read_bytes()[:-400])
    report = validator.validateTrajectory(short)
    assert report.num_frames == 6
    assert report.remarks == [f"{short} announces 8 frames and holds 6; it seems to be cut short"]
    garbage = tmp_path / "garbage.dcd"
    garbage.write_bytes(b"not a trajectory" * 100)
    empty = tmp_path / "empty.xtc"
    empty.write_bytes(b"")
    for path in (garbage, empty):
        with pytest.raises(ValueError, match=path.name):
            list(validator.iterateTrajectory(path))
    unknown = tmp_path / "frames.abc"
    unknown.write_text("")
    with pytest.raises(ValueError, match="'.abc'.*\\.xtc"):
        validator.validateTrajectory(unknown)
    with pytest.raises(FileNotFoundError, match="missing.dcd"):
        validator.validateTrajectory(tmp_path / "missing.dcd")
    with pytest.raises(ValueError, match="no frames 500:"):
        validator.validateTrajectory(whole, start=500)


def faulty():
    """Ten frames: one not finite, one mirrored, one with a broken bond."""
    topology, _, _ = cases.peptide("A")
    positions = cases.dynamics()[1:21:2].copy()
    positions[3, 5] = np.nan
    positions[5] *= -1
    c, n = cases.atom(topology, "ALA", "C"), cases.atom(topology, "NME", "N")
    positions[7] = cases.stretched(topology, positions[7], c, n, 0.07)
    return positions


def test_no_frame_is_dropped(tmp_path, validator):
    path = tmp_path / "faulty.dcd"
    trajectory(faulty()).save(str(path))
    report = validator.validateTrajectory(path, csv=tmp_path / "out.csv")
    assert len(report) == 10 and [v.frame for v in report] == list(range(10))
    assert {v.frame: v.reason for v in report if not v.isValid} == {
        3: "nonfinite",
        5: "chirality",
        7: "bonds",
    }
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(10))
    assert rows[3]["verdict"] == "invalid" and rows[3]["energy_raw_kj_per_mol"] == ""
    for row, verdict in zip(rows, report, strict=True):
        assert row["reason"] == verdict.reason
        if verdict.reason == "nonfinite":
            continue
        parts = [float(row[f"energy_{name}_kj_per_mol"]) for name in validator.forceNames]
        # Ten digits of energies of some hundreds.
        assert sum(parts) == pytest.approx(float(row["energy_raw_kj_per_mol"]), rel=1e-7)
        assert row["omega_deg"].startswith("A/ACE1-ALA2 ")
    again = tmp_path / "again.csv"
    report.toCsv(again)
    assert again.read_text() == (tmp_path / "out.csv").read_text()


def test_the_summary_counts(validator):
    report = validator.validateTrajectory(faulty())
    summary = report.summary()
    json.dumps(summary)
    assert summary["num_frames"] == 10
    assert summary["verdicts"] == {"valid": 7, "valid after relaxation": 0, "invalid": 3}
    assert summary["fraction_valid"] == pytest.approx(0.7)
    assert summary["reasons"] == {
        "invalid: bonds": 1,
        "invalid: chirality": 1,
        "invalid: nonfinite": 1,
        "valid: accepted": 7,
    }
    # In the window: all but the frame without energy and the one with the broken bond.
    assert summary["fraction_in_window"] == summary["distance"]["fraction_in_window"] == 0.8
    valid = [v for v in report if v.verdict == "valid"]
    for name, mean in summary["force_means_kj_per_mol"].items():
        assert mean == pytest.approx(np.mean([v.energies.by_force_kj_per_mol[name] for v in valid]))
    assert summary["control"]["wasserstein_kj_per_mol"] > 0
    assert [v.frame for v in report.worst[:3]] == [3, 7, 5]
    table = report.table()
    assert "invalid" in table and "A/ALA2/CA has the wrong hand" in table
    assert max(len(line) for line in table.splitlines()) <= 120


def test_dynamics_agrees_with_itself_and_a_heated_copy_does_not(validator):
    other = validator.validateTrajectory(cases.dynamics()[1::2]).compare()
    # Neighbouring frames of one run: closer than the halves of the run are to each other.
    assert other.wasserstein_kt < 2
    assert other.fraction_in_window == 1.0
    noise = np.random.default_rng(3).normal(scale=0.004, size=cases.dynamics()[1::2].shape)
    hot = validator.validateTrajectory(cases.dynamics()[1::2] + noise).compare()
    assert hot.wasserstein_kt > 5 * other.wasserstein_kt
    assert hot.jensen_shannon_bits > 0.5


def test_frames_need_not_be_kept(tmp_path, validator):
    positions = cases.dynamics()[:20]
    report = validator.validateTrajectory(positions, keepFrames=False, csv=tmp_path / "a.csv")
    kept = validator.validateTrajectory(positions)
    assert report.summary() == kept.summary()
    assert report.table() == kept.table()
    with pytest.raises(ValueError, match="not kept"):
        report.toCsv(tmp_path / "b.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 21


def test_memory_does_not_grow_with_the_length(tmp_path):
    """What reading holds at once is less than a tenth of the file, and grows far less than it."""
    topology = cases.peptide("A")[0]
    peaks = []
    size = cases.dynamics().astype(np.float32).nbytes
    for repeat in (4, 16):
        path = tmp_path / f"{repeat}.dcd"
        trajectory(np.tile(cases.dynamics(), (repeat, 1, 1))).save(str(path))
        next(open_frames(path, topology).frames())
        tracemalloc.start()
        count = sum(1 for _ in open_frames(path, topology).frames())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == 200 * repeat
    assert peaks[1] < 0.1 * 16 * size and peaks[1] - peaks[0] < 0.05 * 12 * size


def test_progress_is_reported(validator):
    calls = []
    validator.validateTrajectory(
        cases.dynamics()[:9], stride=2, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(i, 5) for i in range(1, 6)]


def test_a_trajectory_is_its_own_reference_in_any_form(tmp_path):
    """The same energies from frames in memory, from a file, and from the CSV written for them."""
    topology, system, _ = cases.peptide("A")
    positions = cases.dynamics()[:40]
    path = tmp_path / "md.trr"
    trajectory(positions).save(str(path))
    memory = EnergyValidator(topology, system, reference=positions, relaxationIterations=0)
    memory.validateTrajectory(positions, csv=tmp_path / "md.csv")
    expected = memory.reference.energies_kj_per_mol
    for source, precision in ((path, 0.05), (tmp_path / "md.csv", 1e-6)):
        validator = EnergyValidator(topology, system, reference=source, relaxationIterations=0)
        np.testing.assert_allclose(
            validator.reference.energies_kj_per_mol, expected, atol=precision
        )
        assert str(source) in validator.reference.source
