"""p(T y | T x) = p(y | x) for a rigid motion T (the test of Timewarp, on superposed frames)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from model_support import TINY, network, peptide, rotation

from atmos_openmm.core.geometry import superpose
from atmos_openmm.model.bound import bind_network

SAMPLES = 200
# Largest of 2 * 66 normal z-scores: P(max |z| > 5) = 132 * 5.7e-7 < 1e-4.
BOUND = 5.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_superposed_jumps_move_with_the_frame() -> None:
    features, x = peptide("ACE-ALA-NME")
    bound = bind_network(network(), features.tensors(), TINY)
    turn = rotation(7).float()
    frame_nm = x[0] / 10.0

    def sample(frame: torch.Tensor, seed: int) -> np.ndarray:
        noise = torch.randn(
            SAMPLES, bound.noise_size(), generator=torch.Generator().manual_seed(seed)
        )
        with torch.no_grad():
            y, _, _ = bound.propagate(
                frame.expand(SAMPLES, -1, -1).contiguous(),
                torch.zeros(SAMPLES, bound.state_size()),
                noise,
                torch.full((SAMPLES,), 50.0),
                torch.full((SAMPLES,), 300.0),
            )
        old = frame.double().numpy()
        return np.stack([superpose(one, old) for one in y.double().numpy()])

    at_x = sample(frame_nm, 1)
    at_tx = sample(frame_nm @ turn, 2)
    back = at_tx @ turn.double().numpy().T

    def largest_z(a: np.ndarray, b: np.ndarray) -> float:
        mean = (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / SAMPLES)
        fourth = [((s - s.mean(0)) ** 4).mean(0) - s.var(0) ** 2 for s in (a, b)]
        variance = (a.var(0) - b.var(0)) / np.sqrt((fourth[0] + fourth[1]) / SAMPLES)
        return float(max(np.abs(mean).max(), np.abs(variance).max()))

    assert largest_z(at_x, back) < BOUND
    assert largest_z(at_x, at_tx) > BOUND  # the test sees a motion that is not undone
