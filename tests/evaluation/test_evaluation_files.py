"""Ensembles from files, whole evaluations, their tables, and the command."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from evaluation_cases import (
    bad_generators,
    complex_frames,
    complex_topology,
    native_peptide,
    peptide_ensemble,
    peptide_frames,
    peptide_topology,
)
from systems_support import SHARED, write_pdb

from atmos_openmm.cli import main
from atmos_openmm.evaluation.collect import collect, read_evaluation
from atmos_openmm.evaluation.evaluate import evaluate, split_reference
from atmos_openmm.evaluation.formats import csv_text, json_text, number, text_table
from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.evaluation.panel import Settings
from atmos_openmm.evaluation.panels import PANELS

MDCATH = SHARED / "mdcath" / "mdcath_dataset_2hbaA00_partial.h5"
# XTC keeps thousandths of a nm.
XTC_NM = 5.1e-4


def write_xtc(path, topology, positions, spacing_ps=10.0):
    import mdtraj

    trajectory = mdtraj.Trajectory(
        positions,
        mdtraj.Topology.from_openmm(topology),
        time=spacing_ps * np.arange(len(positions)),
    )
    trajectory.save_xtc(str(path))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A native structure, two MD replicas, a generator of backbone atoms alone."""
    path = tmp_path_factory.mktemp("trajectories")
    topology = peptide_topology()
    write_pdb(path / "native.pdb", topology, native_peptide())
    for name, seed in (("r1", 1), ("r2", 2)):
        write_xtc(path / f"{name}.xtc", topology, peptide_frames(seed, 150))
    modeller = app.Modeller(topology, native_peptide() * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.name in ("CB", "SG")])
    kept = [a.index for a in topology.atoms() if a.name not in ("CB", "SG")]
    write_pdb(path / "backbone.pdb", modeller.topology, native_peptide()[kept])
    write_xtc(path / "backbone.xtc", modeller.topology, peptide_frames(3, 120)[:, kept])
    return path


def test_replicas_are_segments_and_times_are_the_files(folder):
    loaded = read_ensemble(
        [folder / "r1.xtc", folder / "r2.xtc"], name="MD", topology=folder / "native.pdb"
    )
    ensemble = loaded.ensemble
    assert ensemble.segments == ((0, 150), (150, 300))
    assert ensemble.spacing_ps == pytest.approx(10)
    np.testing.assert_allclose(ensemble.positions_nm[150:], peptide_frames(2, 150), atol=XTC_NM)
    np.testing.assert_allclose(loaded.native_nm, native_peptide(), atol=1e-4)
    assert ensemble.clock[[0, 149, 150, 299]].tolist() == [0, 149, 0, 149]
    slow = read_ensemble(
        [folder / "r1.xtc"], name="x", topology=folder / "native.pdb", spacing_ps=500.0
    )
    assert slow.ensemble.spacing_ps == 500
    with pytest.raises(ValueError, match="give a PDB"):
        read_ensemble([folder / "r1.xtc"], name="x")
    with pytest.raises(FileNotFoundError, match="r9.xtc"):
        read_ensemble([folder / "r9.xtc"], name="x", topology=folder / "native.pdb")
    # A model of a PDB file has no time.
    assert read_ensemble([folder / "native.pdb"], name="x").ensemble.spacing_ps is None


def test_solvent_goes_and_molecules_are_made_whole(tmp_path):
    """A complex wrapped atom by atom into a small box, with water and an ion beside it."""
    import mdtraj

    topology = complex_topology()
    frames = complex_frames(4, 12, leaves=False)
    chain = topology.addChain("W")
    water = topology.addResidue("HOH", chain)
    oxygen = topology.addAtom("O", app.element.oxygen, water)
    for name in ("H1", "H2"):
        topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, water))
    ion = topology.addResidue("NA", chain)
    topology.addAtom("NA", app.element.sodium, ion)
    box = 3.0
    extra = np.random.default_rng(0).random((12, 4, 3)) * box
    whole = np.concatenate([frames, extra], axis=1)
    wrapped = np.mod(whole, box).astype(np.float32)
    native = np.concatenate([frames[0], extra[0]])
    write_pdb(tmp_path / "top.pdb", topology, native)
    trajectory = mdtraj.Trajectory(
        wrapped,
        mdtraj.Topology.from_openmm(topology),
        2.0 * np.arange(12),
        np.full((12, 3), box),
        np.full((12, 3), 90.0),
    )
    trajectory.save_xtc(str(tmp_path / "t.xtc"))
    ensemble = read_ensemble(
        [tmp_path / "t.xtc"], name="MD", topology=tmp_path / "top.pdb"
    ).ensemble
    assert len(ensemble.atoms) == frames.shape[1]
    shift = (ensemble.positions_nm - frames)[:, :1]
    np.testing.assert_allclose(ensemble.positions_nm - frames, shift + 0 * frames, atol=3 * XTC_NM)


