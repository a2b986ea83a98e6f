"""What a training step needs: counted on fake tensors, against counts by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from model_support import TINY, TINY_CARTESIAN

from atmos_openmm.commands.train import command
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.training.budget.budget import estimate
from atmos_openmm.training.budget.tracing import FakeTraining, typical_batch
from atmos_openmm.training.training_settings import StageSettings, read_settings

CONFIG = dataclasses.replace(TINY_CARTESIAN, cycles=1)
STAGE = StageSettings(
    "moving", 1, draws=5, rollouts=2, levels=2, truncate=1, jumps=((0, 1),), crop_tokens=8
)


def cost_on_cuda(training, batch, stage, checkpointing: bool):
    with training.as_on_cuda():
        return training.trace(batch, stage, checkpointing)


@pytest.fixture(scope="module")
def cartesian():
    return FakeTraining(CONFIG)


def test_rollouts_grow_by_whole_segments(cartesian) -> None:
    one, two, three = (
        cost_on_cuda(cartesian, typical_batch(CONFIG, 8, 40, 2, jumps), STAGE, True)
        for jumps in (1, 2, 3)
    )
    for dtype in one.flops:
        more = two.flops[dtype] - one.flops[dtype]
        assert three.flops[dtype] == two.flops[dtype] + more
    # Memory is that of one segment (beside the gradient of the context, from the second on); the
    # draw itself has one more frame. Tensors in cycles live until Python's collector comes: within
    # 2 % of the peak.
    late = 0.02 * two.peak
    assert one.peak <= two.peak + late
    assert three.peak - two.peak <= 2 * 40 * 3 * 4 + 100 + late
    assert sum(three.flops.values()) > 1.5 * sum(one.flops.values())


def test_bfloat16_takes_less_memory_and_the_same_operations(cartesian) -> None:
    batch = typical_batch(CONFIG, 8, 40, 2, 1)
    single = cost_on_cuda(cartesian, batch, STAGE, False)
    mixed = cost_on_cuda(FakeTraining(CONFIG, "bf16-mixed"), batch, STAGE, False)
    assert set(single.flops) <= {"float32", "float64"}
    assert sum(mixed.flops.values()) == sum(single.flops.values())
    # The frame encoder and the decoder stay in single precision.
    assert mixed.flops["bfloat16"] > 0.0 and mixed.flops["float32"] > 0.0
    assert mixed.peak < single.peak and mixed.weights == single.weights


def test_state_is_four_bytes_a_number_and_checkpointing_saves_memory() -> None:
    model = AtmosModel(TINY)
    numbers = sum(p.numel() for p in model.parameters())
    frozen = list(model.context_encoder.parameters())
    trained = numbers - sum(p.numel() for p in frozen)
    buffers = sum(b.numel() for b in model.buffers())
    stage = dataclasses.replace(STAGE, freeze=("context_encoder",), levels=1)
    training, batch = FakeTraining(TINY), typical_batch(TINY, 3, 12, stage.rollouts, 1)
    kept, again = (cost_on_cuda(training, batch, stage, value) for value in (False, True))
    # Weights and average; gradients and two moments of what is trained.
    exact = 4 * (2 * (numbers + buffers) + 3 * trained)
    padding = 3 * 4 * 32 * (len(list(model.parameters())) - len(frozen))  # whole cache lines
    assert exact <= kept.state <= exact + padding
    assert again.state == kept.state < again.step_peak < kept.step_peak
    assert kept.step_peak == kept.peak + kept.weights + 2 * kept.gradients


def test_errors() -> None:
    settings = read_settings("small")
    with pytest.raises(ValueError, match="devices is 0; expected at least 1"):
        estimate(settings, devices=0)
    with pytest.raises(ValueError, match="precision is '16-true'; expected"):
        estimate(settings, devices=1, precision="16-true")


def test_counting_leaves_torch_as_it_was(cartesian) -> None:
    attention = torch.nn.functional.scaled_dot_product_attention
    state = torch.get_rng_state()
    cost_on_cuda(cartesian, typical_batch(CONFIG, 8, 40, 1, 0), STAGE, True)
    assert torch.nn.functional.scaled_dot_product_attention is attention
    assert torch.equal(torch.get_rng_state(), state)
    assert "eval" not in vars(cartesian.model.context_encoder)


TOML = """
[model]
base = "small"
c_s = 16
c_z = 8
c_atom = 16
c_atompair = 8
c_token = 16
heads_s = 2
heads_atom = 2
heads_token = 2
encoder_blocks = 1
decoder_blocks = 1

[[stages]]
name = "short"
steps = 1
draws = 128
levels = 1
rollouts = 1
crop_tokens = 4
shares = { static = 1.0 }
"""


def test_the_command_prints_it(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TOML)
    arguments = ["--config", str(tmp_path / "tiny.toml"), "--estimate", "--devices", "8"]
    found = CliRunner().invoke(command, [*arguments, "--nodes", "8", "--precision", "bf16-mixed"])
    assert found.exit_code == 0, found.output
    assert "bf16-mixed, without checkpointing" in found.stdout
    # 128 draws over 64 devices.
    assert "(of 64)" in found.stdout and "| short | 0 (0) | 4 | 64 | 1 x 1 | 2 |" in found.stdout
    refused = CliRunner().invoke(command, ["--estimate", "--devices", "auto"])
    assert refused.exit_code == 2 and "needs a number of --devices" in refused.output
