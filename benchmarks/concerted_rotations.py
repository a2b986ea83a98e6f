"""Backbone moves of folded chains that leave both ends of a few residues in place.

    python benchmarks/concerted_rotations.py STRUCTURE... --frames 5 --trials 200 --length 8000

STRUCTURE is what benchmarks/torsion_moves_beyond.py takes. Two kinds of moves: `rigid` turns what
is between CA(i) and CA(j) about the axis that joins them (backrub; angles at both CA change), and
`closed` changes n consecutive phi and psi together so that all before and after them stays in
place, with all bond lengths and angles (see concerted_geometry.py). First it checks that closed
moves leave the distribution of free torsions alone. Then it prints what is accepted, and how far
the backbone goes in MD steps, in trials alone, and in both. --fast puts GBSAOBCForce (same radii)
in place of the Born model that MD spends most of its time on, which makes longer runs possible.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from typing import Any

import numpy as np
import openmm
from concerted_geometry import Closed, Rigid, closed_windows, rigid_segments, stationarity
from numpy.typing import NDArray
from torsion_moves_beyond import STEP_PS, context_of, equilibrated, from_file

from atmos_openmm.surrogate import SurrogateEnergy
from atmos_openmm.systems.torsions import Torsions, find_torsions

FloatArray = NDArray[np.float64]
Move = Rigid | Closed

KT = 0.0083144626 * 300.0
OFFSET = 0.0195141
"""Between a radius of GBn2 and the one its CustomGBForce has."""
LENGTHS = {"rigid": (1, 2, 3, 4), "closed": (7, 8, 10)}
DEGREES = {"rigid": (1, 2, 5, 10, 20), "closed": (1, 2, 5, 10, 20)}
LAGS = (100, 400, 1600)
"""In MD steps, or in trials that take as long."""


@dataclasses.dataclass(frozen=True)
class Small:
    """One of the backbone's torsions turned alone."""

    torsions: Torsions
    torsion: int
    width: float = 0.0

    def propose(self, x: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, float]:
        """New positions; the move is symmetric."""
        return self.torsions.rotated(x, {self.torsion: self.width * rng.normal()}), 0.0


class Energy:
    """The surrogate and, as rigid moves change them, the angles."""

    def __init__(self, system: openmm.System, torsions: Torsions, rigid: list[Rigid]) -> None:
        ends = [(*move.axis, *move.axis) for move in rigid]
        atoms = np.array([(0, a, b, 0) for _, a, b, _ in ends]).reshape(-1, 4)
        turned = dataclasses.replace(
            torsions,
            atoms=np.concatenate([torsions.atoms, atoms]),
            groups=(*torsions.groups, *(move.atoms for move in rigid)),
        )
        self._surrogate = SurrogateEnergy(system, turned)
        assert not self._surrogate.unknown_forces, self._surrogate.unknown_forces
        force = next(f for f in system.getForces() if isinstance(f, openmm.HarmonicAngleForce))
        angles = [force.getAngleParameters(k) for k in range(force.getNumAngles())]
        self._angles = np.array([angle[:3] for angle in angles])
        self._rest = np.array([angle[3]._value for angle in angles])
        self._stiffness = np.array([angle[4]._value for angle in angles])

    def __call__(self, x: FloatArray) -> float:
        first, second = (x[self._angles[:, k]] - x[self._angles[:, 1]] for k in (0, 2))
        cosine = (first * second).sum(1)
        cosine /= np.sqrt((first**2).sum(1) * (second**2).sum(1))
        away = np.arccos(np.clip(cosine, -1, 1)) - self._rest
        return self._surrogate.evaluate(x) + 0.5 * float(self._stiffness @ away**2)


@dataclasses.dataclass
class Chain:
    """Metropolis trials of moves at positions."""

    energy: Energy
    x: FloatArray
    rng: np.random.Generator
    accepted: int = 0
    tried: int = 0

    def run(self, moves: list[Move], trials: int) -> None:
        """Trials of moves picked at random."""
        now = self.energy(self.x)
        for _ in range(trials):
            self.tried += 1
            proposed = moves[self.rng.integers(len(moves))].propose(self.x, self.rng)
            if proposed is None:
                continue
            new, log_ratio = proposed
            then = self.energy(new)
            if np.log(self.rng.uniform()) < log_ratio - (then - now) / KT:
                self.x, now = new, then
                self.accepted += 1


