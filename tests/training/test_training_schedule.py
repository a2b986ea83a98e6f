"""Which molecule a draw sees: shares, epochs and ranks, from the draw's number alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from atmos_openmm.training.feed.schedule import BLOCK, Schedule, apportion, draws_of_rank


def drawn(schedule: Schedule, numbers: range) -> list[tuple[int, int]]:
    return [schedule.draw(n) for n in numbers]


def test_shares_are_exact_in_every_block() -> None:
    schedule = Schedule([7, 3, 40], [0.6, 0.3, 0.1], seed=3)
    assert schedule.block == BLOCK == 100
    for block in range(12):
        pools = [p for p, _ in drawn(schedule, range(100 * block, 100 * block + 100))]
        assert Counter(pools) == {0: 60, 1: 30, 2: 10}
    # Shares are ratios, and a pool of share 0 is never drawn from.
    schedule = Schedule([2, 2, 2], [2.0, 0.0, 6.0], seed=3)
    assert Counter(p for p, _ in drawn(schedule, range(300))) == {0: 75, 2: 225}


def test_blocks_are_shuffled_differently() -> None:
    schedule = Schedule([9, 9], [0.5, 0.5], seed=1)
    orders = {tuple(p for p, _ in drawn(schedule, range(b, b + 100))) for b in range(0, 500, 100)}
    assert len(orders) == 5
    # Shuffled: of two halves of a block neither has all of one pool (odds 2 / C(100, 50) each).
    assert all(0 < sum(order[:50]) < 50 for order in orders)


@pytest.mark.parametrize("shares", [[1, 1, 1], [0.37, 0.61, 0.02], [5, 1e-9, 3], [0.2] * 7, [1]])
def test_places_go_to_the_largest_remainders(shares: list[float]) -> None:
    counts = apportion(shares, 100)
    exact = 100 * np.array(shares) / np.sum(shares)
    assert counts.sum() == 100
    # The quota rule; a share too small for a place still has one, which another pays for.
    starved = int((exact < 1).sum())
    assert (np.abs(counts - exact) < 1 + starved).all() and (counts >= 1).all()
    if not starved:
        up = counts > np.floor(exact)
        remainder = exact - np.floor(exact)
        assert not up.any() or up.all() or remainder[up].min() >= remainder[~up].max() - 1e-9


def test_a_small_share_is_not_lost() -> None:
    schedule = Schedule([4, 4], [1.0, 0.001], seed=2)
    assert schedule.block == 1001
    for block in range(3):
        pools = [p for p, _ in drawn(schedule, range(1001 * block, 1001 * (block + 1)))]
        assert Counter(pools) == {0: 1000, 1: 1}


def test_each_molecule_once_an_epoch_in_an_order_of_its_own() -> None:
    sizes = [17, 5, 130]
    schedule = Schedule(sizes, [0.5, 0.2, 0.3], seed=11, stage=2)
    drawn_of: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for pool, molecule in drawn(schedule, range(2000)):
        drawn_of[pool].append(molecule)
    for pool, size in enumerate(sizes):
        epochs = [drawn_of[pool][k : k + size] for k in range(0, len(drawn_of[pool]), size)]
        whole = [e for e in epochs if len(e) == size]
        assert len(whole) >= 4 and all(sorted(e) == list(range(size)) for e in whole)
        last = epochs[-1]
        assert len(set(last)) == len(last)
        assert len({tuple(e) for e in whole}) > 1


def test_a_draw_remembers_nothing() -> None:
    numbers = list(range(700))
    in_order = drawn(Schedule([9, 31], [0.7, 0.3], seed=5, stage=1), range(700))
    shuffled = np.random.default_rng(0).permutation(numbers).tolist()
    for n in shuffled[:200]:  # each from a new schedule
        assert Schedule([9, 31], [0.7, 0.3], seed=5, stage=1).draw(n) == in_order[n]
    for seed, stage in ((6, 1), (5, 2)):
        assert drawn(Schedule([9, 31], [0.7, 0.3], seed=seed, stage=stage), range(700)) != in_order


@pytest.mark.parametrize("draws", [1, 5, 8])
def test_ranks_share_the_draws_of_each_step(draws: int) -> None:
    schedule = Schedule([50, 6], [0.9, 0.1], seed=4)
    seen = []
    for world in (1, 2, 3, 8):
        union = []
        for step in range(40):
            parts = [draws_of_rank(step, draws, rank, world) for rank in range(world)]
            for rank, part in enumerate(parts):
                assert all(n % world == rank for n in part)
            numbers = sorted(n for part in parts for n in part)
            assert numbers == list(range(step * draws, (step + 1) * draws))
            union += [schedule.draw(n) for n in numbers]
        seen.append(union)
    assert all(union == seen[0] for union in seen)


def test_replacements_go_through_the_pool() -> None:
    schedule = Schedule([6, 3], [0.5, 0.5], seed=9)
    for number in (0, 13, 77):
        pool, _ = schedule.draw(number)
        size = schedule.sizes[pool]
        found = [schedule.draw(number, attempt) for attempt in range(size)]
        assert {p for p, _ in found} == {pool}
        assert sorted(m for _, m in found) == list(range(size))


def test_what_makes_no_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one molecule"):
        Schedule([3, 0], [1, 1], seed=0)
    with pytest.raises(ValueError, match="one share a pool"):
        Schedule([3], [1, 1], seed=0)
    with pytest.raises(ValueError, match="one above 0"):
        Schedule([3, 3], [0.0, 0.0], seed=0)
    with pytest.raises(ValueError, match="numbers from 0"):
        Schedule([3], [1.0], seed=0).draw(-1)
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        draws_of_rank(0, 4, 2, 2)
