"""Files that are cut short: the whole frames are read, and the rest is said."""

from __future__ import annotations

import warnings

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from atmos_openmm.cli import main
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.ends import End, find_end
from atmos_openmm.trajectories.reader import open_frames

FRAMES = 60
SILENT = ["xtc", "trr", "dcd", "xyz", "mdcrd", "lammpstrj"]
LOUD = ["nc", "gro"]


@pytest.fixture(scope="module", params=["ACE-ALA-ALA-NME", "GLY"])
def md(request):
    """Topology and trajectory; of one of glycine XTC keeps the numbers of atoms below ten apart."""
    topology, x = build_peptide(request.param)
    if request.param == "GLY":  # XTC does not compress so few
        modeller = app.Modeller(topology, np.asarray(x) * unit.nanometer)
        modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
        topology = modeller.topology
        x = modeller.positions.value_in_unit(unit.nanometer)
    frames = x + np.random.default_rng(3).normal(0.0, 0.01, (FRAMES, len(x), 3))
    known = mdtraj.Topology.from_openmm(topology)
    return topology, mdtraj.Trajectory(
        frames,
        known,
        time=8.0 * np.arange(FRAMES),
        unitcell_lengths=np.full((FRAMES, 3), 5.0),
        unitcell_angles=np.full((FRAMES, 3), 90.0),
    )


def read(path, topology):
    reader = open_frames(path, topology)
    frames = [frame.positions_nm for frame in reader.frames()]
    assert reader.num_frames in (None, len(frames))
    return np.stack(frames), reader.remarks


@pytest.mark.parametrize("kind", SILENT)
def test_whole_files_have_nothing_to_say(md, tmp_path, kind):
    topology, trajectory = md
    path = tmp_path / f"md.{kind}"
    trajectory.save(str(path))
    frames, remarks = read(path, topology)
    assert (len(frames), remarks) == (FRAMES, [])


@pytest.mark.parametrize("share", [0.9, 0.52, 0.999])
@pytest.mark.parametrize("kind", SILENT)
def test_a_cut_file_is_read_to_its_last_whole_frame_and_said(md, tmp_path, kind, share):
    topology, trajectory = md
    path = tmp_path / f"md.{kind}"
    trajectory.save(str(path))
    data, (whole, _) = path.read_bytes(), read(path, topology)
    path.write_bytes(data[: int(share * len(data)) - 3])
    frames, (remark,) = read(path, topology)
    # Frames differ a little in length where they are compressed or text.
    assert abs(len(frames) - (FRAMES * share - 0.5)) < 1.0 or kind == "xtc"
    np.testing.assert_array_equal(frames, whole[: len(frames)])
    within = f"ends within frame {len(frames)}, counted from 0"
    assert "cut short" in remark and (within in remark or kind == "dcd")


@pytest.mark.parametrize("kind", ["xtc", "trr"])
def test_a_cut_anywhere_within_a_frame_is_seen(md, tmp_path, kind):
    """In the head of a frame, in its box, in its numbers."""
    topology, trajectory = md
    path = tmp_path / f"md.{kind}"
    trajectory[:3].save(str(path))
    three = path.read_bytes()
    trajectory[:2].save(str(path))
    two = path.stat().st_size
    assert find_end(path, f".{kind}", topology.getNumAtoms()).remark(path) == ""
    for end in range(two + 1, len(three), 3):
        path.write_bytes(three[:end])
        frames, remarks = read(path, topology)
        assert len(frames) == 2 and "ends within frame 2" in remarks[0]
    path.write_bytes(three[: two // 3])
    with pytest.raises(ValueError, match=r"cut short|cannot be read"):
        read(path, topology)


def test_a_dcd_without_a_number_of_frames_is_measured_too(md, tmp_path):
    """As programs write it whose run goes on, and that were killed."""
    topology, trajectory = md
    path = tmp_path / "md.dcd"
    trajectory.save(str(path))
    data = bytearray(path.read_bytes())
    data[8:12] = bytes(4)
    path.write_bytes(data)
    assert read(path, topology)[1] == []
    path.write_bytes(data[:-100])
    frames, remarks = read(path, topology)
    assert len(frames) == FRAMES - 1 and "ends within frame 59" in remarks[0]


# mdtraj leaves a PDB file open that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pdb_file_is_refused_or_said(md, tmp_path):
    """By mdtraj, where atoms are missing."""
    topology, trajectory = md
    path = tmp_path / "md.pdb"
    trajectory.save(str(path))
    text = path.read_text()
    last = text.rindex("ENDMDL")
    path.write_text(text[: last - 3])
    frames, (remark,) = read(path, topology)
    assert len(frames) == FRAMES - 1 and "ends within frame 59" in remark
    path.write_text(text[: text.rindex("ATOM")])
    with pytest.raises(ValueError, match="cannot be read"):
        read(path, topology)


@pytest.mark.parametrize("kind", LOUD)
def test_other_formats_refuse_what_is_cut(md, tmp_path, kind):
    topology, trajectory = md
    path = tmp_path / f"md.{kind}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trajectory.save(str(path))
    assert len(read(path, topology)[0]) == FRAMES
    data = path.read_bytes()
    path.write_bytes(data[: int(0.9 * len(data))])
    with pytest.raises(ValueError, match="cannot be read"):
        read(path, topology)


@pytest.mark.parametrize("share", [0.9, 0.52, 0.999])
def test_a_cut_netcdf_file_is_measured(md, tmp_path, share):
    """scipy refuses it, the netCDF4 library reads zeros for what is missing."""
    topology, trajectory = md
    path = tmp_path / "md.nc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trajectory.save(str(path))
    atoms, data = topology.getNumAtoms(), path.read_bytes()
    assert find_end(path, ".nc", atoms) == End(FRAMES, False, FRAMES)
    assert open_frames(path, topology).remarks == []
    path.write_bytes(data[: int(share * len(data)) - 3])
    end = find_end(path, ".nc", atoms)
    frame = 4 + 12 * atoms + 48  # time, positions, cell
    missing = -(-(len(data) - path.stat().st_size) // frame)
    assert end == End(FRAMES - missing, end.cut, FRAMES)
    assert f"announces 60 frames and holds {end.whole}; it seems to be cut" in end.remark(path)
    path.write_bytes(b"CDF\x01" + bytes(40))
    assert find_end(path, ".nc", atoms) is None


def test_commands_say_it(md, tmp_path, capsys):
    topology, trajectory = md
    if topology.getNumResidues() == 1:
        pytest.skip("one molecule is enough")
    path, pdb = tmp_path / "md.xtc", str(tmp_path / "md.pdb")
    trajectory.save(str(path))
    trajectory[0].save(pdb)
    path.write_bytes(path.read_bytes()[: int(0.9 * path.stat().st_size)])
    assert main(["data", "import", str(path), "--structure", pdb, "--temperature", "300",
                 "--out", str(tmp_path / "own.h5")]) == 0  # fmt: skip
    assert "md.xtc ends within frame 5" in " ".join(capsys.readouterr().out.split())
    assert main(["validate", str(path), "--topology", pdb, "--no-relax", "--frames", "2",
                 "--out", str(tmp_path / "v.csv")]) == 0  # fmt: skip
    assert "md.xtc ends within frame 5" in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", str(path), "--reference", str(path), "--topology", pdb, "--panel",
                 "validity", "--bootstrap", "0", "--out", str(tmp_path / "e")]) == 0  # fmt: skip
    assert "md.xtc ends within frame 5" in " ".join(capsys.readouterr().out.split())
