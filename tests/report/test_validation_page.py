"""The page of a validation: what it says of frames whose faults are known."""

from __future__ import annotations

import re

import numpy as np
import openmm
import pytest
import validation_cases as cases

from atmos_openmm.report.frame_sections import choose_frames, frame_names, number, reason_text
from atmos_openmm.report.frame_survey import FrameSurvey, StrainMeter
from atmos_openmm.report.validation_page import write_validation_page
from atmos_openmm.trajectories.reader import open_frames
from atmos_openmm.trajectories.topology import SoluteTopology
from atmos_openmm.validation import EnergyValidator, FrameVerdict
from atmos_openmm.validation.defects import Defect
from atmos_openmm.validation.findings import EnergyFindings, GeometryFindings

pytest.importorskip("matplotlib")
SEQUENCE = "AGV"


def _text(path):
    text = re.sub(r"<(script|style)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def test_page_says_what_the_report_says(page, report):
    text = _text(page)
    assert f"{report.verdicts['valid']} of 12" in text
    for reason in ("bonds", "chirality", "nonfinite"):
        assert f"invalid: {reason}" in text
    assert "bond A/VAL4/CA-CB is 0." in text.replace("1/VAL", "A/VAL")
    assert "frame 8" in text and "Without finite coordinates" in text
    assert "1 frames without finite coordinates" in text
    assert f"{100 * report.compare().fraction_in_window:.1f} %" in text
    assert "network. atmos-openmm validate &lt;x&gt;." in page.read_text(encoding="utf-8")


def test_the_page_loads_nothing(page):
    text = page.read_text(encoding="utf-8")
    loaded = re.findall(r'(?:src|href|srcset)="([^"]*)"', text)
    assert loaded and all(source.startswith("data:") for source in loaded)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|url\(", text)
    assert page.stat().st_size < 1.2e6


def test_worst_frames_of_every_reason_are_shown(report):
    worst = [("run", verdict) for verdict in report.worst]
    chosen = choose_frames(worst, 3)
    assert {verdict.reason for _, verdict in chosen} >= {"bonds", "chirality"}
    assert "nonfinite" not in {verdict.reason for _, verdict in chosen} and len(chosen) == 3
    every = choose_frames(worst, 8)
    assert every == [one for one in worst if one in every] and len(every) == 8


def test_a_reason_found_after_relaxation_says_what_is_seen_before_it():
    clash = Defect("clash", "A/ALA2/CB and A/VAL4/CB are 0.0500 nm apart, at least 0.17 expected")
    torn = "bond A/ALA2/CA-CB is 0.4 nm long, expected 0.15 (after relaxation)"
    energies = EnergyFindings({})
    verdict = FrameVerdict(
        3, 0.0, "invalid", "bonds", torn, energies, GeometryFindings(defects=(clash,))
    )
    assert reason_text(verdict) == f"{torn}. Before it, as shown: {clash.detail}"
    hard = FrameVerdict(3, 0.0, "invalid", "clash", clash.detail, energies, verdict.geometry)
    assert reason_text(hard) == clash.detail
    assert "among the highest" in reason_text(
        FrameVerdict(3, 0.0, "valid", "accepted", "", energies)
    )


def test_strain_of_a_residue_is_that_of_its_worst_term(frames, report):
    topology, system, _ = cases.peptide(SEQUENCE)
    solute = SoluteTopology.of(topology)
    survey = FrameSurvey(solute, StrainMeter(solute, system, 300.0), {("run", 3)})
    survey.add(open_frames(frames, topology).frames(), "run")
    assert survey.num_frames == 11 and list(survey.positions_nm) == [("run", 3)]
    worst = next(v for v in report.worst if v.frame == 3)
    names = [r.name for r in topology.residues()]
    assert survey.strain[("run", 3)].max() == pytest.approx(abs(worst.geometry.worst_bond_sigma))
    assert names[int(np.argmax(survey.strain[("run", 3)]))] == "VAL"
    assert survey.strain_frame[names.index("VAL")] == ("run", 3)
    assert (survey.strain_largest >= survey.strain_mean).all()


def test_maps_count_every_pair_of_torsions(frames):
    topology, _, _ = cases.peptide(SEQUENCE)
    survey = FrameSurvey(SoluteTopology.of(topology))
    survey.add(open_frames(frames, topology).frames())
    assert {name: counts.sum() for name, counts in survey.maps.counts.items()} == {
        "other residues": 22,
        "glycine": 11,
    }
    # The mirrored frame's residues have phi > 0.
    assert survey.maps.shares("other residues")[30:].sum() >= 100 * 2 / 22


def test_page_without_frames_system_reference(tmp_path, frames):
    topology, system, _ = cases.peptide(SEQUENCE)
    report = EnergyValidator(topology, system, relaxationIterations=0).validateTrajectory(frames)
    path = write_validation_page(report, tmp_path / "page.html", topology)
    text = _text(path)
    assert "No molecular dynamics was given" in text and "The frames were not given" in text
    assert 'class="viewer"' not in path.read_text(encoding="utf-8")
    path = write_validation_page(report, tmp_path / "page.html", topology, frames)
    assert "This needs the frames and the System" in _text(path)
    assert 'class="viewer"' in path.read_text(encoding="utf-8")


def test_only_the_frames_that_were_judged_are_read(tmp_path, frames):
    topology, system, _ = cases.peptide(SEQUENCE)
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    report = validator.validateTrajectory(frames, start=1, stop=11, stride=2)
    path = write_validation_page(
        report, tmp_path / "page.html", topology, frames, system=system, start=1, stop=11, stride=2
    )
    text = _text(path)
    assert "5 frames of the array" in text and "Frame 3" in text and "Frame 8" not in text


def test_numbers_and_names_of_frames():
    assert number(-1234.56) == "\N{MINUS SIGN}1,234.6" and number(-0.04) == "0.0"
    assert number(float("nan")) == number(None) == "-" and number(3e9) == "3.00e+09"
    assert frame_names([("a/x.dcd", 1), ("a/x.dcd", 4)]) == ["1", "4"]
    assert frame_names([("a/x.dcd", 1), ("y.xtc", 4)]) == ["x.dcd\xa01", "y.xtc\xa04"]


def test_every_frame_without_coordinates(tmp_path, frames):
    topology, system, _ = cases.peptide(SEQUENCE)
    lost = np.full_like(frames[:3], np.nan)
    report = EnergyValidator(topology, system).validateTrajectory(lost)
    path = write_validation_page(report, tmp_path / "page.html", topology, lost, system=system)
    text = _text(path)
    assert "0 of 3" in text and "frame 0, 1, 2" in text.replace("frame 2, 1, 0", "frame 0, 1, 2")


def test_command_writes_the_page(tmp_path, frames, capsys):
    import mdtraj

    from atmos_openmm.commands._validation_page import write_page

    topology, system, minimum = cases.peptide(SEQUENCE)
    paths = [tmp_path / "generated.dcd", tmp_path / "md.dcd"]
    for path, x in zip(paths, (frames[:6], cases.dynamics(SEQUENCE, 40)), strict=True):
        mdtraj.Trajectory(x.astype(np.float32), mdtraj.Topology.from_openmm(topology)).save(path)
    report = EnergyValidator(topology, system, relaxationIterations=0).validateTrajectory(paths[0])
    page = tmp_path / "page.html"
    write_page(page, report, topology, system, paths[:1], native_nm=minimum, reference=paths[1])
    assert capsys.readouterr().out == f"Page: {page}\n"
    text = _text(page)
    assert "Validation of generated.dcd" in text and "Frame 3 invalid: bonds" in text
    assert "φ &gt; 0, MD (%)" in text
    np.savez(tmp_path / "energies.npz", energies_kj_per_mol=np.arange(20.0))
    write_page(page, report, topology, system, paths[:1], reference=tmp_path / "energies.npz")
    assert "No trajectory of molecular dynamics was given" in _text(page)


def test_torsions_of_an_own_file_are_those_at_the_temperature(tmp_path, frames):
    from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

    topology, system, _ = cases.peptide(SEQUENCE)
    md = cases.dynamics(SEQUENCE, 40)
    path = tmp_path / "md.h5"
    write_trajectory_file(
        path,
        "AGV",
        topology,
        openmm.XmlSerializer.serialize(system),
        {},
        [
            TrajectoryData(md[:30], np.arange(30.0), "dynamics", 300.0, "beta", 1),
            TrajectoryData(-md[:10], np.arange(10.0), "exchange", 600.0, "beta", 1),
        ],
    )
    report = EnergyValidator(topology, system, relaxationIterations=0).validateTrajectory(md[:3])
    page = write_validation_page(
        report, tmp_path / "page.html", topology, md[:3], reference_frames=path
    )
    found = re.search(r"φ &gt; 0, MD \(%\) other residues (\d+) ([\d.]+) ([\d.]+)", _text(page))
    # The mirrored half of the file is at another temperature.
    assert found.group(1) == "6" and float(found.group(3)) < 50
