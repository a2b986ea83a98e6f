"""Time and jumps, as validate, evaluate, adapt and data import meet them: one rule for all."""

from __future__ import annotations

import csv
import warnings

import mdtraj
import numpy as np
import pytest
from adapt_cases import alanine_dynamics
from openmm import app, unit

from atmos_openmm.adapting.data import read_dynamics
from atmos_openmm.cli import main
from atmos_openmm.data.mdtraj_formats import import_trajectories
from atmos_openmm.data.sources import open_samples
from atmos_openmm.evaluation.evaluate import split_reference
from atmos_openmm.evaluation.loading import read_ensemble

UNTIMED = ["dcd", "xyz", "pdb", "mdcrd", "lammpstrj", "gro"]


@pytest.fixture(scope="module")
def md():
    """Topology and sixty frames of alanine dipeptide."""
    dynamics = alanine_dynamics(runs=1)
    return dynamics.topology, dynamics.runs[0].positions_nm


@pytest.fixture(scope="module")
def folder(tmp_path_factory, md):
    topology, x = md
    path = tmp_path_factory.mktemp("md")
    with open(path / "ala.pdb", "w") as file:
        app.PDBFile.writeFile(topology, x[0].astype(float) * unit.nanometer, file, keepIds=True)
    for kind in UNTIMED:
        write(path / f"md.{kind}", md, np.arange(60))
    return path


def write(path, md, times, numbers=slice(None)):
    trajectory = mdtraj.Trajectory(
        md[1][numbers],
        mdtraj.Topology.from_openmm(md[0]),
        time=times,
        unitcell_lengths=np.full((len(times), 3), 9.0),
        unitcell_angles=np.full((len(times), 3), 90.0),
    )
    trajectory.save(str(path))
    return path


@pytest.mark.parametrize("kind", UNTIMED)
def test_a_format_without_times_is_refused_where_time_matters(folder, tmp_path, kind):
    path, pdb = folder / f"md.{kind}", folder / "ala.pdb"
    words = "no times that can be trusted.*give the time between its frames"
    with pytest.raises(ValueError, match=words):
        import_trajectories(tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0)
    with pytest.raises(ValueError, match=words):
        read_dynamics([path], tmp_path, topology=pdb, temperature=300.0)
    loaded = read_ensemble([path], name="x", topology=pdb)
    assert loaded.ensemble.spacing_ps is None and loaded.lacks_spacing
    assert any(note.startswith(f"{path} has no times that can") for note in loaded.notes)
    # With a spacing all of them take it.
    import_trajectories(tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0, spacing_ps=0.04)
    assert next(iter(open_samples([tmp_path / "own.h5"]))).spacing_ps == pytest.approx(0.04)
    read = read_dynamics([path], tmp_path, topology=pdb, temperature=300.0, spacing_ps=0.04)
    assert read.runs[0].spacing_ps == pytest.approx(0.04)
    loaded = read_ensemble([path], name="x", topology=pdb, spacing_ps=0.04)
    assert loaded.ensemble.spacing_ps == 0.04 and not loaded.lacks_spacing


def test_a_netcdf_file_may_have_times_or_none(folder, tmp_path, md):
    """Programs that strip or join trajectories leave the times out."""
    pdb, x = folder / "ala.pdb", 10.0 * md[1]
    for name, times in (("with", 8.0 * np.arange(60)), ("without", None)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with mdtraj.formats.NetCDFTrajectoryFile(str(tmp_path / f"{name}.nc"), "w") as file:
                file.write(x, time=times)
    loaded = read_ensemble([tmp_path / "with.nc"], name="x", topology=pdb)
    assert loaded.ensemble.spacing_ps == 8.0
    loaded = read_ensemble([tmp_path / "without.nc"], name="x", topology=pdb)
    assert loaded.ensemble.spacing_ps is None and loaded.lacks_spacing
    with pytest.raises(ValueError, match="no times that can be trusted"):
        import_trajectories(
            tmp_path / "own.h5", [tmp_path / "without.nc"], pdb, temperature_kelvin=300.0
        )


def test_every_command_names_its_option(folder, tmp_path, capsys):
    path, pdb = str(folder / "md.dcd"), str(folder / "ala.pdb")
    out = ["--out", str(tmp_path / "out")]
    commands = {
        "Option: --spacing-ps.": ["data", "import", path, "--structure", pdb, *out,
                                  "--temperature", "300"],
        "Option: --spacing.": ["adapt", path, "--topology", pdb, "-o", str(tmp_path / "a"),
                               "--temperature", "300"],
        "Option: --temperature.": ["adapt", path, "--topology", pdb, "-o", str(tmp_path / "a")],
        "dynamics of MD (--spacing PS)": ["evaluate", "--reference", path, "--topology", pdb,
                                          "--panel", "dynamics", *out],
        "Option: --topology, or": ["evaluate", "--reference", path, *out],
    }  # fmt: skip
    for words, command in commands.items():
        assert main(command) == 1
        assert words in " ".join(capsys.readouterr().err.split())


def test_panels_that_need_no_time_go_on_and_say_what_is_missing(folder, tmp_path, capsys):
    path, pdb = str(folder / "md.dcd"), str(folder / "ala.pdb")
    code = main(["evaluate", path, "--reference", path, "--topology", pdb, "--bootstrap", "0",
                 "--spacing", "0.04", "--out", str(tmp_path / "out")])  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert code == 0, printed
    assert "needed for the dynamics of md (generated) (--generated-spacing PS)." in printed
    assert "md.dcd has no times that can be trusted" in printed


def test_validate_prints_no_invented_times(md, folder, tmp_path):
    times = {}
    write(folder / "md.xtc", md, 0.5 * np.arange(60))
    for kind in ("dcd", "xyz", "xtc"):
        out = tmp_path / f"{kind}.csv"
        assert main(["validate", str(folder / f"md.{kind}"), "--topology",
                     str(folder / "ala.pdb"), "--no-relax", "--frames", "3", "--out",
                     str(out)]) == 0  # fmt: skip
        with out.open(newline="") as file:
            times[kind] = [row["time_ps"] for row in csv.DictReader(file)]
    assert times["dcd"] == times["xyz"] == ["", "", ""]
    assert [float(t) for t in times["xtc"]] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("first", "spacing"), [(1e5, 0.2), (1e5, 1.0), (1e6, 0.5)])
