"""A kinase and a ligand from SDF: OpenFF parameters for the ligand, a short run, its frames judged.

    python ligand_in_protein.py FOLDER [TITLE [STEPS]]

FOLDER holds `01_protein/crd/protein.pdb` and `02_ligands/ligands.sdf`, as the targets of the
protein-ligand benchmark do (tyk2, say); TITLE is that of a ligand in the SDF file, the first by
default. Needs the extra: pip install ".[ligands]". Takes minutes on two CPU cores, most of them for
the implicit solvent.
"""

import sys
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm import EnergyValidator
from atmos_openmm.systems import read_molecule
from atmos_openmm.systems.ligand_forcefield import register_ligands

folder = Path(sys.argv[1])
record = sys.argv[2] if len(sys.argv) > 2 else 0
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 100

molecule = read_molecule(
    [folder / "01_protein/crd/protein.pdb", folder / "02_ligands/ligands.sdf"], records=[record]
)
print(*molecule.notes, sep="\n")

# The crystal's box and water go, since the solvent is implicit.
modeller = app.Modeller(molecule.topology, molecule.positions_nm * unit.nanometer)
modeller.deleteWater()
topology, positions = modeller.topology, modeller.positions
topology.setPeriodicBoxVectors(None)

# Amber 14 for the protein, OpenFF with NAGL charges for the ligand, GBn2 for both.
forcefield = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
notes = register_ligands(
    forcefield,
    molecule.molecules,
    name="openff-2.2.1",
    charges="nagl",
    progress=lambda line: print(line, file=sys.stderr),
)
print(*notes, sep="\n")
system = forcefield.createSystem(
    topology,
    nonbondedMethod=app.CutoffNonPeriodic,
    nonbondedCutoff=1.6 * unit.nanometer,
    constraints=app.HBonds,
    hydrogenMass=1.5 * unit.dalton,
)

integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtoseconds
)
simulation = app.Simulation(topology, system, integrator)
simulation.context.setPositions(positions)


def energy():
    state = simulation.context.getState(energy=True)
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


print(f"energy of the structure {energy():.1f} kJ/mol")
simulation.minimizeEnergy(maxIterations=10)
print(f"minimised               {energy():.1f} kJ/mol")
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(steps)
print(f"after {steps} steps         {energy():.1f} kJ/mol")
state = simulation.context.getState(positions=True)
frames = [positions, state.getPositions(asNumpy=True)]

# The structure as it was, and what the dynamics made of it.
validator = EnergyValidator(topology, system, relaxationIterations=5)
frames_nm = np.array([frame.value_in_unit(unit.nanometer) for frame in frames])
print(validator.validateTrajectory(frames_nm).table())
