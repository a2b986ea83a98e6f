"""What the processes of a run agree on: stopping, saving, errors; what each rank is given."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from training_cases import rows, settings, silent, trainer, write_data
from training_runs import Process, command, module

from atmos_openmm.data.faults import DataFileError, FaultLog
from atmos_openmm.data.manifest import expand
from atmos_openmm.training import loop
from atmos_openmm.training import ranks as ranks_module
from atmos_openmm.training.feed.open_data import open_data
from atmos_openmm.training.ranks import Ranks, make_fabric
from atmos_openmm.training.weights.checkpoint import CHECKPOINT, load_state

AGREE = """
import sys
from atmos_openmm.training.ranks import Ranks, make_fabric
fabric = make_fabric("cpu", 2, 1)
fabric.launch()
ranks = Ranks(fabric)
assert ranks.size == 2 and ranks.is_first == (ranks.rank == 0)
# A tenth is no binary fraction: sums are taken in double precision.
assert ranks.sum([0.1, float(ranks.rank)]) == [0.2, 1.0]
assert ranks.gather(ranks.rank + 5) == [5, 6] and ranks.first(ranks.rank) == 0
with ranks.together():
    pass
try:
    with ranks.together():
        if ranks.rank == 1:
            raise ValueError("the file x is broken")
except ValueError as error:
    print(f"rank {ranks.rank}: {error}", flush=True)
    sys.exit(1)
print(f"rank {ranks.rank} went on", flush=True)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "ala.h5")


def test_sigterm_to_one_process_saves_and_ends_all(data, tmp_path) -> None:
    given = settings(steps=1000, every=1000)
    run = Process(module(*command(data, tmp_path / "run", given)), tmp_path / "run")
    run.wait_for_row(2)
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    run.terminate_first()
    assert run.wait() == 130, run.output()
    step = load_state(tmp_path / "run" / CHECKPOINT)["step"]
    assert f"stopped and saved at step {step}; the same command goes on" in run.output()
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, step + 1))
    assert trainer(data, tmp_path / "run", given).step == step


def test_sigterm_to_every_process_saves_as_well(data, tmp_path) -> None:
    """What SLURM does; the processes that read data go on until they are ended."""
    given = settings(steps=1000, every=1000)
    line = command(data, tmp_path / "run", given, "--devices=1", "--workers=1")
    run = Process(module(*line), tmp_path / "run")
    run.wait_for_row(2)
    run.terminate_all()
    assert run.wait() == 130, run.output()
    step = load_state(tmp_path / "run" / CHECKPOINT)["step"]
    assert f"stopped and saved at step {step}; the same command goes on" in run.output()


def test_an_error_of_one_process_ends_all_with_its_message(tmp_path) -> None:
    program = tmp_path / "agree.py"
    program.write_text(AGREE)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == "rank 0: Process 1 of 2 failed: ValueError: the file x is broken\n"


def test_one_process_agrees_with_itself() -> None:
    ranks = Ranks(make_fabric("cpu", 1, 1))
    assert ranks.size == 1 and ranks.is_first
    assert ranks.sum([0.1]) == [0.1] and ranks.gather("a") == ["a"] and ranks.first(2) == 2
    with pytest.raises(KeyError), ranks.together():
        raise KeyError("as it is")


def forget_launchers(monkeypatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (None, None)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "8", "SLURM_NNODES": "16"}, (8, 16)),
        # A batch script without srun, and an interactive shell that srun has started.
        ({"SLURM_NTASKS_PER_NODE": "8"}, (None, None)),
        (
            {"SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "8", "SLURM_JOB_NAME": "interactive"},
            (None, None),
        ),
    ],
)
def test_processes_started_from_outside_are_counted(monkeypatch, environment, expected) -> None:
    forget_launchers(monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ranks_module._started_from_outside() == expected


def test_a_batch_script_without_srun_is_one_process(monkeypatch) -> None:
    forget_launchers(monkeypatch)
    for name, value in {"NTASKS": "64", "NTASKS_PER_NODE": "8", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = make_fabric("cpu")
    assert fabric.world_size == 1 and Ranks(fabric).is_first


def test_a_device_without_memory_gets_advice(data, tmp_path, monkeypatch) -> None:
    run = trainer(data, tmp_path)

    def exhausted(*_) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(loop, "training_pass", exhausted)
    with pytest.raises(
        ValueError, match="no memory left for a draw. Set checkpointing=true.*2 GiB"
    ):
        run.train_step()


def test_a_gpu_that_there_is_none_of_is_named(monkeypatch) -> None:
    monkeypatch.setattr(ranks_module.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="No CUDA device is available to torch"):
        make_fabric("cuda")
    assert make_fabric("auto").device.type == "cpu"


class OneOf:
    """Rank r of R where the others' parts are known: what a gather would bring."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.found: list = []

    def together(self):
        return nullcontext()

    def gather(self, value):
        self.found = value
        return [value]


def test_folders_and_manifests_are_opened_by_all_ranks_in_one_order(tmp_path) -> None:
    inside = tmp_path / "data" / "below"
    inside.mkdir(parents=True)
    one = write_data(tmp_path / "data" / "b.h5")
    two = write_data(inside / "a.h5")
    (tmp_path / "data" / "notes.txt").write_text("no data")
    (inside / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\nno more")
    log = FaultLog("stop")
    files = list(expand([tmp_path / "data"], log))
    assert files == [one, two, inside / "broken.h5"]
    alone = Ranks(make_fabric("cpu", 1, 1))
    with pytest.raises(DataFileError, match="broken.h5.*truncated or damaged"):
        open_data([tmp_path / "data"], alone)
    found = open_data([tmp_path / "data"], alone, on_error="skip")
    assert [s.provenance.path for s in found] == [str(one)] * 5 + [str(two)] * 5
    assert [f.path for f in found.faults] == [str(inside / "broken.h5")]
    # Two ranks look through different files and find together what one finds.
    parts = []
    for rank in range(2):
        half = OneOf(rank, 2)
        open_data([tmp_path / "data"], half, on_error="skip")
        parts += half.found
    together = [s.name for _, samples, _ in sorted(parts, key=lambda p: p[0]) for s in samples]
    assert together == [s.name for s in found]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match="the folder holds no data file"):
        open_data([tmp_path / "empty"], alone)


def test_an_error_in_a_draw_ends_the_run_before_the_step(data, tmp_path, monkeypatch) -> None:
    run = trainer(data, tmp_path)
    run.train_step()
    before = [p.detach().clone() for p in run.model.parameters()]
    monkeypatch.setattr(run._drawer, "draw", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    run.close()
    with pytest.raises(OSError, match="gone"):
        run.run(silent)
    assert run.step == 1
    assert all((p == q).all() for p, q in zip(run.model.parameters(), before, strict=True))
