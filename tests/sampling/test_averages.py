"""Averages of torsion series: basins, errors, agreement of walkers, files."""

import csv
import json
import math

import numpy as np
import pytest

from atmos_openmm.sampling.averages import compute_averages
from atmos_openmm.sampling.basins import BETWEEN, count_entries, find_basins

NAMES = ("ALA2 phi", "ALA2 psi", "TYR3 psi", "TYR3 chi1", "TYR3 chi2", "TYR3 CZ-OH", "LIG1 C3-C7")


def named(names):
    return {basins.name: basins for basins in find_basins(names)}


def test_each_torsion_has_its_basins():
    found = named(NAMES)
    assert list(found) == [
        "ALA2 phi, psi", "TYR3 psi", "TYR3 chi1", "TYR3 chi2", "TYR3 CZ-OH", "LIG1 C3-C7",
    ]  # fmt: skip
    assert found["TYR3 chi2"].names == ("+90", "-90")
    assert found["TYR3 CZ-OH"].names == ("trans", "cis")
    assert found["TYR3 psi"].names == ("0..120", "120..240", "240..360")
    assert found["LIG1 C3-C7"].names == found["TYR3 chi1"].names == ("g+", "trans", "g-")
    assert named(["A/ASP-4 chi2"])["A/ASP-4 chi2"].names == ("trans", "cis")


@pytest.mark.parametrize(
    "phi, psi, basin",
    [
        (-80, 150, "beta/PPII"), (-80, -170, "beta/PPII"), (-80, -40, "alpha-R"),
        (-80, 59, "alpha-R"), (-80, 61, "beta/PPII"), (-80, -121, "beta/PPII"),
        (60, 40, "phi>0"), (170, 0, "phi>0"), (-179, 150, "beta/PPII"), (281, -40, "alpha-R"),
    ],
)  # fmt: skip
def test_a_backbone_is_divided(phi, psi, basin):
    basins = find_basins(["ALA2 phi", "ALA2 psi"])[0]
    assert basins.names[basins.assign(np.radians([phi, psi]))] == basin


def test_single_torsions_are_divided_on_the_circle():
    rotamer, side, planar = (named(NAMES)[f"TYR3 {k}"] for k in ("chi1", "chi2", "CZ-OH"))
    degrees = np.array([0.0, 119, 121, 180, -180, -121, -119, -1])

    def assigned(basins, **margin):
        angles = np.zeros((len(degrees), len(NAMES)))
        angles[:, basins.torsions[0]] = np.radians(degrees)
        return basins.assign(angles, **margin).tolist()

    assert assigned(rotamer) == [0, 0, 1, 1, 1, 1, 2, 2]
    assert assigned(side) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert assigned(planar) == [1, 0, 0, 0, 0, 0, 0, 1]
    assert assigned(rotamer, margin_degrees=15) == [
        BETWEEN, BETWEEN, BETWEEN, 1, 1, BETWEEN, BETWEEN, BETWEEN,
    ]  # fmt: skip


def test_recrossings_of_a_border_are_no_entries():
    labels = np.array([0, -1, 0, -1, 1, -1, -1, 0, 1, 1, 2, -1])
    assert count_entries(labels, 3).tolist() == [1, 2, 1]
    assert count_entries(np.full(4, BETWEEN), 3).tolist() == [0, 0, 0]


def hopping(walkers, frames, leave, enter, seed=1):
    """phi that hops between -90 and 60 degrees; population enter / (leave + enter) at 60."""
    u = np.random.default_rng(seed).random((walkers, frames))
    state = np.zeros((walkers, frames), dtype=int)
    for k in range(1, frames):
        before = state[:, k - 1]
        state[:, k] = np.where(before == 1, u[:, k] >= leave, u[:, k] < enter)
    noise = np.random.default_rng(seed + 1).normal(0, 0.1, (walkers, frames, 2))
    degrees = np.stack([np.where(state == 1, 60, -90), np.full(state.shape, 150)], axis=-1)
    return np.radians(degrees) + noise


