"""Ligands as Topologies, made-up parameters of them, and energies by force."""

from __future__ import annotations

import importlib.util
from xml.etree import ElementTree as Tree

import numpy as np
import openmm
import pytest
from openmm import app
from rdkit import Chem

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("openmmforcefields", "openff")),
    reason="the extra [ligands] is not installed",
)

KINDS = {
    "p-xylene": "Cc1ccc(C)cc1",
    "benzamidinium": "NC(=[NH2+])c1ccccc1",
    "halogenated": "CC(=O)Nc1ccc(Cl)c(F)c1Br",
    "several rings": "Cn1c(=O)c2c(ncn2Cc2ccccc2)n(C)c1=O",
}


def topology_of(*ligands, order=None, apart_nm=3.0):
    """A Topology of (residue name, molecule) pairs, side by side, and positions in nm.

    `order` shuffles the atoms of each residue; their names say nothing.
    """
    topology, positions = app.Topology(), []
    for place, (name, mol) in enumerate(ligands):
        residue = topology.addResidue(name, topology.addChain())
        numbers = list(range(mol.GetNumAtoms()))
        if order is not None:
            order.shuffle(numbers)
        atoms = {}
        for k, number in enumerate(numbers):
            element = app.Element.getByAtomicNumber(mol.GetAtomWithIdx(number).GetAtomicNum())
            atoms[number] = topology.addAtom(f"X{k}", element, residue)
        for bond in mol.GetBonds():
            topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
        positions.append(mol.GetConformer().GetPositions()[numbers] / 10 + apart_nm * place)
    return topology, np.concatenate(positions)


def made_up(smiles, forcefield="openff-2.2.1", charges="nagl"):
    """XML such as `make_parameters` gives, with the formal charges and nothing bonded."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    root = Tree.Element("ForceField")
    types, residues = Tree.SubElement(root, "AtomTypes"), Tree.SubElement(root, "Residues")
    scales = {"coulomb14scale": "0.833333", "lj14scale": "0.5"}
    nonbonded = Tree.SubElement(root, "NonbondedForce", scales)
    Tree.SubElement(nonbonded, "UseAttributeFromResidue", {"name": "charge"})
    residue = Tree.SubElement(residues, "Residue", {"name": smiles})
    for atom in mol.GetAtoms():
        kind, symbol = f"{smiles}#{atom.GetIdx()}", atom.GetSymbol()
        Tree.SubElement(
            types, "Type", {"name": kind, "class": kind, "element": symbol, "mass": "12.0"}
        )
        Tree.SubElement(nonbonded, "Atom", {"class": kind, "sigma": "0.3", "epsilon": "0.4"})
        charge = str(float(atom.GetFormalCharge()))
        name = str(atom.GetIdx())
        Tree.SubElement(residue, "Atom", {"name": name, "type": kind, "charge": charge})
    for bond in mol.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        Tree.SubElement(residue, "Bond", {f"atomName{k + 1}": str(a) for k, a in enumerate(ends)})
    return Tree.tostring(root, encoding="unicode")


def energies(system, positions_nm):
    """Energy of each kind of force in kJ/mol, on the Reference platform."""
    for k, force in enumerate(system.getForces()):
        force.setForceGroup(k)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(positions_nm)
    return {
        type(force).__name__: context.getState(energy=True, groups={k}).getPotentialEnergy()._value
        for k, force in enumerate(system.getForces())
        if not isinstance(force, openmm.CMMotionRemover)
    }
