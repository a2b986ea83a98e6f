"""A native structure is judged before frames are judged by it."""

from __future__ import annotations

import copy

import mdtraj
import numpy as np
import pytest
from openmm import app, unit
from systems_support import index_of, write_pdb
from validation_cases import dynamics, peptide

from atmos_openmm.cli import main
from atmos_openmm.systems.broken_bonds import check_native
from atmos_openmm.validation import EnergyValidator


def broken(topology, minimum):
    """Natives that are none: the peptide bond at 0.4 nm, a displaced side chain, a lost atom."""
    torn = np.array(minimum)
    carbon, nitrogen = index_of(topology, 1, "C"), index_of(topology, 2, "N")
    beyond = [a.index for a in topology.atoms() if a.residue.index >= 2]
    away = torn[nitrogen] - torn[carbon]
    torn[beyond] += away * (0.4 / np.linalg.norm(away) - 1.0)
    displaced = np.array(minimum)
    side = [
        a.index
        for a in topology.atoms()
        if a.residue.index == 1 and a.name not in ("N", "CA", "C", "O", "H", "HA")
    ]
    displaced[side] += [0.0, 0.0, 0.5]
    lost = np.array(minimum)
    lost[index_of(topology, 1, "CB")] = np.nan
    return {"torn": torn, "displaced": displaced, "lost": lost}


@pytest.mark.parametrize("kind", ["torn", "displaced", "lost"])
def test_a_broken_native_is_refused_and_a_good_one_taken(kind):
    topology, system, minimum = peptide("V")
    check_native(topology, minimum)
    good = EnergyValidator(topology, system, nativePositions=minimum, relaxationIterations=0)
    assert good.validate(dynamics("V")[0]).geometry.broken_bonds == ()
    native = broken(topology, minimum)[kind]
    with pytest.raises(ValueError, match="native structure is broken itself.*(VAL ?2|VAL2)"):
        EnergyValidator(topology, system, nativePositions=native)


def test_a_native_that_only_the_force_field_finds_torn_is_refused():
    # 0.06 nm too long: still a bond by its atoms, but no frame with it is valid.
    topology, system, minimum = peptide("V")
    native = np.array(minimum)
    methyl = [a.index for a in topology.atoms() if a.name in ("CG1", "HG11", "HG12", "HG13")]
    axis = native[methyl[0]] - native[index_of(topology, 1, "CB")]
    native[methyl] += 0.06 * axis / np.linalg.norm(axis)
    check_native(topology, native)
    with pytest.raises(ValueError, match="native structure is broken itself.*CB"):
        EnergyValidator(topology, system, nativePositions=native)


def test_a_native_that_the_box_splits_is_made_whole():
    topology, _, minimum = peptide("V")
    topology, positions = copy.deepcopy(topology), np.array(minimum)
    topology.setPeriodicBoxVectors(np.eye(3) * 4.0 * unit.nanometer)
    forcefield = app.ForceField("amber14-all.xml")
    system = forcefield.createSystem(topology, nonbondedMethod=app.CutoffPeriodic)
    native = positions.copy()
    native[[a.index for a in topology.atoms() if a.residue.index == 2], 0] += 4.0
    validator = EnergyValidator(topology, system, nativePositions=native, relaxationIterations=0)
    assert validator.validate(positions).geometry.broken_bonds == ()


def test_evaluate_and_validate_judge_the_native_that_they_are_given(tmp_path, capsys):
    topology, _, minimum = peptide("V")
    frames = dynamics("V")[:40]
    good = str(write_pdb(tmp_path / "good.pdb", topology, minimum))
    bad = str(write_pdb(tmp_path / "bad.pdb", topology, broken(topology, minimum)["torn"]))
    names = []
    for k, part in enumerate((frames[:20], frames[20:])):
        names.append(str(tmp_path / f"run{k}.dcd"))
        mdtraj.Trajectory(part, mdtraj.load_topology(good)).save(names[-1])
    evaluate = ["evaluate", names[0], "--reference", names[1], "--spacing", "1"]
    evaluate += ["--generated-spacing", "1", "--panel", "validity", "--out", str(tmp_path / "out")]
    validate = ["validate", names[0], "--forcefield", "amber14-all.xml", "--no-relax"]
    validate += ["--out", str(tmp_path / "frames.csv")]
    # Molecular dynamics brings other structures: its first frame stands in for a bad topology's.
    assert main([*evaluate, "--topology", bad]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "VAL 2" in said and "the first frame is taken for the native structure instead" in said
    for arguments, words in (
        (evaluate, "Give a native structure without such faults"),
        (validate, "native structure is broken itself"),
    ):
        assert main([*arguments, "--topology", good, "--native", bad]) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert words in said and "VAL 2" in said
