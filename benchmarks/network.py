"""The full network beside Protenix 2.0.0, on the same numbers in the same process.

    python benchmarks/network.py [--threads 1 2] [--seconds 20] [--json network.json]

- denoise: one call of the decoder at 64 tokens / 500 atoms and 256 / 2,000. Protenix runs eagerly
  with its own caches (pair_z, p_lm, c_l), ours with what `prepare` keeps. Beside it stand
  Protenix with its flags for efficient fusion and for computing in place, ours as TorchScript
  and in bfloat16 (autocast, weights cast once) with its error, and 8 walkers in one call.
- transition: 4 Pairformer blocks at 64, 128 and 256 tokens.
- memory: the largest resident set of a process that does only this, less that of the process
  before it made its inputs, so that imported libraries are not in it.
- build: the time to make the full configuration with its initial weights.

Both sides have the same random weights and must agree. Calls alternate and medians are divided, so
that a machine busy with other things slows both alike; processor time counts all threads. Protenix
is looked for as the tests do: ATMOS_PROTENIX names its folder, and `tests/protenix/install.sh`
makes one. Without it only our figures are printed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES = ("denoise", "transition")
DENOISE_SIZES = ((64, 500), (256, 2000))
TRANSITION_SIZES = (64, 128, 256)
BLOCKS = 4
WALKERS = 8
# Largest accepted ratio of ours to Protenix's.
BOUNDS = {"denoise 64": 0.75, "denoise 256": 0.75, "walkers 64": 3.0, "memory": 1.0}
BOUNDS |= {"transition 64": 0.85, "transition 128": 0.7, "transition 256": 0.7}
BUILD_BOUND_SECONDS = 5.0
WORKER = Path(__file__).with_name("network_worker.py")


def run_worker(threads: int, *arguments: str) -> Any:
    """Run one measurement in a process of its own and return what it found."""
    environment = dict(os.environ, LAYERNORM_TYPE="torch")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    root = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(WORKER), *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed (its messages are above).")
    return json.loads(done.stdout.splitlines()[-1])


def ratio(value: float | None, reference: float | None) -> str:
    return "-" if value is None or not reference else f"{value / reference:.2f}"


def verdict(key: str, value: float | None, reference: float | None) -> str:
    """What the bound is, and whether it is met."""
    bound = BOUNDS.get(key)
    if bound is None or value is None or not reference:
        return "" if bound is None else f"{bound:g}"
    return f"{bound:g} ({'met' if value / reference <= bound else 'not met'})"


def time_rows(case: str, size: int, threads: int, found: dict[str, Any]) -> list[str]:
    """Table rows of one case: every variant against Protenix with its defaults."""
    rows = []
    base = found["times"].get("protenix")
    for name, times in found["times"].items():
        wall, cpu = times["wall"], times["cpu"]
        against = [ratio(wall, base and base["wall"]), ratio(cpu, base and base["cpu"])]
        bound = ""
        if name == "ours":
            bound = verdict(f"{case} {size}", wall, base and base["wall"])
        if name == "protenix, 8 samples":
            against = [ratio(wall, base["wall"]) + " of one", ratio(cpu, base["cpu"]) + " of one"]
        if name == "ours, 8 walkers":
            one = found["times"]["ours"]
            against = [f"{wall / one['wall']:.2f} of one", f"{cpu / one['cpu']:.2f} of one"]
            bound = verdict("walkers 64", wall, one["wall"])
        spread = f"{1e3 * times['low']:.0f} to {1e3 * times['high']:.0f}"
        rows.append(
            f"| {case} {found['label']} | {threads} | {name} | {1e3 * wall:.0f} ({spread}) "
            f"| {1e3 * cpu:.0f} | {against[0]} | {against[1]} | {bound} |"
        )
    return rows


def measure_times(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    print(
        "| what | threads | which | wall, ms (quartiles) | processor, ms | wall ratio "
        "| processor ratio | bound |"
    )
    print("|---|--:|---|--:|--:|--:|--:|---|")
    for threads in options.threads:
        for case in options.cases:
            sizes = [n for n, _ in DENOISE_SIZES] if case == "denoise" else TRANSITION_SIZES
            for size in (n for n in sizes if n in options.tokens):
                found = run_worker(threads, "time", case, str(size), str(options.seconds))
                print("\n".join(time_rows(case, size, threads, found)), flush=True)
                rows.append(
                    {"kind": "time", "case": case, "tokens": size, "threads": threads} | found
                )


def measure_memory(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    print("\n| peak memory, MB | ours | Protenix | ratio | bound |")
    print("|---|--:|--:|--:|---|")
    for case in options.cases:
        sizes = [n for n, _ in DENOISE_SIZES] if case == "denoise" else TRANSITION_SIZES
        for size in (n for n in sizes if n in options.tokens):
            sides = {
                side: run_worker(1, "memory", case, str(size), side)
                for side in ("ours", "protenix")
            }
            for phase in sides["ours"]:
                ours, theirs = (sides[side] and sides[side].get(phase) for side in sides)
                shown = "-" if theirs is None else f"{theirs / 1e6:.0f}"
                print(
                    f"| {case} {size}, {phase} | {ours / 1e6:.0f} | {shown} "
                    f"| {ratio(ours, theirs)} | {verdict('memory', ours, theirs)} |",
                    flush=True,
                )
            rows.append({"kind": "memory", "case": case, "tokens": size} | sides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TRANSITION_SIZES))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row of the table")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    machine = run_worker(1, "machine")
    if machine["protenix"] is None:
        print("Protenix is not installed: only our figures. tests/protenix/install.sh installs it.")
    print(
        f"torch {machine['torch']}, {machine['capability']}, {os.cpu_count()} processors, load "
        f"{os.getloadavg()[0]:.1f}; {machine['gflops_1']:.0f} GFLOP/s of a large fp32 product on "
        f"one thread, {machine['bf16_gflops_1']:.0f} in bf16\n",
        flush=True,
    )
    rows: list[dict[str, Any]] = [{"kind": "machine"} | machine]
    measure_times(options, rows)
    if not options.skip_memory:
        measure_memory(options, rows)
    built = run_worker(1, "build")
    rows.append({"kind": "build"} | built)
    met = "met" if built["seconds"] <= BUILD_BOUND_SECONDS else "not met"
    print(
        f"\nBuilding {built['parameters'] / 1e6:.0f} M parameters: {built['seconds']:.2f} s on "
        f"one thread, {built['cpu']:.2f} s of processor time; bound {BUILD_BOUND_SECONDS:g} s "
        f"({met})"
    )
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"} | {
            "date": datetime.date.today().isoformat(),
            "machine": platform.machine(),
            "load_after": os.getloadavg()[0],
        }
        text = json.dumps({"settings": settings, "rows": rows}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
