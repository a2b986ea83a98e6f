"""Memory and time of a training step on paper: what a run will need, before it is started.

Everything is counted on the network and the loss themselves (:mod:`.tracing`); what is assumed is
the machine, and how much of its speed is reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..training_settings import StageSettings, TrainingSettings
from .tracing import DrawCost, FakeTraining, typical_batch

__all__ = ["H100", "Budget", "Machine", "StageBudget", "estimate"]

HEAVY_ATOMS = 8
"""Heavy atoms a residue of proteins, nearly."""
ALL_ATOMS = 16
TOKENS_WITHOUT_CROP = 16

EFFICIENCY = (0.8, 0.4)
"""Share of the machine's speed that is reached, at best and at worst: an assumption."""
KERNEL_SECONDS = 5e-6
"""What starting an operation takes at least: an assumption."""
FRAGMENTATION = 1.1
LIBRARY_BYTES = int(1.5e9)
"""What the allocator wastes, and what CUDA and its libraries take: assumptions."""


@dataclass(frozen=True)
class Machine:
    """A device and its links, as data sheets have them.

    Attributes
    ----------
    name: str
    memory: float
        Bytes.
    flops: dict[str, float]
        Products of dense matrices, operations a second by dtype.
    bandwidth: float
        Of the memory, bytes a second.
    inside, between: float
        What a device sends a second to others of its node, and to other nodes; bytes.
    devices_a_node: int
    """

    name: str
    memory: float
    flops: dict[str, float]
    bandwidth: float
    inside: float
    between: float
    devices_a_node: int


H100 = Machine(
    "NVIDIA H100 SXM",
    80e9,
    # float32 as torch computes it by default, without TF32 (494 TFLOP/s).
    {"bfloat16": 989e12, "float32": 67e12, "float64": 67e12},
    3.35e12,
    450e9,
    50e9,
    8,
)
"""NVIDIA's data sheet: dense bf16, 80 GB at 3.35 TB/s, NVLink with 900 GB/s (both directions
together), eight a node; and 400 Gb/s InfiniBand a GPU."""


@dataclass(frozen=True)
class StageBudget:
    """A stage's step on one of several devices.

    Attributes
    ----------
    stage: StageSettings
    tokens, atoms, jumps: int
        Of a draw; 0 jumps for structures without time.
    draws: int
        Of a step on one device, one after the other.
    cost: DrawCost
        Of a draw, with checkpointing as the settings have it.
    other: DrawCost
        The same with checkpointing the other way round, of a rollout of one segment.
    """

    stage: StageSettings
    tokens: int
    atoms: int
    jumps: int
    draws: int
    cost: DrawCost
    other: DrawCost

    @property
    def moments(self) -> int:
        """Bytes of AdamW's two moments of each number that is trained."""
        return 2 * self.cost.gradients

    @property
    def state(self) -> int:
        """Bytes of weights, gradients, AdamW's moments and the moving average."""
        return 2 * self.cost.weights + self.cost.gradients + self.moments

    def memory(self, cost: DrawCost | None = None) -> int:
        """Bytes at the worst moment of a step, without what allocator and libraries take."""
        cost = cost or self.cost
        return cost.peak + cost.weights + self.moments


