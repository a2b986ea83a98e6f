"""What the steps of a run need, counted before it is started (:mod:`.tracing`).

Memory and operations are counted on the network and the loss themselves. How long a machine takes
for them is measured (``benchmarks/training_step.py``), not guessed at.
"""

from __future__ import annotations

import math

from ..training_settings import StageSettings, TrainingSettings
from .tracing import FakeTraining, typical_batch

ATOMS_A_TOKEN = {"heavy": 8, "all": 16}
"""Of a residue of proteins, nearly."""
TOKENS_WITHOUT_CROP = 16


def estimate(settings: TrainingSettings, *, devices: int, precision: str = "bf16-mixed") -> str:
    """Count what a run's steps need; takes some minutes at full width, and no GPU.

    Draws have as many tokens as the stage's crop, or 16 where there is none, with 8 heavy atoms or
    16 atoms each.

    Parameters
    ----------
    settings : TrainingSettings
    devices : int
        GPUs of the run, all nodes together.
    precision : str
        ``32-true`` or ``bf16-mixed``.

    Returns
    -------
    str
        A Markdown table with a row for each stage and length of rollouts, and what it counts.

    Raises
    ------
    ValueError
        Fewer than one device, or another precision.
    """
    if devices < 1:
        raise ValueError(f"devices is {devices}; expected at least 1.")
    if precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"precision is {precision!r}; expected '32-true' or 'bf16-mixed'.")
    training = FakeTraining(settings.model, precision)
    millions = sum(p.numel() for p in training.model.parameters()) / 1e6
    lines = [
        f"A training step, counted without data: {millions:.1f} M parameters, {precision}, "
        f"{'with' if settings.checkpointing else 'without'} checkpointing.",
        "",
        f"| stage | jumps (truncated) | tokens | atoms | rollouts x levels | draws a device (of "
        f"{devices}) | state, GB | in all, GB | TFLOP float32 a draw | TFLOP bfloat16 a draw |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for stage in settings.stages:
        tokens = stage.crop_tokens or TOKENS_WITHOUT_CROP
        atoms = ATOMS_A_TOKEN[settings.atoms] * tokens
        for jumps in _lengths(stage):
            batch = typical_batch(settings.model, tokens, atoms, stage.rollouts, jumps)
            with training.as_on_cuda():
                cost = training.trace(batch, stage, settings.checkpointing)
            lines.append(
                f"| {stage.name} | {jumps} ({min(jumps, stage.truncate)}) | {tokens} | {atoms} "
                f"| {stage.rollouts} x {stage.levels} | {math.ceil(stage.draws / devices)} "
                f"| {cost.state / 1e9:.3g} | {cost.step_peak / 1e9:.3g} "
                f"| {cost.flops.get('float32', 0) / 1e12:.3g} "
                f"| {cost.flops.get('bfloat16', 0) / 1e12:.3g} |"
            )
    lines += [
        "",
        "Memory of a device: bytes of tensors. State is weights, gradients, AdamW's moments and "
        "the moving average; in all is what is alive at the worst moment of a step. What the "
        "allocator wastes, and what CUDA and its libraries take, comes on top.",
        "Operations: products of matrices and attention, with those that are computed again. How "
        "long a machine takes for them is not estimated.",
    ]
    return "\n".join(lines)


def _lengths(stage: StageSettings) -> list[int]:
    """Return the lengths of a stage's rollouts; 0 for structures without time."""
    pools = {pool for pool, share in stage.shares.items() if share > 0.0}
    if pools <= {"static", "structure"}:
        return [0]
    return sorted({jumps for _, jumps in stage.jumps})
