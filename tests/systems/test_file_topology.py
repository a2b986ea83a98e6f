"""Names, caps and chains of other programs' topologies, by ours."""

from __future__ import annotations

import numpy as np
import pytest
from openmm import app

from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.file_topology import make_whole, tidy_topology
from atmos_openmm.systems.peptides import build_peptide

CHARMM = {
    ("ACE", "CH3"): "CAY", ("ACE", "C"): "CY", ("ACE", "O"): "OY", ("ACE", "H1"): "HY1",
    ("ACE", "H2"): "HY2", ("ACE", "H3"): "HY3",
    ("NME", "N"): "NT", ("NME", "H"): "HNT", ("NME", "C"): "CAT", ("NME", "H1"): "HT1",
    ("NME", "H2"): "HT2", ("NME", "H3"): "HT3",
    ("ILE", "CD1"): "CD", ("ILE", "HD11"): "HD1", ("ILE", "HD12"): "HD2", ("ILE", "HD13"): "HD3",
}  # fmt: skip
RESIDUES = {"HIS": "HSE", "ACE": "ILE", "NME": "HSE"}


def _as_charmm(topology, waters=0):
    """ACE-ILE-HIS-NME with CHARMM's names, its caps inside ILE and HSE; then water and an ion."""
    copy: app.Topology = app.Topology()
    chain, atoms, residue, last = copy.addChain("PROA"), [], None, None
    for atom in topology.atoms():
        name = atom.residue.name
        group = "ILE" if name in ("ACE", "ILE") else "HSE"
        if group != last:
            residue, last = copy.addResidue(group, chain, str(4 + len(atoms) // 20)), group
        charmm = CHARMM.get((name, atom.name), "HN" if atom.name == "H" else atom.name)
        atoms.append(copy.addAtom(charmm, atom.element, residue))
    for bond in topology.bonds():
        copy.addBond(atoms[bond[0].index], atoms[bond[1].index])
    hydrogen, oxygen = app.element.hydrogen, app.element.oxygen
    for k in range(waters):
        water = copy.addResidue("TIP3", copy.addChain(f"W{k}"), str(k))
        three = [copy.addAtom("OH2", oxygen, water)]
        three += [copy.addAtom(name, hydrogen, water) for name in ("H1", "H2")]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            copy.addBond(three[i], three[j])
    ion = copy.addResidue("SOD", copy.addChain("ION"), "1")
    copy.addAtom("SOD", app.element.sodium, ion)
    return copy


def test_charmms_names_and_caps_become_those_of_a_pdb_file():
    topology, _ = build_peptide("ACE-ILE-HIS-NME")
    tidy = tidy_topology(_as_charmm(topology, waters=2))
    ours, theirs = list(tidy.atoms()), list(topology.atoms())
    assert [r.name for r in tidy.residues()] == ["ACE", "ILE", "HIS", "NME", "HOH", "HOH", "NA"]
    for a, b in zip(ours, theirs, strict=False):
        assert (a.name, a.residue.name) == (b.name, b.residue.name)
    assert [a.name for a in ours[len(theirs) :]] == ["O", "H1", "H2"] * 2 + ["NA"]
    # No bond between the hydrogens of a water.
    assert tidy.getNumBonds() == topology.getNumBonds() + 2 * 2
    assert features_from_topology(tidy).num_tokens == 4


def test_a_chain_is_a_polymer_a_ligand_or_a_run_of_water_and_ions():
    one, _ = build_peptide("ACE-ALA-NME")
    both: app.Topology = app.Topology()
    chain, atoms = both.addChain(), []  # one chain for everything, as AMBER has it
    for topology in (one, one):
        for residue in topology.residues():
            made = both.addResidue(residue.name, chain)
            atoms += [both.addAtom(a.name, a.element, made) for a in residue.atoms()]
    for shift in (0, one.getNumAtoms()):
        for bond in one.bonds():
            both.addBond(atoms[bond[0].index + shift], atoms[bond[1].index + shift])
    for _ in range(3):
        both.addAtom("O", app.element.oxygen, both.addResidue("WAT", chain))
    tidy = tidy_topology(both)
    assert [len(list(c.residues())) for c in tidy.chains()] == [3, 3, 3]
    assert [c.id for c in tidy.chains()] == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HIE", "HIS"), ("HSD", "HIS"), ("CYX", "CYS"), ("CYM", "CYM"), ("NALA", "ALA"),
     ("LYN", "LYS"), ("ASH", "ASP"), ("GLH", "GLU"), ("NHE", "NH2"), ("CLA", "CL"),
     ("Cl-", "CL"), ("CAL", "CA"), ("POT", "K"), ("SOL", "HOH"), ("LIG", "LIG")],
)  # fmt: skip
def test_residue_names_become_the_wwpdbs(name, expected):
    topology: app.Topology = app.Topology()
    residue = topology.addResidue(name, topology.addChain())
    topology.addAtom(name, app.element.chlorine, residue)
    assert next(tidy_topology(topology).residues()).name == expected


def test_terminal_oxygens_of_every_dialect():
    topology, _ = build_peptide("ALA-ALA")
    for names in (("OT1", "OT2"), ("OC1", "OC2"), ("O1", "O2")):
        copy: app.Topology = app.Topology()
        chain, atoms = copy.addChain(), []
        for residue in topology.residues():
            made = copy.addResidue(residue.name, chain)
            last = residue.index == 1
            for atom in residue.atoms():
                name = dict(zip(("O", "OXT"), names, strict=True)).get(atom.name) if last else None
                atoms.append(copy.addAtom(name or atom.name, atom.element, made))
        for bond in topology.bonds():
            copy.addBond(atoms[bond[0].index], atoms[bond[1].index])
        found = [a.name for a in tidy_topology(copy).atoms()]
        assert found == [a.name for a in topology.atoms()]


def test_molecules_are_made_whole_in_a_triclinic_box():
    box = np.array([[3.0, 0.0, 0.0], [1.0, 2.8, 0.0], [1.0, 0.9, 2.5]])
    rng = np.random.default_rng(3)
    chain = np.cumsum(rng.normal(0.0, 0.08, (60, 3)), axis=0)
    bonds = [(k, k + 1) for k in range(59) if k != 29]  # two molecules
    shifts = rng.integers(-1, 2, (60, 3)) @ box
    whole, moved = make_whole(chain + shifts, bonds, box)
    assert moved
    for part in (slice(0, 30), slice(30, 60)):
        inside = whole[part] - whole[part][0]
        assert np.allclose(inside, chain[part] - chain[part][0], atol=1e-9)
    same, moved = make_whole(chain, bonds, box)
    assert same is chain and moved == 0
