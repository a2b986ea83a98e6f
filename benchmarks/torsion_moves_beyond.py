"""Moves of torsions beyond small peptides: folded molecules in implicit solvent, and water.

    python benchmarks/torsion_moves_beyond.py STRUCTURE... --water LEU,ALV --seconds 60

STRUCTURE is a PDB file, made with amber14 and GBn2, or an AMBER topology with a file of
coordinates: TOPOLOGY.parm7:COORDINATES. A sequence for --water is put into TIP3P with PME. For each
kind of move alone: its accepted share, what a trial costs in MD steps, and how far dynamics and
moves together take the torsions (mean square change of their cosines and sines from one jump to
the next, which is 2 where they are drawn anew).
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from typing import Any

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402
import openmm  # noqa: E402
from openmm import app, unit  # noqa: E402

from atmos_openmm.density import TorsionDensity  # noqa: E402
from atmos_openmm.integrator import AtmosIntegrator  # noqa: E402
from atmos_openmm.surrogate import chosen_moves  # noqa: E402
from atmos_openmm.systems.forcefield import create_system  # noqa: E402
from atmos_openmm.systems.peptides import build_peptide  # noqa: E402
from atmos_openmm.systems.torsions import Torsions, find_torsions  # noqa: E402

KINDS = ("residue", "backbone", "sidechain", "torsion", "small")
SMALL_DEGREES = 20.0
INTERVAL = 20
STEP_PS = 0.004
Molecule = tuple[Any, Any, openmm.System]


def from_file(path: str) -> Molecule:
    """A folded molecule in GBn2."""
    if ":" in path:
        import mdtraj

        topology_file, coordinates = path.split(":")
        parameters = app.AmberPrmtopFile(topology_file)
        frame = mdtraj.load(coordinates, top=topology_file)[0]
        system = parameters.createSystem(
            nonbondedMethod=app.NoCutoff,
            constraints=app.HBonds,
            implicitSolvent=app.GBn2,
            hydrogenMass=1.5 * unit.amu,
        )
        return parameters.topology, frame.xyz[0].astype(float), system
    pdb = app.PDBFile(path)
    modeller = app.Modeller(pdb.topology, pdb.positions)
    names = ("amber14-all.xml", "implicit/gbn2.xml")
    modeller.delete([a for a in modeller.topology.atoms() if a.element.symbol == "H"])
    modeller = app.Modeller(with_caps(modeller.topology), modeller.positions)
    modeller.addHydrogens(app.ForceField(*names))
    system = create_system(modeller.topology, names, hydrogen_mass_dalton=1.5)
    return modeller.topology, modeller.positions.value_in_unit(unit.nanometer), system


def with_caps(old: Any) -> Any:
    """A topology whose caps are residues: CHARMM's files have them in the first and the last."""
    caps = {"CAY": ("ACE", "CH3"), "CY": ("ACE", "C"), "OY": ("ACE", "O")}
    caps |= {"NT": ("NME", "N"), "CAT": ("NME", "C")}
    new, atoms = app.Topology(), {}
    for chain in old.chains():
        there = new.addChain(chain.id)
        residues: dict[Any, Any] = {}
        # A cap behind its residue is the last residue, one before it the first: by order of atoms.
        for atom in chain.atoms():
            residue, name = caps.get(atom.name, (atom.residue.name, atom.name))
            key = (residue, None if atom.name in caps else atom.residue.index)
            if key not in residues:
                residues[key] = new.addResidue(residue, there)
            atoms[atom] = new.addAtom(name, atom.element, residues[key])
    new.createStandardBonds()
    return new


def in_water(sequence: str) -> Molecule:
    """A capped peptide in TIP3P with PME."""
    topology, positions = build_peptide(sequence, caps=True)
    field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.addSolvent(field, padding=0.9 * unit.nanometer)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=0.9 * unit.nanometer,
        constraints=app.HBonds,
        hydrogenMass=1.5 * unit.amu,
    )
    return modeller.topology, modeller.positions.value_in_unit(unit.nanometer), system


def context_of(system: openmm.System, integrator: openmm.Integrator, x: Any) -> openmm.Context:
    """A Context at positions, with velocities."""
    platform = openmm.Platform.getPlatform("CPU")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"})
    context.setPositions(x)
    context.setVelocitiesToTemperature(300.0, 1)
    return context


def equilibrated(system: openmm.System, x: Any, seconds: float) -> tuple[Any, float]:
    """Positions after some MD, and processor seconds a step."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(1)
    context = context_of(system, integrator, x)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
    context.setVelocitiesToTemperature(300.0, 1)
    begun, steps = time.process_time(), 0
    while time.process_time() - begun < seconds:
        integrator.step(50)
        steps += 50
    a_step = (time.process_time() - begun) / steps
    return context.getState(positions=True).getPositions(asNumpy=True)._value, a_step


def measure(molecule: Molecule, torsions: Torsions, x: Any, kind: str, seconds: float) -> Any:
    """Run moves of one kind; their accepted share, change a jump, seconds a jump, series."""
    topology, _, system = molecule
    density = TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)
    integrator = AtmosIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(1)
    integrator.setJumpSeed(1)
    integrator.setAcceptanceMode("metropolis")
    integrator.setTorsionMoves(torsions, density)
    integrator.setMoveShares({kind: 1.0})
    integrator.setSmallMoveWidth(SMALL_DEGREES * unit.degree)
    moves, trials = chosen_moves(system, None, None)
    integrator.setMovesPerJump(moves)
    integrator.setTrialsPerMove(trials)
    integrator.setJumpInterval(INTERVAL)
    context = context_of(system, integrator, x)
    begun, jumps, change = time.process_time(), 0, []
    before = torsions.measure(np.asarray(x)[None])[0]
    while time.process_time() - begun < seconds:
        integrator.step(INTERVAL)
        jumps += 1
        now = context.getState(positions=True).getPositions(asNumpy=True)._value
        after = torsions.measure(now[None])[0]
        change.append(2 - 2 * np.cos(after - before))
        before = after
    a_jump = (time.process_time() - begun) / jumps
    proposed, accepted = integrator.getMoveStatistics()[kind]
    series = integrator.getSeriesStatistics()
    return accepted / proposed, float(np.mean(change)), a_jump, moves * trials, series


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", nargs="*")
    parser.add_argument("--water", default="", help="sequences of capped peptides, by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each run")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = [(path.split("/")[-1], from_file, path) for path in given.structures]
    cases += [(f"{name} in water", in_water, name) for name in given.water.split(",") if name]
    columns = "molecule, particles, torsions, kind, accepted, series accepted, MD steps a trial, "
    columns += "change of torsions a jump"
    print("| " + columns.replace(", ", " | ") + " |\n" + "|--" * 8 + "|")
    for name, make, argument in cases:
        molecule = make(argument)
        topology, start, system = molecule
        x, a_step = equilibrated(system, start, given.seconds)
        torsions = find_torsions(topology, system=system)
        for kind in KINDS:
            share, change, a_jump, trials, series = measure(
                molecule, torsions, x, kind, given.seconds
            )
            cost = (a_jump - INTERVAL * a_step) / trials / a_step
            of_series = f"{series[1] / series[0]:.3f}" if series[0] else ""
            print(
                f"| {name} | {system.getNumParticles()} | {len(torsions)} | {kind} | {share:.4f} | "
                f"{of_series} | {cost:.3f} | {change:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
