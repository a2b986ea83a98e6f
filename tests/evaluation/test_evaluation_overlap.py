"""Rows of an evaluation that share frames, and replicas of the oracle."""

from __future__ import annotations

from dataclasses import replace

import mdtraj
import numpy as np
import pytest
from evaluation_cases import (
    bad_generators,
    native_peptide,
    peptide_ensemble,
    peptide_frames,
    peptide_topology,
)
from systems_support import write_pdb

from atmos_openmm.cli import main
from atmos_openmm.evaluation.evaluate import evaluate
from atmos_openmm.evaluation.loading import read_ensemble
from atmos_openmm.evaluation.panel import Settings
from atmos_openmm.trajectories.repeats import FramePrints


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A native structure and five replicas of MD."""
    path, topology = tmp_path_factory.mktemp("replicas"), peptide_topology()
    write_pdb(path / "native.pdb", topology, native_peptide())
    for seed in range(1, 6):
        frames = peptide_frames(seed, 60)
        trajectory = mdtraj.Trajectory(
            frames, mdtraj.Topology.from_openmm(topology), time=10.0 * np.arange(60)
        )
        trajectory.save(str(path / f"r{seed}.xtc"))
        if seed == 2:
            trajectory.save(str(path / "r2.dcd"))
    return path


def turned(positions, seed=0):
    """Every frame moved as a rigid body."""
    random = np.random.default_rng(seed)
    turns = np.linalg.qr(random.normal(size=(len(positions), 3, 3)))[0]
    turns *= np.sign(np.linalg.det(turns))[:, None, None]
    return (positions @ turns + random.normal(size=(len(positions), 1, 3))).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x, 80),
        (lambda x: np.round(turned(x), 3), 80),
        (lambda x: x[::-4], 20),
        (lambda x: np.concatenate([peptide_frames(9, 60), x[:20]]), 20),
        # A common start is no copy, nor is a mirror image.
        (lambda x: np.concatenate([x[:1], peptide_frames(9, 60)]), 0),
        (lambda x: -x, 0),
        (lambda x: peptide_frames(9, 80), 0),
    ],
)
def test_frames_are_known_again_however_they_are_written(change, expected):
    ensemble = peptide_ensemble(1, frames=80)
    other = change(ensemble.positions_nm)
    row = replace(ensemble, positions_nm=other, segments=(), clock=np.zeros(0, np.int64))
    frames = FramePrints.of(row.positions_nm)
    assert frames.shared(FramePrints.of(ensemble.positions_nm)) == expected


def test_an_oracle_of_the_reference_is_refused_and_a_copy_among_generators_said():
    reference = peptide_ensemble(1, frames=60, replicas=2)
    inside = replace(reference, name="oracle", segments=((60, 120),)).taken()
    options = {"settings": Settings(native_peptide()), "panels": ["mdcath"], "resamples": 0}
    with pytest.raises(ValueError, match="60 of the 60 frames of the oracle 'oracle' are frames"):
        evaluate(reference, oracles=[inside], **options)
    twice = peptide_ensemble(1, frames=60)
    twice = replace(twice, positions_nm=np.tile(twice.positions_nm, (2, 1, 1)),
                    segments=((0, 60), (60, 120)), clock=np.zeros(0, np.int64))  # fmt: skip
    with pytest.raises(ValueError, match="measured against itself"):
        evaluate(twice, **options)
    oracle = peptide_ensemble(7, "oracle", frames=60)
    bad = bad_generators(oracle, native_peptide())
    copy = replace(reference, name="copy")
    found = evaluate(reference, [copy, bad["noise"], bad["shuffled"]], oracles=[oracle], **options)
    told = [note for note in found.notes if "independent" in note]
    assert told == [
        "120 of the 120 frames of copy are frames of MD: it is no independent row.",
        "60 of the 60 frames of shuffled are frames of oracle: it is no independent row.",
    ]


def test_copies_among_replicas_are_said(folder):
    paths = [folder / "r1.xtc", folder / "r2.xtc", folder / "r2.dcd"]
    loaded = read_ensemble(paths, name="MD", topology=folder / "native.pdb", spacing_ps=10.0)
    (told,) = [note for note in loaded.notes if "count twice" in note]
    assert told.startswith(f"MD: 60 of the 60 frames of {paths[2]} are frames of {paths[1]}, too")


def test_the_command_compares_its_files(folder, tmp_path, capsys):
    files = {name: str(folder / f"{name}.xtc") for name in ("r1", "r2", "r3", "r4", "r5")}
    common = ["--topology", str(folder / "native.pdb"), "--panel", "mdcath", "--bootstrap", "0",
              "--spacing", "10", "--out", str(tmp_path / "out")]  # fmt: skip
    reference = ["evaluate", "--reference", files["r1"], "--reference", files["r2"]]
    assert main([*reference, "--oracle", files["r2"], *common]) == 2
    assert "r2.xtc is given as --reference and as --oracle" in capsys.readouterr().err
    assert main([*reference, "--oracle", str(folder / "r2.dcd"), *common]) == 1
    assert "measured against itself" in " ".join(capsys.readouterr().err.split())
    # Several oracles are one row of all their frames.
    oracles = [word for name in ("r3", "r4", "r5") for word in ("--oracle", files[name])]
    assert main([*reference, *oracles, *common]) == 0
    printed = capsys.readouterr().out
    assert "180 frames a row, 120 of the reference" in printed
    assert "MD replica 1" not in printed and "MD replica" in printed
