"""Counters of bytes and operations: known cases, torch's own counter, and a process's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import model_support
import pytest
import torch
from kept_bytes import kept_bytes
from model_support import TINY, TINY_CARTESIAN
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from triangle_layer import make, plain

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.triangle import TriangleAttention
from atmos_openmm.ops import triangle_multiplication
from atmos_openmm.training.budget.meter import Bytes, StepMeter
from atmos_openmm.training.budget.tracing import FakeTraining, cuda_attention, typical_batch
from atmos_openmm.training.optimization import FlatGradients
from atmos_openmm.training.passes import draw_generator, training_pass
from atmos_openmm.training.training_settings import LossSettings, StageSettings

STAGE = StageSettings(
    "s", 1, rollouts=2, levels=2, truncate=2, losses=LossSettings(smooth_lddt=1.0, bond=1.0)
)
SIZE, CHANNELS, HIDDEN, BATCH = 5, 6, 7, 2


def products(layer, function, outgoing: bool) -> tuple[int, int]:
    """Operations of the layer and of its gradient, by torch's counter."""
    leaves = [t.requires_grad_() for t in (layer.z, *layer.parameters)]
    with FlopCounterMode(display=False) as forward:
        out = function(leaves[0], layer.mask, *leaves[1:], outgoing, False, 1e-5)
    with FlopCounterMode(display=False) as backward:
        out.backward(layer.grad)
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operations_of_the_triangle_layer(outgoing, device) -> None:
    layer = make(SIZE, CHANNELS, HIDDEN, batch=BATCH, dtype=torch.float32).to(device)
    expected = products(layer, plain, outgoing)
    found = products(layer, triangle_multiplication, outgoing)
    pairs = BATCH * SIZE**2
    linear = 2 * pairs * (5 * HIDDEN * CHANNELS + CHANNELS**2)
    contraction = 2 * pairs * SIZE * HIDDEN
    assert found[0] == expected[0] == linear + contraction
    # Two products for each of the forward pass, as in plain operations; and since all but x is
    # computed again, the linear maps once more.
    assert expected[1] == 2 * expected[0] and found[1] == expected[1] + linear


def test_bytes_live_as_long_as_their_storages() -> None:
    counter = Bytes()
    a = torch.zeros(100)
    counter.note(a)
    counter.note(a[10:])  # a view has no storage of its own
    b = torch.zeros(50, dtype=torch.float64)
    counter.note(b)
    assert counter.now == counter.most == 800
    del b
    view = a[:1]
    del a
    assert counter.now == 400 and counter.most == 800
    del view
    assert counter.now == 0


def test_kept_bytes_of_a_product() -> None:
    weight = torch.ones(8, 8, requires_grad=True)
    x = torch.ones(8, requires_grad=True)
    with kept_bytes([weight]) as kept:
        y = (weight @ x).exp()  # the product keeps x, the exponential its result
        assert kept.now == 2 * 8 * 4
        y.sum().backward()
        del y
    assert kept.now == 0 or kept.now == 8 * 4  # x itself may live on in its owner
    assert kept.most == 2 * 8 * 4


def test_peak_of_a_chain() -> None:
    x = torch.ones(1000)
    meter = StepMeter([x])
    with meter:
        y = 2.0 * x
        z = y + 1.0
        del y
        w = z.view(10, 100) @ torch.ones(100, 5)
    # x, y and z; when y has gone, x, z, the ones and the product.
    assert meter.live.most == 3 * 4000
    assert meter.live.now == 2 * 4000 + w.nbytes
    assert dict(meter.flops) == {torch.float32: 2 * 10 * 100 * 5}


def draw(config):
    return typical_batch(config, 12, 60, STAGE.rollouts, 1)


def counted(config, checkpointing: bool):
    """What the counters find in a real pass on the CPU."""
    batch = draw(config)
    model = AtmosModel(config).train()
    model.set_checkpointing(checkpointing)
    gradients = FlatGradients(list(model.parameters()))
    gradients.zero()
    own = [*model.parameters(), *model.buffers(), *gradients.buckets, *batch.tensors]
    with StepMeter(own) as meter:
        training_pass(model, batch, STAGE, draw_generator(0, 0, 0), 1.0, nullcontext)
    with FlopCounterMode(display=False) as torchs:
        training_pass(model, batch, STAGE, draw_generator(0, 0, 0), 1.0, nullcontext)
    return meter, torchs


