"""The parts of the trainer by themselves: rates, averages, gradients, logs, files, settings."""

from __future__ import annotations

import dataclasses
import json
import math
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import SETTINGS, rows, settings, silent, trainer, write_data

from atmos_openmm.core.progress import duration
from atmos_openmm.data.sources import open_samples
from atmos_openmm.training.counters import Window
from atmos_openmm.training.ema import MovingAverage
from atmos_openmm.training.logs import EVENTS, TrainingLog
from atmos_openmm.training.loop import Trainer
from atmos_openmm.training.optimization import FlatGradients, learning_rate_factor
from atmos_openmm.training.ranks import Ranks, make_fabric
from atmos_openmm.training.training_settings import TrainingSettings, read_settings
from atmos_openmm.training.weights.checkpoint import CHECKPOINT, load_state


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "ala.h5")


def test_learning_rate_warms_up_and_falls() -> None:
    assert learning_rate_factor(0, 10, 100) == pytest.approx(0.1)
    assert learning_rate_factor(9, 10, 100) == pytest.approx(1.0)
    assert learning_rate_factor(10, 10, 100) == pytest.approx(1.0)
    # Half of the way down the cosine, and its end.
    assert learning_rate_factor(55, 10, 100, 0.2) == pytest.approx(0.6)
    assert learning_rate_factor(100, 10, 100, 0.2) == pytest.approx(0.2)
    assert learning_rate_factor(500, 0, 100) == pytest.approx(0.02)


def test_the_average_follows_its_closed_form() -> None:
    """e_n = e_0 prod d_i + sum_i (1 - d_i) w_i prod_(j > i) d_j, with the decays in words."""
    model = nn.Linear(3, 2).double()
    average = MovingAverage(model, 0.7)
    decays = [min(0.7, (1 + n) / (10 + n)) for n in range(40)]
    assert decays[0] == 0.1 and decays[-1] == 0.7
    start = model.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    seen = []
    for n in range(40):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=generator, dtype=torch.float64))
        seen.append(model.weight.detach().clone())
        average.update(n)
    expected = start * math.prod(decays)
    for n, value in enumerate(seen):
        expected = expected + (1 - decays[n]) * value * math.prod(decays[n + 1 :])
    # Forty products and sums in double precision.
    torch.testing.assert_close(average.weights["weight"], expected, rtol=1e-13, atol=1e-15)
    # What does not move is its own average to the bit.
    assert torch.equal(average.weights["bias"], model.bias.detach())
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-13, atol=1e-15)
        assert torch.equal(average.weights["weight"], seen[-1])
    assert torch.equal(model.weight.detach(), seen[-1])


