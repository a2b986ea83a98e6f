"""A kinase and a ligand from SDF: OpenFF parameters, a short run judged, and moves of the ligand.

    python ligand_in_protein.py FOLDER [TITLE [STEPS]]

FOLDER holds `01_protein/crd/protein.pdb` and `02_ligands/ligands.sdf`, as the targets of the
protein-ligand benchmark do (tyk2, say); TITLE is that of a ligand in the SDF file, the first by
default. Needs the extra: pip install ".[ligands]". Takes minutes on two CPU cores, most of them for
the implicit solvent.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm import EnergyValidator
from atmos_openmm.sampling import HybridSampler
from atmos_openmm.systems import read_molecule
from atmos_openmm.systems.ligand_forcefield import register_ligands

folder = Path(sys.argv[1])
record = sys.argv[2] if len(sys.argv) > 2 else 0
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 100

molecule = read_molecule(
    [folder / "01_protein/crd/protein.pdb", folder / "02_ligands/ligands.sdf"], records=[record]
)
print(*molecule.notes, sep="\n")

# The crystal's box and water go, since there is no solvent here.
modeller = app.Modeller(molecule.topology, molecule.positions_nm * unit.nanometer)
modeller.deleteWater()
topology, positions = modeller.topology, modeller.positions
topology.setPeriodicBoxVectors(None)

# Amber 14 for the protein, OpenFF with NAGL charges for the ligand. A vacuum keeps this short: a
# generalised Born solvent takes seconds an evaluation for a protein on a CPU.
forcefield = app.ForceField("amber14-all.xml")
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
    nonbondedCutoff=1.2 * unit.nanometer,
    constraints=app.HBonds,
    hydrogenMass=1.5 * unit.dalton,
)

integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 5 / unit.picosecond, 2 * unit.femtoseconds
)
simulation = app.Simulation(topology, system, integrator, openmm.Platform.getPlatform("CPU"))
simulation.context.setPositions(positions)


def energy():
    state = simulation.context.getState(energy=True)
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


print(f"energy of the structure {energy():.1f} kJ/mol")
simulation.minimizeEnergy(maxIterations=50)
print(f"minimised               {energy():.1f} kJ/mol")
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(steps)
print(f"after {steps} steps         {energy():.1f} kJ/mol")
state = simulation.context.getState(positions=True)
frames = [positions, state.getPositions(asNumpy=True)]

# The structure as it was, and what the dynamics made of it.
validator = EnergyValidator(
    topology, system, relaxationIterations=20, ligands=molecule.molecules, platform="CPU"
)
frames_nm = np.array([frame.value_in_unit(unit.nanometer) for frame in frames])
print(validator.validateTrajectory(frames_nm).table())

# A few hybrid cycles: exact moves of the ligand's own torsions, with dynamics of everything.
ligand = [atom.index for atom in topology.atoms() if atom.residue.name in molecule.molecules]
with (
    tempfile.TemporaryDirectory() as place,
    HybridSampler.fromSimulation(
        simulation,
        None,
        Path(place) / "run",
        molecules=molecule.molecules,
        solute=ligand,
        acceptance="metropolis",
        density="uniform",
        jumpInterval=5,
        equilibrationSteps=0,
        minimize=False,
        platform="CPU",
        seed=1,
    ) as sampler,
):
    print(str(sampler.run(cycles=10)).split("\n\n")[0])  # averages of so few mean nothing
