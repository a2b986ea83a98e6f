"""The native structure is judged before frames are."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_cases import native_peptide, peptide_ensemble, peptide_frames, peptide_topology
from systems_support import write_pdb

from atmos_openmm.cli import main
from atmos_openmm.evaluation.loading import Loaded, read_ensemble
from atmos_openmm.evaluation.native import native_fault, read_native


def spoil(native, what):
    """A native structure with a fault, and what is said of it."""
    topology = peptide_topology()
    names = {(r.index, a.name): a.index for r in topology.residues() for a in r.atoms()}
    x = native.copy()
    if what == "peptide bond":  # of 0.4 nm
        first = names[4, "N"]
        x[first:] += (0.4 - 0.133) * (x[first] - x[names[3, "C"]]) / 0.133
        return x, "C of ALA 4 and N of CYS 5 are 0.400 nm apart in the native"
    if what == "side chain":
        x[[names[4, "CB"], names[4, "SG"]]] += [0.3, 0.3, 0.0]
        return x, "CA of CYS 5 and CB of CYS 5 are"
    if what == "mirrored":
        return x * [1, 1, -1], "CA of ALA 1 has another hand in the native structure than in MD (10"
    return 0 * x, "0.000 nm apart in the native structure"


FAULTS = ["peptide bond", "side chain", "mirrored", "zeros"]


def test_a_good_native_has_no_fault():
    ensemble, native = peptide_ensemble(1, frames=20), native_peptide()
    assert native_fault(ensemble, native) == ""
    loaded = Loaded(ensemble, native)
    found, words = read_native(loaded)
    np.testing.assert_array_equal(found, native)
    assert words == ""


@pytest.mark.parametrize("what", FAULTS)
def test_a_bad_native_is_refused_or_replaced(tmp_path, capsys, what):
    import mdtraj

    topology = peptide_topology()
    native, says = spoil(native_peptide(), what)
    good, bad = tmp_path / "good.pdb", tmp_path / "bad.pdb"
    write_pdb(good, topology, native_peptide())
    write_pdb(bad, topology, native)
    for seed in (1, 2):
        trajectory = mdtraj.Trajectory(
            peptide_frames(seed, 30), mdtraj.Topology.from_openmm(topology)
        )
        trajectory.save(str(tmp_path / f"r{seed}.xtc"))
    reference = read_ensemble([tmp_path / "r1.xtc"], name="MD", topology=bad)
    found, words = read_native(reference)
    assert says in words and words.endswith("the first frame is taken for the native structure "
                                            "instead.")  # fmt: skip
    np.testing.assert_array_equal(found, reference.ensemble.positions_nm[0])
    with pytest.raises(ValueError, match="Give a native structure without such faults"):
        read_native(reference, bad)
    np.testing.assert_allclose(read_native(reference, good)[0], native_peptide(), atol=1e-3)
    common = ["evaluate", "--reference", str(tmp_path / "r1.xtc"), "--oracle",
              str(tmp_path / "r2.xtc"), "--panel", "validity", "--bootstrap", "0", "--out",
              str(tmp_path / "out")]  # fmt: skip
    assert main([*common, "--topology", str(bad)]) == 0
    assert says in " ".join(capsys.readouterr().out.split())
    assert main([*common, "--topology", str(good), "--native", str(bad)]) == 1
    assert says in " ".join(capsys.readouterr().err.split())
