"""A plain OpenMM script with learned jumps. The lines marked "new" are all that was added.

Run it as `python plain_openmm_script.py [STEPS]`.
"""

import sys
from pathlib import Path

from openmm import LangevinMiddleIntegrator
from openmm.app import DCDReporter, ForceField, HBonds, PDBFile, Simulation, StateDataReporter
from openmm.unit import amu, femtoseconds, kelvin, picosecond

from atmos_openmm import AtmosPropagator  # new

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20000
pdb = PDBFile(str(Path(__file__).with_name("alanine-dipeptide.pdb")))
forcefield = ForceField("amber14-all.xml", "implicit/gbn2.xml")
system = forcefield.createSystem(pdb.topology, constraints=HBonds, hydrogenMass=1.5 * amu)

propagator = AtmosPropagator("capped-amino-acids", pdb.topology, positions=pdb.positions)  # new
jumps = dict(system=system, jumpInterval=100, relaxation=[20], seed=1)  # new
integrator = propagator.createIntegrator(  # new: in place of LangevinMiddleIntegrator(
    300 * kelvin, 1 / picosecond, 4 * femtoseconds, **jumps
)  # new
assert isinstance(integrator, LangevinMiddleIntegrator)

simulation = Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy()
simulation.context.setVelocitiesToTemperature(300 * kelvin, 1)
simulation.reporters.append(DCDReporter("trajectory.dcd", 100))
simulation.reporters.append(
    StateDataReporter(
        sys.stdout, 1000, step=True, potentialEnergy=True, temperature=True, speed=True
    )
)
simulation.step(steps)

print(integrator.getNumAccepted(), "of", integrator.getNumProposed(), "jumps accepted")  # new
print("learned time:", integrator.getLearnedTime())  # new
