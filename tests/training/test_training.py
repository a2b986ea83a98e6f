"""The trainer in one process: it learns, freezes, follows its curriculum, stops, exports."""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from model_support import TINY
from training_cases import SETTINGS, STAGE, rows, settings, silent, trainer, write_data

from atmos_openmm.data.faults import Fault
from atmos_openmm.model.model_file import load_model
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training import held_out, loop
from atmos_openmm.training.counters import MOST_SKIPPED
from atmos_openmm.training.ranks import make_fabric
from atmos_openmm.training.weights.checkpoint import (
    BEST,
    CHECKPOINT,
    load_checkpoint,
    load_state,
    part,
)
from atmos_openmm.training.weights.checkpoint_export import export_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "ala.h5")


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_training_learns(data, tmp_path) -> None:
    learning = settings(
        steps=60, draws=1, rollouts=4, levels=4, warmup_steps=5, learning_rate=3e-3, model=TINY
    )
    run = trainer(data, tmp_path, learning)
    losses = [run.train_step()["denoising"] for _ in range(60)]
    # A loss is the mean over 32 noisy frames of 66 numbers, whose spread between draws is about
    # 5 %: ten of them against five tell a fall of 15 % from chance by more than five sigma.
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:5])


def test_log_best_weights_and_export(data, tmp_path) -> None:
    run = trainer(data, tmp_path / "run", settings(seed=6))
    assert run.run(silent) and run.finished and run.step == 6
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in found if "held_out" in row] == [3, 6]
    best = min((row["held_out"], row["step"]) for row in found if "held_out" in row)
    state = load_state(tmp_path / "run" / BEST)
    assert state["step"] == best[1] and state["best"] == pytest.approx(best[0], rel=1e-7)
    declared = export_checkpoint(
        tmp_path / "run",
        tmp_path / "out.atmos",
        name="out",
        trained_on="jitter",
        sampler={"steps": 3},
    )
    loaded = load_model(tmp_path / "out.atmos")
    assert loaded.capabilities == declared
    assert declared.elements == [1, 6, 7, 8] and declared.residues == ["ACE", "ALA", "NME"]
    # Dynamics were drawn from 1 to 8 ps, pairs of the exchange from 1 to 10 ns.
    assert declared.lag_range_ps == (1.0, 1e4)
    assert declared.temperature_range_kelvin == (300.0, 300.0)
    assert declared.extra["settings"] == settings(seed=6).to_dict()
    assert loaded.module.steps == 3
    ema = part(load_checkpoint(tmp_path / "run" / BEST)[0], "ema")
    for name, value in loaded.module.state_dict().items():
        assert torch.equal(value, ema[name])


def test_a_frozen_part_keeps_its_bits(data, tmp_path) -> None:
    frozen = settings(freeze=("context_encoder", "diffusion"), weight_decay=0.1)
    run = trainer(data, tmp_path, frozen)
    before = weights(run.model)
    for _ in range(3):
        run.train_step()
    for name, value in run.model.state_dict().items():
        kept = name.startswith(("context_encoder.", "diffusion."))
        assert torch.equal(value, before[name]) or not kept, name
        assert torch.equal(run.ema.weights[name], before[name]) or not kept, name
    moved = [n for n, value in run.model.state_dict().items() if not torch.equal(value, before[n])]
    assert {name.split(".")[0] for name in moved} == {
        "frame_encoder",
        "state_update",
        "transition",
        "distogram",
    }


@pytest.mark.parametrize(
    ("freeze", "message"),
    [(("kontext",), "has no such part; it has"), (("context",), "has no such part")],
)
def test_a_frozen_part_that_there_is_none_of_is_named(data, tmp_path, freeze, message) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(data, tmp_path, settings(freeze=freeze))


def test_the_curriculum_switches_at_its_step_and_stages_follow_each_other(
    data, tmp_path, monkeypatch
) -> None:
    seen = []

    def recorded(model, batch, stage, *arguments):
        seen.append((stage.name, batch.jumps))
        return training_pass(model, batch, stage, *arguments)

    training_pass = loop.training_pass
    monkeypatch.setattr(loop, "training_pass", recorded)
    one = dataclasses.replace(STAGE, draws=1, rollouts=1, steps=4, jumps=((0, 1), (2, 3)))
    two = dataclasses.replace(one, name="next", steps=2, jumps=((0, 2),), learning_rate=1e-5)
    run = trainer(data, tmp_path, settings(stages=(one, two)))
    assert run.run(silent)
    assert seen == [("only", 1)] * 2 + [("only", 3)] * 2 + [("next", 2)] * 2
    found = rows(tmp_path)
    assert [(row["step"], row["stage_step"]) for row in found] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 1),
        (6, 2),
    ]
    # The second stage warms up anew; it is validated against none of the first stage's.
    assert found[4]["learning_rate"] == pytest.approx(0.5e-5)
    assert load_state(tmp_path / BEST)["stage"] == "next"


def test_patience_ends_a_stage(data, tmp_path) -> None:
    # No weight moves at this rate, so that no validation is better than the first.
    still = settings(learning_rate=1e-30, weight_decay=0.0, steps=50, every=1, patience=2)
    lines: list[str] = []
    run = trainer(data, tmp_path, still)
    assert run.run(lines.append) and run.step == 3
    assert "no better held-out loss in 2 validations" in lines[-1]
    assert load_state(tmp_path / BEST)["step"] == 1
    # It stays ended, until it is allowed more.
    again = trainer(data, tmp_path, still)
    assert again.finished and again.run(lines.append) and again.step == 3
    assert any("has ended, at step 3" in line for line in lines)
    patient = trainer(
        data,
        tmp_path,
        dataclasses.replace(still, validation=dataclasses.replace(still.validation, patience=3)),
    )
    assert patient.run(silent) and patient.step == 4


