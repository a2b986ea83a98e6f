"""Exact jumps at one temperature against a ladder of replicas, each for the same processor time.

The density comes from a short hot run of MD, whose time is shown and the same for both. All
replicas count in the ladder's time; only frames of the coldest one are used.

    OMP_NUM_THREADS=1 python benchmarks/exchange_ladder.py --seed 1 --seconds 120
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm.core.statistics import effective_sample_size
from atmos_openmm.density import TorsionDensity
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.noise import walker_seed
from atmos_openmm.sampling.exchange import ReplicaLadder
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import find_torsions

STEP_PS, INTERVAL, MOVES = 0.004, 25, 10


def context_of(system, integrator, positions, kelvin, seed):
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(positions)
    context.setVelocitiesToTemperature(kelvin, seed)
    return context


def positions_of(context):
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def hot_density(system, torsions, positions, kelvin, seconds, seed):
    """A density from MD at a high temperature, and the relaxed last positions."""
    integrator = openmm.LangevinMiddleIntegrator(kelvin, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(seed)
    context = context_of(system, integrator, positions, kelvin, seed)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 500)
    start = positions_of(context)
    context.setVelocitiesToTemperature(kelvin, seed)
    frames, began = [], time.process_time()
    while time.process_time() - began < seconds:
        integrator.step(INTERVAL)
        frames.append(positions_of(context))
    density = TorsionDensity.from_frames(
        np.array(frames), torsions, max_components=8, gates=False, seed=seed
    )
    return density, start, len(frames)


def sample(system, torsions, density, start, temperatures, seconds, seed):
    contexts = []
    for index, kelvin in enumerate(temperatures):
        integrator = AtmosIntegrator(kelvin, 1.0, STEP_PS)
        integrator.setAcceptanceMode("metropolis")
        integrator.setTorsionMoves(torsions, density)
        integrator.setMovesPerJump(MOVES)
        integrator.setJumpInterval(INTERVAL)
        integrator.setJumpSeed(walker_seed(seed, index))
        integrator.setRandomNumberSeed(walker_seed(seed, 100 + index))
        contexts.append(context_of(system, integrator, start, kelvin, seed + index))
    ladder = ReplicaLadder(contexts, temperatures, seed) if len(contexts) > 1 else None
    frames, cycle, exchanging, began = [], 0, 0.0, time.process_time()
    while time.process_time() - began < seconds:
        for context in contexts:
            context.getIntegrator().step(INTERVAL)
        if ladder is not None:
            before = time.process_time()
            ladder.exchange(cycle)
            exchanging += time.process_time() - before
        frames.append(positions_of(contexts[0]))
        cycle += 1
    return contexts, ladder, np.array(frames), time.process_time() - began, exchanging


def transitions(phi):
    """Passages between the cores of phi > 0 and phi < 0."""
    degrees = np.degrees(phi)
    core = np.where((degrees > 30) & (degrees < 100), 1, 0)
    core[(degrees < -30) | (degrees > 160)] = -1
    visited = core[core != 0]
    return int((np.diff(visited) != 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequence", default="HIE-GLU-ALA-VAL")
    parser.add_argument("--temperatures", default="300,360,430,520")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--setup", type=float, default=20.0, help="Seconds of the hot MD.")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ladder_k = [float(value) for value in args.temperatures.split(",")]
    topology, positions = build_peptide(args.sequence, caps=True)
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(
        topology, constraints=app.HBonds, hydrogenMass=3 * unit.amu
    )
    torsions = find_torsions(topology, system=system)
    began = time.process_time()
    density, start, count = hot_density(
        system, torsions, positions, ladder_k[-1], args.setup, args.seed
    )
    print(f"seed {args.seed}: set-up {time.process_time() - began:.1f} CPU s, {count} frames")
    phi = [index for index, name in enumerate(torsions.names) if name.endswith("phi")]
    for temperatures in (ladder_k[:1], ladder_k):
        contexts, ladder, frames, seconds, exchanging = sample(
            system, torsions, density, start, temperatures, args.seconds, args.seed
        )
        angles = torsions.measure(frames)[len(frames) // 10 :]
        print(f"## seed {args.seed}, {len(temperatures)} temperature(s), {seconds:.1f} CPU s")
        print(f"cycles {len(frames)}, exchanges {exchanging:.2f} CPU s")
        for kelvin, context in zip(temperatures, contexts, strict=True):
            found = context.getIntegrator().getMoveStatistics()
            shares = ", ".join(f"{k} {a / p:.4f} ({p})" for k, (p, a) in found.items() if p)
            print(f"{kelvin:.0f} K: {shares}")
        if ladder is not None:
            print("exchanged", ladder.accepted, "of", ladder.tried, "trips", ladder.round_trips)
        rates = []
        for index, name in enumerate(torsions.names):
            waves = (np.cos(angles[:, index]), np.sin(angles[:, index]))
            rates.append(min(effective_sample_size(wave) for wave in waves) / seconds)
            print(f"ESS/s {name} {rates[-1]:.3f}")
        print(f"median ESS/s {np.nanmedian(rates):.3f}, least {np.nanmin(rates):.3f}")
        crossed = [transitions(angles[:, index]) for index in phi]
        print("phi transitions", crossed, f"{sum(crossed) / seconds:.3f} a CPU s", flush=True)


if __name__ == "__main__":
    main()