def moves_of(topology: Any, torsions: Torsions, kind: str, length: int, degrees: float) -> Any:
    """All moves of a kind."""
    found: list[Any]
    if kind == "rigid":
        found = rigid_segments(topology, length)
    elif kind == "closed":
        found = closed_windows(topology, torsions, length)
    else:
        found = [Small(torsions, int(k)) for k in np.flatnonzero(torsions.backbone)]
    return [dataclasses.replace(move, width=np.radians(degrees)) for move in found]


def with_fast_born(system: openmm.System) -> openmm.System:
    """The System with GBSAOBCForce in place of the CustomGBForce, with the same radii."""
    system = openmm.XmlSerializer.clone(system)
    number, old = next(
        (k, f) for k, f in enumerate(system.getForces()) if isinstance(f, openmm.CustomGBForce)
    )
    names = [old.getPerParticleParameterName(k) for k in range(old.getNumPerParticleParameters())]
    new = openmm.GBSAOBCForce()
    for k in range(old.getNumParticles()):
        given = dict(zip(names, old.getParticleParameters(k), strict=True))
        new.addParticle(given["charge"], given["or"] + OFFSET, 0.8)
    new.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    system.removeForce(number)
    system.addForce(new)
    return system


def frames_of(system: openmm.System, x: Any, count: int, apart: int) -> list[FloatArray]:
    """Frames of MD."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(2)
    context = context_of(system, integrator, x)
    frames = []
    for _ in range(count):
        integrator.step(apart)
        frames.append(np.array(context.getState(positions=True).getPositions(asNumpy=True)._value))
    return frames


def acceptance(name: str, topology: Any, torsions: Torsions, energy: Energy, given: Any) -> None:
    """Print what is accepted at frames, and how far an accepted move and a trial go."""
    print("| molecule | kind | length | degrees | accepted | rms change | square a trial |")
    print("|--" * 7 + "|")
    cases = [(k, n, w) for k in LENGTHS for n in LENGTHS[k] for w in DEGREES[k]]
    cases += [("small", 1, w) for w in (2, 5, 10, 20)]
    for kind, length, degrees in cases:
        moves = moves_of(topology, torsions, kind, length, degrees)
        rng = np.random.default_rng(3)
        chains = [Chain(energy, x.copy(), rng) for x in given.at]
        squares = 0.0
        for chain in chains:
            before = torsions.measure(chain.x)[torsions.backbone]
            for _ in range(given.trials):
                chain.run(moves, 1)
                after = torsions.measure(chain.x)[torsions.backbone]
                squares += float((2 - 2 * np.cos(after - before)).sum()) * np.degrees(1) ** 2
                before = after
        tried = sum(chain.tried for chain in chains)
        accepted = sum(chain.accepted for chain in chains)
        rms = np.sqrt(squares / max(1, accepted))
        print(
            f"| {name} | {kind} | {length} | {degrees:g} | {accepted / tried:.3f} | {rms:.2f} | "
            f"{squares / tried:.2f} |",
            flush=True,
        )


def motion(
    system: openmm.System, torsions: Torsions, ca: list[int], energy: Energy, starts: Any, run: Any
) -> str:
    """Square changes at lags, of phi and psi and of CA (angstrom), of runs from some starts.

    `run` is (moves, MD steps, trials, length, cost, keep): in each cycle some MD and some trials,
    which cost so many MD steps each; all together take the time of `length` MD steps.
    """
    moves, steps, trials, length, cost, keep = run
    a_cycle = steps + trials * cost
    cycles = round(length / a_cycle)
    apart = [round(lag / a_cycle) for lag in LAGS]
    changes: list[list[tuple[float, float]]] = [[] for _ in LAGS]
    accepted, worst, begun = 0, 0.0, time.process_time()
    for seed, x in enumerate(starts, 4):
        integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, STEP_PS)
        integrator.setRandomNumberSeed(seed)
        context = context_of(system, integrator, x)
        chain = Chain(energy, np.array(x), np.random.default_rng(seed))
        angles, places = [], []
        for _ in range(cycles):
            integrator.step(steps)
            state = context.getState(positions=True, velocities=True, energy=bool(trials))
            start = chain.x = np.array(state.getPositions(asNumpy=True)._value)
            if trials:
                known = state.getPotentialEnergy()._value - energy(chain.x)
                chain.run(moves, trials)
                _set(context, start, state, chain, keep)
                then = context.getState(energy=True).getPotentialEnergy()._value
                worst = max(worst, abs(then - energy(chain.x) - known))
            angles.append(torsions.measure(chain.x)[torsions.backbone])
            places.append(chain.x[ca])
        accepted += chain.accepted
        for found, lag in zip(changes, apart, strict=True):
            for first in range(cycles - lag if lag else 0):
                turned = 2 - 2 * np.cos(angles[first + lag] - angles[first])
                found.append((turned.mean(), _square_distance(places[first], places[first + lag])))
    means = [np.mean(found, axis=0) if found else (np.nan, np.nan) for found in changes]
    took = (time.process_time() - begun) / cycles / len(starts)
    share = accepted / max(1, trials * cycles * len(starts))
    texts = [f"{turned:.4f} / {moved:.3f}" for turned, moved in means]
    return f"{share:.3f} | {' | '.join(texts)} | {took:.3f} | {worst:.2g} |"


def _set(context: openmm.Context, start: Any, state: Any, chain: Chain, keep: bool) -> None:
    """Set the positions after moves, with new velocities, or those before as far as they can be.

    Velocities have no part along the constraints. One is drawn at the old positions, which makes
    them Maxwell's without constraints, and what is along the new ones is taken out, which makes
    them Maxwell's again: the positions did not depend on them.
    """
    if not keep:
        context.setPositions(chain.x)
        context.setVelocitiesToTemperature(300.0, chain.tried)
        return
    system = context.getSystem()
    masses = [system.getParticleMass(k)._value for k in range(system.getNumParticles())]
    drawn = chain.rng.normal(size=start.shape) * np.sqrt(KT / np.array(masses))[:, None]
    context.setPositions(start)
    context.setVelocities(drawn)
    context.applyVelocityConstraints(1e-6)
    free = context.getState(velocities=True).getVelocities(asNumpy=True)._value
    context.setPositions(chain.x)
    context.setVelocities(state.getVelocities(asNumpy=True)._value + drawn - free)
    context.applyVelocityConstraints(1e-6)


def _square_distance(a: FloatArray, b: FloatArray) -> float:
    """Mean square distance (angstrom^2) of points after the best fit."""
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    s[-1] *= np.sign(np.linalg.det(u @ v))
    return float(100 * ((a**2).sum() + (b**2).sum() - 2 * s.sum()) / len(a))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", nargs="*")
    parser.add_argument("--fast", action="store_true", help="GBSAOBCForce as the Born model")
    parser.add_argument("--seconds", type=float, default=20.0, help="of equilibration")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--apart", type=int, default=250, help="MD steps between frames")
    parser.add_argument("--trials", type=int, default=200, help="at each frame")
    parser.add_argument("--length", type=int, default=0, help="of a run, in MD steps; 0: none")
    parser.add_argument("--cost", type=float, default=0.025, help="MD steps that a trial takes")
    parser.add_argument("--runs", default="md,small:1:10,rigid:1:10,closed:8:5")
    parser.add_argument("--steps", type=int, default=20, help="of MD in a cycle of a run")
    parser.add_argument("--per-cycle", type=int, default=200, help="trials in a cycle of a run")
    parser.add_argument("--keep", action="store_true", help="keep velocities after moves")
    parser.add_argument("--check", action="store_true", help="check the weights of closed moves")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.check:
        for count in (7, 8):
            same, control = (stationarity(count, 1500, 20, weighted) for weighted in (True, False))
            print(f"{count} free torsions: p {same:.3f} with weights, {control:.1e} without")
    for path in given.structures:
        topology, start, system = from_file(path)
        if given.fast:
            system = with_fast_born(system)
        name = path.split("/")[-1]
        x, a_step = equilibrated(system, start, given.seconds)
        torsions = find_torsions(topology, system=system)
        rigid = [move for length in LENGTHS["rigid"] for move in rigid_segments(topology, length)]
        energy = Energy(system, torsions, rigid)
        begun = time.process_time()
        for _ in range(50):
            energy(x)
        spent = (time.process_time() - begun) / 50
        print(f"{name}: an MD step takes {a_step:.5f} s, the surrogate {spent:.5f} s", flush=True)
        given.at = frames_of(system, x, given.frames, given.apart)
        if given.trials:
            acceptance(name, topology, torsions, energy, given)
        ca = [atom.index for atom in topology.atoms() if atom.name == "CA"]
        for case in given.runs.split(",") if given.length else ():
            kind, length, degrees = ([*case.split(":"), "1", "1"])[:3]
            moves = moves_of(topology, torsions, kind, int(length), float(degrees))
            trials = 0 if kind == "md" else given.per_cycle
            steps = given.steps
            run = (moves, steps, trials, given.length, given.cost, given.keep)
            found = motion(system, torsions, ca, energy, given.at, run)
            print(f"| {name} | {case} | {steps} + {trials} | {found}", flush=True)


if __name__ == "__main__":
    main()