def test_own_files_give_one_temperature_and_the_system(tmp_path):
    import openmm

    from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

    topology = peptide_topology()
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    times = 2.0 * np.arange(30)
    data = [
        TrajectoryData(peptide_frames(seed, 30), times, kind, temperature, "helix", seed)
        for seed, kind, temperature in (
            (1, "dynamics", 300.0),
            (2, "dynamics", 300.0),
            (3, "exchange", 350.0),
        )
    ]
    path = tmp_path / "own.h5"
    write_trajectory_file(
        path, "peptide", topology, openmm.XmlSerializer.serialize(system), {}, data, {}
    )
    warm = read_ensemble([path], name="MD", temperature=300.0)
    assert warm.ensemble.segments == ((0, 30), (30, 60))
    assert warm.ensemble.spacing_ps == 2
    assert warm.system.getNumParticles() == len(warm.ensemble.atoms)
    assert read_ensemble([path], name="MD", temperature=350.0).ensemble.spacing_ps is None
    with pytest.raises(ValueError, match="300, 350 K; say which"):
        read_ensemble([path], name="MD")
    with pytest.raises(ValueError, match="no trajectory at 310 K"):
        read_ensemble([path], name="MD", temperature=310.0)


def test_run_and_rollout_folders(tmp_path):
    import rollout_cases
    import sampling_cases

    from atmos_openmm.propagator import AtmosPropagator
    from atmos_openmm.sampling import Rollout

    topology, _, positions = sampling_cases.dipeptide()
    propagator = AtmosPropagator(
        rollout_cases.bound("wide"), topology, lag=50.0, screen=sampling_cases.screen()
    )
    with Rollout(topology, positions, propagator, tmp_path / "rollout", walkers=2, seed=11) as made:
        made.run(6)
    loaded = read_ensemble([tmp_path / "rollout"], name="rollout")
    assert loaded.ensemble.segments == ((0, 6), (6, 12))
    assert loaded.ensemble.spacing_ps == pytest.approx(50)
    assert len(loaded.ensemble.atoms) == topology.getNumAtoms()
    assert "rollout of 2 walker" in loaded.notes[0]
    with sampling_cases.hybrid_sampler(tmp_path / "run") as sampler:
        sampler.run(cycles=3)
    hybrid = read_ensemble([tmp_path / "run"], name="run").ensemble
    # Two walkers, three cycles of ten steps, a frame every five. Jumps take no time of the clock.
    assert hybrid.segments == ((0, 6), (6, 12)) and hybrid.spacing_ps is None


def test_a_single_trajectory_is_cut_into_halves_and_replicas_are_not():
    ensemble = peptide_ensemble(1, frames=20)
    first, second, words = split_reference(ensemble)
    assert (first.num_frames, second.num_frames) == (10, 10)
    assert second.clock.tolist() == list(range(10))
    np.testing.assert_array_equal(second.positions_nm, ensemble.positions_nm[10:])
    assert "second half" in words
    first, second, words = split_reference(peptide_ensemble(1, frames=20, replicas=3))
    assert (first.num_frames, second.num_frames) == (40, 20)
    assert "last of 3" in words


def test_ensembles_are_cut_spread_and_extended():
    ensemble = peptide_ensemble(1, frames=20, replicas=2)
    assert ensemble.first(25).segments == ((0, 20), (20, 25))
    assert ensemble.spread(4).frames.tolist() == [0, 13, 26, 39]
    assert ensemble.spread(4).spacing_ps is None
    assert [sum(b - a for a, b in piece) for piece in ensemble.pieces(3)] == [13, 14, 13]
    assert ensemble.pieces(3)[1] == [(13, 20), (20, 27)]
    # TEMPO's rule: 20 frames repeated to 50.
    single = peptide_ensemble(1, frames=20).extended(50)
    assert single.segments == ((0, 20), (20, 40), (40, 50))
    assert single.clock.tolist() == list(range(50))
    np.testing.assert_array_equal(single.positions_nm[40:], single.positions_nm[:10])
    with pytest.raises(ValueError, match="not finite"):
        replace(single, positions_nm=np.full_like(single.positions_nm, np.nan))


@pytest.fixture(scope="module")
def evaluation():
    oracle = peptide_ensemble(7, "oracle", frames=300, stay=0.7)
    bad = bad_generators(oracle, native_peptide())
    return evaluate(
        peptide_ensemble(1, frames=300, replicas=2, stay=0.7),
        [bad["noise"], bad["shuffled"]],
        settings=Settings(native_peptide(), lag_ps=50.0, macrostates=3),
        oracles=[oracle],
        molecule="helix",
        panels=["mdcath", "peptide", "validity", "dynamics", "rollout", "energy"],
        resamples=6,
    )


