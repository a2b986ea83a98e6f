"""Validate generated frames of a peptide against its force field.

Makes a capped alanine, runs short molecular dynamics as the reference, spoils some frames the way
generators do (noise, a mirror image, a coordinate that is not a number), and prints the verdicts.
Any other trajectory goes where `generated` stands: a file that mdtraj reads, or an array in nm.

    python energy_validation.py [verdicts.csv]
"""

import sys

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm import EnergyValidator
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.validation import decomposeEnergy

topology, positions = build_peptide("A", caps=True, seed=1)
system = app.ForceField("amber14-all.xml").createSystem(
    topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
)

# The reference: what molecular dynamics at 300 K does on the same System.
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 5 / unit.picosecond, 2 * unit.femtoseconds
)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(
    topology, system, integrator, openmm.Platform.getPlatformByName("Reference")
)
simulation.context.setPositions(positions)
simulation.minimizeEnergy()
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(2000)
reference = []
for _ in range(150):
    simulation.step(100)
    state = simulation.context.getState(positions=True)
    reference.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
reference = np.array(reference)

# The frames to validate: six as they are, and three with a fault each.
generated = reference[::16][:9].copy()
generated[6] += np.random.default_rng(1).normal(scale=0.008, size=generated[6].shape)
generated[7] *= -1.0
generated[8, 3] = np.nan

print("Energy of the first frame by force:")
for name, energy in decomposeEnergy(system, generated[0]).energies_kj_per_mol.items():
    print(f"  {name:24s} {energy:10.3f} kJ/mol")

validator = EnergyValidator(topology, system, reference=reference, relaxationIterations=50)
report = validator.validateTrajectory(generated)
print(report.table())

path = sys.argv[1] if len(sys.argv) > 1 else "verdicts.csv"
report.toCsv(path)
print(f"\nAll frames: {path}")
