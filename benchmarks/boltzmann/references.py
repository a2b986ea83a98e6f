"""Long references: replica exchange in temperature and bias of all molecules in turn, resumable.

    nice -n 19 python -m boltzmann.references REFERENCES --molecules ALA,LEU,ARIP

run in `benchmarks/`. Each molecule has a folder with chunks of frames of its coldest replicas and
the state at the end of the last; a killed run loses the turn it was in (20 s of processor time),
and the same command goes on. Ladders never exchange with each other: they start apart and are
independent samples, whose difference is the error of the reference. Hotter replicas also feel a
bias on phi, psi and chi1, of fixed series that make these flat in the hottest; the coldest feel
none.

Every fifth turn goes to plain dynamics at the molecule's temperature, from frames of the ladders:
it fits TICA and says how slow MD is, which MD of a minute cannot.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atmos_openmm.core.geometry import torsion_angles
from atmos_openmm.systems.torsions import find_torsions

from .batched_md import LANES, BatchedMD
from .molecules import CAPPED, GAS_CONSTANT, TETRAPEPTIDES, Molecule, molecule

HOTTEST_KELVIN = 700.0
EXCHANGE_STEPS = 100
FRAME_EXCHANGES = 5
FRICTION = 1.0
DYNAMICS_FRAME_PS = 1.0
BIASED = (" phi", " psi", " chi1")
HARMONICS = 6
BINS, LEAST = 72, 0.5
ROUNDS, LEARNING_FRAMES = 4, 250
LARGEST_ENERGY_ERROR = 0.05  # kJ/mol, of single precision against OpenMM's Reference platform
LARGEST_FORCE_ERROR = 1e-3


class Ladders:
    """Replica exchange of one molecule in a folder."""

    def __init__(self, which: Molecule, folder: Path) -> None:
        self.molecule = which
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.count = 4 if which.constraints else 2
        levels = LANES // self.count
        one = np.geomspace(which.temperature, HOTTEST_KELVIN, levels)
        self.temperatures = np.tile(one, self.count)
        self.cold = np.arange(self.count) * levels
        self.step_ps = min(which.step_ps, 0.0025) if which.constraints is None else 0.002
        self.topology, self.start, system = which.build()
        self.engine = BatchedMD(system)
        self.system = system
        torsions = find_torsions(self.topology, system=system)
        self.biased = torsions.atoms[[n.endswith(BIASED) for n in torsions.names]]
        self.scales = np.tile(np.linspace(0, 1, levels), self.count)
        self.load()
        self.engine.set_bias(self.biased, self.terms, self.scales)

    @property
    def _due(self) -> bool:
        """Whether the next turn is one of dynamics."""
        return self.chunks >= 4 and self.dynamics < self.chunks // 4

    def load(self) -> None:
        """Take the state of the last complete turn, or make a start."""
        self.dynamics = len(list(self.folder.glob("dynamics_*.npz")))
        file = self.folder / "state.npz"
        if file.exists():
            with np.load(file) as kept:
                self.state = {k: kept[k] for k in ("positions", "velocities", "random")}
                self.replicas = kept["replicas"]
                self.draws = np.random.default_rng(int(kept["seed"]) + int(kept["chunks"]))
                self.chunks, self.seconds = int(kept["chunks"]), float(kept["seconds"])
                self.seed, self.terms = int(kept["seed"]), kept["terms"]
                self.tried, self.accepted = kept["tried"], kept["accepted"]
            return
        self.chunks, self.seconds = 0, 0.0
        self.seed = sum(map(ord, self.molecule.name)) * 10007
        self.draws = np.random.default_rng(self.seed)
        self.replicas = np.arange(LANES)
        self.tried, self.accepted = np.zeros(LANES, int), np.zeros(LANES, int)
        self.begin()

    def begin(self) -> None:
        """Minimise, warm up, and take every lane apart from the others at the hottest level."""
        import openmm

        context = openmm.Context(
            self.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU")
        )
        context.setPositions(self.start)
        context.applyConstraints(1e-6)
        openmm.LocalEnergyMinimizer.minimize(context)
        least = context.getState(positions=True).getPositions(asNumpy=True)._value
        words = self.draws.integers(1, 2**32, (4, LANES), dtype=np.uint32)
        x = np.repeat(least[..., None], LANES, -1).astype(np.float32)
        self.state = {
            "positions": np.ascontiguousarray(x),
            "velocities": np.zeros_like(x),
            "random": words,
        }
        hot = np.full(LANES, GAS_CONSTANT * HOTTEST_KELVIN)
        self.engine.advance(self.state, hot, 0.0005, 20.0, 4000)
        energy, force = self.engine.compare(self.state["positions"])
        if energy > LARGEST_ENERGY_ERROR or force > LARGEST_FORCE_ERROR:
            raise RuntimeError(
                f"{self.molecule.name}: the engine differs from OpenMM by {energy:.3g} kJ/mol and "
                f"{force:.3g} of the root mean square force."
            )
        self.engine.advance(self.state, hot, self.step_ps, FRICTION, 20_000)
        self.terms = np.zeros((len(self.biased), 2 * HARMONICS))
        for _ in range(ROUNDS):
            self.learn(hot)

    def learn(self, hot: NDArray[Any]) -> None:
        """Add to the bias what makes the biased torsions flat at the hottest level."""
        self.engine.set_bias(self.biased, self.terms, np.ones(LANES))
        counts = np.full((len(self.biased), BINS), LEAST)
        for _ in range(LEARNING_FRAMES):
            self.engine.advance(self.state, hot, self.step_ps, FRICTION, EXCHANGE_STEPS)
            angles = torsion_angles(self.state["positions"].transpose(2, 0, 1), self.biased)
            for row, values in zip(counts, angles.T, strict=True):
                row += np.histogram(values, BINS, (-np.pi, np.pi))[0]
        logs = np.log(counts / counts.max(axis=1, keepdims=True))
        centres = (np.arange(BINS) + 0.5) / BINS * 2 * np.pi - np.pi
        waves = np.arange(1, HARMONICS + 1)[:, None] * centres
        waves = np.concatenate([np.cos(waves), np.sin(waves)])
        self.terms += hot[0] * logs @ waves.T * 2 / BINS

    def exchange(self, energies: NDArray[Any], biases: NDArray[Any], odd: int) -> None:
        """Swap neighbouring levels of each ladder, even or odd pairs."""
        levels = LANES // self.count
        beta = 1 / (GAS_CONSTANT * self.temperatures)
        for ladder in range(self.count):
            for level in range(odd, levels - 1, 2):
                a = ladder * levels + level
                b = a + 1
                self.tried[a] += 1
                gain = (beta[a] - beta[b]) * (float(energies[a]) - float(energies[b]))
                pull = beta[a] * self.scales[a] - beta[b] * self.scales[b]
                gain += pull * (float(biases[a]) - float(biases[b]))
                if np.log(self.draws.random()) >= gain:
                    continue
                self.accepted[a] += 1
                scale = np.float32(np.sqrt(self.temperatures[a] / self.temperatures[b]))
                for name, up in (("positions", np.float32(1)), ("velocities", scale)):
                    array = self.state[name]
                    kept = array[..., a].copy()
                    array[..., a] = array[..., b] * up
                    array[..., b] = kept / up
                self.replicas[[a, b]] = self.replicas[[b, a]]

    def turn(self, seconds: float) -> None:
        """Advance for so many seconds of processor time and write a chunk and the state."""
        if self._due:
            return self.plain_dynamics(seconds)
        kT = GAS_CONSTANT * self.temperatures
        frames, replicas = [], []
        begun = time.process_time()
        number = 0
        while time.process_time() - begun < seconds:
            for _ in range(FRAME_EXCHANGES):
                energies, biases = self.engine.advance(
                    self.state, kT, self.step_ps, FRICTION, EXCHANGE_STEPS
                )
                if not np.isfinite(energies).all():
                    raise RuntimeError(f"{self.molecule.name}: an energy is not finite.")
                self.exchange(energies, biases, number % 2)
                number += 1
            self.state["positions"] -= self.state["positions"].mean(axis=0)
            frames.append(self.state["positions"][..., self.cold].transpose(2, 0, 1).copy())
            replicas.append(self.replicas.astype(np.int8))
        self.seconds += time.process_time() - begun
        _write(
            self.folder / f"chunk_{self.chunks:05d}.npz",
            positions=np.array(frames),
            replicas=np.array(replicas),
        )
        self.chunks += 1
        _write(
            self.folder / "state.npz",
            **self.state,
            replicas=self.replicas,
            terms=self.terms,
            seed=self.seed,
            chunks=self.chunks,
            seconds=self.seconds,
            tried=self.tried,
            accepted=self.accepted,
        )
        self.draws = np.random.default_rng(self.seed + self.chunks)

    def plain_dynamics(self, seconds: float) -> None:
        """Go on with 16 trajectories of plain dynamics; a chunk ends with its own state."""
        last = self.folder / f"dynamics_{self.dynamics - 1:05d}.npz"
        if self.dynamics:
            with np.load(last) as kept:
                state = {k: kept[k] for k in ("last", "velocities", "random")}
            state["positions"] = state.pop("last")
        else:
            frames = [
                np.load(self.folder / f"chunk_{k:05d}.npz")["positions"]
                for k in range(1, self.chunks)
            ]
            pool = np.concatenate([f.reshape(-1, *f.shape[2:]) for f in frames])
            chosen = pool[self.draws.choice(len(pool), LANES, replace=False)].transpose(1, 2, 0)
            state = {
                "positions": np.ascontiguousarray(chosen),
                "velocities": np.zeros_like(chosen, order="C"),
                "random": self.draws.integers(1, 2**32, (4, LANES), dtype=np.uint32),
            }
        self.engine.set_bias(self.biased, self.terms, np.zeros(LANES))
        kT = np.full(LANES, self.molecule.kT)
        steps = round(DYNAMICS_FRAME_PS / self.step_ps)
        trajectory = []
        begun = time.process_time()
        while time.process_time() - begun < seconds:
            energies, _ = self.engine.advance(state, kT, self.step_ps, FRICTION, steps)
            if not np.isfinite(energies).all():
                raise RuntimeError(f"{self.molecule.name}: an energy is not finite.")
            state["positions"] -= state["positions"].mean(axis=0)
            trajectory.append(state["positions"].transpose(2, 0, 1).copy())
        _write(
            self.folder / f"dynamics_{self.dynamics:05d}.npz",
            trajectory=np.array(trajectory),
            last=state["positions"],
            velocities=state["velocities"],
            random=state["random"],
        )
        self.dynamics += 1
        self.engine.set_bias(self.biased, self.terms, self.scales)


def _write(path: Path, **arrays: Any) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def main() -> None:
    """Turns of all molecules until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--molecules", default=",".join(CAPPED + TETRAPEPTIDES))
    parser.add_argument("--turn", type=float, default=20.0, help="processor seconds of a turn")
    parser.add_argument("--rounds", type=int, default=None, help="of all molecules; else for ever")
    arguments = parser.parse_args()
    names = arguments.molecules.split(",")
    ladders: dict[str, Ladders] = {}
    done = 0
    while arguments.rounds is None or done < arguments.rounds:
        for name in names:
            if name not in ladders:
                ladders[name] = Ladders(molecule(name), arguments.folder / name)
            one = ladders[name]
            one.turn(arguments.turn)
            used = one.tried > 0
            row = {
                "molecule": name,
                "chunks": one.chunks,
                "dynamics": one.dynamics,
                "seconds": round(one.seconds),
                "exchange": np.round(one.accepted[used] / one.tried[used], 2).tolist(),
            }
            print(time.strftime("%H:%M:%S"), json.dumps(row), flush=True)
        done += 1


if __name__ == "__main__":
    main()
