"""The Cartesian network on all four sources at once: every term, crops, checkpointing, bfloat16."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from model_support import TINY_CARTESIAN
from training_cases import rows, settings, silent
from trainset_cases import four_sources

from atmos_openmm.training import loop
from atmos_openmm.training.feed.open_data import open_data
from atmos_openmm.training.passes import TERMS
from atmos_openmm.training.ranks import Ranks, make_fabric
from atmos_openmm.training.training_settings import LossSettings, StageSettings, read_settings
from atmos_openmm.training.weights.checkpoint import CHECKPOINT, load_state

EVERY = LossSettings(smooth_lddt=1.0, bond=1.0, ligand=11.0)
STRUCTURES = StageSettings(
    "structures",
    steps=2,
    draws=2,
    rollouts=1,
    levels=2,
    shares={"static": 1.0},
    losses=EVERY,
    crop_tokens=6,
    warmup_steps=1,
)
TRAJECTORIES = StageSettings(
    "trajectories",
    steps=4,
    draws=4,
    rollouts=1,
    levels=2,
    losses=EVERY,
    truncate=1,
    shares={"mdcath": 0.25, "misato": 0.25, "static": 0.25, "exchange": 0.25},
    jumps=((0, 1), (2, 3)),
    lag_range_ps=(1.0, 4000.0),
    freeze=("context_encoder",),
    warmup_steps=1,
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    ranks = Ranks(make_fabric("cpu", 1, 1))
    return open_data(four_sources(tmp_path_factory.mktemp("sources")), ranks)


def given(**changes):
    return settings(
        stages=(STRUCTURES, TRAJECTORIES),
        atoms="heavy",
        model=dataclasses.replace(TINY_CARTESIAN, dropout=0.1),
        runs=(),
        **changes,
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_all_sources_train_through_both_stages(samples, tmp_path, precision, monkeypatch) -> None:
    drawn = []

    def recorded(model, batch, stage, *arguments):
        drawn.append((stage.name, batch.name, batch.jumps, batch.has_history))
        return training_pass(model, batch, stage, *arguments)

    training_pass = loop.training_pass
    monkeypatch.setattr(loop, "training_pass", recorded)
    run = loop.Trainer(
        samples, tmp_path, given(share=0.0), fabric=make_fabric("cpu", 1, 1, precision)
    )
    assert run.run(silent) and run.step == 6
    found = rows(tmp_path)
    for row in found:
        # The Cartesian decoder has no first estimate; every other term is there and finite.
        assert "first_estimate" not in row
        assert all(
            0.0 < row[t] < math.inf for t in TERMS if t not in ("first_estimate", "torsions")
        )
    assert {name for stage, name, _, _ in drawn if stage == "structures"} == {"2xyz"}
    moving = [d for d in drawn if d[0] == "trajectories"]
    assert len({name for _, name, _, _ in moving}) >= 4
    # Structures have one jump and no frame before; the others follow the curriculum.
    for k, (_, name, jumps, history) in enumerate(moving):
        assert (jumps, history) == ((1, False) if name == "2xyz" else (1 if k < 8 else 3, True))
    declared = load_state(tmp_path / CHECKPOINT)["data"]
    assert declared["temperature_range_kelvin"][1] == 450.0
    assert set(declared["kinds"]) == {"static", "dynamics", "exchange"}


def test_activations_made_anew_change_no_bit(samples, tmp_path) -> None:
    """Dropout included, whose numbers have to be the same the second time."""
    losses = []
    for checkpointing in (False, True):
        run = loop.Trainer(
            samples, tmp_path / str(checkpointing), given(checkpointing=checkpointing)
        )
        losses.append([run.train_step() for _ in range(2)])
        blocks = [getattr(m, "checkpointing", None) for m in run.model.modules()]
        assert {b for b in blocks if b is not None} == {checkpointing}
        state = run.model.state_dict()
        losses[-1].append({k: float(v.double().sum()) for k, v in state.items()})
    assert losses[0] == losses[1]


def test_the_full_configuration_can_be_trained_on(samples, tmp_path) -> None:
    """As it is but for the network's size, the molecules that are held out, and the numbers."""
    changes = ["steps=1", "draws=2", "levels=2", "warmup_steps=0"]
    full = read_settings("full", [f"stages.all.{change}" for change in changes])
    full = dataclasses.replace(
        full,
        model=TINY_CARTESIAN,
        validation=dataclasses.replace(full.validation, share=0.0, molecules=("1abcA00",), draws=2),
    )
    run = loop.Trainer(samples, tmp_path, full, on_error="skip")
    assert run.run(silent) and run.step == 2
    found = rows(tmp_path)
    assert [row["stage"] for row in found] == ["structures", "trajectories"]
    # The domain that is held out is dynamics: the stage of structures has nothing to look at.
    assert "held_out" not in found[0] and math.isfinite(found[1]["held_out"])
    assert torch.isfinite(torch.tensor([row["loss"] for row in found])).all()
