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
        "trials": 1,
        "seed": 11,
        "platform": "Reference",
        "equilibrationSteps": 20,
        "commitSeconds": 0.0,
    }
    arguments.update(changes)
    system = arguments.pop("system", system)
    positions = arguments.pop("positions", positions)
    return HybridSampler(topology, system, positions, propagator, folder, **arguments)


def frames(folder, walker):
    """Positions [F, P, 3] of a walker's trajectory, nm."""
    import mdtraj

    path = next(Path(folder).glob(f"trajectory_{walker:04d}.*"))
    top = mdtraj.Topology.from_openmm(cases.dipeptide()[0])
    return mdtraj.load(str(path), top=top).xyz


def assert_same_run(first, second):
    """Two folders hold the same frames and rows, to the bit."""
    import numpy as np

    from atmos_openmm.sampling import read_exact_run

    mine, other = read_exact_run(first), read_exact_run(second)
    for table in ("moves", "frames"):
        for column, values in getattr(mine, table).items():
            np.testing.assert_array_equal(values, getattr(other, table)[column], err_msg=column)
    for walker in range(2):
        np.testing.assert_array_equal(frames(first, walker), frames(second, walker))


def system_of_phi(height: float):
    """The dipeptide with bonds, angles and a potential of phi alone, height (1 - cos(phi + 0.8)).

    Populations are integrals over one angle then.
    """
    import copy

    import openmm

    from atmos_openmm.systems.torsions import find_torsions

    topology, full, positions = cases.dipeptide()
    system = openmm.System()
    for k in range(full.getNumParticles()):
        system.addParticle(full.getParticleMass(k))
    for force in full.getForces():
        if isinstance(force, (openmm.HarmonicBondForce, openmm.HarmonicAngleForce)):
            system.addForce(copy.deepcopy(force))
    # Hydrogens' bonds were constraints.
    stiff = openmm.HarmonicBondForce()
    for k in range(full.getNumConstraints()):
        i, j, length = full.getConstraintParameters(k)
        stiff.addBond(i, j, length, 2e5)
    system.addForce(stiff)
    torsions = find_torsions(topology, positions=positions, system=system)
    phi = openmm.CustomTorsionForce(f"{height} * (1 - cos(theta + 0.8))")
    phi.addTorsion(*map(int, torsions.atoms[0]), [])
    system.addForce(phi)
    return topology, system, positions, torsions


if __name__ == "__main__":
    # python exact_cases.py FOLDER CYCLES: a run that says each cycle on stdout.
    with exact_sampler(sys.argv[1]) as sampler:
        sampler.run(cycles=int(sys.argv[2]), progress=lambda p: print("cycle", p.cycle, flush=True))