def test_a_long_run_is_even_within_float32(md, folder, tmp_path, first, spacing):
    pdb = folder / "ala.pdb"
    path = write(tmp_path / "late.xtc", md, first + spacing * np.arange(60))
    ensemble = read_ensemble([path], name="MD", topology=pdb).ensemble
    assert ensemble.segments == ((0, 60),)
    assert ensemble.spacing_ps == pytest.approx(spacing, rel=5e-3)
    import_trajectories(tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0)
    (sample,) = open_samples([tmp_path / "own.h5"])
    assert (sample.num_frames, sample.spacing_ps) == (60, pytest.approx(spacing, rel=5e-3))


@pytest.mark.parametrize("kind", ["xtc", "trr"])
def test_jumps_are_told_and_no_lag_crosses_them(md, folder, tmp_path, kind):
    """A gap of 80 ps, then a restart from before; the last frame of a part is written twice."""
    numbers = np.r_[0:20, 19:40, 40:60]
    times = np.r_[0:20, 19:40, 25:45]
    times[30:41] += 80
    path = write(tmp_path / f"parts.{kind}", md, times, numbers)
    pdb = folder / "ala.pdb"
    loaded = read_ensemble([path], name="MD", topology=pdb)
    ensemble = loaded.ensemble
    # One of 61 frames is a duplicate. The restart has the clock of what it repeats.
    assert ensemble.segments == ((0, 29), (29, 40), (40, 60)) and ensemble.spacing_ps == 1
    assert ensemble.clock[[0, 28, 29, 39, 40, 59]].tolist() == [0, 28, 109, 119, 25, 44]
    told = " ".join(loaded.notes)
    assert "in 1 frame(s), which are left out" in told
    assert "has 2 jump(s) in its clock, the first from 28 to 109 ps" in told
    # They are one trajectory, whose second half is the oracle.
    assert "second half" in split_reference(ensemble)[2]
    notes = import_trajectories(tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0)
    assert any("jump(s)" in note for note in notes) and any("left out" in note for note in notes)
    samples = open_samples([tmp_path / "own.h5"])
    assert [(s.num_frames, s.spacing_ps) for s in samples] == [(29, 1.0), (11, 1.0), (20, 1.0)]
    runs = read_dynamics([path], tmp_path, topology=pdb, temperature=300.0)
    assert [len(run) for run in runs.runs] == [29, 11, 20]
    assert any("jump(s)" in note for note in runs.notes)


def test_replicas_joined_into_one_file_are_replicas_again(md, folder, tmp_path):
    path = write(tmp_path / "joined.xtc", md, np.r_[0:30, 0:30])
    ensemble = read_ensemble([path], name="MD", topology=folder / "ala.pdb").ensemble
    assert ensemble.segments == ((0, 30), (30, 60))
    assert ensemble.clock[30] == 0 and "last of 2" in split_reference(ensemble)[2]


def test_a_frame_between_jumps_is_counted_where_it_cannot_be_used(md, folder, tmp_path):
    path = write(tmp_path / "alone.xtc", md, np.r_[0:30, 50, 100:129])
    pdb = folder / "ala.pdb"
    assert read_ensemble([path], name="MD", topology=pdb).ensemble.num_frames == 60
    notes = import_trajectories(tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0)
    assert any("1 frame(s) stand alone" in note for note in notes)
    assert [s.num_frames for s in open_samples([tmp_path / "own.h5"])] == [30, 29]


def test_files_and_folders_of_this_package_say_the_topology(md, folder, tmp_path):
    """A trajectory file of our own is as good a topology as a PDB file."""
    pdb, xtc = folder / "ala.pdb", write(tmp_path / "md.xtc", md, np.arange(60))
    import_trajectories(tmp_path / "own.h5", [xtc], pdb, temperature_kelvin=300.0)
    loaded = read_ensemble([xtc], name="x", topology=tmp_path / "own.h5")
    assert loaded.ensemble.num_frames == 60 and loaded.native_nm.shape == (22, 3)
