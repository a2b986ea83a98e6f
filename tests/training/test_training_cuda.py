"""The trainer on a GPU: the losses of the CPU, bfloat16, resumption with moments on the device."""

from __future__ import annotations

import pytest
import torch
from model_support import TINY
from training_cases import settings, silent, trainer, write_data

from atmos_openmm.training.ranks import make_fabric

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
PLAIN = settings(model=TINY)  # dropout is drawn from the device's generator, so it has none


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "ala.h5")


def test_a_gpu_has_the_losses_of_the_cpu(data, tmp_path) -> None:
    cpu = trainer(data, tmp_path / "cpu", PLAIN)
    gpu = trainer(data, tmp_path / "gpu", PLAIN, fabric=make_fabric("cuda", 1, 1))
    assert next(gpu.model.parameters()).device.type == "cuda"
    one, two = cpu.train_step(), gpu.train_step()
    # The draws and their noise are the same; sums in float32 over some 1e3 terms are not in order.
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-3)
    assert gpu.validate()["loss"] == pytest.approx(cpu.validate()["loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_stopped_run_continues_on_the_gpu(data, tmp_path, precision) -> None:
    whole = trainer(data, tmp_path / "whole", PLAIN, fabric=make_fabric("cuda", 1, 1, precision))
    losses = [whole.train_step()["loss"] for _ in range(4)]
    cut = trainer(data, tmp_path / "cut", PLAIN, fabric=make_fabric("cuda", 1, 1, precision))
    for _ in range(2):
        cut.train_step()
    cut.save()
    again = trainer(data, tmp_path / "cut", PLAIN, fabric=make_fabric("cuda", 1, 1, precision))
    assert again.step == 2
    for state in again._update.optimizer.state.values():
        assert {value.device.type for value in state.values()} == {"cuda"}
    # Some of torch's gradients are sums of atomic additions, whose order differs from run to run;
    # in bfloat16 that is 2^-9 of an activation.
    tolerance = 1e-4 if precision == "32-true" else 2e-2
    found = [again.train_step()["loss"] for _ in range(2)]
    assert found == pytest.approx(losses[2:], rel=tolerance)
    assert again.run(silent) and again.step == 6
