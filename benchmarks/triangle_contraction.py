"""Time of atmos::triangle_contraction against torch.einsum, measured side by side.

    python benchmarks/triangle_contraction.py [--device cuda] [--dtype bfloat16] [--json FILE]

Both compute the masked contraction, forward alone and forward with both gradients, on the same
tensors. Calls of the two alternate and the medians are divided, so that a machine that is busy with
other things slows both alike; on such a machine, --clock cpu counts processor time instead of wall
time. torch.einsum's result is left as it comes, with channels first in memory, which flatters it
where a layer norm over channels follows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from atmos_openmm.ops import library_info, triangle_contraction


def plain_contraction(
    a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor, outgoing: bool
) -> torch.Tensor:
    """The contraction in plain operations."""
    a = a * mask[..., None]
    b = b * mask[..., None]
    return torch.einsum("bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc", a, b)


def interleaved_medians(
    functions: list[Callable[[], object]], seconds: float, clock: Callable[[], float]
) -> list[float]:
    """Median time of a call of each function, seconds; at least 5 rounds, about ``seconds``."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    end = time.monotonic() + seconds
    while len(times[0]) < 5 or (time.monotonic() < end and len(times[0]) < 500):
        for function, measured in zip(functions, times, strict=True):
            start = clock()
            function()
            measured.append(clock() - start)
    return [statistics.median(measured) for measured in times]


def measure(
    size: int,
    channels: int,
    outgoing: bool,
    backward: bool,
    options: argparse.Namespace,
    clock: Callable[[], float],
) -> dict[str, object]:
    """One row of the table."""
    dtype = getattr(torch, options.dtype)
    a, b, grad = (
        torch.randn(1, size, size, channels, dtype=dtype, device=options.device) for _ in range(3)
    )
    mask = torch.ones(1, size, size, dtype=dtype, device=options.device)
    if backward:
        a.requires_grad_()
        b.requires_grad_()

    def call(function: Callable[..., torch.Tensor]) -> Callable[[], object]:
        def run() -> object:
            out = function(a, b, mask, outgoing)
            return torch.autograd.grad(out, (a, b), grad) if backward else out

        return run

    ours, einsum = interleaved_medians(
        [call(triangle_contraction), call(plain_contraction)], options.seconds, clock
    )
    operations = 2 * size**3 * channels * (3 if backward else 1)
    return {
        "channels": channels,
        "size": size,
        "edges": "outgoing" if outgoing else "incoming",
        "pass": "forward+backward" if backward else "forward",
        "ours_ms": ours * 1e3,
        "einsum_ms": einsum * 1e3,
        "speedup": einsum / ours,
        "ours_gflop_per_s": operations / ours / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64, 128, 256])
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--json", help="file to write the rows to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def clock() -> float:
        if options.device.startswith("cuda"):
            torch.cuda.synchronize(options.device)
        return time.process_time() if options.clock == "cpu" else time.perf_counter()

    info = library_info()
    print(
        f"torch {torch.__version__}, {options.device}, {options.dtype}, {options.threads} thread(s)"
        f", {info['cpu_instruction_set']}, {options.clock} time; einsum / ours above 1 is faster"
    )
    print("| C | N | edges | pass | ours, ms | einsum, ms | einsum / ours | GFLOP/s |")
    print("|--:|--:|---|---|--:|--:|--:|--:|")
    rows = []
    for channels in options.channels:
        for size in options.sizes:
            for backward in (False, True):
                for outgoing in (True, False):
                    row = measure(size, channels, outgoing, backward, options, clock)
                    rows.append(row)
                    print(
                        f"| {channels} | {size} | {row['edges']} | {row['pass']} "
                        f"| {row['ours_ms']:.3f} | {row['einsum_ms']:.3f} "
                        f"| {row['speedup']:.2f} | {row['ours_gflop_per_s']:.0f} |",
                        flush=True,
                    )
    if options.json:
        library = {name: value for name, value in info.items() if name != "path"}
        settings = {**vars(options), "torch": torch.__version__, "library": library}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"settings": settings, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
