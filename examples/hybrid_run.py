"""A hybrid run with two walkers, kept in a folder, and what its record holds.

    python hybrid_run.py [FOLDER [CYCLES]]

Run it again with the same folder and more cycles to make the run longer.
"""

import sys

import numpy as np
from openmm import app, unit

from atmos_openmm import AtmosPropagator
from atmos_openmm.jump.proposal import REASONS
from atmos_openmm.sampling import HybridSampler
from atmos_openmm.sampling import read_run
from atmos_openmm.systems.peptides import build_peptide

folder = sys.argv[1] if len(sys.argv) > 1 else "hybrid-run"
cycles = int(sys.argv[2]) if len(sys.argv) > 2 else 300

topology, positions = build_peptide("ACE-VAL-NME", seed=1)
forcefield = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
system = forcefield.createSystem(topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.amu)
propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
print(propagator)

with HybridSampler(
    topology,
    system,
    positions,
    propagator,
    folder,
    walkers=2,
    jumpInterval=100,
    temperature=300 * unit.kelvin,
    relaxation=[20],
    seed=1,
) as sampler:
    summary = sampler.run(cycles=cycles)
print(summary)

# Every proposal is in the record, with its outcome and its energies.
proposals = read_run(folder).proposals
outcome = np.array(REASONS)[proposals["reason"]]
for name in sorted(set(outcome)):
    energies = proposals["energy_raw_kj_per_mol"][outcome == name]
    energies = energies[np.isfinite(energies)]
    median = f"median raw energy {np.median(energies):.1f} kJ/mol" if len(energies) else ""
    print(f"{name:12s} {np.count_nonzero(outcome == name):5d}  {median}")

# Segments that a jump opened are unbiased dynamics from a biased start.
segments = read_run(folder).segments
print(f"{len(segments['steps'])} stretches of dynamics, {int(segments['steps'].sum())} steps")
