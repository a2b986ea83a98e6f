"""The training loss on held-out frames, in pieces of held-out time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..model.model_features import model_features
from ..training.batch import Batch
from ..training.feed.frame_batch import batch_of_frames
from ..training.feed.picking import EQUILIBRIUM_LAGS_PS
from ..training.passes import TERMS, VALIDATION, draw_generator, held_out_pass
from ..training.training_settings import StageSettings
from .before_after import Measurement

if TYPE_CHECKING:
    from ..model.atmos import AtmosModel
    from ..model.config import ModelConfig
    from ..systems.features import MoleculeFeatures
    from .data import Run

__all__ = ["held_out_batches", "held_out_loss"]

PIECES = 20
ROLLOUTS = 8
JUMPS = 2
#: Terms of the loss that are reported, and what they are called.
REPORTED = {
    "denoising": "loss",
    "first_estimate": "loss_first_estimate",
    "distogram": "loss_distogram",
}


def held_out_batches(
    runs: Sequence[Run],
    parts: Sequence[tuple[int, int]],
    features: MoleculeFeatures,
    config: ModelConfig,
    lag_range_ps: tuple[float, float],
    seed: int,
) -> list[Batch]:
    """Rollouts through held-out frames: a batch for each piece of held-out time.

    Parameters
    ----------
    runs : sequence of Run
    parts : sequence of (int, int)
        Frames [start, stop) of each run that are held out; no other frame is read.
    lag_range_ps : (float, float)
        Of dynamics, log-uniform, as far as the parts are long.
    seed : int
        The batches are a function of it.

    Returns
    -------
    list of Batch
        In the order of runs and of time; rollouts of batch k start in piece k.
    """
    static = model_features(features.tensors(), config)
    lengths = np.array([stop - start for start, stop in parts])
    bounds = np.linspace(0, lengths.sum(), PIECES + 1).round().astype(int)
    owner = np.repeat(np.arange(len(parts)), lengths)
    frame = np.concatenate([np.arange(*part) for part in parts])
    batches = []
    for piece, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        if low == high:
            continue
        random = np.random.default_rng([seed, piece])
        frames, lags, kelvin = [], [], []
        for at in random.integers(low, high, ROLLOUTS):
            run, part = runs[owner[at]], parts[owner[at]]
            chosen, lag = _rollout(random, run, part, int(frame[at]), lag_range_ps)
            frames.append(run.positions_nm[chosen][:, features.atom_indices])
            lags.append(lag)
            kelvin.append([run.temperature_kelvin] * JUMPS)
        batches.append(
            batch_of_frames(
                "held out",
                features,
                static,
                np.stack(frames, axis=1),
                np.ones(features.num_atoms, np.bool_),
                np.stack(lags, axis=1),
                np.array(kelvin).T,
            )
        )
    return batches


def _rollout(
    random: np.random.Generator,
    run: Run,
    part: tuple[int, int],
    start: int,
    lag_range_ps: tuple[float, float],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frame numbers [L + 1] and lags [L] of a rollout that begins at a frame, or just before."""
    if run.kind == "exchange":
        others = random.integers(*part, JUMPS)
        low, high = np.log(EQUILIBRIUM_LAGS_PS)
        return np.array([start, *others]), np.exp(random.uniform(low, high, JUMPS))
    assert run.spacing_ps is not None
    longest = (part[1] - part[0] - 1) // JUMPS
    low, high = (np.log(min(max(lag / run.spacing_ps, 1.0), longest)) for lag in lag_range_ps)
    steps = np.rint(np.exp(random.uniform(low, high, JUMPS))).astype(np.int64)
    start = min(start, part[1] - 1 - int(steps.sum()))
    lags = steps.astype(np.float64) * run.spacing_ps
    return start + np.concatenate([[0], np.cumsum(steps)]), lags


def held_out_loss(
    network: AtmosModel,
    batches: Sequence[Batch],
    stage: StageSettings,
    seed: int,
    progress: Callable[[int], None],
) -> Measurement:
    """The terms of the loss of each batch, with noise that is a function of seed and batch.

    Parameters
    ----------
    network : AtmosModel
        In evaluation mode.
    stage : StageSettings
        Noise levels a frame, noise on context frames, and which terms there are.
    """
    found: dict[str, list[float]] = {name: [] for name in REPORTED.values()}
    for number, batch in enumerate(batches):
        generator = draw_generator(seed, 0, number, VALIDATION)
        terms = held_out_pass(network, batch, stage, generator, nullcontext)
        for name, value in zip(TERMS, terms.tolist(), strict=True):
            if name in REPORTED:
                found[REPORTED[name]].append(value)
        progress(number + 1)
    present = {k: v for k, v in found.items() if any(v)}
    return Measurement(present)