class Layouts(nn.Module):
    """Parameters of several sizes, one of them stored by columns."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.row = nn.Parameter(torch.randn(5, 7, generator=generator))
        self.column = nn.Parameter(torch.randn(7, 5, generator=generator).T)
        self.scalar = nn.Parameter(torch.randn([], generator=generator))
        self.unused = nn.Parameter(torch.randn(3, generator=generator))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return ((self.row * self.column).sum(1) @ x + self.scalar).square()


@pytest.mark.parametrize("bucket_bytes", [1, 400, 2**20])
def test_flat_gradients_are_those_of_autograd_and_are_bound(bucket_bytes: int) -> None:
    plain, flat = Layouts(), Layouts()
    x = torch.linspace(-1.0, 2.0, 5)
    gradients = FlatGradients(list(flat.parameters()), bucket_bytes)
    assert len(gradients.buckets) == {1: 4, 400: 3, 2**20: 1}[bucket_bytes]
    for _ in range(2):  # the second time on what the first one left behind
        plain.zero_grad()
        gradients.zero()
        for scale in (1.0, 3.0):  # two backward passes add up
            plain.loss(scale * x).backward()
            flat.loss(scale * x).backward()
        gradients.reduce(Ranks(make_fabric("cpu", 1, 1)))
        for one, two in zip(plain.parameters(), flat.parameters(), strict=True):
            expected = torch.zeros_like(two) if one.grad is None else one.grad
            assert two.grad is not None and torch.equal(two.grad, expected)
            assert two.grad.stride() == two.stride()
        norm = float(nn.utils.clip_grad_norm_(plain.parameters(), 0.5))
        # Sums of squares of 74 numbers in float32.
        assert gradients.clip(0.5) == pytest.approx(norm, rel=1e-6)
        total = math.sqrt(sum(float(p.grad.square().sum()) for p in flat.parameters()))
        assert total == pytest.approx(0.5, rel=1e-5)
        assert gradients.clip(0.6) == pytest.approx(0.5, rel=1e-5)  # below the bound: as it is
    flat.row.grad[0, 0] = math.nan
    assert math.isnan(gradients.clip(0.5))


def test_the_fused_optimizer_takes_flat_gradients_as_any_others() -> None:
    plain, flat = Layouts(), Layouts()
    x = torch.linspace(-1.0, 2.0, 5)
    gradients = FlatGradients(list(flat.parameters()))
    one = torch.optim.AdamW(plain.parameters(), lr=0.1, weight_decay=0.0, fused=True)
    two = torch.optim.AdamW(flat.parameters(), lr=0.1, weight_decay=0.0, fused=True)
    for _ in range(3):
        plain.zero_grad()
        gradients.zero()
        plain.loss(x).backward()
        flat.loss(x).backward()
        one.step()
        two.step()
    for left, right in zip(plain.parameters(), flat.parameters(), strict=True):
        assert torch.equal(left, right)


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars as TensorBoard shows them: a session's start purges what is beyond its step."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                for name in found:
                    found[name] = [pair for pair in found[name] if pair[0] < event.step]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_reads_the_logs_without_steps_twice(tmp_path) -> None:
    log = TrainingLog(tmp_path, 0)
    for step in (1, 2, 3, 4):
        row = {"step": step, "stage": "a", "stage_step": step, "loss": 1.0 / step}
        log.write(row if step % 2 else row | {"held_out": 5.0, "held_out_bond": float(step)})
    log.close()
    with open(tmp_path / "training.log.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # cut off by a kill
    log = TrainingLog(tmp_path, 2)
    for step in (3, 4):
        log.write({"step": step, "stage": "a", "stage_step": step, "loss": 2.0 / step})
    log.close()
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [
        (1, 1.0),
        (2, 0.5),
        (3, 2.0 / 3),
        (4, 0.5),
    ]
    found = events(tmp_path / EVENTS)
    assert found.keys() == {"train/loss", "held_out/loss", "held_out/bond"}
    steps, losses = zip(*found["train/loss"], strict=True)
    assert steps == (1, 2, 3, 4)
    np.testing.assert_allclose(losses, [1.0, 0.5, 2.0 / 3, 0.5], rtol=1e-7)
    assert found["held_out/loss"] == [(2, 5.0)] and found["held_out/bond"] == [(2, 2.0)]


def test_a_window_is_the_mean_of_its_steps() -> None:
    window = Window()
    for loss, norm in ((1.0, 1.0), (9.0, math.inf), (2.0, 3.0)):
        window.add({"loss": loss, "gradient_norm": norm})
    assert window.row() == {"loss": 1.5, "gradient_norm": 2.0, "skipped": 1}
    assert window.row() == {} and window.count == 0


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(5.0, "5 s"), (100.0, "2 min"), (12_000.0, "3 h 20 min"), (190_000.0, "2 d 4 h")],
)
def test_times_to_come_are_told_in_words(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_settings_become_toml_and_come_back() -> None:
    for source in ("small", "full"):
        changed = read_settings(
            source,
            [
                "stages.all.steps=7",
                "stages.trajectories.losses.bond=2",
                "atoms=heavy",
                "model.dropout=0.5",
                'validation.molecules=["2hba*", "a\\"b"]',
                "stages.all.temperature_range_kelvin=[300.0, 350.0]",
            ],
        )
        assert changed.model.dropout == 0.5 and {s.steps for s in changed.stages} == {7}
        assert changed.stages[-1].losses.bond == 2.0 and changed.atoms == "heavy"
        assert changed.validation.molecules == ("2hba*", 'a"b')
        assert read_settings("again", text=changed.to_toml()) == changed
        assert TrainingSettings.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected key=value"),
        ("sede=1", "sede is no setting; expected some of"),
        ("stages.none.steps=1", "there is no stage of that name"),
        ("stages.steps=1", "there is no stage|names no single setting"),
        ("seed.x=1", "names no single setting|a value stands"),
        ("stages.all.steps=many", "steps is 'many'; expected int"),
        ("stages.all.steps=0", "steps is 0; expected at least 1"),
        ("model.c_s=wide", "model.c_s is 'wide'; expected int"),
        ("optimizer.clip=0", "optimizer.clip is 0.0; expected above 0"),
        ("optimizer.ema_decay=1", "optimizer.ema_decay is 1.0; expected 0 to below 1"),
    ],
)
def test_a_setting_that_is_none_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_settings("small", [override])


def test_changed_settings_and_data_are_told_and_taken(data, tmp_path) -> None:
    trainer(data, tmp_path, settings(steps=2)).run(silent)
    changed = settings(steps=4, learning_rate=5e-4, runs=(2,))
    run = trainer(data, tmp_path, changed)
    assert run.notes == [
        "stages.only.steps 2 -> 4 from step 2 on",
        "stages.only.learning_rate 0.001 -> 0.0005 from step 2 on",
        "validation.runs [3] -> [2] from step 2 on",
    ]
    assert run.run(silent) and run.step == 4
    # Step 4 of 4, after a warm-up of 2: half of the way down from the new rate.
    assert rows(tmp_path)[-1]["learning_rate"] == pytest.approx(5e-4 * (0.02 + 0.98 / 2))
    other = write_data(tmp_path / "b.h5")
    more = Trainer(open_samples([data, other]), tmp_path, changed)
    assert more.notes == [
        "data: 5 samples of 100 frames -> 10 of 200, or others, from step 4 on: the draws are not "
        "those of an unbroken run"
    ]


def test_another_network_or_stage_in_the_folder_is_refused(data, tmp_path) -> None:
    trainer(data, tmp_path).save()
    wider = dataclasses.replace(SETTINGS.model, c_s=32)
    with pytest.raises(ValueError, match=r"another network \(model.c_s 16 -> 32\)"):
        trainer(data, tmp_path, settings(model=wider))
    with pytest.raises(ValueError, match=r"another network \(atoms all -> heavy\)"):
        trainer(data, tmp_path, settings(atoms="heavy"))
    with pytest.raises(ValueError, match="a run in the stage 'only', and the settings have the"):
        trainer(data, tmp_path, settings(name="second"))


def test_a_truncated_checkpoint_is_named(data, tmp_path) -> None:
    trainer(data, tmp_path).save()
    content = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (content[: len(content) // 2], content[:5], b"", b"{" * 1000):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(ValueError, match="checkpoint.safetensors cannot be read .* truncated"):
            trainer(data, tmp_path)


def test_a_full_disk_ends_the_run_and_leaves_the_old_checkpoint(data, tmp_path) -> None:
    run = trainer(data, tmp_path, settings(every=100))
    run.train_step()
    run.save()
    before = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses the write part of the way, as it does where the disk or a quota is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="checkpoint.safetensors could not be written"):
            run.run(silent, checkpoint_seconds=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert not (tmp_path / (CHECKPOINT + ".tmp")).exists()
    again = trainer(data, tmp_path, settings(every=100))
    assert again.step == 1 and again.run(silent)
    assert load_state(tmp_path / CHECKPOINT)["step"] == 6
