"""Times and memory of a training step, measured, beside what was counted on paper.

    python benchmarks/training_step.py [--device cuda] [--rounds 5] [--json step.json]

A step is a draw through network and loss, backward pass included, the bound on the gradient, AdamW
and the moving average. Variants of a case (activations kept or made anew; fp32 or bf16-mixed) take
turns, after one turn that is not counted; medians. Memory is the largest during a step beyond that
before the network was made: of CUDA's allocator, or of a process of its own for each variant
(resident set, large blocks given back at once). On paper: the counts of
`atmos_openmm.training.budget.tracing` for the same draw, whose operations, products of matrices and
attention, divided by the time give the speed that was reached.

Cases: `small`, the bundled configuration on a peptide of 5 tokens and 60 atoms with 4 rollouts;
`reduced`, the full widths with few blocks on 64 tokens and 512 atoms; `structures` and
`trajectories`, the full configuration's own stages (their longest segment), for GPUs of 80 GB,
which run them with activations made anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from measuring import resident_bytes, start_of_peak

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig
from atmos_openmm.training.budget.tracing import FakeTraining, typical_batch
from atmos_openmm.training.counters import Counters
from atmos_openmm.training.ema import MovingAverage
from atmos_openmm.training.optimization import WeightUpdate
from atmos_openmm.training.passes import draw_generator, training_pass
from atmos_openmm.training.ranks import Ranks, make_fabric
from atmos_openmm.training.training_settings import OptimizerSettings, StageSettings, read_settings

SMALL_TOKENS, SMALL_ATOMS = 5, 60
REDUCED_TOKENS, REDUCED_ATOMS = 64, 512
REDUCED = {
    "context_blocks": 4,
    "msa_blocks": 1,
    "cycles": 2,
    "transition_blocks": 2,
    "token_blocks": 4,
}
ON_CPU = ("small", "reduced")
ON_CUDA = (*ON_CPU, "structures", "trajectories")
PRECISIONS = ("32-true", "bf16-mixed")


class Case(NamedTuple):
    config: ModelConfig
    stage: StageSettings
    tokens: int
    atoms: int
    jumps: int  # 0: a structure without time
    kept: bool  # whether it is run with all activations kept as well


def case_of(name: str) -> Case:
    if name == "small":
        settings = read_settings("small", ["stages.all.rollouts=4"])
        return Case(settings.model, settings.stages[0], SMALL_TOKENS, SMALL_ATOMS, 2, True)
    settings = read_settings("full")
    stages = {stage.name: stage for stage in settings.stages}
    if name == "reduced":
        config = dataclasses.replace(settings.model, **REDUCED)
        stage = dataclasses.replace(
            stages["trajectories"], levels=4, truncate=2, freeze=(), rollouts=1
        )
        return Case(config, stage, REDUCED_TOKENS, REDUCED_ATOMS, 2, True)
    stage = stages[name]
    tokens = stage.crop_tokens or 0
    jumps = 0 if name == "structures" else stage.truncate
    return Case(settings.model, stage, tokens, 8 * tokens, jumps, False)


class Step:
    """A network, its optimiser and a draw on a device."""

    def __init__(self, case: Case, device: str) -> None:
        torch.manual_seed(0)
        self.case, self.device = case, device
        self.model = AtmosModel(case.config).to(device).train()
        average = MovingAverage(self.model, 0.999)
        self.update = WeightUpdate(average, OptimizerSettings(), case.stage)
        self.counters = Counters()
        self.ranks = Ranks(make_fabric("cuda" if device == "cuda" else "cpu", 1, 1))
        self.batch = batch_of(case).to(device)

    def __call__(self, checkpointing: bool, precision: str) -> None:
        self.model.set_checkpointing(checkpointing)
        self.update.begin()
        generator = draw_generator(0, 0, self.counters.step)
        autocast = partial(self.autocast, precision)
        training_pass(self.model, self.batch, self.case.stage, generator, 1.0, autocast)
        self.update.apply(self.ranks, self.counters)
        self.counters.step += 1
        self.counters.stage_step += 1
        if self.device == "cuda":
            torch.cuda.synchronize()

    def autocast(self, precision: str) -> AbstractContextManager:
        return torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16-mixed")


def batch_of(case: Case) -> Any:
    """A draw of the case's sizes, atoms at random places."""
    batch = typical_batch(case.config, case.tokens, case.atoms, case.stage.rollouts, case.jumps)
    generator = torch.Generator().manual_seed(1)
    positions = 10.0 * torch.randn(batch.positions.shape, generator=generator)
    reference = torch.randn(batch.features.ref_pos.shape, generator=generator)
    features = batch.features._replace(ref_pos=reference)
    return batch._replace(positions=positions, features=features)


