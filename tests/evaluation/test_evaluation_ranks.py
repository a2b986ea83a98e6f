"""Every metric of every panel has a bad generator that it must see, and sees it in real data."""

import numpy as np
import pytest
from evaluation_cases import bad_generators, check_ranks, peptide_topology
from systems_support import SHARED

from atmos_openmm.evaluation.atoms import AtomTable
from atmos_openmm.evaluation.ensemble import Ensemble
from atmos_openmm.evaluation.panel import Settings
from atmos_openmm.evaluation.panels import PANELS, find_panel

ALANINE = SHARED / "peptides" / "ala2_explicit"
MDCATH = SHARED / "mdcath" / "2hbaA00_320_0.xtc"


def test_every_metric_names_a_bad_generator_that_it_has_to_see():
    known = {"frozen", "noise", "shuffled", "drifting"}
    for panel in map(find_panel, PANELS):
        for metric in panel.metrics:
            assert metric.catches and metric.catches <= known, (panel.name, metric.key)


CAGED = ("CYS",) + ("ALA",) * 8


def caged_ensemble(seed, frames=60):
    """Two cysteines, each within a shell of 40 atoms; half of the first shell leaves at times."""
    random = np.random.default_rng(seed)
    topology = peptide_topology(CAGED * 2)
    atoms = AtomTable.from_openmm(topology)
    k = np.arange(44)
    height, turn = 1 - 2 * (k + 0.5) / 44, k * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - height**2)
    shell = 0.4 * np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)
    inside = np.array([0.0, 0.0, 0.05])
    cage = np.concatenate([shell[:4], inside[None], -inside[None], shell[4:]])
    upper = cage[:, 2] > 0.15
    open_ = cage + np.where(upper, 1.0, 0.0)[:, None] * [0.0, 0.0, 1.0]
    away = np.array([3.0, 0.0, 0.0])
    state = random.random(frames) < 0.4
    state[:2] = False  # the first frame is the native one, with both closed
    x = np.array([np.concatenate([open_ if s else cage, cage + away]) for s in state])
    x += 0.003 * random.standard_normal(x.shape)
    return Ensemble("MD", atoms, x.astype(np.float32), (), 10.0, topology)


def test_exposed_residues_rank_bad_generators_below_a_replica():
    reference, oracle = caged_ensemble(1), caged_ensemble(2)
    native = reference.positions_nm[0].astype(np.float64)
    panel = find_panel("atlas")(reference, Settings(native))
    bad = {n: e for n, e in bad_generators(oracle, native).items() if n in ("frozen", "noise")}
    values = {name: panel.values(e)["exposed_j"] for name, e in bad.items()}
    # MD exposes the first cysteine alone, noise both of them, a frozen frame none.
    assert panel.values(oracle)["exposed_j"] == 1.0
    assert values == {"frozen": 0.0, "noise": 0.5}
    (metric,) = (m for m in panel.metrics if m.key == "exposed_j")
    assert metric.catches == bad.keys()


def mdcath_halves():
    from atmos_openmm.evaluation.loading import read_ensemble

    loaded = read_ensemble(
        [MDCATH], name="MD", topology=SHARED / "mdcath" / "2hbaA00.pdb", spacing_ps=1000.0
    )
    first, second = (half.restarted() for half in loaded.ensemble.halves())
    return first, second, loaded.ensemble.positions_nm[0].astype(np.float64)


@pytest.mark.skipif(not MDCATH.exists(), reason="needs the shared mdCATH trajectory")
def test_bad_generators_rank_below_real_dynamics_in_the_panels_that_ask_for_more_frames():
    reference, oracle, native = mdcath_halves()
    bad = bad_generators(oracle, native)
    # 250 ns do not sample this protein's slow torsions, so noise at the place of the mean scores
    # no worse than MD on the two TICA maps; everything else tells it from MD.
    panel = find_panel("peptide")(reference, Settings(native))
    slow = ("jsd_tica0", "jsd_tica01")
    others = [m.key for m in panel.metrics if m.key not in slow]
    assert check_ranks(panel, reference, oracle, bad, slow) == others
    bad = {"frozen": bad["frozen"], "shuffled": bad["shuffled"]}
    assert check_ranks(panel, reference, oracle, bad) == [m.key for m in panel.metrics]
    reference, oracle = reference.spread(120).taken(), oracle.spread(60).taken()
    panel = find_panel("atlas")(reference, Settings(native))
    bad = {n: e for n, e in bad_generators(oracle, native).items() if n in ("frozen", "noise")}
    checked = check_ranks(panel, reference, oracle, bad)
    # No side chain that is buried in this protein's native structure comes out.
    assert set(checked) == {m.key for m in panel.metrics} - {"exposed_j"}


@pytest.mark.skipif(not MDCATH.exists(), reason="needs the shared mdCATH trajectory")
@pytest.mark.parametrize("name", ["mdcath", "validity", "dynamics", "rollout", "str2str"])
def test_bad_generators_rank_below_the_other_half_of_real_dynamics(name):
    reference, oracle, native = mdcath_halves()
    panel = find_panel(name)(reference, Settings(native))
    checked = check_ranks(panel, reference, oracle, bad_generators(oracle, native))
    assert checked == [metric.key for metric in panel.metrics]


@pytest.mark.skipif(not ALANINE.exists(), reason="needs the shared alanine dipeptide runs")
@pytest.mark.parametrize("name", ["peptide", "dynamics"])
def test_bad_generators_rank_below_other_runs_of_real_alanine(name):
    from atmos_openmm.evaluation.loading import read_ensemble

    runs = sorted(ALANINE.glob("RUN*/frame0.xtc"))
    loaded = [
        read_ensemble(files, name=name, topology=ALANINE / "native.pdb", spacing_ps=1.0)
        for name, files in (("MD", runs[:4]), ("oracle", runs[35:39]))
    ]
    native, (reference, oracle) = loaded[0].native_nm, [item.ensemble for item in loaded]
    panel = find_panel(name)(reference, Settings(native, lag_ps=10.0, macrostates=4))
    checked = check_ranks(panel, reference, oracle, bad_generators(oracle, native))
    without = {m.key for m in panel.metrics} - set(checked)
    assert without == {k for k in ("jsd_sidechain", "time_sidechain") if k in without}
