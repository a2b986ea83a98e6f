"""A killed run of two processes goes on with the losses of an unbroken one, to the bit."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from training_cases import rows, settings, silent, trainer, write_data
from training_runs import Process, command, module, script

from atmos_openmm.training.weights.checkpoint import BEST, CHECKPOINT, load_checkpoint, load_state

STEPS = 10
SAVED = 4  # the first validation, which is better than none before, saves
KILLED = 6
GIVEN = settings(steps=STEPS, every=SAVED, patience=100)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run without a break; one that was killed after a checkpoint, before it went on."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_data(folder / "ala.h5")
    whole = Process(module(*command(data, folder / "whole", GIVEN)), folder / "whole")
    assert whole.wait() == 0, whole.output()
    killed = Process(module(*command(data, folder / "killed", GIVEN)), folder / "killed")
    killed.wait_for_row(KILLED)
    killed.kill_group()
    return data, folder


def test_two_killed_processes_continue_to_the_bit(runs) -> None:
    data, folder = runs
    whole = rows(folder / "whole")
    assert [row["step"] for row in whole] == list(range(1, STEPS + 1))
    # The kill came after the checkpoint, and steps beyond it are in the log.
    assert SAVED <= load_state(folder / "killed" / CHECKPOINT)["step"] < STEPS
    assert rows(folder / "killed")[:KILLED] == whole[:KILLED]
    shutil.copytree(folder / "killed", folder / "other")
    # What a kill in the middle of a write leaves behind does no harm.
    (folder / "killed" / (CHECKPOINT + ".tmp")).write_bytes(b"half a checkpoint")
    line = script(folder, *command(data, folder / "killed", GIVEN))
    continued = Process(line, folder / "killed")
    assert continued.wait() == 0, continued.output()
    assert "going on from step 4" in continued.output()
    assert rows(folder / "killed") == whole
    for name in (CHECKPOINT, BEST):
        one, one_state = load_checkpoint(folder / "whole" / name)
        two, two_state = load_checkpoint(folder / "killed" / name)
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.equal(value, two[key]), key
        one_state.pop("seconds"), two_state.pop("seconds")
        assert one_state == two_state
    assert not (folder / "killed" / (CHECKPOINT + ".tmp")).exists()


def close(found: list[dict], expected: list[dict]) -> None:
    """Losses of other ranks: the same draws, summed in another order.

    The losses of a step with the same weights differ by the rounding of a sum of two doubles, and
    the log has eight digits. Gradients are sums in float32, off by 2^-24 of the terms; AdamW
    divides by their size, so that each weight moves by its rate, 1e-3, times 1 within about
    1e-7, and more where terms cancel: those of a part f of the weights that cancel to f. Summed
    over such parts a step is off by some ten times 1e-7 of what it changes, and nine steps
    change the loss by less than half. A draw or a number of its noise that was another one would
    change the loss of a step by 5 % (the spread between draws of 4 frames of 66 numbers).
    """
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert found[0]["loss"] == pytest.approx(expected[0]["loss"], rel=2e-8)
    for one, two in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-4)
        assert one.get("held_out", 0.0) == pytest.approx(two.get("held_out", 0.0), rel=1e-5)


def test_one_process_has_the_losses_of_two(runs) -> None:
    data, folder = runs
    run = trainer(data, folder / "single", GIVEN)
    assert run.run(silent)
    close(rows(folder / "single"), rows(folder / "whole"))
    one, two = (load_state(folder / name / CHECKPOINT) for name in ("single", "whole"))
    assert one["seen"] == two["seen"] and one["samples"] == two["samples"]


def test_a_run_of_two_processes_continues_on_one(runs) -> None:
    data, folder = runs
    if not (folder / "other").exists():
        shutil.copytree(folder / "killed", folder / "other")
    run = trainer(data, folder / "other", GIVEN)
    assert run.step == SAVED and run.notes == []
    assert run.run(silent)
    close(rows(folder / "other"), rows(folder / "whole"))


def test_one_process_continues_to_the_bit_from_any_step(runs, tmp_path) -> None:
    """Steps between rows and validations, a stage's end among them."""
    data, _ = runs
    stage = GIVEN.stages[0]
    two = dataclasses.replace(stage, name="next", steps=3, freeze=("context_encoder",))
    given = settings(
        stages=(dataclasses.replace(stage, steps=4), two), log_every=3, every=2, patience=9
    )
    whole = trainer(data, tmp_path / "whole", given)
    assert whole.run(silent)
    cut = 0
    while True:
        part = trainer(data, tmp_path / "parts", given)
        assert part.step == cut
        part.stop()
        if part.run(silent):
            break
        cut += 1
    assert cut == 6
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    one, two = (load_checkpoint(tmp_path / n / CHECKPOINT)[0] for n in ("whole", "parts"))
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
