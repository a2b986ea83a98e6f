"""Structures that the tests of hydrogen placement share, and what is measured on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.hydrogen_plan import KINDS, HydrogenPlan, plan_hydrogens
from atmos_openmm.systems.peptides import build_peptide

SHARED = Path(
    os.environ.get("ATMOS_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)

PEPTIDES = (
    "ACE-ARG-ASN-ASP-CYS-GLN-NME",
    "ACE-GLU-GLY-HID-ILE-LEU-LYS-NME",
    "MET-PHE-PRO-SER-THR",
    "ACE-TRP-TYR-VAL-HIP-ASH-NME",
    "ACE-GLH-LYN-HIE-ALA-NME",
)
"""Together every residue that `systems.peptides` builds."""


def heavy_atoms(topology) -> np.ndarray:
    """Topology indices of the heavy atoms."""
    return np.array([a.index for a in topology.atoms() if a.element.atomic_number > 1])


def platform() -> openmm.Platform:
    return openmm.Platform.getPlatform("CPU")


@dataclass(frozen=True, eq=False)
class Relaxer:
    """A System's short relaxations."""

    system: openmm.System
    heavy: np.ndarray

    def run(self, positions: np.ndarray, iterations: int, hold_heavy: bool = False) -> np.ndarray:
        """Minimise, [P, 3] nm; with heavy atoms held, hydrogens alone move."""
        system = self.system
        if hold_heavy:
            system = openmm.XmlSerializer.clone(system)
            for i in self.heavy.tolist():
                system.setParticleMass(i, 0.0)
        context = openmm.Context(
            system, openmm.VerletIntegrator(0.001), platform(), {"Threads": "1"}
        )
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context, 1.0, iterations)
        return np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)

    def heavy_moves(self, positions: np.ndarray, iterations: int) -> tuple[float, float]:
        """RMSD and largest move (nm) of heavy atoms in a short relaxation, hydrogens first."""
        settled = self.run(positions, 100, hold_heavy=True)
        after = self.run(settled, iterations)
        moves = np.linalg.norm((after - positions)[self.heavy], axis=1)
        return float(np.sqrt((moves**2).mean())), float(moves.max())


@lru_cache
def relaxed_peptide(sequence: str) -> tuple[app.Topology, Relaxer, np.ndarray]:
    """A peptide at a minimum of amber14 and GBn2."""
    topology, positions = build_peptide(sequence)
    force_field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    relaxer = Relaxer(
        force_field.createSystem(topology, nonbondedMethod=app.NoCutoff), heavy_atoms(topology)
    )
    return topology, relaxer, relaxer.run(np.asarray(positions), 0)


@lru_cache
def plan_of(topology) -> HydrogenPlan:
    """The plan of a Topology, labels as the convention has them."""
    return plan_hydrogens(features_from_topology(topology))


def kinds(plan: HydrogenPlan) -> list[str]:
    """The kind of each group of a plan."""
    return [KINDS[k] for k in plan.kind]


def distances_by_kind(plan: HydrogenPlan, placed: np.ndarray, true: np.ndarray, alike: str):
    """How far each group's hydrogens are from where they should be: kind to list of (nm, group).

    Hydrogens of the kind `alike` may stand in each other's place.
    """
    found: dict[str, list[tuple[float, int]]] = {kind: [] for kind in KINDS}
    for g, kind in enumerate(kinds(plan)):
        atoms = plan.hydrogens[plan.group == g]
        table = np.linalg.norm(placed[atoms][:, None] - true[atoms][None], axis=-1)
        away = table.min(axis=1).max() if kind == alike else np.diag(table).max()
        found[kind].append((float(away), g))
    return found


def real_structure(name: str) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """A structure of the shared data with hydrogens (Modeller's where the file has none)."""
    if name == "t4l":
        folder = SHARED / "complexes" / "t4l_pxylene"
        amber = app.AmberPrmtopFile(str(folder / "complex.prmtop"))
        positions = app.AmberInpcrdFile(str(folder / "complex.crd")).positions
        system = amber.createSystem(nonbondedMethod=app.CutoffNonPeriodic)
        return amber.topology, system, np.array(positions.value_in_unit(unit.nanometer))
    files = {
        "3ptb": "structures/3ptb.cif",
        "mcl1": "complexes/plb/mcl1/01_protein/crd/protein.pdb",
        "tyk2": "complexes/plb/tyk2/01_protein/crd/protein.pdb",
    }
    path = SHARED / files.get(name, f"structures/{name}.pdb")
    loaded = (app.PDBxFile if path.suffix == ".cif" else app.PDBFile)(str(path))
    force_field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    modeller = app.Modeller(loaded.topology, loaded.positions)
    known = set(force_field._templates)
    modeller.delete(
        [r for r in modeller.topology.residues() if len(list(r.atoms())) < 4 or r.name == "BEN"]
    )
    assert {r.name for r in modeller.topology.residues()} <= known | {"HIS"}
    if not any(a.element.atomic_number == 1 for a in modeller.topology.atoms()):
        modeller.addHydrogens(force_field)
    system = force_field.createSystem(modeller.topology, nonbondedMethod=app.CutoffNonPeriodic)
    return modeller.topology, system, np.array(modeller.positions.value_in_unit(unit.nanometer))
