"""Time of the mdCATH panel for a protein of about 250 residues and 400 frames.

    python benchmarks/mdcath_panel.py mdcath_dataset_2hbaA00.h5 --json panel.json

The protein is five copies of the domain side by side, 260 residues, each with its frames in
another order, so that the copies do not move alike. Reference, oracle and one generator have 400
frames each; the error bars are those of the command (20 draws of ten blocks).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402
from openmm import app, unit  # noqa: E402

from atmos_openmm.data.sources import open_samples  # noqa: E402
from atmos_openmm.evaluation.atoms import AtomTable  # noqa: E402
from atmos_openmm.evaluation.ensemble import Ensemble  # noqa: E402
from atmos_openmm.evaluation.evaluate import evaluate  # noqa: E402
from atmos_openmm.evaluation.panel import Settings  # noqa: E402

COPIES = 5
FRAMES = 400
APART_NM = 6.0


def main() -> None:
    """Measure with and without error bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="mdCATH file with a trajectory of 400 frames")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sample = open_samples([arguments.source]).samples[0]
    frames = sample.frames.read(slice(None))
    modeller = app.Modeller(app.Topology(), [])
    single = sample.molecule().topology
    for _ in range(COPIES):
        modeller.add(single, frames[0] * unit.nanometer)
    topology = modeller.topology
    atoms = AtomTable.from_openmm(topology)
    shift = APART_NM * np.arange(COPIES)[:, None, None] * np.array([1.0, 0.0, 0.0])
    ensembles = []
    for seed, name in enumerate(("MD", "MD replica", "generator")):
        random = np.random.default_rng(seed)
        picked = [frames[random.permutation(len(frames))[:FRAMES]] for _ in range(COPIES)]
        x = np.concatenate([x + s for x, s in zip(picked, shift, strict=True)], axis=1)
        ensembles.append(Ensemble(name, atoms, x.astype(np.float32), (), 1000.0, topology))
    reference, oracle, generator = ensembles
    native = reference.positions_nm[0].astype(np.float64)
    rows = {}
    for name, resamples in (("without_errors", 0), ("with_errors", 20)):
        wall, cpu = time.perf_counter(), time.process_time()
        evaluate(
            reference,
            [generator],
            settings=Settings(native),
            panels=["mdcath"],
            oracles=[oracle],
            resamples=resamples,
        )
        rows[name] = {
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
    found = {
        "residues": len(atoms.protein_residues),
        "atoms": len(atoms),
        "frames": FRAMES,
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "load": os.getloadavg()[0],
        "rows": rows,
    }
    print(json.dumps(found, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