@dataclass(frozen=True)
class Budget:
    """What the steps of a run take.

    Attributes
    ----------
    stages: sequence of StageBudget
        One a stage and length of rollouts.
    devices: int
    precision: str
    checkpointing: bool
    parameters: int
    machine: Machine
    """

    stages: Sequence[StageBudget]
    devices: int
    precision: str
    checkpointing: bool
    parameters: int
    machine: Machine = field(default=H100)

    def draw_seconds(self, cost: DrawCost, efficiency: float) -> float:
        """Time of a draw: each operation takes as long as its arithmetic or its memory does."""
        total = 0.0
        for (flops, dtype, moved), number in cost.operations.items():
            arithmetic = flops / self.machine.flops.get(dtype, self.machine.flops["float32"])
            busy = max(arithmetic, moved / self.machine.bandwidth) / efficiency
            total += number * max(busy, KERNEL_SECONDS)
        return total

    def reduce_seconds(self, stage: StageBudget, efficiency: float) -> float:
        """Time of the all-reduce of the gradients (a ring: each passes them on twice)."""
        if self.devices == 1:
            return 0.0
        inside = self.devices <= self.machine.devices_a_node
        link = self.machine.inside if inside else self.machine.between
        passed = 2.0 * (self.devices - 1) / self.devices * stage.cost.gradients
        return passed / (link * efficiency)

    def update_seconds(self, stage: StageBudget, efficiency: float) -> float:
        """Time of the bound on the norm, AdamW and the moving average, which memory bounds."""
        # Gradients: to zero, norm, scaled. AdamW: four read, three written. Average: two, one.
        moved = (1 + 1 + 2 + 7) * stage.cost.gradients + 3 * stage.cost.weights
        return moved / (self.machine.bandwidth * efficiency)

    def step_seconds(self, stage: StageBudget, efficiency: float) -> float:
        """Time of a step on each of the devices."""
        return (
            stage.draws * self.draw_seconds(stage.cost, efficiency)
            + self.reduce_seconds(stage, efficiency)
            + self.update_seconds(stage, efficiency)
        )

    def fits(self, stage: StageBudget, cost: DrawCost | None = None) -> bool:
        """Whether a step fits the device's memory, allocator and libraries included."""
        return FRAGMENTATION * stage.memory(cost) + LIBRARY_BYTES <= self.machine.memory

    def table(self) -> str:
        """Return all of it as text: two Markdown tables and what they assume."""
        on, off = ("with", "without") if self.checkpointing else ("without", "with")
        lines = [
            f"Training step on paper: {self.devices} x {self.machine.name}, {self.precision}, "
            f"{on} checkpointing; {self.parameters / 1e6:.1f} M parameters.",
            "",
            "Memory of a device, GB. State: weights, gradients, AdamW's moments, moving average. "
            "Kept: for the backward pass, at most. In all: the worst moment.",
            "",
            "| stage | jumps (truncated) | tokens | atoms | rollouts x levels | state | kept "
            f"| in all | fits {self.machine.memory / 1e9:.0f} GB | {off} checkpointing: kept "
            "| in all | fits |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in self.stages:
            stage, other = row.stage, row.other
            cells = [
                stage.name,
                f"{row.jumps} ({min(row.jumps, stage.truncate)})",
                f"{row.tokens}",
                f"{row.atoms}",
                f"{stage.rollouts} x {stage.levels}",
                _gigabytes(row.state),
                _gigabytes(row.cost.kept),
                _gigabytes(row.memory()),
                "yes" if self.fits(row) else "no",
                _gigabytes(other.kept),
                _gigabytes(row.memory(other)),
                "yes" if self.fits(row, other) else "no",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += [
            "",
            "Time. Arithmetic and memory traffic of one draw, with recomputation; seconds from "
            f"{EFFICIENCY[0]:.0%} to {EFFICIENCY[1]:.0%} of the machine's speed.",
            "",
            "| stage | jumps | draws a device | TFLOP float32 | TFLOP bfloat16 | TB moved "
            "| operations | s a draw | s all-reduce | s update | s a step |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in self.stages:
            seconds = [
                [self.draw_seconds(row.cost, e) for e in EFFICIENCY],
                [self.reduce_seconds(row, e) for e in EFFICIENCY],
                [self.update_seconds(row, e) for e in EFFICIENCY],
                [self.step_seconds(row, e) for e in EFFICIENCY],
            ]
            cells = [
                row.stage.name,
                f"{row.jumps}",
                f"{row.draws}",
                f"{row.cost.flops.get('float32', 0) / 1e12:.3g}",
                f"{row.cost.flops.get('bfloat16', 0) / 1e12:.3g}",
                f"{row.cost.moved / 1e12:.3g}",
                f"{row.cost.kernels}",
                *(f"{best:.2g} to {worst:.2g}" for best, worst in seconds),
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *self.assumptions()]
        return "\n".join(lines)

    def assumptions(self) -> list[str]:
        """Return what is not counted but assumed, one sentence a line."""
        machine = self.machine
        return [
            f"Assumed: {machine.flops['bfloat16'] / 1e12:.0f} TFLOP/s dense bfloat16, "
            f"{machine.flops['float32'] / 1e12:.0f} float32 (no TF32), {machine.memory / 1e9:.0f} "
            f"GB at {machine.bandwidth / 1e12:.2f} TB/s, {machine.inside / 1e9:.0f} GB/s to each "
            f"side inside a node of {machine.devices_a_node}, {machine.between / 1e9:.0f} GB/s "
            "between nodes (data sheets);",
            f"{EFFICIENCY[0]:.0%} to {EFFICIENCY[1]:.0%} of that is reached and an operation takes "
            f"{1e6 * KERNEL_SECONDS:.0f} us at least; each operation reads its inputs and writes "
            "its results once, as without fusion;",
            f"the allocator wastes {FRAGMENTATION - 1.0:.0%} and libraries take "
            f"{LIBRARY_BYTES / 1e9:.1f} GB (both in 'fits' alone); data are there in time; "
            "gradients are reduced after the last draw.",
        ]


def estimate(
    settings: TrainingSettings,
    *,
    devices: int,
    precision: str = "bf16-mixed",
    tokens: int | None = None,
    atoms: int | None = None,
    machine: Machine = H100,
) -> Budget:
    """Count what a run's steps need; takes some minutes at full width, and no GPU.

    Parameters
    ----------
    settings: TrainingSettings
    devices: int
        GPUs of the run, all nodes together.
    precision: str
        ``32-true`` or ``bf16-mixed``.
    tokens, atoms: int, optional
        Of a draw. By default the crop's tokens, or 16 where there is none, with 8 heavy atoms or
        16 atoms each.
    machine: Machine

    Returns
    -------
    Budget

    Raises
    ------
    ValueError
        Fewer than one device, another precision, or fewer atoms than tokens.
    """
    if devices < 1:
        raise ValueError(f"devices is {devices}; expected at least 1.")
    if precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"precision is {precision!r}; expected '32-true' or 'bf16-mixed'.")
    training = FakeTraining(settings.model, precision)
    stages = []
    for stage in settings.stages:
        of_stage = tokens or stage.crop_tokens or TOKENS_WITHOUT_CROP
        a_token = HEAVY_ATOMS if settings.atoms == "heavy" else ALL_ATOMS
        counted = _Stage(training, stage, of_stage, atoms or a_token * of_stage)
        draws = math.ceil(stage.draws / devices)
        other = None
        for jumps in _lengths(stage):
            cost = counted.cost(jumps, settings.checkpointing)
            # Longer rollouts take the memory of one segment.
            if other is None or jumps <= stage.truncate:
                other = counted.cost(min(jumps, stage.truncate), not settings.checkpointing)
            stages.append(
                StageBudget(stage, counted.tokens, counted.atoms, jumps, draws, cost, other)
            )
    parameters = sum(p.numel() for p in training.model.parameters())
    return Budget(stages, devices, precision, settings.checkpointing, parameters, machine)


class _Stage:
    """Costs of a stage's draws by the number of jumps."""

    def __init__(
        self, training: FakeTraining, stage: StageSettings, tokens: int, atoms: int
    ) -> None:
        self.training, self.stage, self.tokens, self.atoms = training, stage, tokens, atoms
        self._known: dict[tuple[int, bool], DrawCost] = {}

    def cost(self, jumps: int, checkpointing: bool) -> DrawCost:
        key = (jumps, checkpointing)
        if key not in self._known:
            self._known[key] = self._count(jumps, checkpointing)
        return self._known[key]

    def _count(self, jumps: int, checkpointing: bool) -> DrawCost:
        two = 2 * self.stage.truncate
        if jumps > two and jumps % self.stage.truncate == 0:
            # Every further segment is like the second.
            first = self.cost(self.stage.truncate, checkpointing)
            second = self.cost(two, checkpointing)
            return first.extended(second, jumps // self.stage.truncate - 1)
        model, stage = self.training.config, self.stage
        batch = typical_batch(model, self.tokens, self.atoms, stage.rollouts, jumps)
        return self.training.trace(batch, stage, checkpointing)


def _lengths(stage: StageSettings) -> list[int]:
    """Return the lengths of a stage's rollouts; 0 for structures without time."""
    pools = {pool for pool, share in stage.shares.items() if share > 0.0}
    if pools <= {"static", "structure"}:
        return [0]
    return sorted({jumps for _, jumps in stage.jumps})


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.3g}"
