"""The budget of a training step: counted parts against counts by hand, times against formulas."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from model_support import TINY, TINY_CARTESIAN

from atmos_openmm.commands.train import command
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.training.budget.budget import H100, Budget, StageBudget, estimate
from atmos_openmm.training.budget.tracing import DrawCost, FakeTraining, typical_batch
from atmos_openmm.training.training_settings import StageSettings, TrainingSettings, read_settings

CONFIG = dataclasses.replace(TINY_CARTESIAN, cycles=1)
STAGE = StageSettings(
    "moving", 1, draws=5, rollouts=2, levels=2, truncate=1, jumps=((0, 1),), crop_tokens=8
)


@pytest.fixture(scope="module")
def cartesian():
    return FakeTraining(CONFIG)


def test_rollouts_grow_by_whole_segments(cartesian) -> None:
    one, two, three = (
        cartesian.trace(typical_batch(CONFIG, 8, 40, 2, jumps), STAGE, True) for jumps in (1, 2, 3)
    )
    extended = one.extended(two, 2)
    assert extended.flops == three.flops and extended.kernels == three.kernels
    assert extended.moved == three.moved
    assert sum(extended.operations.values()) == sum(three.operations.values()) == three.kernels
    # Memory is that of one segment (beside the gradient of the context, from the second on); the
    # draw itself has one more frame.
    assert one.kept == two.kept == three.kept
    # Tensors in cycles live until Python's collector comes: within 2 % of the peak.
    late = 0.02 * two.peak
    assert one.peak <= two.peak + late and abs(extended.peak - two.peak) <= late
    assert three.peak - two.peak <= 2 * 40 * 3 * 4 + 100 + late
    assert sum(three.flops.values()) > 1.5 * sum(one.flops.values())


def test_bfloat16_takes_less_memory_and_the_same_operations(cartesian) -> None:
    batch = typical_batch(CONFIG, 8, 40, 2, 1)
    single = cartesian.trace(batch, STAGE, False)
    mixed = FakeTraining(CONFIG, "bf16-mixed").trace(batch, STAGE, False)
    assert set(single.flops) <= {"float32", "float64"}
    assert sum(mixed.flops.values()) == sum(single.flops.values())
    # The frame encoder and the decoder stay in single precision.
    assert mixed.flops["bfloat16"] > 0.0 and mixed.flops["float32"] > 0.0
    assert mixed.kept < single.kept and mixed.weights == single.weights


def test_state_is_four_bytes_a_number() -> None:
    model = AtmosModel(TINY)
    numbers = sum(p.numel() for p in model.parameters())
    frozen = list(model.context_encoder.parameters())
    trained = numbers - sum(p.numel() for p in frozen)
    buffers = sum(b.numel() for b in model.buffers())
    stage = dataclasses.replace(STAGE, freeze=("context_encoder",), levels=1)
    settings = TrainingSettings((stage,), TINY)
    budget = estimate(settings, devices=2, precision="32-true", tokens=3, atoms=12)
    (row,) = budget.stages
    # Weights and average; gradients and two moments of what is trained.
    exact = 4 * (2 * (numbers + buffers) + 3 * trained)
    padding = 3 * 4 * 32 * (len(list(model.parameters())) - len(frozen))  # whole cache lines
    assert exact <= row.state <= exact + padding
    assert budget.parameters == numbers
    assert (row.jumps, row.tokens, row.atoms) == (1, 3, 12)
    assert row.draws == 3  # five draws over two devices
    assert row.other.kept < row.cost.kept and not budget.checkpointing
    text = budget.table()
    assert "| moving | 1 (1) | 3 | 12 |" in text and "2 x NVIDIA H100" in text
    for name in ("989", "67 float32", "3.35 TB/s", "450 GB/s", "50 GB/s", "80% to 40%"):
        assert name in text


def cost(**changes) -> DrawCost:
    operations = {(10**12, "bfloat16", 10**6): 3, (10**12, "float32", 1): 2, (0, "float32", 10): 7}
    base = DrawCost(
        4 * 10**9, 4 * 10**9, 10**10, 2 * 10**10, {"bfloat16": 3 * 10**12}, 1, 12, operations
    )
    return dataclasses.replace(base, **changes)


def budget_of(devices: int, draws: int = 2, **changes) -> tuple[Budget, StageBudget]:
    row = StageBudget(STAGE, 8, 64, 1, draws, cost(**changes), cost(**changes))
    return Budget([row], devices, "bf16-mixed", True, 10**9), row


def test_times_are_those_of_the_slower_of_arithmetic_and_memory() -> None:
    budget, row = budget_of(1)
    arithmetic = 3 * 1e12 / 989e12 + 2 * 1e12 / 67e12
    expected = arithmetic / 0.5 + 7 * 5e-6  # the small operations take what starting them takes
    assert budget.draw_seconds(row.cost, 0.5) == pytest.approx(expected)
    memory = {(10**9, "bfloat16", 335 * 10**8): 1}  # 0.01 s at 3.35 TB/s
    bound = budget_of(1, operations=memory)
    assert bound[0].draw_seconds(bound[1].cost, 1.0) == pytest.approx(0.01)
    step = 2 * budget.draw_seconds(row.cost, 1.0) + budget.update_seconds(row, 1.0)
    assert budget.step_seconds(row, 1.0) == pytest.approx(step)
    # Eleven times the gradients' bytes and three times the weights'.
    assert budget.update_seconds(row, 1.0) == pytest.approx(14 * 4e9 / 3.35e12)


def test_all_reduce_of_a_ring() -> None:
    for devices, link in ((1, None), (8, 450e9), (64, 50e9)):
        budget, row = budget_of(devices)
        expected = 0.0 if link is None else 2 * (devices - 1) / devices * 4e9 / link
        assert budget.reduce_seconds(row, 1.0) == pytest.approx(expected)
        assert budget.reduce_seconds(row, 0.5) == pytest.approx(2 * expected)


def test_what_fits() -> None:
    budget, row = budget_of(1)
    # The moments of 1e9 numbers and the average beside what was counted.
    assert row.memory() == 2 * 10**10 + 8 * 10**9 + 4 * 10**9
    limit = int((80e9 - 1.5e9) / 1.1) - 12 * 10**9
    assert budget.fits(*budget_of(1, peak=limit)[1:])
    assert not budget.fits(*budget_of(1, peak=limit + 10**7)[1:])
    assert H100.memory == 80e9


def test_errors() -> None:
    settings = read_settings("small")
    with pytest.raises(ValueError, match="devices is 0; expected at least 1"):
        estimate(settings, devices=0)
    with pytest.raises(ValueError, match="precision is '16-true'; expected"):
        estimate(settings, devices=1, precision="16-true")
    with pytest.raises(ValueError, match="Found 3 atoms in 5 tokens"):
        typical_batch(TINY, 5, 3, 1, 1)


def test_counting_leaves_torch_as_it_was(cartesian) -> None:
    attention = torch.nn.functional.scaled_dot_product_attention
    state = torch.get_rng_state()
    cartesian.trace(typical_batch(CONFIG, 8, 40, 1, 0), STAGE, True)
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
    assert "64 x NVIDIA H100 SXM, bf16-mixed" in found.stdout
    assert "| short | 0 (0) | 4 | 64 | 1 x 1 |" in found.stdout
    row = found.stdout.split("| short | 0 | ")[1]
    assert row.startswith("2 |")  # 128 draws over 64 devices
    refused = CliRunner().invoke(command, ["--estimate", "--devices", "auto"])
    assert refused.exit_code == 2 and "needs a number of --devices" in refused.output
