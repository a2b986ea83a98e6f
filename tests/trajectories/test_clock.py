"""Clocks: even within float32, cut where they jump, duplicates out."""

from __future__ import annotations

import numpy as np
import pytest

from atmos_openmm.trajectories.clock import even_spacing, read_clock


def stretches(times, **options):
    return [(s.start, s.stop, s.spacing_ps) for s in read_clock(times, **options).stretches]


@pytest.mark.parametrize("spacing", [1.0, 0.2, 0.04, 2.5, 100.0, 1.0 / 3.0])
@pytest.mark.parametrize("first", [0.0, 123.4, 1e5, 1e6, 3e6])
def test_an_even_clock_is_even_whatever_float32_makes_of_it(spacing, first):
    """100 ns are 1e5 ps, where float32 holds 0.008 ps; 3 us hold 0.25 ps, more than a step here."""
    times = (first + spacing * np.arange(3000)).astype(np.float32)
    (only,) = read_clock(times).stretches
    assert (only.start, only.stop) == (0, 3000)
    error = float(np.spacing(np.float32(first + 3000 * spacing))) / 2999
    assert only.spacing_ps == pytest.approx(spacing, abs=2 * error, rel=1e-6)
    assert only.times_ps()[-1] == pytest.approx(times[-1], abs=3 * 2999 * error)


def test_a_missing_frame_is_found_as_long_as_float32_can_show_it():
    for first, spacing in ((0.0, 0.04), (1e5, 0.2), (1e6, 1.0), (1e7, 10.0)):
        times = first + spacing * np.delete(np.arange(100), 40)
        assert stretches(times.astype(np.float32)) == [
            (0, 40, pytest.approx(spacing, rel=1e-2)),
            (40, 99, pytest.approx(spacing, rel=1e-2)),
        ]


def test_spacings_of_files_are_the_same_number():
    """Rounding must not make two replicas of one spacing into two spacings."""
    found = {
        even_spacing((first + 0.2 * np.arange(count)).astype(np.float32))
        for first, count in ((0.0, 500), (77.0, 1000), (1e5, 4000))
    }
    assert found == {0.2}


def test_gaps_steps_back_and_restarts_cut():
    ten = np.arange(10.0)
    found = read_clock(np.concatenate([ten, ten + 50.0, ten]))
    assert [(s.start, s.stop, s.spacing_ps, s.first_ps) for s in found.stretches] == [
        (0, 10, 1.0, 0.0),
        (10, 20, 1.0, 50.0),
        (20, 30, 1.0, 0.0),
    ]
    (note,) = found.notes
    assert "has 2 jump(s) in its clock, the first from 9 to 50 ps" in note
    assert found.kept.tolist() == list(range(30))
    # The other spacing has a stretch of its own; a frame alone has none.
    times = [0.0, 10.0, 11.0, 12.0, 13.0, 18.0, 23.0, 28.0, 100.0]
    assert stretches(times) == [
        (0, 1, None),
        (1, 5, 1.0),
        (5, 8, 5.0),
        (8, 9, None),
    ]
    assert even_spacing(times) is None
    # A jump that is as long as the median of all steps is a jump.
    assert stretches([0.0, 1.0, 2.0, 5.0, 10.0, 15.0]) == [(0, 3, 1.0), (3, 6, 5.0)]


def test_duplicates_are_left_out_and_counted():
    times = np.array([0.0, 1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 4.0, 5.0])
    found = read_clock(times)
    assert found.kept.tolist() == [0, 1, 2, 4, 5, 8]
    assert "in 3 frame(s), which are left out" in found.notes[0]
    # What comes after a frame with other coordinates is another run; a restart repeats the frame.
    assert [(s.start, s.stop) for s in found.stretches] == [(0, 3), (3, 5), (5, 6)]
    repeated = np.zeros(9, bool)
    repeated[[3, 6, 7]] = True
    assert stretches(times, repeated=repeated) == [(0, 6, 1.0)]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (np.ones(5), "do not increase"),
        (np.arange(5.0)[::-1], "do not increase"),
        (np.array([0.0, 1.0, np.nan]), "do not increase"),
        (np.array([0.0, 1.0, 3.0, 7.0, 15.0]), "not evenly spaced anywhere"),
    ],
)
def test_a_clock_that_tells_nothing_has_no_spacing(times, words):
    found = read_clock(times)
    assert found.spacing_ps is None and words in found.notes[-1]
    assert sum(len(s) for s in found.stretches) == len(times)


def test_two_frames_and_one():
    assert stretches([3.0, 5.0]) == [(0, 2, 2.0)]
    assert stretches([3.0]) == [(0, 1, None)]


def test_no_frame_is_lost_in_random_clocks():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = np.cumsum(rng.choice([1.0, 1.0, 1.0, 2.0, -7.0, 0.0], size=60))
        found = read_clock(times)
        assert [k for s in found.stretches for k in range(s.start, s.stop)] == list(
            range(len(found.kept))
        )
        kept = times[found.kept]
        for s in found.stretches:
            np.testing.assert_allclose(np.diff(kept[s.start : s.stop]), s.spacing_ps or 0.0)
