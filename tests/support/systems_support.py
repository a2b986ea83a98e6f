"""Topologies and files that the tests of `systems` share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openmm.app as app
import openmm.unit as unit

from atmos_openmm.systems.peptides import build_peptide

SHARED = Path(
    os.environ.get("ATMOS_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)
"""Real structures, where they are there."""


def rebuild(
    topology, atom_order=None, drop=(), skip_bonds=(), extra_bonds=(), rename=None, orders=True
):
    """Copy a Topology with atoms permuted inside their residues, dropped, or bonds changed.

    Returns the copy and, for each of its atoms, the old index.
    """
    rename = rename or {}
    copy = app.Topology()
    new, old = {}, []
    for chain in topology.chains():
        c = copy.addChain(chain.id)
        for residue in chain.residues():
            r = copy.addResidue(rename.get(residue.name, residue.name), c, residue.id)
            atoms = [a for a in residue.atoms() if a.index not in drop]
            if atom_order is not None:
                atoms = [atoms[k] for k in atom_order.permutation(len(atoms))]
            for a in atoms:
                name = rename.get((residue.name, a.name), a.name)
                new[a.index] = copy.addAtom(name, a.element, r)
                old.append(a.index)
    for bond in topology.bonds():
        i, j = bond[0].index, bond[1].index
        if i in new and j in new and (i, j) not in skip_bonds and (j, i) not in skip_bonds:
            copy.addBond(new[i], new[j], *((bond.type, bond.order) if orders else ()))
    for i, j in extra_bonds:
        copy.addBond(new[i], new[j])
    return copy, np.array(old)


def index_of(topology, residue, name):
    """Topology index of the named atom of the residue with this index."""
    return next(a.index for a in topology.atoms() if a.residue.index == residue and a.name == name)


def add_atoms(topology, residue, atoms, bonds):
    """Copy a Topology with atoms, (name, element symbol), and bonds by name added to a residue."""
    copy = app.Topology()
    new = {}
    for chain in topology.chains():
        c = copy.addChain(chain.id)
        for r in chain.residues():
            here = copy.addResidue(r.name, c, r.id)
            for a in r.atoms():
                new[a.index] = copy.addAtom(a.name, a.element, here)
            if r.index == residue:
                for name, symbol in atoms:
                    copy.addAtom(name, app.Element.getBySymbol(symbol), here)
    for bond in topology.bonds():
        copy.addBond(new[bond[0].index], new[bond[1].index])
    named = {a.name: a for a in copy.atoms() if a.residue.index == residue}
    for one, two in bonds:
        copy.addBond(named[one], named[two])
    return copy


def write_pdb(path, topology, positions_nm, conect=True):
    """Write a PDB file with the Topology's residue numbers; with CONECT records or without."""
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions_nm * unit.nanometer, file, keepIds=True)
    if not conect:
        lines = path.read_text().splitlines()
        path.write_text("\n".join(k for k in lines if not k.startswith("CONECT")) + "\n")
    return path


def embedded(smiles, title="", seed=7):
    """An RDKit molecule with hydrogens and one conformer."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=seed) == 0
    mol.SetProp("_Name", title)
    return mol


def write_sdf(path, *mols):
    """Write molecules to an SDF file."""
    from rdkit import Chem

    with Chem.SDWriter(str(path)) as writer:
        for mol in mols:
            writer.write(mol)
    return path


def displaced(mol, vector_nm):
    """A copy of a molecule with its conformer moved."""
    from rdkit import Chem

    copy = Chem.Mol(mol)
    conformer = copy.GetConformer()
    for k, point in enumerate(np.array(conformer.GetPositions()) + 10.0 * np.array(vector_nm)):
        conformer.SetAtomPosition(k, point.tolist())
    return copy


PHOSPHATE = [("P", "P"), ("O1P", "O"), ("O2P", "O"), ("O3P", "O")]
PHOSPHATE_BONDS = [("P", "O1P"), ("P", "O2P"), ("P", "O3P")]


def phosphoserine(extra=(), extra_bonds=()):
    """ACE-SEP-NME, and atoms more if wanted."""
    topology, _ = build_peptide("ACE-SER-NME")
    bare, _ = rebuild(topology, drop={index_of(topology, 1, "HG")}, rename={"SER": "SEP"})
    bonds = [("OG", "P"), *PHOSPHATE_BONDS, *extra_bonds]
    return add_atoms(bare, 1, [*PHOSPHATE, *extra], bonds)


def joined(*parts, same_chain=False, numbers=None):
    """Put peptides into one Topology, each a chain or all in one; residues numbered as told."""
    topology = app.Topology()
    chain, numbers = None, iter(numbers or range(1, 10**6))
    for part, _ in parts:
        if chain is None or not same_chain:
            chain = topology.addChain()
        new = {}
        for r in part.residues():
            here = topology.addResidue(r.name, chain, str(next(numbers)))
            for a in r.atoms():
                new[a] = topology.addAtom(a.name, a.element, here)
        for b in part.bonds():
            topology.addBond(new[b[0]], new[b[1]])
    return topology
