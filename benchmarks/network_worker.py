"""One measurement of `network.py`, in a process of its own; prints JSON on its last line."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import resident_bytes, start_of_peak
from network import BLOCKS, DENOISE_SIZES, TRANSITION_SIZES, WALKERS
from torch import Tensor, nn

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import full
from atmos_openmm.model.context import Context
from atmos_openmm.model.diffusion import DiffusionModule
from atmos_openmm.model.model_features import ModelFeatures
from atmos_openmm.model.pairformer import PairformerStack
from atmos_openmm.model.prepared import Prepared

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import protenix_features  # noqa: E402
import protenix_reference  # noqa: E402

SIGMA_ANGSTROM = 5.0
# Largest accepted difference between the two sides: of coordinates of some 50 A, of activations.
AGREEMENT = {"denoise": 2e-4, "transition": 2e-4}
Call = Callable[[], Any]


def with_reference() -> bool:
    return protenix_reference.reference_folder() is not None


class Denoise:
    """Inputs of one molecule, and both decoders on them."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.atoms = tokens, dict(DENOISE_SIZES)[tokens]
        generator = torch.Generator().manual_seed(tokens)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.s_inputs, self.s = draw(tokens, 449), draw(tokens, 384)
        self.z = draw(tokens, tokens, 128)
        self.x = 20.0 * draw(1, self.atoms, 3)
        self.sigma = torch.tensor([SIGMA_ANGSTROM])

    def theirs(self) -> tuple[nn.Module, dict[str, Any]]:
        """Protenix's decoder and the molecule as it takes it."""
        molecule = protenix_features.random_molecule(self.tokens, self.atoms)
        return protenix_reference.build(protenix_reference.diffusion_module), molecule

    def their_call(self, module: nn.Module, molecule: dict[str, Any]) -> Callable[..., Tensor]:
        """A call of Protenix's decoder with its own caches, made here."""
        names = (
            "ref_pos",
            "ref_charge",
            "ref_mask",
            "ref_element",
            "ref_atom_name_chars",
            "atom_to_token_idx",
            "d_lm",
            "v_lm",
            "pad_info",
        )
        pair_z = module.diffusion_conditioning.prepare_cache(molecule["relp"], self.z)
        p_lm, c_l = module.atom_attention_encoder.prepare_cache(
            **{name: molecule[name] for name in names}, r_l=True, z=pair_z.unsqueeze(0)
        )

        def call(times: int = 1, **flags: bool) -> Tensor:
            x, sigma = self.x.repeat(times, 1, 1), self.sigma.repeat(times)
            return module(
                x, sigma, molecule, self.s_inputs, self.s, self.z, pair_z, p_lm, c_l, **flags
            )

        return call

    def features(self) -> ModelFeatures:
        """The same molecule as ours takes it."""
        molecule = protenix_features.draw_molecule(self.tokens, self.atoms)
        return protenix_features.to_model_features(molecule)

    def ours(self, weights: nn.Module | None) -> tuple[DiffusionModule, ModelFeatures]:
        module = DiffusionModule(full())
        if weights is None:
            protenix_reference.randomise(module, 0)
        else:
            module.load_state_dict(weights.state_dict())
        return module.eval(), self.features()

    def prepare(self, module: nn.Module, features: ModelFeatures, times: int = 1) -> Prepared:
        """What our decoder keeps of `times` walkers that differ."""
        c, p = module.embed(features)
        s, z = self.s.unsqueeze(0), self.z.unsqueeze(0)
        if times > 1:
            scales = 1.0 + 0.1 * torch.arange(times)
            s, z = s * scales.reshape(-1, 1, 1), z * scales.reshape(-1, 1, 1, 1)
        context = Context(self.s_inputs[None], s, z, c, p)
        return module.prepare(s, z, context, features)


def time_calls(calls: dict[str, Call], seconds: float) -> dict[str, dict[str, float]]:
    """Medians of alternating calls, seconds of wall clock and of all threads' processor time."""
    for call in calls.values():
        call()
    walls: dict[str, list[float]] = {name: [] for name in calls}
    cpus: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < 3 or time.monotonic() < end:
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
        rounds += 1
    found = {}
    for name in calls:
        low, middle, high = statistics.quantiles(walls[name], n=4)
        found[name] = {
            "wall": middle,
            "cpu": statistics.median(cpus[name]),
            "low": low,
            "high": high,
            "fastest": min(walls[name]),
            "rounds": rounds,
        }
    return found


def agree(case: str, ours: Tensor, theirs: Tensor) -> float:
    difference = float((ours - theirs).abs().max())
    if difference > AGREEMENT[case]:
        raise SystemExit(
            f"The two sides of {case} differ by {difference:.1e}; a time of wrong "
            "numbers means nothing."
        )
    return difference