def test_an_evaluation_tells_noise_and_order_apart(evaluation):
    result = evaluation.panel("mdcath")
    assert [row.role for row in result.rows] == ["reference", "oracle", "generator", "generator"]
    noise, shuffled = result.rows[2:]
    for metric in result.panel.metrics:
        assert result.verdict(noise, metric) == "worse than MD", metric.key
        if metric.key != "rmsd_error":  # the only one of these that knows the order of frames
            assert shuffled.values[metric.key] == pytest.approx(
                result.row("oracle").values[metric.key], rel=1e-4, abs=1e-4
            )
            assert result.verdict(shuffled, metric) == "as MD"
    dynamics = evaluation.panel("dynamics")
    step = next(m for m in dynamics.panel.metrics if m.key == "step_w1")
    assert dynamics.verdict(dynamics.rows[3], step) == "worse than MD"
    assert evaluation.skipped == {"energy": "no System was given"}


def test_tables_hold_the_values(evaluation):
    rows = list(csv.DictReader(io.StringIO(csv_text(evaluation))))
    assert len(rows) == 4 * sum(len(r.panel.metrics) for r in evaluation.panels)
    document = json.loads(json_text(evaluation))
    for result, stored in zip(evaluation.panels, document["panels"], strict=True):
        for row, other in zip(result.rows, stored["rows"], strict=True):
            for key, value in row.values.items():
                line = next(
                    r
                    for r in rows
                    if (r["panel"], r["metric"], r["row"]) == (result.name, key, row.name)
                )
                if np.isnan(value):
                    assert line["value"] == "" and other["values"][key] is None
                else:
                    assert float(line["value"]) == pytest.approx(value, rel=1e-6)
                    assert other["values"][key] == pytest.approx(value, rel=1e-6)
        text = text_table(result)
        assert all(metric.name in text for metric in result.panel.metrics)
    assert [number(v) for v in (np.nan, np.inf, 12345.6, 123.45, 12.345, 0.12345)] == [
        "-",
        "inf",
        "12,346",
        "123.5",
        "12.35",
        "0.123",
    ]


def test_frames_are_equal_and_a_row_without_time_has_no_dynamics():
    oracle = peptide_ensemble(7, "oracle", frames=60)
    generator = replace(peptide_ensemble(8, frames=90), name="draws", spacing_ps=None)
    found = evaluate(
        peptide_ensemble(1, frames=100, replicas=2),
        [generator],
        oracles=[oracle],
        settings=Settings(native_peptide()),
        panels=["mdcath", "dynamics"],
        resamples=0,
    )
    assert [row.frames for row in found.panel("mdcath").rows] == [200, 60, 60]
    dynamics = found.panel("dynamics")
    assert np.isnan(list(dynamics.rows[2].values.values())).all()
    assert any("draws has no value" in note and "order in time" in note for note in dynamics.notes)
    longer = evaluate(
        peptide_ensemble(1, frames=100, replicas=2),
        [generator],
        oracles=[oracle],
        settings=Settings(native_peptide()),
        panels=["mdcath"],
        resamples=0,
        frames=80,
    )
    assert [row.frames for row in longer.panel("mdcath").rows] == [200, 80, 80]
    with pytest.raises(ValueError, match="same name"):
        evaluate(oracle, [oracle], settings=Settings(native_peptide()), panels=["mdcath"])


