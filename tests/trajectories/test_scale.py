"""Trajectories whose coordinates are in another unit than their format's."""

from __future__ import annotations

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from atmos_openmm.cli import main
from atmos_openmm.data.mdtraj_formats import import_trajectories
from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.trajectories.scale import scale_fault


@pytest.fixture(scope="module")
def peptide():
    topology, x = build_peptide("ACE-SER-TRP-NME")
    return topology, np.asarray(x)


def test_only_a_factor_of_ten_is_one(peptide):
    topology, x = peptide
    heavy = [a.index for a in topology.atoms() if a.element.symbol != "H"]
    rng = np.random.default_rng(1)
    for frame in (x, x[heavy], 1.5 * x, 0.5 * x, x + rng.normal(0, 0.3, x.shape), 0.0 * x, x[:2]):
        assert scale_fault(frame) == ""
    assert scale_fault(np.full((9, 3), np.nan)) == ""
    assert scale_fault(rng.normal(0, 2.0, (58, 3))) == ""
    assert scale_fault(x[heavy][[1, 4, 9]]) == ""
    for frame in (x, x[heavy]):
        assert "a tenth of" in scale_fault(0.1 * frame) and "in nm" in scale_fault(0.1 * frame)
        assert "ten times" in scale_fault(10 * frame) and "in angstrom" in scale_fault(10 * frame)


@pytest.mark.parametrize(("kind", "factor"), [("xyz", 0.1), ("dcd", 0.1), ("xtc", 10.0)])
def test_commands_refuse_or_say_it(peptide, tmp_path, capsys, kind, factor):
    topology, x = peptide
    frames = factor * (x + np.random.default_rng(2).normal(0, 2e-3, (5, *x.shape)))
    trajectory = mdtraj.Trajectory(frames, mdtraj.Topology.from_openmm(topology))
    path, pdb = tmp_path / f"md.{kind}", tmp_path / "md.pdb"
    trajectory.save(str(path))
    with open(pdb, "w") as file:
        app.PDBFile.writeFile(topology, x * unit.nanometer, file)
    with pytest.raises(ValueError, match=f"md.{kind}: neighbouring atoms are .* the coordinates"):
        read_ensemble([path], name="MD", topology=pdb)
    with pytest.raises(ValueError, match="the coordinates seem to be in"):
        import_trajectories(
            tmp_path / "own.h5", [path], pdb, temperature_kelvin=300.0, spacing_ps=1.0
        )
    assert main(["validate", str(path), "--topology", str(pdb), "--no-relax", "--frames", "2",
                 "--out", str(tmp_path / "v.csv")]) == 0  # fmt: skip
    assert "the coordinates seem to be in" in " ".join(capsys.readouterr().out.split())
