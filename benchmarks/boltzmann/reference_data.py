"""A reference as the benchmark reads it: populations with errors, clouds, TICA, MD's slowness."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atmos_openmm.core.statistics import effective_sample_size
from atmos_openmm.sampling.basins import Basins, find_basins
from atmos_openmm.systems.torsions import Torsions, find_torsions

from .batched_md import LANES, BatchedMD
from .metrics import Array, angle_samples, populations
from .molecules import Molecule, molecule

TICA_LAG_FRAMES = 100
SMALLEST_POPULATION = 0.01
CLOUD = 1000
FIRST_CHUNK = 1
"""Chunks before it are burn-in, and so is the first twentieth of what follows."""


class Shape:
    """What is measured of a molecule's frames."""

    def __init__(self, name: str) -> None:
        import mdtraj

        self.molecule: Molecule = molecule(name)
        self.topology, _, system = self.molecule.build()
        self.engine = BatchedMD(system)
        self.torsions: Torsions = find_torsions(self.topology, system=system)
        self.basins: tuple[Basins, ...] = find_basins(self.torsions.names)
        self._traj_topology = mdtraj.Topology.from_openmm(self.topology)
        kinds = [name.rpartition(" ")[2] for name in self.torsions.names]
        self.phi_psi = [k for k, kind in enumerate(kinds) if kind in ("phi", "psi")]

    def energies(self, positions: NDArray[Any]) -> Array:
        """Potential energies [F] in kT."""
        count = len(positions)
        found = np.zeros(-(-count // LANES) * LANES)
        for begin in range(0, count, LANES):
            part = positions[np.arange(begin, begin + LANES).clip(max=count - 1)]
            found[begin : begin + LANES] = self.engine.evaluate(part.transpose(1, 2, 0))[0]
        return found[:count] / self.molecule.kT

    def backbone(self, positions: NDArray[Any]) -> Array:
        """All phi and psi [F, D] of mdtraj, as transferable-samplers takes them."""
        import mdtraj

        trajectory = mdtraj.Trajectory(positions, self._traj_topology)
        return np.concatenate(
            [mdtraj.compute_phi(trajectory)[1], mdtraj.compute_psi(trajectory)[1]], axis=1
        )

    def features(self, positions: NDArray[Any]) -> Array:
        """Features of TICA: distances of C, N and S atoms, sines and cosines of the backbone."""
        import mdtraj

        trajectory = mdtraj.Trajectory(positions, self._traj_topology)
        omega = mdtraj.compute_omega(trajectory)[1]
        angles = np.concatenate([self.backbone(positions), omega], axis=1)
        heavy = [a.index for a in self._traj_topology.atoms if a.element.symbol in "CNS"]
        first, second = np.triu_indices(len(heavy), 1)
        x = positions[:, heavy]
        distances = np.linalg.norm(x[:, first] - x[:, second], axis=-1)
        return np.concatenate([distances, np.sin(angles), np.cos(angles)], axis=1)

    def trans(self, positions: NDArray[Any]) -> NDArray[np.bool_]:
        """Frames [F] without a cis peptide bond, which no sampler here turns to in its time."""
        import mdtraj

        omega = mdtraj.compute_omega(mdtraj.Trajectory(positions, self._traj_topology))[1]
        return np.asarray((np.abs(omega) > np.pi / 2).all(axis=1))


@dataclass
class Reference:
    """Frames of independent ladders at the molecule's temperature.

    Attributes
    ----------
    ladders : list of float32 [F, A, 3]
    angles : list of float64 [F, T]
    cis : float
        Share of frames with a cis peptide bond, which are left out.
    seconds : float
        Processor time that it took.
    dynamics : float32 [16, N, A, 3] or None
        Plain MD, a frame a picosecond.
    """

    shape: Shape
    ladders: list[NDArray[np.float32]]
    angles: list[Array]
    cis: float
    seconds: float
    dynamics: NDArray[np.float32] | None = field(repr=False)

    @classmethod
    def read(cls, folder: Path, shape: Shape) -> Reference:
        """Read what `references.py` has written so far."""
        folder = folder / shape.molecule.name
        chunks = sorted(folder.glob("chunk_*.npz"))[FIRST_CHUNK:]
        if not chunks:
            raise FileNotFoundError(
                f"{folder} has no chunks of a reference yet; make it with boltzmann/references.py."
            )
        frames = np.concatenate([np.load(chunk)["positions"] for chunk in chunks])
        frames = frames[len(frames) // 20 :].transpose(1, 0, 2, 3)
        kept = [shape.trans(ladder) for ladder in frames]
        ladders = [ladder[keep] for ladder, keep in zip(frames, kept, strict=True)]
        pieces = [np.load(f)["trajectory"] for f in sorted(folder.glob("dynamics_*.npz"))]
        dynamics = np.concatenate(pieces)[10:].transpose(1, 0, 2, 3) if pieces else None
        with np.load(folder / "state.npz") as state:
            seconds = float(state["seconds"])
        angles = [shape.torsions.measure(ladder) for ladder in ladders]
        return cls(shape, ladders, angles, 1 - float(np.mean(kept)), seconds, dynamics)

    @cached_property
    def pooled(self) -> Array:
        """Torsions [F, T] of all ladders."""
        return np.concatenate(self.angles)

    def population(self, basins: Basins) -> tuple[Array, Array]:
        """Shares of a division's basins and their standard errors."""
        count = len(basins.names)
        length = min(map(len, self.angles))
        labels = [basins.assign(angles[:length]) for angles in self.angles]
        share = populations(np.concatenate(labels), np.ones(length * len(labels)), count)
        errors = np.zeros(count)
        for basin in range(count):
            chains = np.array([label == basin for label in labels], float)
            size = effective_sample_size(chains)
            errors[basin] = np.sqrt(share[basin] * (1 - share[basin]) / size) if size > 0 else 0
        return share, errors

    def cloud(self, half: int, seed: int = 0) -> NDArray[np.float32]:
        """Frames [CLOUD, A, 3] of one half of the ladders."""
        ladders = self.ladders[half::2]
        frames = np.concatenate(ladders)
        chosen = np.random.default_rng(seed).choice(len(frames), CLOUD, replace=len(frames) < CLOUD)
        return frames[chosen]

    @cached_property
    def tica(self) -> Any:
        """TICA of plain dynamics, two coordinates; None before there is enough of it."""
        if self.dynamics is None or self.dynamics.shape[1] < 2 * TICA_LAG_FRAMES:
            return None
        from deeptime.decomposition import TICA

        features = [self.shape.features(trajectory) for trajectory in self.dynamics]
        return TICA(dim=2, lagtime=TICA_LAG_FRAMES).fit_from_timeseries(features).fetch_model()

    def md_samples_per_ns(self) -> Array | None:
        """Effective samples of each torsion [T] in a nanosecond of plain MD."""
        if self.dynamics is None:
            return None
        angles = np.array([self.shape.torsions.measure(t) for t in self.dynamics])
        nanoseconds = angles.shape[1] / 1000
        weights = np.zeros(angles.shape[:2])
        return np.array(
            [
                angle_samples(angles[..., k], weights, self.pooled[:, k]) / nanoseconds
                for k in range(angles.shape[-1])
            ]
        )