def test_the_command_writes_a_page_tables_and_pictures(folder, tmp_path, capsys):
    out = tmp_path / "out"
    code = main([
        "evaluate", str(folder / "backbone.xtc"), "--reference", str(folder / "r1.xtc"),
        "--oracle", str(folder / "r2.xtc"), "--topology", str(folder / "native.pdb"),
        "--generated-topology", str(folder / "backbone.pdb"), "--bootstrap", "4",
        "--panel", "mdcath", "--panel", "peptide", "--panel", "validity", "--panel", "ligand",
        "--lag", "50", "--states", "3", "--out", str(out),
    ])  # fmt: skip
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "no two CA nearer" not in printed and "Left out: ligand" in printed
    assert "40 atoms (of 53)" in printed
    page = (out / "report.html").read_text()
    # Thresholds are printed where the rates are.
    for words in ("no two CA nearer than 3.0 A", "1.2 A", "4.5 A", "second column", "120 frames"):
        assert words in page
    pictures = {path.name for path in out.glob("*.png")}
    assert {"mdcath_rmsf_angstrom.png", "mdcath_contacts.png", "peptide_tica.png"} <= pictures
    assert page.count("data:image/png;base64,") == len(pictures)
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    document = read_evaluation(out / "evaluation.json")
    assert [p["name"] for p in document["panels"]] == ["mdcath", "peptide", "validity"]
    assert main(["evaluate", "--panel", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in PANELS)
    assert main(["evaluate", str(folder / "backbone.xtc")]) == 2
    assert "--reference" in capsys.readouterr().err
    assert main(["evaluate", "--reference", str(folder / "none.xtc")]) == 1
    assert "none.xtc" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--spacing", "0"], "time between frames is 0 ps"),
        (["--lag", "-5"], "lag is -5 ps"),
        (["--out", "{file}/out"], "Choose another folder"),
        (["{folder}"], "is not the folder of a run"),
        (["--collect"], "evaluation.json"),
        (["--collect", "{folder}"], "There is no file"),
    ],
)
def test_what_cannot_be_evaluated_is_told_before_the_work(
    folder, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr("atmos_openmm.evaluation.evaluate.evaluate", None)
    names = {"file": folder / "r1.xtc", "folder": folder}
    common = ["--reference", str(folder / "r1.xtc"), "--topology", str(folder / "native.pdb")]
    assert main(["evaluate", *(a.format(**names) for a in arguments), *common]) in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_pictures_of_every_panel_can_be_drawn(tmp_path):
    from atmos_openmm.evaluation.atoms import AtomTable
    from atmos_openmm.evaluation.ensemble import Ensemble
    from atmos_openmm.report.evaluation_page import write_evaluation

    topology = complex_topology()
    atoms = AtomTable.from_openmm(topology)
    ensembles = [
        Ensemble(name, atoms, complex_frames(seed, 40), (), 10.0, topology)
        for seed, name in enumerate(("MD", "oracle", "a", "b"))
    ]
    native = np.concatenate([native_peptide(), ensembles[0].positions_nm[0, -7:]])
    found = evaluate(
        ensembles[0],
        ensembles[2:],
        oracles=[ensembles[1]],
        settings=Settings(native),
        panels=["ligand", "dynamics", "rollout", "str2str"],
        resamples=0,
    )
    page = write_evaluation(found, tmp_path, "<command>")
    assert "&lt;command&gt;" in page.read_text()
    assert {p.name for p in tmp_path.glob("*.png")} >= {
        "ligand_ligand_contacts.png",
        "ligand_displacement_angstrom.png",
        "rollout_rollout.png",
        "dynamics_decorrelation.png",
        "str2str_tica_distances.png",
    }


def test_numbers_over_targets(evaluation):
    """Two targets that are alike but for a factor of the RMSF: medians and pooled r by hand."""
    one = json.loads(json_text(evaluation))
    two = json.loads(json_text(evaluation))
    for panel in two["panels"]:
        for row in panel["rows"]:
            row["values"]["rmsf_r"] = 0.5
            if "rmsf_angstrom" in row["arrays"]:
                row["arrays"]["rmsf_angstrom"] = [3 * v for v in row["arrays"]["rmsf_angstrom"]]
    found = collect([one, two], "mdcath")
    assert set(found) == {"MD replica", "noise", "shuffled"}
    replica = found["MD replica"]
    assert replica["targets"] == 2
    oracle = evaluation.panel("mdcath").row("oracle")
    assert replica["median rmsf_r"][0] == pytest.approx((oracle.values["rmsf_r"] + 0.5) / 2)
    profiles = [evaluation.panel("mdcath").rows[k].arrays["rmsf_angstrom"] for k in (1, 0)]
    mine, theirs = (np.concatenate([p, 3 * p]) for p in profiles)
    assert replica["global RMSF r"][0] == pytest.approx(np.corrcoef(mine, theirs)[0, 1], abs=1e-6)
    assert found["noise"]["% PC similarity > 0.5"][0] == 0
    with pytest.raises(ValueError, match="two or more"):
        collect([one], "mdcath")


@pytest.mark.skipif(not MDCATH.exists(), reason="needs the shared mdCATH file")
def test_mdcath_file_and_trajectory_are_the_same_ensemble():
    file = read_ensemble([f"{MDCATH}:2hbaA00"], name="file")
    assert file.ensemble.spacing_ps == 1000 and file.ensemble.num_frames == 500
    folder = SHARED / "mdcath"
    other = read_ensemble(
        [folder / "2hbaA00_320_0.xtc"],
        name="xtc",
        topology=folder / "2hbaA00.pdb",
        spacing_ps=1000.0,
    )
    found = evaluate(
        file.ensemble,
        [other.ensemble],
        settings=Settings(file.native_nm),
        panels=["mdcath"],
        resamples=0,
    )
    reference, _, same = found.panel("mdcath").rows
    assert same.values["rmwd"] < 2e-3 and same.values["rmsf_r"] > 1 - 1e-6
    assert same.values["pairwise_rmsd"] == pytest.approx(reference.values["pairwise_rmsd"], 1e-3)
    with pytest.raises(ValueError, match="no trajectory of 9xyz"):
        read_ensemble([f"{MDCATH}:9xyz"], name="file")
