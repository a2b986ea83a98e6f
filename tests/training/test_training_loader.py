"""Batches made ahead of time: their order and bits, errors, interruption, the time waited."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import data_cases
import numpy as np
import pytest
import torch
from data_cases import write_misato
from trainset_cases import MISSING, own_file, settings, structure_file

from atmos_openmm.data.faults import DataFileError, DataFileWarning
from atmos_openmm.data.sources import open_samples
from atmos_openmm.training.feed import loader
from atmos_openmm.training.feed.draws import Draw, Drawer
from atmos_openmm.training.feed.loader import BatchLoader
from atmos_openmm.training.feed.packed import PackedDraw
from atmos_openmm.training.feed.trainset import split
from atmos_openmm.training.training_settings import ValidationSettings

STEPS = 6
DRAWS = 3


def tensors(draw: Draw) -> list[torch.Tensor]:
    return draw.batch.tensors


def assert_equal(one: Draw, two: Draw) -> None:
    assert one.batch.name == two.batch.name
    assert (one.number, one.pool, one.kind) == (two.number, two.pool, two.kind)
    assert one.seen == two.seen and one.faults == two.faults
    for a, b in zip(tensors(one), tensors(two), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def set_frames(path: Path, value: float) -> None:
    """Make all frames of a trajectory file but the first useless."""
    import h5py

    with h5py.File(path, "r+") as file:
        for run in file["trajectories"].values():
            x = run["positions"][...]
            x[1:] = value
            run["positions"][...] = x


@pytest.fixture(scope="module")
def drawer(tmp_path_factory) -> Drawer:
    """Draws of three data sets with a curriculum; one of five molecules has useless frames."""
    folder = tmp_path_factory.mktemp("loader")
    runs = [("dynamics", 300.0, 12), ("exchange", 300.0, 6)]
    paths = [
        own_file(folder / f"own{k}.h5", runs[: 1 + k % 2], name=f"own{k}", seed=k) for k in range(3)
    ]
    set_frames(paths[0], np.nan)
    paths += [write_misato(folder / "MD.hdf5"), structure_file(folder / "2xyz.pdb", MISSING)]
    training, _ = split(open_samples(paths).samples, ValidationSettings())
    told = settings(
        steps=STEPS,
        draws=DRAWS,
        crop_tokens=6,
        jumps=((0, 1), (4, 3)),
        shares={"dynamics": 1.0, "exchange": 0.3, "static": 0.5},
    )
    return Drawer(training, told, on_error="skip")


def loaded(drawer: Drawer, **options) -> tuple[dict[int, list[Draw]], BatchLoader]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataFileWarning)
        with BatchLoader(drawer, **options) as batches:
            return dict(batches), batches


@pytest.fixture(scope="module")
def in_process(drawer) -> tuple[dict[int, list[Draw]], BatchLoader]:
    return loaded(drawer)


@pytest.fixture(scope="module")
def in_workers(drawer) -> tuple[dict[int, list[Draw]], BatchLoader]:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    found = loaded(drawer, workers=2, ahead=2)
    # The caller's random numbers are left alone.
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    return found


def test_steps_come_in_order_with_their_draws(drawer, in_process) -> None:
    steps, _ = in_process
    assert list(steps) == list(range(STEPS))
    for step, draws in steps.items():
        assert [d.number for d in draws] == list(range(DRAWS * step, DRAWS * (step + 1)))
        for draw in draws:
            assert_equal(draw, drawer.draw(draw.number, step))
            assert draw.batch.jumps == (1 if draw.kind == "static" or step < 4 else 3)
    assert {d.kind for draws in steps.values() for d in draws} == {"static", "dynamics", "exchange"}


def test_workers_change_nothing(in_process, in_workers) -> None:
    alone, ahead = in_process[0], in_workers[0]
    assert list(alone) == list(ahead)
    for step, draws in alone.items():
        for one, two in zip(draws, ahead[step], strict=True):
            assert_equal(one, two)


def test_what_workers_left_out_is_told_here(drawer, in_process, in_workers) -> None:
    assert in_process[1].skipped == in_workers[1].skipped
    # One run, whichever of its frames are met.
    (fault,) = in_process[1].skipped
    assert fault.path.endswith("own0.h5") and fault.kind == "nonfinite"
    missed = sum(len(d.faults) for draws in in_process[0].values() for d in draws)
    assert in_process[1].skipped.total() == missed > 1
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in BatchLoader(drawer):
            pass
    assert len(told) == 1 and told[0].category is DataFileWarning
    assert str(told[0].message) == f"Left out: {fault}"


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_share_the_steps(drawer, in_process, world) -> None:
    parts = [loaded(drawer, rank=rank, world=world)[0] for rank in range(world)]
    for step, expected in in_process[0].items():
        union = sorted((d for part in parts for d in part[step]), key=lambda d: d.number)
        for one, two in zip(union, expected, strict=True):
            assert_equal(one, two)
    assert all(list(part) == list(range(STEPS)) for part in parts)
    if world > DRAWS:  # a rank may have nothing to do in a step
        assert any(not draws for part in parts for draws in part.values())


def test_a_run_goes_on_where_it_was(drawer, in_process) -> None:
    rest, _ = loaded(drawer, first_step=3, last_step=5)
    assert list(rest) == [3, 4]
    for step, draws in rest.items():
        for one, two in zip(draws, in_process[0][step], strict=True):
            assert_equal(one, two)
    assert loaded(drawer, first_step=STEPS)[0] == {}


def test_a_draw_travels_as_one_block(drawer, in_process, in_workers) -> None:
    kinds = set()
    for draws in in_process[0].values():
        for draw in draws:
            packed = PackedDraw.of(draw)
            assert all(t is None for t in packed.rest.batch[1:])
            assert_equal(packed.unpacked(), draw)
            views = tensors(packed.unpacked())
            assert len({v.untyped_storage().data_ptr() for v in views}) == 1
            assert all(v.data_ptr() % 64 == packed.data.data_ptr() % 64 for v in views if v.numel())
            kinds |= {v.dtype for v in views}
    assert kinds == {torch.float32, torch.int64}
    assert any(t.numel() == 0 for t in tensors(draw))  # no alignment of sequences
    for draws in in_workers[0].values():
        for draw in draws:
            assert len({t.untyped_storage().data_ptr() for t in tensors(draw)}) == 1
            assert tensors(draw)[0].is_shared()


def strict_drawer(folder: Path) -> Drawer:
    """Two molecules, of which the second has useless frames; three draws a step."""
    good = own_file(folder / "good.h5", [("dynamics", 300.0, 8)], name="good")
    bad = own_file(folder / "bad.h5", [("dynamics", 300.0, 8)], name="bad")
    set_frames(bad, 7.0)
    training, _ = split(open_samples([good, bad]).samples, ValidationSettings())
    return Drawer(training, settings(steps=20, draws=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_come_at_their_step_as_they_are(tmp_path, workers) -> None:
    drawer = strict_drawer(tmp_path)
    turns = [drawer.schedule.draw(n)[1] for n in range(20)]
    first = turns.index(1)
    steps = []
    with BatchLoader(drawer, workers=workers) as batches:
        with pytest.raises(
            DataFileError, match=r"bad\.h5 .*frame \d+: .* are bonded and 0"
        ) as told:
            for step, _ in batches:
                steps.append(step)
        assert told.value.fault.kind == "broken"
        assert steps == list(range(first))
        with pytest.raises(RuntimeError, match="closed"):
            next(batches)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_told(tmp_path) -> None:
    path = own_file(tmp_path / "ala.h5", [("dynamics", 300.0, 8)])
    training, _ = split(open_samples([path]).samples, ValidationSettings())
    drawer = Drawer(training, settings(steps=1000))
    with BatchLoader(drawer, workers=1, ahead=1) as batches:
        next(batches)
        (worker,) = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="makes draws died at step .*DataLoader worker"):
            for _ in batches:
                pass
    assert not multiprocessing.active_children()


PROGRAM = """
import multiprocessing, pickle, signal, sys, time
from pathlib import Path
from trainset_cases import settings
from atmos_openmm.data.sources import open_samples
from atmos_openmm.training.feed.draws import Drawer
from atmos_openmm.training.feed.loader import BatchLoader
from atmos_openmm.training.training_settings import ValidationSettings
from atmos_openmm.training.feed.trainset import split

