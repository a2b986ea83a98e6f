"""The histogram of phi and psi that `atmos-openmm demo` compares with, from a long reference.

    python benchmarks/demo_reference.py REFERENCES/ALA

REFERENCES is the folder of `benchmarks/boltzmann/references.py`: replica exchange in temperature
and bias of ACE-ALA-NME in amber14-all with GBn2 at 300 K, four independent ladders whose coldest
replicas feel no bias. The frames of the cold replicas are counted in 36 x 36 bins; errors come from
the effective sample size over the ladders. The table is written into the package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from atmos_openmm.core.statistics import batch_means_error, split_r_hat, standard_error
from atmos_openmm.evaluation.known_ensemble import BINS, FORMAT, VERSION
from atmos_openmm.sampling.basins import find_basins
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import find_torsions

SEQUENCE = "ACE-ALA-NME"
TABLE = Path(__file__).parents[1] / "atmos_openmm/evaluation/tables/ACE-ALA-NME.json"
BURN_IN_CHUNKS = 1
BURN_IN = 0.05


def main() -> None:
    """Read the frames, count, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=TABLE)
    arguments = parser.parse_args()
    chunks = sorted(arguments.folder.glob("chunk_*.npz"))[BURN_IN_CHUNKS:]
    frames = np.concatenate([np.load(chunk)["positions"] for chunk in chunks])
    frames = frames[int(BURN_IN * len(frames)) :].transpose(1, 0, 2, 3)
    topology, _ = build_peptide(SEQUENCE, seed=1)
    torsions = find_torsions(topology)
    angles = np.array([torsions.measure(ladder) for ladder in frames])
    (basins,) = find_basins(torsions.names)
    pair = np.degrees(angles[..., basins.torsions])
    edges = [np.linspace(-180, 180, BINS + 1)] * 2
    counts = np.histogram2d(*pair.reshape(-1, 2).T, edges)[0].astype(int)
    labels = basins.assign(angles)
    populations = {}
    for code, name in enumerate(basins.names):
        inside = (labels == code).astype(float)
        populations[name] = {
            "population": round(float(inside.mean()), 5),
            "error": round(max(standard_error(inside), batch_means_error(inside)), 5),
            "r_hat": round(split_r_hat(inside), 4),
        }
    table = {
        "format": FORMAT,
        "version": VERSION,
        "molecule": SEQUENCE,
        "forcefield": ["amber14-all.xml", "implicit/gbn2.xml"],
        "temperature_k": 300.0,
        "method": "replica exchange in temperature (300 to 700 K) and in a bias on phi and psi, "
        f"{len(frames)} independent ladders; frames of the cold, unbiased replicas",
        "made_by": "benchmarks/boltzmann/references.py, counted by benchmarks/demo_reference.py",
        "frames": int(labels.size),
        "ladders": len(frames),
        "bins": BINS,
        "populations": populations,
        "counts": "phi from -180 degrees on in rows, psi in columns",
        "histogram": counts.tolist(),
    }
    lines = json.dumps({k: v for k, v in table.items() if k != "histogram"}, indent=2)[:-2]
    rows = ",\n    ".join(json.dumps(row, separators=(",", ":")) for row in counts.tolist())
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(f'{lines},\n  "histogram": [\n    {rows}\n  ]\n}}\n')
    print(json.dumps(populations, indent=2), labels.size)


if __name__ == "__main__":
    main()
