"""Adapted densities follow the chain and lose nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from density_cases import covariance, one_block, two_residues, ungated

from atmos_openmm.density import TorsionDensity, held_out_score


def basin_weight(density, mean):
    """Weight within 0.5 rad of a place, by the rectangle rule."""
    g = np.linspace(-math.pi, math.pi, 400, endpoint=False)
    frames = np.stack(np.meshgrid(g, g), axis=-1).reshape(-1, 2)
    inside = (np.abs(frames - mean) < 0.5).all(axis=1)
    return np.exp(density.log_density(frames[inside])).sum() * (2 * math.pi / 400) ** 2


COVARIANCE = covariance([0.15, 0.15], 0.2)
OLD = one_block(ungated([0.7, 0.3], [[-1.5, 2.5], [1.0, 0.5]], [COVARIANCE] * 2))
CHAIN = one_block(ungated([1.0], [[-1.4, 2.4]], [COVARIANCE])).draw(800, seed=1)


def test_a_lost_basin_keeps_its_floor():
    adapted = OLD.adapt(CHAIN, floor=0.1)
    # Due are 0.1 (0.3 + 1/2) / 2 of 98 %; within 0.5 rad lie 99.8 % of it.
    due = 0.98 * 0.1 * (0.3 + 0.5) / 2
    assert basin_weight(adapted, [1.0, 0.5]) == pytest.approx(due, rel=0.1)
    assert basin_weight(OLD.adapt(CHAIN, floor=0.0), [1.0, 0.5]) < 0.002
    assert adapted.notes[-1] == "adapted to 800 frames"


def test_again_and_again():
    density = OLD
    for round_ in range(5):
        components = len(density.blocks[0].means)
        density = density.adapt(CHAIN, seed=round_)
    # Half of the floor is shared evenly by the components of the density before.
    assert basin_weight(density, [1.0, 0.5]) > 0.9 * 0.98 * 0.1 / 2 / components


def test_what_the_chain_covers_is_not_added():
    both = OLD.draw(1500, seed=3)
    fitted = TorsionDensity.from_angles(both, OLD.names, OLD.block_sizes, OLD.previous)
    adapted = OLD.adapt(both)
    assert len(adapted.blocks[0].means) == len(fitted.blocks[0].means)
    wider = adapted.blocks[0].covariances / fitted.blocks[0].covariances
    assert wider == pytest.approx(1.2)


def test_gated_blocks_keep_floors_on_average():
    old = two_residues(strength=2.0)
    chain = old.draw(3000, seed=2)
    chain = chain[chain[:, 2] < 0.0]  # the third state of the second block is not seen
    adapted = old.adapt(chain, floor=0.2)
    block = adapted.blocks[1]
    assert len(block.gate_torsions)
    weights = np.exp(block.log_weights(chain, "sequential"))
    missing = np.abs(block.means - old.blocks[1].means[2]).max(axis=1) < 1e-9
    before = np.exp(old.blocks[1].log_weights(chain, "conditional"))[2].mean()
    due = 0.2 * (before + 1 / 3) / 2
    assert missing.sum() == 1
    assert weights[missing].mean() == pytest.approx(due, rel=0.25)
    assert held_out_score(adapted, chain).mean > held_out_score(old, chain).mean - 0.3


def test_a_uniform_density_becomes_that_of_the_chain():
    adapted = TorsionDensity.uniform(OLD.names, OLD.block_sizes, OLD.previous).adapt(CHAIN)
    assert held_out_score(adapted, CHAIN).mean > held_out_score(OLD, CHAIN).mean


@pytest.mark.parametrize("options", [{"floor": 1.0}, {"floor": -0.1}, {"widen": 0.0}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="expected 0 <= floor < 1 and widen > 0"):
        OLD.adapt(CHAIN, **options)
