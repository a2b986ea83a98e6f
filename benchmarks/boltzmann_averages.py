"""Averages over the Boltzmann distribution: exact jumps beside MD, replica exchange and OPES.

    OMP_NUM_THREADS=1 nice python benchmarks/boltzmann_averages.py --references REFERENCES \
        --runs RUNS --molecules ALA,LEU,VAL,TYR --seeds 1,2,3 --seconds 60 --json averages.json

Capped amino acids (three letters) in amber14 and GBn2 at 300 K with MD at 4 fs, and tetrapeptides
(four letters) in their published setting, amber14 and OBC1 at 310 K without constraints, with MD
at 2.5 fs and heavier hydrogens. All methods of a seed take turns in one process and one thread,
each on its own clocks (processor and wall-clock time). A run that has its file in RUNS is not made
again, so a stopped benchmark goes on where it was.

References come from `benchmarks/boltzmann/references.py`; docs/benchmarks.md says what is counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
import warnings
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"  # before numpy and torch

from boltzmann.exact import AdaptedExact, Exact, HeadExact, SingleExact  # noqa: E402
from boltzmann.figures import method_figures, reference_figures, run_figures  # noqa: E402
from boltzmann.reference_data import Reference, Shape  # noqa: E402
from boltzmann.runs import Run, run_file, run_in_turns  # noqa: E402
from boltzmann.samplers import MolecularDynamics, Opes, ReplicaExchange  # noqa: E402
from boltzmann.tables import print_ratios, print_table  # noqa: E402

METHODS = {
    "md": MolecularDynamics,
    "exchange": ReplicaExchange,
    "opes": Opes,
    "exact_single": SingleExact,
    "exact_uniform": Exact,
    "exact_head": HeadExact,
    "exact_adapted": AdaptedExact,
}


def molecule_results(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run what is missing of one molecule; its figures."""
    methods = {m: METHODS[m] for m in options.methods.split(",")}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    run_in_turns(name, methods, seeds, options.seconds, options.runs)
    reference = Reference.read(options.references, Shape(name))
    results: dict[str, Any] = {"reference": reference_figures(reference), "methods": {}}
    for method in methods:
        runs = [Run.load(run_file(options.runs, name, method, seed)) for seed in seeds]
        results["methods"][method] = {
            **method_figures(runs, reference),
            "runs": [run_figures(run, reference) for run in runs],
        }
    return results


def main() -> None:
    """Parse the command line, run, print tables and ratios, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--references", type=Path, required=True, help="folder of references.py")
    parser.add_argument("--runs", type=Path, required=True, help="folder that keeps the runs")
    parser.add_argument("--molecules", default="ALA,LEU,VAL,TYR", help="by commas")
    parser.add_argument("--methods", default=",".join(METHODS), help="by commas")
    parser.add_argument("--seeds", default="1,2,3", help="by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each run")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results: dict[str, Any] = {
        "command": "python benchmarks/boltzmann_averages.py " + shlex.join(sys.argv[1:]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "molecules": {},
    }
    for name in options.molecules.split(","):
        found = molecule_results(name, options)
        results["molecules"][name] = found
        print_table(name, found)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    print_ratios(results["molecules"])


if __name__ == "__main__":
    main()
