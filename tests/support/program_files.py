"""Small files of AMBER, GROMACS and CHARMM, which ParmEd writes from a built peptide."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.peptides import build_peptide

FIELD = ("amber14/protein.ff14SB.xml",)


def structure(sequence: str = "ACE-ALA-NME", width_nm: float | None = None) -> Any:
    """A peptide with Amber's parameters as a ParmEd Structure, in a box where a width is given."""
    import parmed
    from parmed.tools.changeradii import ChRad

    topology, positions = build_peptide(sequence)
    system = create_system(topology, FIELD, constraints=None, hydrogen_mass_dalton=None)
    made = parmed.openmm.load_topology(topology, system, xyz=np.asarray(positions) * 10.0)
    ChRad(made, "mbondi2")
    if width_nm:
        made.box = [width_nm * 10.0] * 3 + [90.0] * 3
    return made


def save(made: Any, *paths: Path) -> list[Path]:
    """Write a Structure to files, each by its suffix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            kind = {".gro": "gro", ".top": "gromacs", ".nc": "NCRST"}.get(path.suffix)
            made.save(str(path), overwrite=True, **({"format": kind} if kind else {}))
    return list(paths)


def charmm(made: Any, folder: Path) -> list[Path]:
    """Write psf, CHARMM parameters and crd of a Structure; each atom is of a type of its own."""
    import parmed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = made.copy(parmed.Structure)
        # Amber's impropers are periodic, which CHARMM's are not.
        for torsion in [d for d in made.dihedrals if d.improper]:
            torsion.delete()
            made.dihedrals.remove(torsion)
        for k, atom in enumerate(made.atoms):
            kind = parmed.AtomType(f"T{k}", k + 1, atom.mass, atom.atomic_number)
            kind.set_lj_params(atom.epsilon, atom.rmin, atom.epsilon_14, atom.rmin_14)
            atom.type, atom.atom_type = kind.name, kind
        paths = [folder / f"charmm{suffix}" for suffix in (".psf", ".rtf", ".par", ".crd")]
        made.save(str(paths[0]), overwrite=True)
        parameters = parmed.charmm.CharmmParameterSet.from_structure(made)
        parameters.write(top=str(paths[1]), par=str(paths[2]))
        made.save(str(paths[3]), overwrite=True, format="charmmcrd")
    return paths


def energy(system: openmm.System, positions_nm: Any) -> float:
    """Potential energy in kJ/mol."""
    small = system.getNumParticles() < 1000
    platform = openmm.Platform.getPlatform("Reference" if small else "CPU")
    properties = {} if small else {"Threads": "1", "DeterministicForces": "true"}
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)
    context.setPositions(np.asarray(positions_nm) * unit.nanometer)
    return context.getState(getEnergy=True).getPotentialEnergy()._value