def time_denoise(tokens: int, seconds: float) -> dict[str, Any]:
    case = Denoise(tokens)
    calls: dict[str, Call] = {}
    weights = None
    if with_reference():
        weights, molecule = case.theirs()
        theirs = case.their_call(weights, molecule)
        calls["protenix"] = theirs
        calls["protenix, fusion"] = lambda: theirs(enable_efficient_fusion=True)
        calls["protenix, fusion, in place"] = lambda: theirs(
            enable_efficient_fusion=True, inplace_safe=True
        )
    module, features = case.ours(weights)
    prepared = case.prepare(module, features)
    scripted = torch.jit.script(module)

    def ours(denoiser: nn.Module = module) -> Tensor:
        return denoiser.denoise(case.x, case.sigma, prepared, features)

    calls["ours"] = ours
    calls["ours, TorchScript"] = lambda: ours(scripted)
    if tokens == DENOISE_SIZES[0][0]:
        walkers = case.prepare(module, features, WALKERS)
        xs, sigmas = case.x.repeat(WALKERS, 1, 1), case.sigma.repeat(WALKERS)
        calls["ours, 8 walkers"] = lambda: module.denoise(xs, sigmas, walkers, features)
        if weights is not None:
            calls["protenix, 8 samples"] = lambda: theirs(WALKERS)
    for _ in range(3):  # TorchScript specialises in its first calls.
        ours(scripted)
    found: dict[str, Any] = {"label": f"{tokens}/{case.atoms}"}
    if weights is not None:
        found["difference_angstrom"] = agree("denoise", ours(), theirs())
    # Apart from the others: autocast keeps its copies of the weights as long as its context lasts.
    times = time_calls(calls, seconds)
    exact = ours()
    with torch.autocast("cpu", torch.bfloat16):
        error = (ours() - exact).abs()
        times |= time_calls({"ours, bf16": ours}, seconds / 4)
    found["bf16_error_angstrom"] = {
        "largest": float(error.max()),
        "rms": float((error * error).mean().sqrt()),
    }
    return found | {"times": times}


def pairs_and_singles(tokens: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    s = torch.randn(1, tokens, 384, generator=generator)
    return s, torch.randn(1, tokens, tokens, 128, generator=generator)


def their_blocks() -> nn.Module:
    ref = protenix_reference.reference()
    return protenix_reference.build(lambda: ref.pairformer.PairformerStack(n_blocks=BLOCKS))


def our_blocks(weights: nn.Module | None) -> nn.Module:
    config = full()
    stack = PairformerStack(
        BLOCKS, config.c_s, config.c_z, config.heads_s, config.heads_z, config.dropout
    )
    if weights is None:
        protenix_reference.randomise(stack, 0)
    else:
        stack.load_state_dict(weights.state_dict())
    return stack.eval()


def time_transition(tokens: int, seconds: float) -> dict[str, Any]:
    s, z = pairs_and_singles(tokens)
    mask = torch.ones(1, tokens)
    calls: dict[str, Call] = {}
    theirs = their_blocks() if with_reference() else None
    if theirs is not None:
        calls["protenix"] = lambda: theirs(s[0], z[0], None)
        if tokens < TRANSITION_SIZES[-1]:
            # In place it overwrites its inputs.
            calls["protenix, in place"] = lambda: theirs(
                s[0].clone(), z[0].clone(), None, inplace_safe=True
            )
    module = our_blocks(theirs)
    scripted = torch.jit.script(module)
    calls["ours"] = lambda: module(s, z, mask)
    calls["ours, TorchScript"] = lambda: scripted(s, z, mask)
    for _ in range(2):
        scripted(s, z, mask)
    found: dict[str, Any] = {"label": str(tokens)}
    if theirs is not None:
        pairs = zip(module(s, z, mask), theirs(s[0], z[0], None), strict=True)
        found["difference"] = max(agree("transition", a[0], b) for a, b in pairs)
    return found | {"times": time_calls(calls, seconds)}


def peak_of(call: Call, before: int) -> int:
    start_of_peak()
    for _ in range(2):
        call()
    return resident_bytes("VmHWM") - before


def memory_of(case: str, tokens: int, side: str) -> dict[str, int] | None:
    """Largest resident set beyond that of the imported libraries, bytes."""
    if side == "protenix" and not with_reference():
        return None
    if with_reference():
        protenix_reference.reference()
    torch.randn(256, 256) @ torch.randn(256, 256)
    start_of_peak()
    before = resident_bytes("VmRSS")
    if case == "transition":
        s, z = pairs_and_singles(tokens)
        if side == "protenix":
            blocks = their_blocks()
            return {"blocks": peak_of(lambda: blocks(s[0], z[0], None), before)}
        stack, mask = our_blocks(None), torch.ones(1, tokens)
        return {"blocks": peak_of(lambda: stack(s, z, mask), before)}
    inputs = Denoise(tokens)
    if side == "protenix":
        module, molecule = inputs.theirs()
        start_of_peak()
        call: Call = inputs.their_call(module, molecule)
    else:
        network, features = inputs.ours(None)
        start_of_peak()
        prepared = inputs.prepare(network, features)

        def call() -> Any:
            return network.denoise(inputs.x, inputs.sigma, prepared, features)

    call()
    caches = resident_bytes("VmHWM") - before
    return {"caches made, then denoise": caches, "denoise": peak_of(call, before)}


def gflops(dtype: torch.dtype) -> float:
    """Speed of a product of 2,048 rows and columns."""
    a = torch.randn(2048, 2048).to(dtype)
    times = time_calls({"product": lambda: a @ a}, 0.5)
    return 2 * 2048**3 / times["product"]["cpu"] / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["time", "memory", "build", "machine"])
    parser.add_argument("case", nargs="?")
    parser.add_argument("tokens", nargs="?", type=int)
    parser.add_argument("rest", nargs="?")
    options = parser.parse_args()
    found: Any
    with torch.no_grad():
        if options.what == "time":
            function = time_denoise if options.case == "denoise" else time_transition
            found = function(options.tokens, float(options.rest))
        elif options.what == "memory":
            found = memory_of(options.case, options.tokens, options.rest)
        elif options.what == "build":
            start, cpu = time.perf_counter(), time.process_time()
            model = AtmosModel(full())
            found = {
                "seconds": time.perf_counter() - start,
                "cpu": time.process_time() - cpu,
                "parameters": sum(p.numel() for p in model.parameters()),
            }
        else:
            found = {
                "torch": torch.__version__,
                "capability": torch.backends.cpu.get_cpu_capability(),
                "protenix": protenix_reference.VERSION if with_reference() else None,
                "gflops_1": gflops(torch.float32),
                "bf16_gflops_1": gflops(torch.bfloat16),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
