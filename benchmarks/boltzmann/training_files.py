"""From what `references.py` writes to trajectory files that `atmos-openmm train` reads.

    python -m boltzmann.training_files CHUNKS... --output FOLDER

Each folder of CHUNKS holds molecules' folders; ladders of several belong together. The first tenth
of each is left out, and so are frames in which a hot replica has turned a stereocentre over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atmos_openmm.core.geometry import chiral_volumes
from atmos_openmm.systems.features import MoleculeFeatures, features_from_topology
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

from .molecules import molecule

SMALLEST_VOLUME = -0.05
"""As the screen of jumps has it: a centre whose hand differs is below."""


def right_handed(x: NDArray[np.float32], features: MoleculeFeatures) -> NDArray[np.bool_]:
    """Frames [F] whose carbon centres and like substituents have the hands of the first frame."""
    centres = np.concatenate([features.chiral_centers, features.label_centers])
    signs = np.concatenate([features.chiral_signs, features.label_signs])
    carbons = features.ref_element[centres[:, 0]] == 6
    volumes = chiral_volumes(x[:, features.atom_indices], centres[carbons]) * signs[carbons]
    return np.asarray((volumes >= SMALLEST_VOLUME).all(1))


def write(name: str, sources: list[Path], output: Path) -> int:
    """Write one molecule's file; the number of its frames."""
    import openmm

    topology, positions, _ = molecule(name).build()
    features = features_from_topology(topology, positions=np.asarray(positions, float))
    runs: list[TrajectoryData] = []
    for source in sources:
        chunks = sorted((source / name).glob("chunk_*.npz"))
        if not chunks:
            continue
        frames = np.concatenate([np.load(chunk)["positions"] for chunk in chunks])
        for ladder in frames[len(frames) // 10 :].transpose(1, 0, 2, 3):
            x = ladder[right_handed(ladder, features)]
            if len(x) > 1:
                time_ps = np.arange(1.0, len(x) + 1)
                kelvin = molecule(name).temperature
                runs.append(TrajectoryData(x, time_ps, "exchange", kelvin, "beta", len(runs)))
    if runs:
        empty = openmm.XmlSerializer.serialize(openmm.System())
        write_trajectory_file(output / f"{name.lower()}.h5", name, topology, empty, {}, runs)
    return sum(len(run.positions_nm) for run in runs)


def main() -> None:
    """Parse the command line; write what has frames and no file yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chunks", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    names = sorted({chunk.parent.name for top in given.chunks for chunk in top.glob("*/chunk_*")})
    for name in names:
        if not (given.output / f"{name.lower()}.h5").exists():
            print(name, write(name, given.chunks, given.output))


if __name__ == "__main__":
    main()
