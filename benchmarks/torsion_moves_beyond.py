"""Moves of torsions beyond small peptides: folded molecules in implicit solvent, and water.

    python benchmarks/torsion_moves_beyond.py STRUCTURE... --water LEU,ALV --seconds 60

STRUCTURE is a PDB file, made with amber14 and GBn2, or an AMBER topology with a file of
coordinates: TOPOLOGY.parm7:COORDINATES. A sequence for --water is put into TIP3P with PME. For each
kind of move alone, and all in their usual shares: the accepted share, what a trial costs in MD
steps, how far dynamics and moves together take the torsions (mean square change of their cosines
and sines from one jump to the next, which is 2 where they are drawn anew), and the sum of what
moves alone change in a processor second of theirs. --trials 1 makes ten moves, each tested with
the energy, in place of what suits the System.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from dataclasses import dataclass
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

KINDS = ("residue", "backbone", "sidechain", "torsion", "small", "all kinds")
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


def equilibrated(system: openmm.System, x: Any, seconds: float) -> Any:
    """Positions after some MD."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(1)
    context = context_of(system, integrator, x)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
    context.setVelocitiesToTemperature(300.0, 1)
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        integrator.step(50)
    return context.getState(positions=True).getPositions(asNumpy=True)._value


@dataclass
class Measured:
    """What moves of a kind do."""

    accepted: float
    series: tuple[int, int]
    steps_a_trial: float
    change_a_jump: float
    change_a_second: float


def measure(
    molecule: Molecule, torsions: Torsions, x: Any, kind: str, given: argparse.Namespace
) -> Measured:
    """Run moves of one kind, with dynamics in between."""
    _, _, system = molecule
    density = TorsionDensity.uniform(torsions.names, torsions.block_sizes, torsions.previous)
    integrator = AtmosIntegrator(300.0, 1.0, STEP_PS)
    integrator.setRandomNumberSeed(1)
    integrator.setJumpSeed(1)
    integrator.setAcceptanceMode("metropolis")
    integrator.setTorsionMoves(torsions, density)
    if kind in KINDS[:-1]:
        integrator.setMoveShares({kind: 1.0})
    integrator.setSmallMoveWidth(SMALL_DEGREES * unit.degree)
    moves, trials = chosen_moves(system, None, given.trials)
    integrator.setMovesPerJump(moves)
    integrator.setTrialsPerMove(trials)
    integrator.setJumpInterval(INTERVAL)
    context = context_of(system, integrator, x)

    def change(before: Any) -> tuple[Any, Any]:
        now = context.getState(positions=True).getPositions(asNumpy=True)._value
        after = torsions.measure(now[None])[0]
        return after, 2 - 2 * np.cos(after - before)

    # The jump is made in the step after the interval; the one before says what a step changes.
    integrator.step(1)
    md = jumping = 0.0
    by_both, by_moves = [], []
    start, _ = change(0.0)
    while md + jumping < given.seconds:
        begun = time.process_time()
        integrator.step(INTERVAL - 2)
        between = time.process_time() - begun
        before, _ = change(0.0)
        begun = time.process_time()
        integrator.step(1)
        between += time.process_time() - begun
        before, of_a_step = change(before)
        begun = time.process_time()
        integrator.step(1)
        a_step = between / (INTERVAL - 1)
        jumping += time.process_time() - begun - a_step
        md += between + a_step
        _, moved = change(before)
        start, changed = change(start)
        by_moves.append(moved.sum() - of_a_step.sum())
        by_both.append(changed.mean())
    statistics = integrator.getMoveStatistics().values()
    jumps = len(by_moves)
    return Measured(
        sum(accepted for _, accepted in statistics) / sum(tried for tried, _ in statistics),
        integrator.getSeriesStatistics(),
        jumping / (jumps * moves * trials) / (md / (jumps * INTERVAL)),
        float(np.mean(by_both)),
        float(np.sum(by_moves)) / jumping,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", nargs="*")
    parser.add_argument("--water", default="", help="sequences of capped peptides, by commas")
    parser.add_argument("--seconds", type=float, default=60.0, help="processor time of each run")
    parser.add_argument("--trials", type=int, help="of each move; by default what suits the System")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = [(path.split("/")[-1], from_file, path) for path in given.structures]
    cases += [(f"{name} in water", in_water, name) for name in given.water.split(",") if name]
    columns = "molecule, particles, torsions, kind, accepted, series accepted, MD steps a trial, "
    columns += "change of torsions a jump, change by moves a second of theirs"
    print("| " + columns.replace(", ", " | ") + " |\n" + "|--" * 9 + "|")
    for name, make, argument in cases:
        molecule = make(argument)
        topology, start, system = molecule
        x = equilibrated(system, start, given.seconds)
        torsions = find_torsions(topology, system=system)
        for kind in KINDS:
            found = measure(molecule, torsions, x, kind, given)
            tested, passed = found.series
            of_series = f"{passed / tested:.3f}" if tested else ""
            print(
                f"| {name} | {system.getNumParticles()} | {len(torsions)} | {kind} | "
                f"{found.accepted:.4f} | {of_series} | {found.steps_a_trial:.3f} | "
                f"{found.change_a_jump:.3f} | {found.change_a_second:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
