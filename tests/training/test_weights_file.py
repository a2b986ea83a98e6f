"""Weights written one tensor at a time: safetensors reads them; a failure leaves nothing."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections import namedtuple

import pytest
import torch
from safetensors import safe_open

from atmos_openmm.training.weights.checkpoint import load_checkpoint, part
from atmos_openmm.training.weights.weights_file import write_weights

STATE = {"step": 0, "settings": {"model": {"c_s": 5}}}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(7, 5, generator=generator)
    return {
        "a.weight": matrix,
        "a.transposed": matrix.T,
        "b.double": torch.randn(3, generator=generator, dtype=torch.float64),
        "b.half": torch.randn(2, 3, generator=generator).bfloat16(),
        "c.count": torch.tensor([3, 2**40]),
        "c.flag": torch.tensor(True),
        "c.scalar": torch.tensor(2.5),
        "c.empty": torch.zeros(0, 4),
        # Views of one memory, which the library's own writer refuses.
        "d.view": matrix[2:4],
        "é": torch.ones(1),
    }


def test_checkpoints_are_read_back_by_safetensors(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    size = write_weights(path, tensors(), STATE)
    assert size == path.stat().st_size and list(tmp_path.iterdir()) == [path]
    found, state = load_checkpoint(path)
    assert state == STATE
    weights = part(found, "ema")
    assert weights.keys() == tensors().keys() and len(found) == len(weights)
    for name, value in tensors().items():
        expected = value.float() if value.is_floating_point() else value
        assert weights[name].dtype == expected.dtype and torch.equal(weights[name], expected), name
    with safe_open(path, framework="pt") as handle:
        assert json.loads(handle.metadata()["state"]) == STATE


def test_precision_can_be_kept(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    values = {"a": torch.full((2,), 1 / 3, dtype=torch.float64)}
    write_weights(path, values, STATE, float32=False)
    assert torch.equal(load_checkpoint(path)[0]["ema.a"], values["a"])


def test_progress_ends_at_the_whole(tmp_path) -> None:
    seen: list[tuple[int, int]] = []
    write_weights(
        tmp_path / "w", tensors(), STATE, progress=lambda done, total: seen.append((done, total))
    )
    assert len(seen) == len(tensors()) and seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 100, 100))
    with pytest.raises(OSError, match="0 MB free and w takes 4 MB. Make room"):
        write_weights(tmp_path / "w", {"a": torch.ones(10**6)}, STATE)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, {"a": torch.ones(3)}, STATE)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses the write part of the way, as it does where the disk or a quota is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(OSError, match="could not be written .* takes 4 MB") as caught:
            write_weights(path, {f"a{k}": torch.ones(10**5) for k in range(10)}, STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(tmp_path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_weights(tmp_path / "w", tensors(), STATE, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
