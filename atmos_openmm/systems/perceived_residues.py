"""The chemistry of residues of topology files, which have no bond orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .ligand_perception import PerceptionError, assign_orders
from .modified import modified_molecule
from .residues import NUCLEOTIDES, find_template
from .selection import is_environment

__all__ = ["partial_charges", "perceive_residues", "unknown_residues"]


def perceive_residues(
    topology: Any,
    positions_nm: npt.NDArray[np.float64] | None,
    charges: Sequence[float],
    known: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """Tell which molecules the residues are that have no template, from bonds and hydrogens.

    Parameters
    ----------
    topology : openmm.app.Topology
        With all bonds and hydrogens.
    positions_nm : array [atoms, 3], optional
        Where handedness is taken from.
    charges : sequence of float
        Partial charge of each atom, whose sum over a molecule is its charge.
    known : mapping from residue name to RDKit Mol
        Residues that nothing is to be told of.

    Returns
    -------
    (dict, list of str)
        RDKit Mols with hydrogens by residue name, and what was found or could not be. A residue
        that has bonds to others is left out.
    """
    found: dict[str, Any] = {}
    notes: list[str] = []
    linked = {
        end.residue.index
        for bond in topology.bonds()
        if bond[0].residue is not bond[1].residue
        for end in (bond[0], bond[1])
    }
    bonds: dict[int, list[tuple[int, int]]] = {}
    for bond in topology.bonds():
        bonds.setdefault(bond[0].residue.index, []).append((bond[0].index, bond[1].index))
    for residue in unknown_residues(topology, known):
        name = residue.name
        if name in found or residue.index in linked:
            continue
        label = f"Residue {name} {residue.id}"
        try:
            mol = _molecule(residue, bonds.get(residue.index, []), positions_nm, charges)
        except PerceptionError as error:
            notes.append(f"{label}: its chemistry cannot be told from the files: {error}.")
            continue
        found[name] = mol
        notes.append(
            f"{label} is taken for {_smiles(mol)}, by its elements, bonds, hydrogens and charges; "
            "the files have no bond orders. An SDF file of it would tell them."
        )
    return found, notes


def partial_charges(system: Any) -> list[float] | None:
    """Charges of a System's particles in elementary charges; None where it has no such force."""
    import openmm

    force = next((f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)), None)
    if force is None:
        return None
    return [force.getParticleParameters(k)[0]._value for k in range(force.getNumParticles())]


def unknown_residues(topology: Any, known: Mapping[str, Any]) -> list[Any]:
    """Residues that neither a template nor `known` tells of; no environment, no nucleotides."""
    return [
        residue
        for residue in topology.residues()
        if residue.name not in known
        and not is_environment(residue)
        and find_template(residue.name) is None
        and modified_molecule(residue.name) is None
        and residue.name.strip().upper() not in NUCLEOTIDES
    ]


def _molecule(
    residue: Any,
    bonds: Sequence[tuple[int, int]],
    positions_nm: npt.NDArray[np.float64] | None,
    charges: Sequence[float],
) -> Any:
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    atoms = [a for a in residue.atoms() if a.element is not None]
    number = {a.index: k for k, a in enumerate(atoms)}
    mol = Chem.RWMol()
    for atom in atoms:
        made = Chem.Atom(atom.element.atomic_number)
        made.SetNoImplicit(True)
        mol.AddAtom(made)
    for i, j in bonds:
        mol.AddBond(number[i], number[j], Chem.BondType.SINGLE)
    if len(Chem.GetMolFrags(mol)) > 1:
        raise PerceptionError("its atoms are not all bonded to each other")
    if positions_nm is not None:
        conformer = Chem.Conformer(len(atoms))
        for k, atom in enumerate(atoms):
            conformer.SetAtomPosition(k, Point3D(*(10.0 * positions_nm[atom.index]).tolist()))
        mol.AddConformer(conformer)
    # Without hydrogens, bonds that are taken for double ones would make up for them.
    if not any(a.element.atomic_number == 1 for a in atoms):
        raise PerceptionError("it has no hydrogens")
    total = round(sum(charges[a.index] for a in atoms))
    return assign_orders(mol.GetMol(), total)


def _smiles(mol: Any) -> str:
    from rdkit import Chem

    return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))