if __name__ == "__main__":
    # Shells have jobs in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    training, _ = split(open_samples([sys.argv[1]]).samples, ValidationSettings())
    with BatchLoader(Drawer(training, settings(steps=100000)), workers=1) as batches:
        for step, draws in batches:
            if step == 2:
                workers = multiprocessing.active_children()
                print(*(w.pid for w in workers), flush=True)
            if step > 2:
                time.sleep(0.01)
"""


def test_an_interrupt_ends_the_workers(tmp_path) -> None:
    path = own_file(tmp_path / "ala.h5", [("dynamics", 300.0, 8)])
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    folders = [os.environ.get("PYTHONPATH", ""), str(Path(data_cases.__file__).parent)]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))},
    )
    assert process.stdout is not None
    with process:
        try:
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 1
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does
            _, errors = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGINT or process.returncode == 130
    assert errors.count("Traceback") == 1 and errors.strip().endswith("KeyboardInterrupt")
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_time_waited(drawer, monkeypatch) -> None:
    now = [0.0]

    class Clocked(Drawer):
        def draw(self, number: int, step: int) -> Draw:
            now[0] += 10.0 if step == 0 else 0.5
            return super().draw(number, step)

    monkeypatch.setattr(loader.time, "perf_counter", lambda: now[0])
    clocked = Clocked.__new__(Clocked)
    clocked.__setstate__(drawer.__getstate__())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataFileWarning)
        batches = BatchLoader(clocked)
        for _ in batches:
            now[0] += 4.5  # the training step
    assert batches.waited_seconds == DRAWS * 10.0 + (STEPS - 1) * DRAWS * 0.5


def test_page_locked_draws_are_the_same(drawer, in_process) -> None:
    """Without a GPU nothing is done."""
    steps, _ = loaded(drawer, last_step=2, pin_memory=True)
    for step, draws in steps.items():
        for one, two in zip(draws, in_process[0][step], strict=True):
            assert_equal(one, two)
            assert one.batch.positions.is_pinned() == torch.cuda.is_available()


def test_what_makes_no_loader_is_refused(drawer) -> None:
    with pytest.raises(ValueError, match="workers is -1"):
        BatchLoader(drawer, workers=-1)
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        BatchLoader(drawer, rank=2, world=2)
