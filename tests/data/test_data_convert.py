"""Conversion of npz files of frames."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from openmm import app, unit

from atmos_openmm.data.convert import import_folder, import_npz
from atmos_openmm.systems.naming import fix_names, prochiral_groups
from atmos_openmm.systems.peptides import alpha_handedness, build_peptide
from atmos_openmm.trajectories.layout import TrajectoryFile

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    topology, x = build_peptide("ACE-SER-NME")
    source = tmp_path / "npz"
    source.mkdir()
    with open(source / "ace_ser_nme.pdb", "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    # The first file names HB2 and HB3 by the rule, the second the other way round.
    index = {a.name: a.index for a in list(topology.residues())[1].atoms()}
    wrong = x.copy()
    wrong[[index["HB2"], index["HB3"]]] = wrong[[index["HB3"], index["HB2"]]]
    for number, frame in ((0, x), (2, wrong)):
        np.savez(
            source / f"ace_ser_nme_{number}.npz",
            positions_nm=np.stack([frame, frame + 1e-3]).astype(np.float32),
            time_ps=np.array([1.0, 2.0], np.float32),
        )
    np.savez(
        source / "remd_ace_ser_nme.npz",
        positions_nm=np.stack([np.stack([x] * 3)] * 2).astype(np.float32),
        temperatures_K=np.array([300.0, 400.0]),
        spacing_ps=np.float32(2.0),
        exchange_acceptance=np.array([0.5]),
    )
    return source


def test_a_folder_is_converted(folder: Path, tmp_path: Path):
    written = import_folder(folder, tmp_path / "out")
    assert [p.name for p in written] == ["ace_ser_nme.h5"]
    with TrajectoryFile(written[0]) as file:
        assert [(t.kind, t.start, t.temperature_kelvin, len(t)) for t in file.trajectories] == [
            ("dynamics", "beta", 300.0, 2),
            ("dynamics", "alphaL", 300.0, 2),
            ("exchange", "unknown", 300.0, 3),
            ("exchange", "unknown", 400.0, 3),
        ]
        assert file.trajectories[2].time_ps.tolist() == [2.0, 4.0, 6.0]
        assert file.exchange["acceptance"].tolist() == [0.5]
        assert file.settings["forcefield"] == ["amber14-all.xml", "implicit/gbn2.xml"]
        one, two = (file.trajectories[k].positions() for k in (0, 1))
        # Both sources agree on which hydrogen is HB2, which was not so in the npz files.
        np.testing.assert_allclose(one, two, atol=1e-6)
        assert file.system.getNumParticles() == one.shape[1]


def test_the_command_line_converts(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "atmos_openmm.data.convert", str(folder), str(out)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == [str(out / "ace_ser_nme.h5")]


def test_files_that_do_not_fit_are_refused(folder: Path, tmp_path: Path):
    pdb, out = folder / "ace_ser_nme.pdb", tmp_path / "x.h5"
    bad = tmp_path / "bad.npz"
    np.savez(bad, positions_nm=np.zeros((2, 5, 3)), time_ps=np.arange(2.0))
    with pytest.raises(ValueError, match="23 atoms"):
        import_npz(pdb, out, {"beta": bad})
    np.savez(bad, xyz=np.zeros(3))
    with pytest.raises(ValueError, match=r"no positions_nm, time_ps; it holds xyz"):
        import_npz(pdb, out, {"beta": bad})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        import_npz(pdb, out, {"beta": tmp_path / "nowhere.npz"})
    with pytest.raises(ValueError, match="nothing to convert"):
        import_npz(pdb, out, {})
    with pytest.raises(FileNotFoundError, match="no ace_"):
        import_folder(tmp_path, out)
    assert not out.exists()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared MD data is not here")
def test_shared_trajectories_keep_their_hand_and_get_their_names(tmp_path: Path):
    import_npz(
        SHARED / "ace_lys_nme.pdb", tmp_path / "lys.h5", {"beta": SHARED / "ace_lys_nme_0.npz"}
    )
    with TrajectoryFile(tmp_path / "lys.h5") as file:
        topology = file.topology
        frames = file.trajectories[0].positions()
    assert len(frames) == 500 and prochiral_groups(topology)
    for frame in frames[::50]:
        assert alpha_handedness(topology, frame).tolist() == [1.0]
        # The rule holds in every frame, not in the first alone.
        np.testing.assert_array_equal(fix_names(topology, frame), frame)
