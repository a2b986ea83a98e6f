"""`reweight`: wrong populations of a generator are put right, and missing ones are found."""

import dataclasses
import json

import exact_cases
import numpy as np
import pytest

from atmos_openmm.core.files import StorageError
from atmos_openmm.sampling import read_exact_run
from atmos_openmm.sampling.averages import compute_averages
from atmos_openmm.sampling.basins import find_basins
from atmos_openmm.sampling.ensemble_starts import order_by_basins
from atmos_openmm.sampling.reweight import Reweighting, reweight
from atmos_openmm.sampling.reweighted import compare_basins

HEIGHT = 3.0  # kJ/mol
RUN = {
    "stepSize": 0.001,
    "jumpInterval": 5,
    "moves": 4,
    "seed": 3,
    "platform": "Reference",
    "equilibrationSteps": 20,
    "commitSeconds": 1e9,
    "adapt": 60,
}


@pytest.fixture(scope="module")
def molecule():
    """Bonds, angles and a potential of phi alone, whose populations are an integral."""
    topology, system, positions, torsions = exact_cases.system_of_phi(HEIGHT)
    return topology, system, np.asarray(positions, dtype=float), torsions


def biased_frames(molecule, count=200):
    """Nine of ten frames at phi > 0, where a quarter belongs, and none in beta/PPII."""
    _, _, x, torsions = molecule
    here, draws = torsions.measure(x), np.random.default_rng(0)
    frames = []
    for k in range(count):
        goal = [draws.normal(1.2 if k % 10 else -1.2, 0.3), draws.normal(-0.5, 0.3)]
        frames.append(torsions.rotated(x, dict(enumerate(goal - here))))
    return np.array(frames)


@pytest.fixture(scope="module")
def corrected(molecule, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reweighted") / "out"
    topology, system, x, _ = molecule
    frames = biased_frames(molecule)
    return folder, reweight(frames, topology, system, folder, positions=x, cycles=2000, **RUN)


def test_wrong_populations_are_put_right(corrected):
    _, result = corrected
    grid = np.linspace(-np.pi, np.pi, 100_000, endpoint=False)
    weights = np.exp(-HEIGHT * (1 - np.cos(grid + 0.8)) / (8.31446e-3 * 300))
    left = weights[grid > 0].sum() / weights.sum()
    # psi is free: alpha-R takes half of phi < 0.
    expected = {"phi>0": left, "alpha-R": (1 - left) / 2, "beta/PPII": (1 - left) / 2}
    found = {change.basin: change for change in result.changes}
    assert found["phi>0"].before == pytest.approx(0.9) and found["beta/PPII"].before == 0
    for basin, value in expected.items():
        change = found[basin]
        assert change.after_error < 0.02
        assert abs(change.after - value) < 3 * change.after_error
    assert [change.basin for change in result.of("missing")] == ["beta/PPII"]
    assert {change.basin for change in result.of("differs")} == {"phi>0", "alpha-R"}


def test_the_result_is_printed_and_kept(corrected):
    folder, result = corrected
    assert "missing" in str(result) and "frames say" in str(result)
    kept = json.loads((folder / "reweighted.json").read_text())
    assert kept["basins"][0]["after"] == result.changes[0].after and kept["complete"]
    assert (folder / "run" / "averages.json").exists()


def test_it_goes_on_with_the_same_frames_only(molecule, tmp_path):
    topology, system, x, _ = molecule
    frames, settings = biased_frames(molecule, 60), {**RUN, "adapt": 0, "positions": x}
    whole = reweight(frames, topology, system, tmp_path / "whole", cycles=20, **settings)
    for cycles in (8, 20):
        parts = reweight(frames, topology, system, tmp_path / "parts", cycles=cycles, **settings)
    assert [c.after for c in parts.changes] == [c.after for c in whole.changes]
    rows = [read_exact_run(tmp_path / name / "run").torsions() for name in ("whole", "parts")]
    np.testing.assert_array_equal(*rows)
    with pytest.raises(StorageError, match="other frames"):
        reweight(frames[1:], topology, system, tmp_path / "parts", cycles=20, **settings)
    starts = tmp_path / "parts" / "ensemble.npz"
    content = starts.read_bytes()
    for damaged in (b"", content[:100], content[:-100], b"text"):
        starts.write_bytes(damaged)
        with pytest.raises(StorageError, match="ensemble.npz is damaged .*Take it away"):
            reweight(frames, topology, system, tmp_path / "parts", cycles=20, **settings)


def test_few_frames_and_frames_that_are_not_finite(molecule, tmp_path):
    topology, system, x, _ = molecule
    frames = biased_frames(molecule, 6)
    frames[2] = np.nan
    with Reweighting(
        frames, topology, system, tmp_path, positions=x, **{**RUN, "adapt": 0}
    ) as work:
        notes = " ".join(work.notes)
        assert "1 frames have numbers that are not finite" in notes
        assert "too few for a density" in notes and len(work.angles) == 5


def test_mirrored_frames_are_no_starts(molecule, tmp_path):
    topology, system, x, _ = molecule
    frames = biased_frames(molecule, 4) * [1, 1, -1]
    with pytest.raises(ValueError, match="hands, cis and trans"):
        reweight(frames, topology, system, tmp_path / "new", positions=x, **RUN)
    with pytest.raises(ValueError, match="no frame with finite"):
        reweight(np.full_like(frames, np.nan), topology, system, tmp_path / "new", **RUN)


def test_starts_cover_basins_that_nobody_is_in():
    divisions = find_basins(("ALA2 phi", "ALA2 psi"))
    angles = np.radians([[-70, 150.0]] * 5 + [[-70, -30.0]] * 3 + [[60, 30.0]])
    first = order_by_basins(angles, divisions, [], set())[0]
    assert first < 5  # where most frames are
    covered = {(0, 0)}
    second = order_by_basins(angles, divisions, [first], covered)[0]
    covered.add((0, int(divisions[0].assign(angles[second]))))
    third = order_by_basins(angles, divisions, [first, second], covered)[0]
    assert {int(k) for k in divisions[0].assign(angles[[first, second, third]])} == {0, 1, 2}


def test_verdicts():
    draws = np.random.default_rng(1)

    def basins(shares, count=4000):
        places = np.radians([[-70, 150.0], [-70, -30.0], [60, 30.0]])
        angles = places[draws.choice(3, (2, count), p=shares)]
        found = compute_averages(angles, ("ALA2 phi", "ALA2 psi"), 300.0, 1.0, discard=0.0)
        return found.basins

    def verdicts(before, after, frames=8000):
        return [change.verdict for change in compare_basins(before, after, frames, 1.05)]

    right = basins([0.6, 0.38, 0.02])
    assert verdicts(basins([0.6, 0.38, 0.02]), right) == ["agrees"] * 3
    assert verdicts(basins([0.6, 0.4, 0.0]), right)[2] == "missing"
    # Among a few frames nobody expects a basin of 2 %.
    assert verdicts(basins([0.6, 0.4, 0.0], 10), right, 20)[2] == "agrees"
    assert verdicts(basins([0.5, 0.2, 0.3]), right) == ["differs", "differs", "invented"]
    apart = [dataclasses.replace(basin, r_hat=1.2) for basin in right]
    assert verdicts(right, apart) == ["not known"] * 3