def test_populations_have_the_errors_that_are_known():
    leave, enter, walkers, frames = 0.3, 0.1, 4, 8000
    angles = hopping(walkers, frames, leave, enter)
    averages = compute_averages(
        angles, ["ALA2 phi", "ALA2 psi"], 300.0, 100.0, moves={"all": (100, 20)}
    )
    by_name = {basin.basin: basin for basin in averages.basins}
    left, beta = by_name["phi>0"], by_name["beta/PPII"]
    kept = walkers * (frames - averages.discarded)
    assert (averages.walkers, averages.frames, averages.discarded) == (4, 7200, 800)
    inefficiency = (2 - leave - enter) / (leave + enter)
    error = math.sqrt(0.25 * 0.75 * inefficiency / kept)
    assert left.error_from_correlation == pytest.approx(error, rel=0.1)
    assert left.error_from_batches == pytest.approx(error, rel=3 / math.sqrt(38))
    assert left.error == max(left.error_from_batches, left.error_from_correlation)
    assert abs(left.population - 0.25) < 3 * left.error
    assert left.effective_samples == pytest.approx(kept / inefficiency, rel=0.2)
    assert left.samples_per_s == left.effective_samples / 100
    assert left.r_hat < 1.01 and left.walkers == (0, 1, 2, 3)
    # Every hop is seen: noise of 6 degrees does not reach the borders.
    hops = sum(np.count_nonzero(np.diff(a > 0) & (a[1:] > 0)) for a in angles[:, 800:, 0])
    assert left.entries == hops
    # The error of ln(p / (1 - p)) is that of p over p (1 - p).
    thermal = 8.31446e-3 * 300
    expected = -thermal * math.log(left.population / beta.population)
    assert left.free_energy_kj_per_mol == pytest.approx(expected, rel=1e-4)
    spread = thermal * left.error / (left.population * beta.population)
    assert left.free_energy_error_kj_per_mol == pytest.approx(spread, rel=0.02)
    assert beta.free_energy_kj_per_mol == beta.free_energy_error_kj_per_mol == 0
    alpha = by_name["alpha-R"]
    assert alpha.population == 0 and math.isnan(alpha.error) and alpha.walkers == ()
    # Nothing is wrong but that a basin was never seen.
    assert len(averages.warnings) == 1
    assert "ever in: ALA2 phi, psi alpha-R. Their population" in averages.warnings[0]
    assert "ALA2 phi, psi  phi>0" in str(averages)


def test_what_is_not_to_be_trusted_is_said():
    angles = hopping(3, 400, 0.3, 0.1)
    # One walker never leaves phi > 0, the others are never there.
    angles[0, :, 0], angles[1:, :, 0] = np.radians(60), np.radians(-90)
    averages = compute_averages(angles, ["ALA2 phi", "ALA2 psi"], 300.0, 1.0)
    text = " ".join(averages.warnings)
    assert "one walker only: ALA2 phi, psi phi>0 (walker 0)" in text
    assert "do not agree (R-hat above 1.05): ALA2 phi (inf)" in text
    assert "fewer than 50 effective samples: ALA2 phi (3)" in text
    assert "WARNING: " in str(averages)
    single = compute_averages(angles[1:2], ["ALA2 phi", "ALA2 psi"], 300.0, 1.0)
    assert "one walker only, so that nothing tells" in single.warnings[0]
    short = compute_averages(angles[:, :3], ["ALA2 phi", "ALA2 psi"], 300.0, 1.0)
    assert "too few frames" in " ".join(short.warnings)
    none = compute_averages(angles[:, :0], ["ALA2 phi", "ALA2 psi"], 300.0, 0.0)
    assert none.basins == () and "no torsions" in str(none)


def test_files_say_the_same(tmp_path):
    averages = compute_averages(
        hopping(2, 300, 0.3, 0.1), ["ALA2 phi", "ALA2 psi"], 300.0, 10.0, moves={"all": (10, 3)}
    )
    paths = averages.write(tmp_path)
    document = json.loads(paths[0].read_text())
    assert (document["format"], document["version"]) == ("atmos-openmm-averages", 1)
    assert document["moves"] == {"all": [10, 3]}
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert [row["basin"] for row in rows] == ["beta/PPII", "alpha-R", "phi>0"]
    for row, basin in zip(rows, document["basins"], strict=True):
        assert float(row["population"]) == basin["population"]
    # What is not known is null: JSON has no NaN.
    assert document["basins"][1]["error"] is None
    assert rows[2]["walkers"] == "0 1"


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="discard is 1"):
        compute_averages(np.zeros((1, 10, 1)), ["ALA2 psi"], 300.0, 1.0, discard=1)
    with pytest.raises(ValueError, match=r"expected \[walkers, frames, 1\]"):
        compute_averages(np.zeros((1, 10, 2)), ["ALA2 psi"], 300.0, 1.0)
    with pytest.raises(ValueError, match="not finite"):
        compute_averages(np.full((1, 10, 1), np.nan), ["ALA2 psi"], 300.0, 1.0)