@pytest.mark.parametrize(
    ("config", "checkpointing"),
    [(TINY, False), (TINY_CARTESIAN, True)],
    ids=["invariant", "cartesian, checkpointed"],
)
def test_fake_tensors_cost_what_real_ones_do(config, checkpointing) -> None:
    meter, torchs = counted(config, checkpointing)
    found = FakeTraining(config).trace(draw(config), STAGE, checkpointing)
    assert sum(found.flops.values()) == sum(meter.flops.values()) == torchs.get_total_flops()
    # Tensors in cycles live until Python's collector comes, now and then: 0.3 and 0.6 % of the
    # peak were seen.
    assert found.peak == pytest.approx(meter.live.most, rel=0.02)


def test_attention_of_a_gpu_keeps_its_bias_and_no_weights() -> None:
    tokens, channels, heads = 16, 8, 2
    with FakeTensorMode(), cuda_attention():
        module = TriangleAttention(channels, heads)
        z = torch.randn(1, tokens, tokens, channels, requires_grad=True)
        mask = torch.ones(1, tokens, tokens)
        with kept_bytes([*module.parameters(), z]) as kept:
            out = module(z, mask)
    assert out.shape == z.shape
    pairs = tokens * tokens
    # Normed pairs, queries, keys, values, gate, result and their product; mean and deviation of the
    # norm; the bias; and a logarithm for each query and head, of 32 queries at least.
    values = 7 * pairs * channels + 2 * pairs + pairs * tokens * heads + tokens * heads * 32
    dropout = 2 * 8  # two integers of its random numbers
    assert kept.most == 4 * values + dropout


WORKER = """
import ctypes, gc, json, sys
from contextlib import nullcontext
from pathlib import Path
import torch
sys.path += sys.argv[1].split(":")
from test_training_meter import MEASURED, MEASURED_TOKENS, STAGE
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.training.optimization import FlatGradients
from atmos_openmm.training.passes import draw_generator, training_pass
from atmos_openmm.training.budget.tracing import typical_batch

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

torch.set_num_threads(1)
model = AtmosModel(MEASURED).train()
model.set_checkpointing(sys.argv[2] == "True")
gradients = FlatGradients(list(model.parameters()))
gradients.zero()
for tokens in (9, MEASURED_TOKENS):  # the libraries' own buffers come with the first pass
    batch = typical_batch(MEASURED, tokens, 2 * tokens, STAGE.rollouts, 1)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    training_pass(model, batch, STAGE, draw_generator(0, 0, 0), 1.0, nullcontext)
print(json.dumps(resident("VmHWM") - before))
"""
MEASURED = TINY_CARTESIAN.from_dict(TINY_CARTESIAN.to_dict() | {"c_z": 64, "cycles": 1})
MEASURED_TOKENS = 96


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_a_process_needs_what_was_counted() -> None:
    environment = dict(os.environ, OMP_NUM_THREADS="1", MALLOC_MMAP_THRESHOLD_="65536")
    fake = FakeTraining(MEASURED)
    batch = typical_batch(MEASURED, MEASURED_TOKENS, 2 * MEASURED_TOKENS, STAGE.rollouts, 1)
    there = sum(t.nbytes for t in batch.tensors)
    counted, measured = [], []
    folders = f"{Path(__file__).parent}:{Path(model_support.__file__).parent}"
    for checkpointing in (False, True):
        cost = fake.trace(batch, STAGE, checkpointing)
        counted.append(cost.peak - cost.weights - cost.gradients - there)
        arguments = [sys.executable, "-c", WORKER, folders, str(checkpointing)]
        run = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        measured.append(json.loads(run.stdout))
    # A process holds what was counted, and beside it for a moment what single operations need
    # inside of themselves, and small objects.
    for found, expected in zip(measured, counted, strict=True):
        assert 0.95 * expected < found < 1.15 * expected + 16e6
    assert measured[0] - measured[1] == pytest.approx(counted[0] - counted[1], rel=0.15)
