"""What a frame of a long rollout costs, from the first to the last: time, memory, latent.

    OMP_NUM_THREADS=1 python benchmarks/rollout.py [--frames 10000] [--minutes 20] [--json FILE]

One walker; each frame that the network gives is the next one's input, with fresh noise. No MD, no
screen: only the network runs, as TorchScript, in the way integrators call it. The small
configuration is the bundled model. The full one has its initial weights, so its frames mean
nothing, while its cost, memory and latent are those of any weights; --full-frames of it are run.

Windows of frames at the start and at the end are compared: the median of processor time a frame,
which other jobs on the machine disturb least, and the resident set. The first window begins after
the warm-up, in which TorchScript specialises itself and buffers are filled. The latent is bounded
by 1 whatever the weights are (docs/method.md); its largest component over all frames is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measuring import resident_bytes

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.bound import bind, bind_network
from atmos_openmm.model.config import full
from atmos_openmm.model.model_file import load_model
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.peptides import build_peptide

BUNDLED = Path(__file__).resolve().parents[1] / "atmos_openmm/models/capped-amino-acids.atmos"
WARM_UP = 20
SEED = 1


def windows_of(values: list[float], size: int) -> tuple[float, float]:
    """Medians of the first and of the last frames after the warm-up."""
    kept = values[WARM_UP:] if len(values) >= WARM_UP + 2 * size else values[1:]
    return statistics.median(kept[:size]), statistics.median(kept[-size:])


def roll_out(
    module: torch.jit.ScriptModule, positions: torch.Tensor, frames: int, seconds: float
) -> dict[str, Any]:
    """Run frames one after the other, until `frames` or `seconds` are reached."""
    generator = torch.Generator().manual_seed(SEED)
    state = torch.zeros(1, module.state_size())
    lag, temperature = torch.tensor([1000.0]), torch.tensor([300.0])
    walls, cpus, memory = [], [], []
    largest, spread = 0.0, 0.0
    end = time.monotonic() + seconds
    while len(walls) < frames and time.monotonic() < end:
        noise = torch.randn(1, module.noise_size(), generator=generator)
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            positions, state, _ = module.propagate(positions, state, noise, lag, temperature)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        memory.append(resident_bytes())
        if not bool(torch.isfinite(positions).all() & torch.isfinite(state).all()):
            raise SystemExit(f"Frame {len(walls)} is not finite.")
        largest = max(largest, float(state.abs().max()))
        spread = max(spread, float(positions.abs().max()))
    size = min(100, max(1, (len(walls) - 1) // 3))
    first, last = windows_of(cpus, size)
    first_wall, last_wall = windows_of(walls, size)
    first_memory, last_memory = windows_of([float(m) for m in memory], size)
    return {
        "frames": len(walls),
        "window": size,
        "cpu_ms": {"first": 1e3 * first, "last": 1e3 * last},
        "wall_ms": {"first": 1e3 * first_wall, "last": 1e3 * last_wall},
        "memory_mb": {
            "first": first_memory / 1e6,
            "last": last_memory / 1e6,
            "largest": max(memory) / 1e6,
        },
        "largest_latent": largest,
        "largest_coordinate_nm": spread,
    }


def peptide(sequence: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Features and the start frame [1, A, 3] of a peptide, nm."""
    topology, positions = build_peptide(sequence, seed=SEED)
    start = torch.tensor(positions - positions.mean(axis=0), dtype=torch.float32)
    return features_from_topology(topology, positions=positions).tensors(), start.unsqueeze(0)


def show(name: str, found: dict[str, Any]) -> None:
    cpu, wall, memory = found["cpu_ms"], found["wall_ms"], found["memory_mb"]
    print(
        f"| {name} | {found['frames']} | {cpu['first']:.1f} | {cpu['last']:.1f} "
        f"| {cpu['last'] / cpu['first']:.3f} | {wall['first']:.1f} | {wall['last']:.1f} "
        f"| {memory['first']:.1f} | {memory['last']:.1f} | {found['largest_latent']:.4f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--sequence", default="ACE-ALA-NME")
    parser.add_argument("--frames", type=int, default=10000, help="0 leaves the row out")
    parser.add_argument("--minutes", type=float, default=20.0, help="at most, for each row")
    parser.add_argument("--full-sequence", default="ACE-ALA-TRP-LYS-GLY-NME")
    parser.add_argument("--full-frames", type=int, default=60)
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    print(
        "| network | frames | processor, ms a frame: first | last | ratio | wall: first | last "
        "| memory, MB: first | last | largest latent |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    rows: dict[str, Any] = {}
    if options.frames:
        features, start = peptide(options.sequence)
        module = bind(load_model(options.model), features)
        rows["small"] = roll_out(module, start, options.frames, 60.0 * options.minutes)
        show(f"small, {options.sequence}", rows["small"])
        save(options, rows)
        del module
    if options.full_frames:
        features, start = peptide(options.full_sequence)
        torch.manual_seed(SEED)
        # The context is encoded once, before the first frame; one block of it is enough here.
        config = replace(full(), context_blocks=1, msa_blocks=1, cycles=1)
        module = bind_network(AtmosModel(config), features, config)
        rows["full"] = roll_out(module, start, options.full_frames, 60.0 * options.minutes)
        show(f"full, {options.full_sequence}", rows["full"])
        save(options, rows)


def save(options: argparse.Namespace, rows: dict[str, Any]) -> None:
    """Write what there is, so that a long run that is cut off leaves its finished rows."""
    if options.json:
        settings = {name: str(value) for name, value in vars(options).items() if name != "json"}
        settings["model"] = options.model.name
        figures = {"settings": settings, "load": os.getloadavg()[0], "rows": rows}
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
