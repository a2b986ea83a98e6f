"""Molecules from AMBER, GROMACS and CHARMM files: System, validation, and exact moves.

Reads the files, prints what was chosen, compares the energy with that of ParmEd's reader term by
term, validates frames (of the trajectory, where there is one) and runs a few cycles of moves that
draw torsions from the uniform density.

    python files_of_other_programs.py t4-lysozyme FOLDER   complex.prmtop, complex.crd
    python files_of_other_programs.py smn-tudor FOLDER     topol.top, com.pdb, com_traj.xtc
    python files_of_other_programs.py trpzip2 FOLDER       tz2.parm7, tz2.nc
    python files_of_other_programs.py psf FOLDER           files that ParmEd writes there

Two more arguments are the folder of the run and the number of cycles.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

from atmos_openmm import EnergyValidator
from atmos_openmm.sampling import HybridSampler
from atmos_openmm.systems import read_molecule
from atmos_openmm.systems.forcefield import make_system
from atmos_openmm.systems.parameter_readers import read_with_parmed
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.system_options import SystemOptions
from atmos_openmm.validation import decomposeEnergy

# Files, options of the System, frames to validate, and relaxation (iterations) in validation.
CASES = {
    "t4-lysozyme": (["complex.prmtop", "complex.crd"], {"implicit": "obc2"}, None, 0),
    "smn-tudor": (["topol.top", "com_traj.xtc"], {"cutoff_nm": 0.9}, "com_traj.xtc", 0),
    "trpzip2": (["tz2.parm7", "tz2.nc"], {"implicit": "obc2"}, "tz2.nc", 50),
    "psf": (["peptide.psf", "peptide.rtf", "peptide.par", "peptide.crd"], {}, None, 50),
}


def main(case, folder, run=None, cycles="5"):
    names, choices, trajectory, relaxation = CASES[case]
    if case == "psf":
        write_charmm_files(folder)
    paths = [folder / name for name in names]
    options = SystemOptions(**choices)
    started = time.perf_counter()
    molecule = read_molecule(paths)
    made = make_system(molecule, options)
    print(f"{molecule.name}: {molecule.topology.getNumAtoms()} atoms", *molecule.notes, sep="\n")
    print(*made.lines(), f"read and made in {time.perf_counter() - started:.1f} s", sep="\n")

    compare_with_parmed(molecule, paths, options)
    validate(molecule, made.system, trajectory and folder / trajectory, relaxation)

    with tempfile.TemporaryDirectory() as place:
        sampler = HybridSampler.fromFiles(
            paths,
            None,
            run or place,
            options=options,
            acceptance="metropolis",
            density="uniform",
            jumpInterval=5,
            stepSize=0.002,
            equilibrationSteps=10,
            minimize=False,
            seed=1,
        )
        with sampler:
            summary = sampler.run(cycles=int(cycles))
    print(str(summary).split("\n\n")[0])  # the averages of so few cycles mean nothing


def compare_with_parmed(molecule, paths, options):
    """Energies of the start, term by term, with all bonds flexible."""
    options = SystemOptions(**{**options.as_settings(), "constraints": "None"})
    box = molecule.topology.getPeriodicBoxVectors()
    parameters = read_with_parmed(paths[0], box, parameters=paths[1:-1])
    ours, theirs = (
        energies(system, molecule.positions_nm)
        for system in (make_system(molecule, options).system, parameters.create_system(options))
    )
    for name in ours:
        print(f"{name:20s}{ours[name]:16.4f} kJ/mol, by ParmEd{theirs[name]:16.4f}")


def energies(system, positions_nm):
    """Energies by kind of term: readers make different numbers of forces, with different names."""
    terms = dict.fromkeys(("Bond", "Angle", "Torsion", "Nonbonded", "GB", "all"), 0.0)
    split = decomposeEnergy(system, positions_nm, platform="CPU").energies_kj_per_mol
    for name, energy in split.items():
        terms[next(term for term in terms if term in name or term == "all")] += energy
    return {**terms, "all": sum(terms.values())}


def validate(molecule, system, trajectory, relaxation):
    """A table of verdicts on frames of the trajectory, or of short dynamics from the start."""
    validator = EnergyValidator(
        molecule.topology,
        system,
        relaxationIterations=relaxation,
        nativePositions=molecule.positions_nm,
        features=molecule.features(),
        platform="CPU",
    )
    frames, stride = trajectory, 20 if relaxation else 5
    if trajectory is None:
        frames, stride = np.array(list(dynamics(molecule, system))), 1
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mdtraj's advice on packages for NetCDF
        report = validator.validateTrajectory(frames, stride=stride)
    print(report.table())
    print(f"{report.num_frames} frames validated in {time.perf_counter() - started:.1f} s")


def dynamics(molecule, system, frames=3):
    """Frames of Langevin dynamics at 300 K, 0.02 ps apart, after minimisation."""
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.002)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"))
    context.setPositions(molecule.positions_nm)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=20)
    context.setVelocitiesToTemperature(300, 1)
    for _ in range(frames):
        integrator.step(10)
        state = context.getState(positions=True)
        yield state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def write_charmm_files(folder):
    """Write psf, parameters and coordinates of a built peptide, each atom of its own type."""
    import parmed
    from openmm import app

    topology, positions = build_peptide("ACE-ILE-HIS-NME", seed=1)
    system = app.ForceField("amber14/protein.ff14SB.xml").createSystem(topology)
    structure = parmed.openmm.load_topology(topology, system, xyz=np.asarray(positions) * 10.0)
    for torsion in [d for d in structure.dihedrals if d.improper]:  # CHARMM's are harmonic
        torsion.delete()
        structure.dihedrals.remove(torsion)
    for k, atom in enumerate(structure.atoms):
        kind = parmed.AtomType(f"T{k}", k + 1, atom.mass, atom.atomic_number)
        kind.set_lj_params(atom.epsilon, atom.rmin, atom.epsilon_14, atom.rmin_14)
        atom.type, atom.atom_type = kind.name, kind
    folder.mkdir(parents=True, exist_ok=True)
    structure.save(str(folder / "peptide.psf"), overwrite=True)
    structure.save(str(folder / "peptide.crd"), overwrite=True, format="charmmcrd")
    parameters = parmed.charmm.CharmmParameterSet.from_structure(structure)
    parameters.write(top=str(folder / "peptide.rtf"), par=str(folder / "peptide.par"))


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in CASES:
        raise SystemExit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:5])
