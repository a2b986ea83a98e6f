"""Exact jumps at one temperature against a ladder of replicas, each for the same processor time.

Two runs of each kind, one that starts with every phi below 0 and one with every phi above, as far
as the residues allow it: what they say of each phi shows whether the start is forgotten. All
replicas count in the ladder's time; only frames of the coldest one are used. The density is that
of the bundled torsion head at 300 K, or of --model, for all replicas.

    OMP_NUM_THREADS=1 python benchmarks/exchange_ladder.py --seed 1 --seconds 120
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm import AtmosPropagator
from atmos_openmm.core.statistics import effective_sample_size
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.noise import walker_seed
from atmos_openmm.model.bundled import TORSION_MODEL
from atmos_openmm.sampling.exchange import ReplicaLadder
from atmos_openmm.systems.peptides import build_peptide

STEP_PS, INTERVAL, MOVES, TRIALS = 0.004, 5, 1, 100
STARTS = {"phi < 0": (-1.4, 2.4), "phi > 0": (1.0, 0.7)}
"""phi and psi of all residues, radians."""


def context_of(system, integrator, positions, kelvin, seed):
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(positions)
    context.setVelocitiesToTemperature(kelvin, seed)
    return context


def positions_of(context):
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def started(system, torsions, positions, phi, psi):
    """Positions with every phi and psi as asked for, relaxed."""
    aims = {"phi": phi, "psi": psi}
    present = torsions.measure(positions)
    changes = {
        k: aims[name[-3:]] - present[k]
        for k, name in enumerate(torsions.names)
        if name[-3:] in aims
    }
    turned = torsions.rotated(positions, changes)
    context = context_of(system, openmm.VerletIntegrator(0.001), turned, 300.0, 1)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 1000)
    return positions_of(context)


def sample(system, torsions, density, start, temperatures, seconds, seed):
    contexts = []
    for index, kelvin in enumerate(temperatures):
        integrator = AtmosIntegrator(kelvin, 1.0, STEP_PS)
        integrator.setAcceptanceMode("metropolis")
        integrator.setTorsionMoves(torsions, density)
        integrator.setMovesPerJump(MOVES)
        integrator.setTrialsPerMove(TRIALS)
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


def report(torsions, temperatures, results):
    """Print what the runs of one kind, one a start, have in common and what not."""
    rates, shares = [], []
    for name, (contexts, ladder, frames, seconds, exchanging) in results.items():
        angles = torsions.measure(frames)[len(frames) // 10 :]
        print(
            f"start {name}: {seconds:.1f} CPU s, {len(frames)} cycles, exchanges {exchanging:.2f}"
        )
        for kelvin, context in zip(temperatures, contexts, strict=True):
            found = context.getIntegrator().getMoveStatistics()
            kinds = ", ".join(f"{k} {a / p:.3f}" for k, (p, a) in found.items() if p)
            print(f"  {kelvin:.0f} K: {kinds}")
        if ladder is not None:
            print("  exchanged", ladder.accepted, "of", ladder.tried, "trips", ladder.round_trips)
        waves = np.stack([np.cos(angles), np.sin(angles)])
        rates.append(
            [
                min(effective_sample_size(w[:, k]) for w in waves) / seconds
                for k in range(len(angles.T))
            ]
        )
        phi = [k for k, label in enumerate(torsions.names) if label.endswith("phi")]
        crossed = [transitions(angles[:, k]) for k in phi]
        print("  phi transitions", crossed, f"{sum(crossed) / seconds:.3f} a CPU s")
        shares.append([float((angles[:, k] > 0).mean()) for k in phi])
    print(
        "share of phi > 0 by start:",
        *(" ".join(f"{p:.3f}" for p in row) for row in shares),
        sep="\n  ",
    )
    pooled = np.mean(rates, axis=0)
    for name, rate in zip(torsions.names, pooled, strict=True):
        print(f"ESS/s {name} {rate:.3f}")
    print(f"median ESS/s {np.median(pooled):.3f}, least {pooled.min():.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequence", default="HIE-GLU-ALA-VAL")
    parser.add_argument("--temperatures", default="300,360,430,520")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--model", default=TORSION_MODEL)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ladder_k = [float(value) for value in args.temperatures.split(",")]
    topology, positions = build_peptide(args.sequence, caps=True)
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(
        topology, constraints=app.HBonds, hydrogenMass=3 * unit.amu
    )
    began = time.process_time()
    propagator = AtmosPropagator(args.model, topology, positions=positions)
    torsions = propagator.torsions(system)
    density = propagator.torsionDensity(torsions=torsions)
    print(f"{args.sequence}, seed {args.seed}: set-up {time.process_time() - began:.1f} CPU s")
    starts = {
        name: started(system, torsions, positions, *angles) for name, angles in STARTS.items()
    }
    for temperatures in (ladder_k[:1], ladder_k):
        print(f"## {len(temperatures)} temperature(s)")
        results = {
            name: sample(
                system, torsions, density, start, temperatures, args.seconds, args.seed + 10 * k
            )
            for k, (name, start) in enumerate(starts.items())
        }
        report(torsions, temperatures, results)


if __name__ == "__main__":
    main()
