"""How well densities describe torsions that none of them saw: log likelihood per frame, in nats.

For each trajectory file: uniform; a mixture fitted to frames of the diffusion model; the torsion
head, which draws no frame; and, as an upper bound, a mixture fitted to the molecular dynamics
itself, halves of which (pieces of 50 frames in turn) are held out from each other.

    python benchmarks/torsion_densities.py FILES... --model MODEL.atmos --frames 300
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402

from atmos_openmm.density import TorsionDensity  # noqa: E402
from atmos_openmm.propagator import AtmosPropagator  # noqa: E402
from atmos_openmm.systems.torsions import find_torsions  # noqa: E402
from atmos_openmm.trajectories.layout import TrajectoryFile  # noqa: E402

PIECE = 50


def measure(path: Path, model: str, frames: int, lag_ps: float) -> dict[str, object]:
    """Score the densities of the molecule of one trajectory file on its coldest frames."""
    with TrajectoryFile(path) as file:
        coldest = min(t.temperature_kelvin for t in file.trajectories)
        chosen = [t for t in file.trajectories if t.temperature_kelvin == coldest]
        kinds = {t.kind for t in chosen}
        kind = "dynamics" if "dynamics" in kinds else "exchange"
        x = np.concatenate([t.positions() for t in chosen if t.kind == kind]).astype(float)
        topology, name = file.topology, file.name
    torsions = find_torsions(topology, positions=x[0])
    angles = torsions.measure(x)
    layout = (torsions.names, torsions.block_sizes, torsions.previous)
    propagator = AtmosPropagator(model, topology, positions=x[0], lag=lag_ps, temperature=coldest)

    def score(density: TorsionDensity, where: np.ndarray | slice = slice(None)) -> float:
        return float(density.log_density(angles[where]).mean())

    found: dict[str, object] = {"molecule": name, "torsions": len(torsions)}
    found["uniform"] = score(TorsionDensity.uniform(*layout))
    if frames:
        begun = time.process_time()
        drawn = TorsionDensity.from_model(
            propagator, torsions, x[0], frames=frames, cache=False, seed=1
        )
        found["model frames"] = score(drawn)
        found["model CPU s"] = time.process_time() - begun
    begun = time.process_time()
    found["head"] = score(propagator.torsionDensity(torsions=torsions))
    found["head CPU s"] = time.process_time() - begun
    half = (np.arange(len(angles)) // PIECE) % 2 == 0
    fits = [(TorsionDensity.from_angles(angles[part], *layout), ~part) for part in (half, ~half)]
    found["fitted to MD"] = float(np.mean([score(fit, rest) for fit, rest in fits]))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", required=True, help="A model file with a torsion head.")
    parser.add_argument("--frames", type=int, default=300, help="Of the model; 0: none.")
    parser.add_argument("--lag", type=float, default=5000.0, help="In ps.")
    given = parser.parse_args()
    for number, path in enumerate(given.files):
        row = measure(path, given.model, given.frames, given.lag)
        if number == 0:
            print("| " + " | ".join(row) + " |\n" + "|--" * len(row) + "|")
        shown = [f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    main()
