"""Rollouts drawn from trajectory files: frames, lags and temperatures.

A draw is a function of (seed, step) alone, so a training run continues after a kill as if
nothing had happened, and the order of draws does not depend on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..data.layout import Trajectory

EQUILIBRIUM_LAGS_PS = (1.0e3, 1.0e4)
"""Lags given to pairs of frames of a replica exchange: independent draws, a lag without memory."""


@dataclass(frozen=True)
class Frames:
    """Frames of one trajectory.

    Attributes
    ----------
    positions_angstrom: float32 [F, A, 3]
    temperature_kelvin: float
    spacing_ps: float
        Time between frames; 0 for frames of a replica exchange, which have no order in time.
    """

    positions_angstrom: NDArray[np.float32]
    temperature_kelvin: float
    spacing_ps: float


@dataclass(frozen=True)
class Molecule:
    """A molecule's features and its trajectories, training and held out."""

    name: str
    features: dict[str, NDArray]
    residue_names: tuple[str, ...]
    dynamics: list[Frames]
    exchange: list[Frames]


@dataclass(frozen=True)
class Rollouts:
    """Frames along rollouts of one molecule: B rollouts of L jumps.

    Attributes
    ----------
    molecule: int
        Number of the molecule in the data set.
    positions_angstrom: float32 [L + 1, B, A, 3]
    lag_ps, temperature_kelvin: float32 [L, B]
    """

    molecule: int
    positions_angstrom: NDArray[np.float32]
    lag_ps: NDArray[np.float32]
    temperature_kelvin: NDArray[np.float32]


def load_molecules(
    paths: Sequence[str | os.PathLike[str]],
    held_out: Sequence[int] = (),
    atoms: Literal["all", "heavy"] = "all",
    caps: Literal["token", "atoms"] = "token",
) -> tuple[list[Molecule], list[Molecule]]:
    """Read trajectory files and split them into training and held-out trajectories.

    A file is a molecule of its own, also where two files hold the same one: the labels of like
    hydrogens (HB2 and HB3) never exchange in a trajectory, but may differ between files.

    Parameters
    ----------
    paths: sequence of paths
        Trajectory files in the project's HDF5 layout.
    held_out: sequence of int
        Trajectories of real dynamics whose number in their file, modulo 4, is listed here are
        held out.
    atoms: str
        ``all``, or ``heavy`` to leave hydrogens out.
    caps: str
        Tokens of terminal caps (:attr:`~atmos_openmm.model.config.ModelConfig.caps`).

    Returns
    -------
    tuple[list[Molecule], list[Molecule]]
        Training part and held-out part.

    Raises
    ------
    ValueError
        If no files are given, or a trajectory of real dynamics has a single frame.
    """
    from ..data.layout import TrajectoryFile
    from ..systems.features import features_from_topology

    if not paths:
        raise ValueError("No trajectory files were given; name at least one HDF5 file.")
    train: list[Molecule] = []
    valid: list[Molecule] = []
    for path in paths:
        with TrajectoryFile(path) as file:
            parts: tuple[list[Frames], list[Frames]] = ([], [])
            exchange: list[Frames] = []
            features = features_from_topology(
                file.topology, atoms, positions=file.trajectories[0].positions(0), caps=caps
            )
            for number, trajectory in enumerate(file.trajectories):
                positions = trajectory.positions()[:, features.atom_indices]
                frames = _frames(positions, trajectory)
                if trajectory.kind == "exchange":
                    exchange.append(frames)
                elif len(positions) < 2:
                    raise ValueError(
                        f"Trajectory {trajectory.name} of {path} is of kind 'dynamics' and has "
                        f"{len(positions)} frame; a lag needs at least 2. Leave the file out, or "
                        "make a longer trajectory."
                    )
                else:
                    parts[int(number % 4 in held_out)].append(frames)
            known = (file.name, features.arrays(), features.residue_names)
            train.append(Molecule(*known, parts[0], exchange))
            if parts[1]:
                valid.append(Molecule(*known, parts[1], []))
    return train, valid


def _frames(positions_nm: NDArray[np.float32], trajectory: Trajectory) -> Frames:
    centred = positions_nm - positions_nm.mean(axis=1, keepdims=True)
    time_ps = np.asarray(trajectory.time_ps, dtype=np.float64)
    in_order = trajectory.kind == "dynamics" and len(time_ps) > 1
    return Frames(
        (10.0 * centred).astype(np.float32),
        float(trajectory.temperature_kelvin),
        float(np.diff(time_ps).mean()) if in_order else 0.0,
    )


