"""Speed of AtmosIntegrator without jumps against the plain integrator, and the cost of a jump.

Three runs take turns over many rounds: plain A, plain B and ours with the jump interval 0. The
ratio of A to B is the control: it shows how far the machine's noise alone takes such a ratio from
1. Then jumps of a module that changes nothing are timed: their whole cost but the network's. The
bonds to hydrogen are constrained and the step is 4 fs, as a run would have it.

    python benchmarks/integrator_overhead.py [--steps 400] [--rounds 41] [--platform CPU]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable

import openmm
import torch
from openmm import app, unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.systems.peptides import build_peptide

TEMPERATURE = 300 * unit.kelvin
FRICTION = 1 / unit.picosecond
STEP_SIZE = 4 * unit.femtoseconds


class Identity(torch.nn.Module):
    """A module that returns the frame it is given."""

    def __init__(self, num_atoms: int) -> None:
        super().__init__()
        self.atoms = num_atoms

    @torch.jit.export
    def num_atoms(self) -> int:
        return self.atoms

    @torch.jit.export
    def state_size(self) -> int:
        return 0

    @torch.jit.export
    def noise_size(self) -> int:
        return 0

    @torch.jit.export
    def propagate(
        self,
        positions: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor,
        lag: torch.Tensor,
        temperature: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return positions, state, torch.zeros(positions.shape[0])


def identity_bytes(num_atoms: int) -> bytes:
    """The TorchScript archive of Identity."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Identity(num_atoms)), buffer)
    return buffer.getvalue()


def context_of(
    system: openmm.System, positions: unit.Quantity, integrator: openmm.Integrator, platform: str
) -> openmm.Context:
    """A Context that has been minimised and run a little."""
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = openmm.Context(
        system, integrator, openmm.Platform.getPlatformByName(platform), properties
    )
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    context.setVelocitiesToTemperature(TEMPERATURE, 1)
    integrator.step(50)
    return context


def seconds_of(action: Callable[[], None]) -> float:
    """Wall-clock time of an action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(
    system: openmm.System, positions: unit.Quantity, steps: int, rounds: int, platform: str
) -> None:
    """Time the three integrators in turns, then jumps, and print the medians."""
    num_atoms = system.getNumParticles()
    integrators = {
        "plain A": openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
        "plain B": openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
        "ours": AtmosIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
    }
    integrators["ours"].setModule(identity_bytes(num_atoms), range(num_atoms))
    contexts = {
        name: context_of(system, positions, integrator, platform)
        for name, integrator in integrators.items()
    }
    times: dict[str, list[float]] = {name: [] for name in integrators}
    names = list(integrators)
    for turn in range(rounds):
        # Another one goes first each time, so that none always follows the same.
        for name in names[turn % 3 :] + names[: turn % 3]:
            times[name].append(seconds_of(lambda name=name: integrators[name].step(steps)))
    control = statistics.median(
        a / b for a, b in zip(times["plain A"], times["plain B"], strict=True)
    )
    ratio = statistics.median(
        0.5 * (a + b) / c
        for a, b, c in zip(times["plain A"], times["plain B"], times["ours"], strict=True)
    )
    step_ms = 1e3 * statistics.median(times["plain A"] + times["plain B"]) / steps

    # A jump each step, so that the difference to a step is a jump.
    jumper = integrators["ours"]
    jumper.setAcceptanceMode("none")
    jumper.setJumpInterval(1)
    jumper.step(1)
    before = jumper.getNumProposed()
    jump_times = [seconds_of(lambda: jumper.step(20)) / 20 for _ in range(rounds)]
    jumps = jumper.getNumProposed() - before
    jump_ms = 1e3 * statistics.median(jump_times) - step_ms
    print(
        f"{platform:<10} {num_atoms:>6} atoms  step {step_ms:8.4f} ms  "
        f"speed ratio {ratio:.4f}  control {control:.4f}  "
        f"jump {jump_ms:8.4f} ms = {jump_ms / step_ms:5.2f} steps ({jumps} jumps)"
    )
    del contexts


def main() -> None:
    """Time alanine dipeptide in vacuum and in implicit solvent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="MD steps a turn")
    parser.add_argument("--rounds", type=int, default=41, help="turns of each integrator")
    parser.add_argument("--platform", action="append", help="Reference and CPU by default")
    arguments = parser.parse_args()
    topology, positions = build_peptide("ACE-ALA-NME")
    print(
        f"{arguments.rounds} rounds of {arguments.steps} steps, medians; speed ratio: plain time / "
        "ours, control: plain A / plain B"
    )
    for solvent in ([], ["implicit/gbn2.xml"]):
        forcefield = app.ForceField("amber14-all.xml", *solvent)
        system = forcefield.createSystem(
            topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.dalton
        )
        print("implicit solvent (gbn2)" if solvent else "vacuum")
        for platform in arguments.platform or ["Reference", "CPU"]:
            compare(system, positions, arguments.steps, arguments.rounds, platform)


if __name__ == "__main__":
    main()
