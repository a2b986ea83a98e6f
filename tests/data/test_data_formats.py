"""Conversion to and from MDTraj's formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_cases import SHARED, write_mdcath
from openmm import app, unit

from atmos_openmm.cli import main
from atmos_openmm.data.check import check_file
from atmos_openmm.data.mdtraj_formats import (
    export_sample,
    import_trajectories,
    to_mdtraj,
    write_samples,
)
from atmos_openmm.data.sources import open_samples
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.layout import TrajectoryFile, TrajectoryFileError

mdtraj = pytest.importorskip("mdtraj")

XTC_NM = 0.5e-3  # half of the last digit that XTC keeps


@pytest.fixture
def samples(tmp_path: Path):
    return list(open_samples([write_mdcath(tmp_path / "mdcath_dataset_1abcA00.h5")]))


def test_frames_go_out_and_come_back(samples, tmp_path: Path):
    sample = samples[2]
    frames = np.array([0, 3, 6, 9])
    trajectory = to_mdtraj(sample, frames)
    assert trajectory.time.tolist() == (frames * 1000.0).tolist()
    np.testing.assert_array_equal(trajectory.xyz, sample.frames.read(frames))
    # DCD is in angstrom, float32: one rounding of values up to 40 angstrom.
    for suffix, tolerance in ((".xtc", XTC_NM), (".dcd", 4e-7), (".trr", 0.0)):
        path, pdb = export_sample(sample, tmp_path / f"out{suffix}", frames)
        again = mdtraj.load(str(path), top=str(pdb))
        np.testing.assert_allclose(again.xyz, trajectory.xyz, rtol=0, atol=tolerance + 1e-7)
    assert app.PDBFile(str(pdb)).topology.getNumBonds() == 58
    back = tmp_path / "back.h5"
    import_trajectories(back, [tmp_path / "out.xtc"], pdb, temperature_kelvin=450.0)
    with TrajectoryFile(back) as file:
        (stored,) = file.trajectories
        assert (stored.kind, stored.temperature_kelvin) == ("dynamics", 450.0)
        np.testing.assert_allclose(stored.time_ps, frames * 1000.0)
        # Stored centred, and HB2, HB3 and the like by the names' rule.
        assert file.settings["forcefield"] == "not recorded"
        with pytest.raises(TrajectoryFileError, match="holds no System"):
            _ = file.system
    (own,) = open_samples([back])
    one, two = own.features(), sample.features()
    assert one.residue_names == two.residue_names
    np.testing.assert_array_equal(one.bonds, two.bonds)
    centred = sample.frames.read(frames)
    centred = centred - centred.mean(axis=1, keepdims=True)
    heavy = own.features("heavy").atom_indices
    np.testing.assert_allclose(own.frames.read()[:, heavy], centred[:, heavy], atol=2 * XTC_NM)


def test_samples_become_one_trajectory_file(samples, tmp_path: Path):
    path = tmp_path / "own.h5"
    write_samples(path, samples, stride=5)
    with TrajectoryFile(path) as file:
        assert file.settings["dataset"] == "mdcath" and file.name == "1abcA00"
    again = list(open_samples([path]))
    assert [s.temperature_kelvin for s in again] == [320.0, 320.0, 450.0, 450.0]
    assert {(s.num_frames, s.spacing_ps, s.kind) for s in again} == {(3, 5000.0, "dynamics")}
    x = samples[3].frames.read(slice(0, None, 5)).astype(float)
    # Centred in double, stored as float32: values below 1 nm.
    np.testing.assert_allclose(
        again[3].frames.read(), x - x.mean(axis=1, keepdims=True), rtol=0, atol=2.0**-24
    )
    assert again[0].molecule().topology.getNumBonds() == 58
    with pytest.raises(ValueError, match="no samples"):
        write_samples(path, [])
    other = open_samples([write_mdcath(tmp_path / "other.h5")]).samples[0]
    with pytest.raises(ValueError, match="another molecule"):
        write_samples(path, [samples[0], other])


def solvated(tmp_path: Path) -> tuple[Path, np.ndarray, app.Topology]:
    """A peptide across the corner of a periodic box, with two waters and an ion."""
    topology, x = build_peptide("ACE-SER-NME")
    modeller = app.Modeller(topology, x * unit.nanometer)
    water = app.Topology()
    chain = water.addChain()
    for _ in range(2):
        residue = water.addResidue("HOH", chain)
        oxygen = water.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            water.addBond(oxygen, water.addAtom(name, app.element.hydrogen, residue))
    ion = water.addResidue("NA", water.addChain())
    water.addAtom("NA", app.element.sodium, ion)
    places = np.array([[1.0, 1.0, 1.0], [1.1, 1.0, 1.0], [1.0, 1.1, 1.0]])
    places = np.concatenate([places, places + 0.5, [[2.0, 0.2, 0.2]]])
    modeller.add(water, places * unit.nanometer)
    positions = np.array([p / unit.nanometer for p in modeller.positions])
    pdb = tmp_path / "system.pdb"
    with open(pdb, "w") as file:
        app.PDBFile.writeFile(modeller.topology, positions * unit.nanometer, file)
    return pdb, positions, modeller.topology


def test_solvent_is_left_out_and_molecules_are_made_whole(tmp_path: Path):
    pdb, positions, topology = solvated(tmp_path)
    box = 2.5
    rng = np.random.default_rng(1)
    frames = positions + rng.normal(0, 2e-3, (5, *positions.shape))
    wrapped = (frames % box).astype(np.float32)
    known = mdtraj.Topology.from_openmm(topology)
    trajectory = mdtraj.Trajectory(
        wrapped,
        known,
        time=np.ones(5),
        unitcell_lengths=np.full((5, 3), box),
        unitcell_angles=np.full((5, 3), 90.0),
    )
    trajectory.save(str(tmp_path / "run.xtc"))
    out = tmp_path / "own.h5"
    with pytest.raises(ValueError, match="times that do not increase"):
        import_trajectories(out, [tmp_path / "run.xtc"], pdb, temperature_kelvin=300.0)
    notes = import_trajectories(
        out,
        [tmp_path / "run.xtc"],
        pdb,
        temperature_kelvin=300.0,
        spacing_ps=2.0,
        stride=2,
        forcefield=["amber14-all.xml", "implicit/gbn2.xml"],
        name="serine",
    )
    assert notes[-1] == "Left out: 2 HOH, 1 NA."
    with TrajectoryFile(out) as file:
        (stored,) = file.trajectories
        assert file.name == "serine" and stored.time_ps.tolist() == [0.0, 4.0, 8.0]
        assert file.system.getNumParticles() == stored.num_atoms == len(positions) - 7
        x = stored.positions()
    heavy = [a.index for a in topology.atoms() if a.element.symbol != "H"][:-3]
    y = frames[::2, : x.shape[1]]
    y = y - y.mean(axis=1, keepdims=True)
    # XTC rounds each atom, and so the centre.
    np.testing.assert_allclose(x[:, heavy], y[:, heavy], atol=2 * XTC_NM)
    # Without a box nothing says how to make it whole.
    trajectory.unitcell_lengths = None
    trajectory.unitcell_angles = None
    trajectory.save(str(tmp_path / "nobox.dcd"))
    with pytest.raises(ValueError, match=r"SER2 C to SER2 CA.*10 in all.*periodic box"):
        import_trajectories(
            out, [tmp_path / "nobox.dcd"], pdb, temperature_kelvin=300.0, spacing_ps=1.0
        )


@pytest.mark.parametrize("spacing, first", [(20.0, 3e6), (0.3, 3e6), (5.0, 3e7)])
@pytest.mark.parametrize("suffix", ["xtc", "trr"])
def test_late_times_are_even_within_float32(tmp_path: Path, suffix, spacing, first):
    """At 3 microseconds a step of 20 ps is stored as 20 or 20.25 ps."""
    pdb, trajectory = peptide_run(tmp_path, first + spacing * np.arange(60))
    steps = np.unique(np.diff(trajectory.time.astype(np.float32)))
    trajectory.save(str(tmp_path / f"run.{suffix}"))
    own = tmp_path / "own.h5"
    import_trajectories(own, [tmp_path / f"run.{suffix}"], pdb, temperature_kelvin=300.0)
    (sample,) = open_samples([own])
    assert sample.num_frames == 60 and abs(sample.spacing_ps - spacing) < max(np.ptp(steps), 1e-9)
    assert check_file(own).faults == ()


def peptide_run(tmp_path: Path, times: np.ndarray, order=None) -> tuple[Path, mdtraj.Trajectory]:
    """A structure and a run of ACE-ALA-ALA-NME, atoms in another order where one is given."""
    topology, x = build_peptide("ACE-ALA-ALA-NME")
    pdb, names = tmp_path / "peptide.pdb", list(topology.atoms())
    with open(pdb, "w") as file:
        app.PDBFile.writeFile(topology, np.asarray(x) * unit.nanometer, file)
    if order is not None:
        lines = [k for k in pdb.read_text().splitlines() if k.startswith(("ATOM", "HETATM"))]
        order = sorted(range(len(lines)), key=lambda k: order(names[k]))
        pdb.write_text(
            "".join(f"{lines[k][:6]}{n:5d}{lines[k][11:]}\n" for n, k in enumerate(order))
        )
        x = np.asarray(x)[order]
        topology = app.PDBFile(str(pdb)).topology
    frames = x + np.random.default_rng(2).normal(0.0, 1e-3, (len(times), len(x), 3))
    return pdb, mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology), time=times)


def test_what_its_own_reader_refuses_is_not_written(tmp_path: Path):
    out = tmp_path / "own.h5"
    pdb, trajectory = peptide_run(tmp_path, np.arange(6.0))
    trajectory.save(str(tmp_path / "run.xtc"))
    trajectory[0].save(str(tmp_path / "one.xtc"))
    for name, options in (("one", {}), ("one", {"spacing_ps": 1.0}), ("run", {"stride": 10})):
        with pytest.raises(ValueError, match="holds no two frames"):
            import_trajectories(
                out, [tmp_path / f"{name}.xtc"], pdb, temperature_kelvin=300.0, **options
            )
    # Hydrogens after all heavy atoms: each residue is there twice.
    pdb, trajectory = peptide_run(tmp_path, np.arange(6.0), lambda a: a.element.symbol == "H")
    trajectory.save(str(tmp_path / "run.xtc"))
    with pytest.raises(ValueError, match="residues stand in two places of the file: ACE 1"):
        import_trajectories(out, [tmp_path / "run.xtc"], pdb, temperature_kelvin=300.0)
    assert not out.exists()


def test_the_command_checks_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pdb, trajectory = peptide_run(tmp_path, np.arange(6.0))
    trajectory.xyz[3] = trajectory.xyz[2]
    trajectory.save(str(tmp_path / "run.trr"))
    assert main(["data", "import", str(tmp_path / "run.trr"), "--structure", str(pdb), "--out",
                 str(tmp_path / "own.h5"), "--temperature", "300"]) == 0  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert "Note: [/trajectories/0000] the frame before is repeated in frame 3" in printed


def test_what_does_not_fit_is_refused(samples, tmp_path: Path):
    path, _ = export_sample(samples[0], tmp_path / "run.dcd")
    pdb, *_ = solvated(tmp_path)
    out = tmp_path / "own.h5"
    with pytest.raises(ValueError, match=r"run.dcd (has 58 atoms|cannot be read with)"):
        import_trajectories(out, [path], pdb, temperature_kelvin=300.0)
    for options, says in (
        ({"temperature_kelvin": 0.0}, "above 0"),
        ({"temperature_kelvin": 300.0, "spacing_ps": -1.0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=says):
            import_trajectories(out, [path], pdb, **options)
    with pytest.raises(ValueError, match="nothing to convert"):
        import_trajectories(out, [], pdb, temperature_kelvin=300.0)
    with pytest.raises(FileNotFoundError):
        import_trajectories(out, [tmp_path / "none.xtc"], pdb, temperature_kelvin=300.0)
    with pytest.raises(ValueError, match="would hold the Topology"):
        export_sample(samples[0], tmp_path / "run.pdb")
    with pytest.raises(ValueError, match="MDTraj writes no .mov"):
        export_sample(samples[0], tmp_path / "run.mov")
    assert not out.exists()


def test_the_command_converts(samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source, out = str(tmp_path / "mdcath_dataset_1abcA00.h5"), tmp_path / "out"
    assert main(["data", "export", source, "--out", str(out), "--sample", "1abcA00/450/1"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["1abcA00_450_1.pdb", "1abcA00_450_1.xtc"]
    own = tmp_path / "own.h5"
    assert main(["data", "import", str(out / "1abcA00_450_1.xtc"), "--structure",
                 str(out / "1abcA00_450_1.pdb"), "--out", str(own), "--temperature", "450",
                 "--spacing-ps", "1000"]) == 0  # fmt: skip
    (sample,) = open_samples([own])
    assert (sample.spacing_ps, sample.num_frames) == (1000.0, 12)
    assert main(["data", "export", source, "--out", str(out), "--format", "h5"]) == 0
    assert len(open_samples([out / "1abcA00.h5"])) == 4
    assert main(["data", "export", source, "--out", str(out), "--sample", "nothing"]) == 1
    assert "no sample 'nothing'; there are 1abcA00/320/0" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "mdcath").exists(), reason="no real trajectory")
def test_a_real_trajectory_is_the_file_made_from_it(tmp_path: Path):
    folder = SHARED / "mdcath"
    (sample,) = open_samples([folder / "mdcath_dataset_2hbaA00_partial.h5"])
    path, pdb = export_sample(sample, tmp_path / "run.xtc", slice(0, 50))
    theirs = mdtraj.load(str(folder / "2hbaA00_320_0.xtc"), top=str(folder / "2hbaA00.pdb"))
    ours = mdtraj.load(str(path), top=str(pdb))
    np.testing.assert_allclose(ours.xyz, theirs.xyz[:50], atol=1e-6)
    assert ours.time[-1] == 49000.0
    out = tmp_path / "own.h5"
    import_trajectories(out, [path], pdb, temperature_kelvin=320.0)
    (own,) = open_samples([out])
    assert own.num_frames == 50 and own.features("heavy").num_tokens == 54