class RolloutSampler:
    """Draw rollouts: the molecule, its frames, the lags (log-uniform) and temperatures.

    Parameters
    ----------
    molecules: list[Molecule]
    jumps: int
        Jumps a rollout, L.
    rollouts: int
        Rollouts a draw, B, all of one molecule.
    lag_range_ps: (float, float)
        Range of the log-uniform lag of real dynamics, cut where a trajectory ends.
    exchange_fraction: float
        Share of draws from replica exchange, where any file has it.
    seed: int
    """

    def __init__(
        self,
        molecules: list[Molecule],
        *,
        jumps: int = 2,
        rollouts: int = 8,
        lag_range_ps: tuple[float, float] = (1.0, 400.0),
        exchange_fraction: float = 0.6,
        seed: int = 0,
    ) -> None:
        self.molecules = molecules
        self._with_dynamics = [i for i, m in enumerate(molecules) if m.dynamics]
        self._with_exchange = [i for i, m in enumerate(molecules) if m.exchange]
        if not self._with_dynamics and not self._with_exchange:
            raise ValueError("The trajectory files hold no frames to train on.")
        self.jumps = jumps
        self.rollouts = rollouts
        self.lag_range_ps = lag_range_ps
        self.exchange_fraction = exchange_fraction
        self.seed = seed

    def draw(self, step: int, part: int = 0) -> Rollouts:
        """Return the rollouts of a training step; `part` numbers the draws within a step."""
        rng = np.random.default_rng([self.seed, step, part])
        share = self.exchange_fraction if self._with_exchange else 0.0
        from_exchange = rng.random() < (share if self._with_dynamics else 1.0)
        candidates = self._with_exchange if from_exchange else self._with_dynamics
        number = candidates[int(rng.integers(len(candidates)))]
        molecule = self.molecules[number]
        frames, lags, temperatures = [], [], []
        for _ in range(self.rollouts):
            one = (self._exchange if from_exchange else self._dynamics)(rng, molecule)
            frames.append(one[0])
            lags.append(one[1])
            temperatures.append(one[2])
        return Rollouts(
            number,
            np.stack(frames, axis=1),
            np.stack(lags, axis=1).astype(np.float32),
            np.stack(temperatures, axis=1).astype(np.float32),
        )

    def _dynamics(
        self, rng: np.random.Generator, molecule: Molecule
    ) -> tuple[NDArray, NDArray, NDArray]:
        lengths = np.array([len(t.positions_angstrom) for t in molecule.dynamics], dtype=float)
        trajectory = molecule.dynamics[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        total = len(trajectory.positions_angstrom) - 1
        low, high = np.log(self.lag_range_ps[0]), np.log(self.lag_range_ps[1])
        steps = np.exp(rng.uniform(low, high, self.jumps)) / trajectory.spacing_ps
        steps = np.maximum(1, np.rint(steps)).astype(int)
        while steps.sum() > total:
            steps = np.maximum(1, steps // 2)
            if steps.sum() <= self.jumps:
                steps = np.minimum(steps, max(1, total // self.jumps))
                break
        start = int(rng.integers(0, max(1, total - steps.sum() + 1)))
        index = np.minimum(start + np.concatenate([[0], np.cumsum(steps)]), total)
        return (
            trajectory.positions_angstrom[index],
            np.maximum(np.diff(index), 1) * trajectory.spacing_ps,
            np.full(self.jumps, trajectory.temperature_kelvin),
        )

    def _exchange(
        self, rng: np.random.Generator, molecule: Molecule
    ) -> tuple[NDArray, NDArray, NDArray]:
        coldest = min(t.temperature_kelvin for t in molecule.exchange)
        wanted = [t for t in molecule.exchange if t.temperature_kelvin == coldest]
        if rng.random() > 0.6:
            wanted = molecule.exchange
        trajectory = wanted[int(rng.integers(len(wanted)))]
        same = [
            t for t in molecule.exchange if t.temperature_kelvin == trajectory.temperature_kelvin
        ]
        picked = []
        for _ in range(self.jumps + 1):
            source = same[int(rng.integers(len(same)))].positions_angstrom
            picked.append(source[int(rng.integers(len(source)))])
        low, high = np.log(EQUILIBRIUM_LAGS_PS[0]), np.log(EQUILIBRIUM_LAGS_PS[1])
        return (
            np.stack(picked),
            np.exp(rng.uniform(low, high, self.jumps)),
            np.full(self.jumps, trajectory.temperature_kelvin),
        )
