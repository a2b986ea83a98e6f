"""Time and memory of the triangle multiplicative update, whole layer with residual.

    python benchmarks/triangle.py [--device cpu] [--json FILE]

One command for a GPU and for a CPU. For each size, forward alone and forward with all gradients:
the median time of a call, its ratio to the floor, and how many times faster it is than the same
layer in plain operations of torch, eager and compiled, and, where it is installed, than
cuEquivariance (which has kernels of its own for listed shapes; "unlisted" sizes take its general
ones). Calls of all alternate, so that a machine that is busy with other things slows all alike. On
a GPU every row is measured twice: called from Python, and replayed as a CUDA graph.

The floor on a GPU is the sum over the stages of the longer of their matrix products at 790 TFLOP/s
and their traffic at 4.3 TB/s (one H200, bfloat16). On a CPU it is the products alone, at the rate
that torch.mm reaches on this machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measuring import resident_bytes, start_of_peak
from torch.nn import functional as F

from atmos_openmm.ops import library_info, triangle_multiplication, triangle_multiplication_route

SIZES = [64, 128, 256, 384, 512, 768, 1024]
GPU_FLOPS = 790e12
GPU_BYTES_PER_SECOND = 4.3e12
# Sizes for which cuEquivariance 0.13 states prebuilt kernels (one system, 128 channels, Hopper).
CUEQUIVARIANCE_LISTED = {
    False: {256, 384, 512, 640, 768, 1024, 1280},
    True: {256, 384, 512, 640, 768},
}

Call = Callable[[], object]


@dataclass
class Case:
    """One layer and its inputs; the parameters are in the order of the operator."""

    z: torch.Tensor
    mask: torch.Tensor
    grad: torch.Tensor
    parameters: list[torch.Tensor]

    @classmethod
    def make(cls, size: int, channels: int, dtype: torch.dtype, device: str) -> Case:
        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, dtype=dtype, device=device)

        parameters = [normal(channels) for _ in range(4)]
        parameters += [normal(channels, channels) / channels**0.5 for _ in range(6)]
        shape = (1, size, size, channels)
        mask = torch.ones(shape[:3], dtype=dtype, device=device)
        return cls(normal(*shape), mask, normal(*shape), parameters)

    def call(self, layer: Callable[..., torch.Tensor], backward: bool) -> Call:
        """A call of the layer, or of it and its gradients."""
        leaves = [self.z, *self.parameters]
        if not backward:

            def forward() -> object:
                with torch.no_grad():
                    return layer(leaves[0], self.mask, *leaves[1:])

            return forward
        leaves = [tensor.detach().requires_grad_() for tensor in leaves]

        def both() -> object:
            return torch.autograd.grad(layer(leaves[0], self.mask, *leaves[1:]), leaves, self.grad)

        return both


def ours(z: torch.Tensor, mask: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    return triangle_multiplication(z, mask, *parameters, outgoing=True, residual=True)


def plain(z: torch.Tensor, mask: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
    """The layer in plain operations."""
    win, bin_, wout, bout, ap, ag, bp, bg, g, wz = p
    n = F.layer_norm(z, z.shape[-1:], win, bin_)
    a = mask[..., None] * torch.sigmoid(F.linear(n, ag)) * F.linear(n, ap)
    b = mask[..., None] * torch.sigmoid(F.linear(n, bg)) * F.linear(n, bp)
    x = torch.einsum("bikc,bjkc->bijc", a, b)
    x = F.linear(F.layer_norm(x, x.shape[-1:], wout, bout), wz)
    return z + torch.sigmoid(F.linear(n, g)) * x


def cuequivariance() -> Callable[..., torch.Tensor] | None:
    """The layer of cuEquivariance, or None where it is not installed."""
    if importlib.util.find_spec("cuequivariance_torch") is None:
        return None
    from cuequivariance_torch import triangle_multiplicative_update

    def layer(z: torch.Tensor, mask: torch.Tensor, *p: torch.Tensor) -> torch.Tensor:
        win, bin_, wout, bout, ap, ag, bp, bg, g, wz = p
        update = triangle_multiplicative_update(
            z,
            direction="outgoing",
            mask=mask,
            norm_in_weight=win,
            norm_in_bias=bin_,
            p_in_weight=torch.cat([ap, bp]),
            g_in_weight=torch.cat([ag, bg]),
            norm_out_weight=wout,
            norm_out_bias=bout,
            p_out_weight=wz,
            g_out_weight=g,
        )
        return z + update

    return layer


def operations(size: int, channels: int, backward: bool) -> int:
    """Floating-point operations; the gradient computes the projections once more."""
    pairs = size * size
    forward = pairs * (12 * channels**2 + 2 * size * channels)
    return forward + pairs * (36 * channels**2 + 4 * size * channels) if backward else forward


def gpu_floor(size: int, channels: int, backward: bool) -> float:
    """Seconds: each stage at the longer of its products and its traffic."""
    pairs = size * size
    tensor = 2 * channels * pairs  # bytes of one bfloat16 pair tensor
    square, contraction = channels**2 * pairs, size * channels * pairs
    # (operations, pair tensors moved): projections, contraction, output; then their gradients.
    stages = [(8 * square, 3), (2 * contraction, 3), (4 * square, 3)]
    if backward:
        stages += [(12 * square, 5), (4 * contraction, 6), (24 * square, 5)]
    return sum(
        max(flops / GPU_FLOPS, moved * tensor / GPU_BYTES_PER_SECOND) for flops, moved in stages
    )


def matrix_rate(channels: int, dtype: torch.dtype) -> float:
    """Operations a second of torch.mm on this CPU, with the threads that are set."""
    rows = torch.randn(4096, channels, dtype=dtype)
    weights = torch.randn(4 * channels, channels, dtype=dtype)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        torch.mm(rows, weights.t())
        times.append(time.perf_counter() - start)
    return 8 * rows.shape[0] * channels**2 / min(times)


def graphed(call: Call) -> Call:
    """The call as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def interleaved_medians(
    calls: dict[str, Call], seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
    """Median time of a call of each, seconds; at least 5 rounds, about ``seconds``."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < 5 or (time.monotonic() < end and rounds < 500):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
        rounds += 1
    return {name: statistics.median(measured) for name, measured in times.items()}


def peak_bytes(call: Call, device: str) -> int | None:
    """Most memory in use during a call beyond what was in use before; None where not known."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        start_of_peak()
        before = resident_bytes()
        call()
        return resident_bytes("VmHWM") - before
    except OSError:
        return None


def measure(
    size: int, backward: bool, options: argparse.Namespace, clock: Callable[[], float]
) -> list[dict[str, object]]:
    """The rows of one size and pass: called from Python, and on a GPU as a graph."""
    torch._dynamo.reset()
    case = Case.make(size, options.channels, getattr(torch, options.dtype), options.device)
    layers = {"ours": ours, "eager": plain}
    if options.compile:
        layers["compiled"] = torch.compile(plain, fullgraph=True)
    other = cuequivariance() if options.device.startswith("cuda") else None
    if other is not None:
        layers["cuequivariance"] = other
    calls = {name: case.call(layer, backward) for name, layer in layers.items()}
    memory = {}
    for name, call in calls.items():
        call()  # compiles, picks kernels
        memory[name] = peak_bytes(call, options.device)
    rows = []
    for graph in (False, True) if options.device.startswith("cuda") else (False,):
        timed = {name: graphed(call) for name, call in calls.items()} if graph else calls
        seconds = interleaved_medians(timed, options.seconds, clock)
        if options.device.startswith("cuda"):
            floor = gpu_floor(size, options.channels, backward)
        else:
            floor = operations(size, options.channels, backward) / options.rate
        rows.append(
            {
                "size": size,
                "pass": "forward+backward" if backward else "forward",
                "called": "graph" if graph else "eager",
                "route": triangle_multiplication_route(case.z, options.channels),
                "listed": size in CUEQUIVARIANCE_LISTED[backward],
                "milliseconds": {name: 1e3 * value for name, value in seconds.items()},
                "over_floor": seconds["ours"] / floor,
                "speedup": {
                    name: value / seconds["ours"]
                    for name, value in seconds.items()
                    if name != "ours"
                },
                "peak_bytes": memory,
            }
        )
    return rows


def table_line(row: dict, names: list[str]) -> str:
    def ratio(name: str) -> str:
        value = row["speedup"].get(name)
        if value is None:
            return "-"
        unlisted = name == "cuequivariance" and not row["listed"]
        return f"{value:.2f}" + (" (unlisted)" if unlisted else "")

    def megabytes(name: str) -> str:
        value = row["peak_bytes"].get(name)
        return "-" if value is None else f"{value / 2**20:.1f}"

    cells = [
        str(row["size"]),
        row["pass"],
        row["called"],
        f"{row['milliseconds']['ours']:.3f}",
        f"{row['over_floor']:.2f}",
        *(ratio(name) for name in names),
        f"{megabytes('ours')} / {megabytes('eager')}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: by device")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--json", default="triangle.json", help="file for the rows")
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    options.dtype = options.dtype or ("bfloat16" if on_gpu else "float32")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize(options.device)
        return time.process_time() if options.clock == "cpu" else time.perf_counter()

    info = {name: value for name, value in library_info().items() if name != "path"}
    machine = torch.cuda.get_device_name(options.device) if on_gpu else platform.machine()
    settings = {"torch": torch.__version__, "machine": machine, "library": info}
    if importlib.util.find_spec("cuequivariance_torch") is not None:
        settings["cuequivariance"] = importlib.metadata.version("cuequivariance_torch")
    where = f"{options.dtype}, C = {options.channels}, {machine}"
    if not on_gpu:
        options.rate = matrix_rate(options.channels, torch.float32)
        where += (
            f", {options.threads} thread(s), {info['cpu_instruction_set']}, "
            f"torch.mm {options.rate / 1e9:.0f} GFLOP/s"
        )
    print(f"{where}; ratios above 1: ours is faster\n")
    names = ["eager", "compiled", "cuequivariance"] if on_gpu else ["eager", "compiled"]
    heads = ["N", "pass", "called", "ours, ms", "time / floor"]
    heads += [f"{name} / ours" for name in names] + ["peak MB: ours / eager"]
    print("| " + " | ".join(heads) + " |")
    print("|--:|---|---|" + "--:|" * (len(heads) - 3))
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        for backward in (False, True):
            for row in measure(size, backward, options, clock):
                rows.append(row)
                print(table_line(row, names), flush=True)
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump({"settings": {**vars(options), **settings}, "rows": rows}, file, indent=1)
                file.write("\n")


if __name__ == "__main__":
    main()
