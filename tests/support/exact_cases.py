"""Small exact runs that tests share.

The test that kills a run also executes this file as a program, so that the run happens in a process
of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import sampling_cases as cases


def exact_sampler(folder: str | Path, propagator=None, **changes):
    """A small exact run on Reference: two walkers, five steps and four moves a cycle."""
    from atmos_openmm.sampling.hybrid import HybridSampler

    topology, system, positions = cases.dipeptide()
    arguments = {
        "acceptance": "metropolis",
        "temperature": 300.0,
        "stepSize": cases.STEP_PS,
        "walkers": 2,
        "jumpInterval": 5,
        "moves": 4,
        "seed": 11,
        "platform": "Reference",
        "equilibrationSteps": 20,
        "commitSeconds": 0.0,
    }
    arguments.update(changes)
    system = arguments.pop("system", system)
    positions = arguments.pop("positions", positions)
    return HybridSampler(topology, system, positions, propagator, folder, **arguments)


if __name__ == "__main__":
    # python exact_cases.py FOLDER CYCLES: a run that says each cycle on stdout.
    with exact_sampler(sys.argv[1]) as sampler:
        sampler.run(cycles=int(sys.argv[2]), progress=lambda p: print("cycle", p.cycle, flush=True))
