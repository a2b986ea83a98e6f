"""Speed of AtmosIntegrator without jumps against the plain integrator, and the cost of a jump.

Three runs take turns over many rounds: plain A, plain B and ours with the jump interval 0. The
ratio of A to B is the control: it shows how far the machine's noise alone takes such a ratio from
1. Ratios are of median times, by the wall clock and by CPU time; on a machine that does other
things the second is the steadier one. Then jumps of a module that changes nothing are timed, in
CPU time: their whole cost but the network's. The bonds to hydrogen are constrained and the step is
4 fs, as a run would have it.

    python benchmarks/integrator_overhead.py [--turn 0.1] [--rounds 61] [--platform CPU]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import openmm
from openmm import app, unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes
from atmos_openmm.systems.peptides import build_peptide

TEMPERATURE = 300 * unit.kelvin
FRICTION = 1 / unit.picosecond
STEP_SIZE = 4 * unit.femtoseconds

# Places in what timed() returns.
WALL, CPU = CLOCKS = (0, 1)


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


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock time and CPU time of an action, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def median(times: list[tuple[float, float]], clock: int) -> float:
    """The median of times by one of the clocks."""
    return statistics.median(time[clock] for time in times)


def compare(
    system: openmm.System, positions: unit.Quantity, turn_s: float, rounds: int, platform: str
) -> None:
    """Time the three integrators in turns, then jumps, and print the medians."""
    num_atoms = system.getNumParticles()
    integrators = {
        "plain A": openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
        "plain B": openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
        "ours": AtmosIntegrator(TEMPERATURE, FRICTION, STEP_SIZE),
    }
    integrators["ours"].setModule(module_bytes(Identity(num_atoms)), range(num_atoms))
    contexts = {
        name: context_of(system, positions, integrator, platform)
        for name, integrator in integrators.items()
    }
    # As many steps a turn as take that long; the fastest of a few trials, as the machine may be
    # busy.
    trial = min(timed(lambda: integrators["plain A"].step(50))[0] for _ in range(5)) / 50
    steps = max(10, round(turn_s / trial))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in integrators}
    names = list(integrators)
    for turn in range(rounds):
        # Another one goes first each time, so that none always follows the same.
        for name in names[turn % 3 :] + names[: turn % 3]:
            times[name].append(timed(lambda name=name: integrators[name].step(steps)))
    plain = times["plain A"] + times["plain B"]
    ratios = [median(plain, k) / median(times["ours"], k) for k in CLOCKS]
    controls = [median(times["plain A"], k) / median(times["plain B"], k) for k in CLOCKS]
    step_ms = 1e3 * median(plain, CPU) / steps

    # A jump at each step, so that the difference to a step is a jump.
    jumper = integrators["ours"]
    jumper.setAcceptanceMode("none")
    jumper.setJumpInterval(1)
    jumper.step(1)
    before = jumper.getNumProposed()
    count = max(5, steps // 3)
    jump_times = [timed(lambda: jumper.step(count)) for _ in range(rounds)]
    jumps = jumper.getNumProposed() - before
    jump_ms = 1e3 * median(jump_times, CPU) / count - step_ms
    print(
        f"{platform:<10} step {step_ms:8.4f} ms   "
        f"speed ratio (control)   wall {ratios[WALL]:.3f} ({controls[WALL]:.3f})   "
        f"CPU {ratios[CPU]:.3f} ({controls[CPU]:.3f})   "
        f"jump {jump_ms:8.4f} ms = {jump_ms / step_ms:.2f} steps ({jumps} jumps)"
    )
    del contexts


def main() -> None:
    """Time alanine dipeptide in vacuum and in implicit solvent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turn", type=float, default=0.1, help="seconds a turn")
    parser.add_argument("--rounds", type=int, default=61, help="turns of each integrator")
    parser.add_argument("--platform", action="append", help="Reference and CPU by default")
    arguments = parser.parse_args()
    topology, positions = build_peptide("ACE-ALA-NME")
    print(
        f"{arguments.rounds} rounds of {arguments.turn:g} s a turn; speed ratio: plain / ours, "
        "control: plain A / plain B"
    )
    for solvent in ([], ["implicit/gbn2.xml"]):
        forcefield = app.ForceField("amber14-all.xml", *solvent)
        system = forcefield.createSystem(
            topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.dalton
        )
        name = "implicit solvent (gbn2)" if solvent else "vacuum"
        print(f"alanine dipeptide, {system.getNumParticles()} atoms, {name}")
        for platform in arguments.platform or ["Reference", "CPU"]:
            compare(system, positions, arguments.turn, arguments.rounds, platform)


if __name__ == "__main__":
    main()