def variants(case: Case, precisions: list[str]) -> list[tuple[bool, str]]:
    return [(c, p) for p in precisions for c in ((False, True) if case.kept else (True,))]


def time_case(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rounds in which every variant has its turn."""
    case = case_of(name)
    before = torch.cuda.memory_allocated() if options.device == "cuda" else 0
    step = Step(case, options.device)
    walls: dict[tuple[bool, str], list[float]] = {}
    cpus: dict[tuple[bool, str], list[float]] = {}
    peaks: dict[tuple[bool, str], int] = {}
    for turn in range(options.rounds + 1):
        for variant in variants(case, options.precisions):
            if options.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            cpu, wall = time.process_time(), time.perf_counter()
            step(*variant)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn > 0:
                walls.setdefault(variant, []).append(wall)
                cpus.setdefault(variant, []).append(cpu)
            if options.device == "cuda":
                peaks[variant] = torch.cuda.max_memory_allocated() - before
    del step
    gc.collect()
    found = []
    for variant in walls:
        checkpointing, precision = variant
        measured = peaks.get(variant) or memory_in_a_process(name, variant)
        fake = FakeTraining(case.config, precision)
        with fake.as_on_cuda() if options.device == "cuda" else nullcontext():
            cost = fake.trace(batch_of(case), case.stage, checkpointing)
        found.append(
            {
                "case": name,
                "checkpointing": checkpointing,
                "precision": precision,
                "wall": statistics.median(walls[variant]),
                "walls": walls[variant],
                "cpu": statistics.median(cpus[variant]),
                "memory": measured,
                "memory_on_paper": cost.step_peak,
                "flops": cost.flops,
            }
        )
    return found


def memory_in_a_process(name: str, variant: tuple[bool, str]) -> int | None:
    """Largest resident set of two steps beyond that before the network was made (Linux)."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    environment = dict(os.environ, MALLOC_MMAP_THRESHOLD_="65536")
    arguments = [sys.executable, __file__, "--memory-of", name, str(int(variant[0])), variant[1]]
    run = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(run.stdout.splitlines()[-1])


def memory_of(name: str, checkpointing: bool, precision: str) -> int:
    torch.randn(256, 256) @ torch.randn(256, 256)
    start_of_peak()
    before = resident_bytes()
    step = Step(case_of(name), "cpu")
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")
        step(checkpointing, precision)
    return resident_bytes("VmHWM") - before


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| case | precision | activations | wall, s | processor, s | time / kept | memory, GB "
        "| on paper | GFLOP | GFLOP/s |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        base = next(
            (
                r
                for r in rows
                if (r["case"], r["precision"]) == (row["case"], row["precision"])
                and not r["checkpointing"]
            ),
            row,
        )
        flops = sum(row["flops"].values())
        memory = "-" if row["memory"] is None else f"{row['memory'] / 1e9:.2f}"
        lines.append(
            f"| {row['case']} | {row['precision']} "
            f"| {'made anew' if row['checkpointing'] else 'kept'} | {row['wall']:.3g} "
            f"| {row['cpu']:.3g} | {row['wall'] / base['wall']:.2f} | {memory} "
            f"| {row['memory_on_paper'] / 1e9:.2f} "
            f"| {flops / 1e9:.4g} | {flops / row['wall'] / 1e9:.3g} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cases", nargs="+", choices=ON_CUDA, help="all that the device can run")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="file to write the figures to")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        name, checkpointing, precision = options.memory_of
        print(memory_of(name, bool(int(checkpointing)), precision))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device; use --device cpu.")
    load = os.getloadavg()[0]
    where = (
        torch.cuda.get_device_name()
        if options.device == "cuda"
        else f"{torch.backends.cpu.get_cpu_capability()}, {options.threads} thread(s)"
    )
    print(f"torch {torch.__version__}, {where}, load {load:.1f}\n", flush=True)
    rows: list[dict[str, Any]] = []
    for name in options.cases or (ON_CUDA if options.device == "cuda" else ON_CPU):
        rows += time_case(name, options)
    print(table(rows))
    if options.json:
        settings = {k: v for k, v in vars(options).items() if k not in ("json", "memory_of")} | {
            "date": datetime.date.today().isoformat(),
            "torch": torch.__version__,
            "where": where,
            "load_before": load,
            "load_after": os.getloadavg()[0],
        }
        text = json.dumps({"settings": settings, "rows": rows}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
