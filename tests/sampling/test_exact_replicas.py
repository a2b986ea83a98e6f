"""Exact runs whose walkers exchange configurations with hotter replicas."""

from __future__ import annotations

import exact_cases
import numpy as np
import pytest
from exact_cases import assert_same_run

CYCLES = 16
LADDER = {"temperatures": (300.0, 420.0, 600.0)}


def probability_of_phi(height, kelvin=300.0):
    """P(phi > 0) of height (1 - cos(phi + 0.8))."""
    grid = np.linspace(-np.pi, np.pi, 100000, endpoint=False)
    weights = np.exp(-height * (1 - np.cos(grid + 0.8)) / (8.31446e-3 * kelvin))
    return weights[grid > 0].sum() / weights.sum()


def test_averages_are_those_of_the_coldest(tmp_path):
    height = 3.0
    system = exact_cases.system_of_phi(height)[1]
    with exact_cases.exact_sampler(
        tmp_path / "run", system=system, stepSize=0.001, commitSeconds=1e9, temperatures=(300, 600),
    ) as sampler:  # fmt: skip
        summary = sampler.run(cycles=4000)
    found = next(basin for basin in summary.averages.basins if basin.basin == "phi>0")
    expected = probability_of_phi(height)
    # Swaps without their test would give both temperatures the mean, more than 4.5 errors away.
    assert (probability_of_phi(height, 600.0) - expected) / 2 > 4.5 * found.error
    assert abs(found.population - expected) < 3.5 * found.error
    ((pair, (tried, accepted)),) = summary.exchanges.items()
    assert pair == "300-600 K" and tried == 2 * 2000 and 20 < accepted < tried
    assert "exchanges 300-600 K" in str(summary)


def test_a_ladder_that_was_stopped_goes_on_to_the_bit(tmp_path):
    with exact_cases.exact_sampler(tmp_path / "whole", **LADDER) as sampler:
        whole = sampler.run(cycles=CYCLES)
    for cycles in (5, CYCLES):
        with exact_cases.exact_sampler(tmp_path / "parts", **LADDER) as sampler:
            parts = sampler.run(cycles=cycles)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert whole.exchanges == parts.exchanges and whole.round_trips == parts.round_trips
    # Even pairs after even cycles, odd ones after odd cycles, of two walkers.
    assert [tried for tried, _ in whole.exchanges.values()] == [CYCLES, CYCLES]


def test_replicas_are_part_of_what_a_run_is(tmp_path):
    with exact_cases.exact_sampler(tmp_path / "run", **LADDER) as sampler:
        sampler.run(cycles=2)
    with pytest.raises(ValueError, match="hot_replicas_K"):
        exact_cases.exact_sampler(tmp_path / "run", temperatures=(300, 420)).run(cycles=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperatures": (310, 400)}, "begin with 310 K, but the run is at 300 K"),
        ({"temperatures": (300, 300)}, "two or more that rise"),
        ({"temperatures": (300,)}, "two or more that rise"),
        ({"temperatures": tuple(range(300, 400))}, "64 are the most"),
        ({"temperatures": (300, 400), "dynamics": "hmc"}, "take 'langevin'"),
        ({"temperatures": (300, 400), "acceptance": "filter"}, "needs 'metropolis'"),
    ],
)
def test_ladders_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        exact_cases.exact_sampler(tmp_path / "run", **changes)