def test_steps_without_a_finite_gradient_are_left_out_and_logged(data, tmp_path) -> None:
    run = trainer(data, tmp_path, settings(steps=40, every=100))
    run.train_step()
    parameter = next(run.model.diffusion.parameters())
    handle = parameter.register_hook(lambda gradient: gradient * math.inf)
    before = weights(run.model), {k: v.clone() for k, v in run.ema.weights.items()}
    numbers = run.train_step()
    assert not math.isfinite(numbers["gradient_norm"]) and run.step == 2
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, before[0][name]) and torch.equal(
            run.ema.weights[name], before[1][name]
        )
    handle.remove()
    assert math.isfinite(run.train_step()["gradient_norm"])
    assert run.counters.skipped == 0 and run.counters.window.skipped == 1
    parameter.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(ValueError, match="not finite in 20 steps in a row, up to step 23"):
        run.run(silent)
    assert run.step == 3 + MOST_SKIPPED
    found = rows(tmp_path)
    # The window of the first row has the one step that was left out before, and one more.
    assert [row["skipped"] for row in found] == [2] + [1] * (MOST_SKIPPED - 2)
    assert all("loss" not in row for row in found[1:])


def test_bfloat16_trains(data, tmp_path) -> None:
    whole = trainer(data, tmp_path / "whole")
    mixed = trainer(data, tmp_path / "mixed", fabric=make_fabric("cpu", 1, 1, "bf16-mixed"))
    before = weights(mixed.model)
    one, two = whole.train_step(), mixed.train_step()
    # bfloat16 has 8 bits: activations are off by 2^-9, the loss, a mean, by less than ten of them.
    assert two["loss"] != one["loss"]
    assert two["loss"] == pytest.approx(one["loss"], rel=10 * 2**-9)
    assert all(p.dtype == torch.float32 for p in mixed.model.parameters())
    assert any(not torch.equal(v, before[n]) for n, v in mixed.model.state_dict().items())


def test_validation_is_that_of_the_averaged_weights(data, tmp_path) -> None:
    run = trainer(data, tmp_path)
    for _ in range(2):
        run.train_step()
    own = weights(run.model)
    loss = run.validate()["loss"]
    assert run.validate()["loss"] == loss
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, own[name])
    run.model.load_state_dict(run.ema.weights)
    averaged = weights(run.model)
    run.ema.weights = own
    assert run.validate()["loss"] != loss
    run.ema.weights = averaged
    assert run.validate()["loss"] == loss


def test_a_new_run_starts_from_other_weights(data, tmp_path) -> None:
    first = trainer(data, tmp_path / "first")
    first.run(silent)
    best = part(load_checkpoint(tmp_path / "first" / BEST)[0], "ema")
    for source in (tmp_path / "first", tmp_path / "first" / BEST, best):
        second = trainer(data, tmp_path / "second", initial_weights=source)
        assert second.step == 0 and second.notes == []
        for name, value in second.model.state_dict().items():
            assert torch.equal(value, best[name])
    wider = settings(model=dataclasses.replace(TINY, c_s=32))
    with pytest.raises(ValueError, match="a network with other widths"):
        trainer(data, tmp_path / "third", wider, initial_weights=tmp_path / "first")
    some = {name: value for name, value in best.items() if not name.startswith("transition.")}
    partly = trainer(data, tmp_path / "fourth", initial_weights=some)
    assert "parameters start fresh, transition." in partly.notes[0]


def test_a_heavy_atom_model_leaves_hydrogens_out(data, tmp_path) -> None:
    trainer(data, tmp_path, settings(atoms="heavy", steps=1)).run(silent)
    declared = export_checkpoint(tmp_path, tmp_path / "h.atmos", name="h", trained_on="jitter")
    assert declared.atoms == "heavy" and declared.elements == [6, 7, 8]
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    propagator = AtmosPropagator(tmp_path / "h.atmos", topology, positions=positions_nm)
    bound = propagator.bind()
    # The network moves the heavy atoms; hydrogens are placed on them.
    assert bound.num_atoms() == 22 and bound.heavy_module.num_atoms() == 10


def test_draws_that_ranks_cannot_share_are_refused() -> None:
    from atmos_openmm.training.ranks import check_shared

    check_shared(SETTINGS.stages, 2)
    with pytest.raises(ValueError, match="2 draws a step, which 4 processes cannot share"):
        check_shared(SETTINGS.stages, 4)


def test_a_stage_without_validation_exports_its_last_weights(data, tmp_path) -> None:
    """The best weights in the folder are then those of an earlier stage."""
    static = dataclasses.replace(STAGE, name="later", shares={"exchange": 1.0}, steps=2)
    two = settings(stages=(dataclasses.replace(STAGE, steps=2), static), every=1)
    trainer(data, tmp_path, two).run(silent)
    assert load_state(tmp_path / BEST)["stage"] == "only"
    declared = export_checkpoint(tmp_path, tmp_path / "m.atmos", name="m", trained_on="jitter")
    assert declared.extra["training_step"] == 4
    assert load_state(tmp_path / CHECKPOINT)["best"] is None


def test_what_validation_leaves_out_is_told_once(data, tmp_path, monkeypatch) -> None:
    run = trainer(data, tmp_path)
    draw = held_out.Drawer.draw
    fault = Fault("gone.h5", "", "missing", "it is gone.")
    monkeypatch.setattr(
        held_out.Drawer, "draw", lambda *given: draw(*given)._replace(faults=(fault,))
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert run.validate() == run.validate()
    assert [str(warning.message) for warning in told] == ["Left out: gone.h5: it is gone."]
