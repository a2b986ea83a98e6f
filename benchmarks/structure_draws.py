"""Time of draws from PDB entries: frame and mask of one entry after the other.

    OMP_NUM_THREADS=1 python benchmarks/structure_draws.py ENTRY.cif [--entries 6] [--draws 60]

The entry is copied under as many names. Opening it and making its features comes first and is told
apart; a draw is what training asks for then, whose features are kept by whoever draws.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from atmos_openmm.data.sources import open_samples


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("entry", type=Path)
    parser.add_argument("--entries", type=int, default=6)
    parser.add_argument("--draws", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{k}abc{arguments.entry.suffix}" for k in range(arguments.entries)]
        for path in paths:
            shutil.copy(arguments.entry, path)
        open_samples(paths[:1]).samples[0].features("heavy")  # imports, templates
        begun = time.perf_counter()
        samples = open_samples(paths).samples
        opened = time.perf_counter()
        features = [sample.features("heavy") for sample in samples]
        made = time.perf_counter()
        for number in range(arguments.draws):
            k = number % len(samples)
            samples[k].positions_nm(0, features[k])
            samples[k].resolved(features[k])
        drawn = time.perf_counter()
    for what, seconds, count in (
        ("opening", opened - begun, len(samples)),
        ("features", made - opened, len(samples)),
        ("draw", drawn - made, arguments.draws),
    ):
        print(f"{what:9s} {1e3 * seconds / count:9.3f} ms each")


if __name__ == "__main__":
    main()
