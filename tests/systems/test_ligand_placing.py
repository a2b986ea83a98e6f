"""Which ligand of SDF files is which residue of a structure."""

from __future__ import annotations

import numpy as np
import openmm.app as app
import pytest
from rdkit import Chem
from systems_support import SHARED, displaced, embedded, write_pdb, write_sdf

from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.ligand_files import read_ligands, title
from atmos_openmm.systems.peptides import build_peptide


def complex_file(path, ligands, conect=False, hydrogens=False):
    """A PDB file of a peptide and ligands, (RDKit Mol, residue name) each."""
    topology, positions = build_peptide("ACE-ALA-NME")
    frame = [positions]
    for k, (mol, name) in enumerate(ligands):
        residue = topology.addResidue(name, topology.addChain("BCDEF"[k]), str(k + 1))
        atoms = {}
        for a in mol.GetAtoms():
            if hydrogens or a.GetAtomicNum() > 1:
                element = app.Element.getByAtomicNumber(a.GetAtomicNum())
                atoms[a.GetIdx()] = topology.addAtom(
                    f"{element.symbol.upper()}{a.GetIdx()}", element, residue
                )
        for b in mol.GetBonds():
            if {b.GetBeginAtomIdx(), b.GetEndAtomIdx()} <= atoms.keys():
                topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
        frame.append(np.array(mol.GetConformer().GetPositions())[list(atoms)] * 0.1)
    return write_pdb(path, topology, np.concatenate(frame), conect)


def orders_of(molecule, name):
    """How many bonds of each order a residue has."""
    counts: dict[int, int] = {}
    for bond in molecule.topology.bonds():
        if bond[0].residue.name == name and 1 not in {
            bond[0].element.atomic_number,
            bond[1].element.atomic_number,
        }:
            counts[bond.order] = counts.get(bond.order, 0) + 1
    return counts


@pytest.mark.parametrize("conect", [False, True])
@pytest.mark.parametrize("swap", [False, True])
def test_cyclohexane_and_benzene_are_told_apart_without_hydrogens(tmp_path, conect, swap):
    cyclohexane = displaced(embedded("C1CCCCC1", "cyclohexane"), (2, 0, 0))
    benzene = displaced(embedded("c1ccccc1", "benzene"), (0, 2, 0))
    path = complex_file(tmp_path / "two.pdb", [(cyclohexane, "CHX"), (benzene, "BNZ")], conect)
    elsewhere = displaced(benzene, (4, 0, 0))
    mols = [elsewhere, cyclohexane] if swap else [cyclohexane, elsewhere]
    files = [write_sdf(tmp_path / f"{m.GetProp('_Name')}.sdf", m) for m in mols]
    molecule = read_molecule([path, *files])
    assert molecule.topology.getNumResidues() == 3 + 2
    assert molecule.molecules["CHX"].GetProp("_Name") == "cyclohexane"
    assert molecule.molecules["BNZ"].GetProp("_Name") == "benzene"
    if not conect:
        assert orders_of(molecule, "CHX") == {1: 6} and orders_of(molecule, "BNZ") == {1: 3, 2: 3}


def test_different_ligands_under_one_name_are_kept_apart(tmp_path):
    ring = displaced(embedded("c1ccccc1", "benzene"), (0, 2, 0))
    drug = displaced(embedded("OCC", "ethanol"), (2, 0, 0))
    copy = displaced(ring, (0, 2, 0))
    path = complex_file(tmp_path / "two.pdb", [(ring, "LIG"), (drug, "LIG"), (copy, "LIG")])
    files = [write_sdf(tmp_path / f"{m.GetProp('_Name')}.sdf", m) for m in (drug, ring)]
    molecule = read_molecule([path, *files])
    names = [r.name for r in molecule.topology.residues()][3:]
    assert names == ["LIG", "L01", "LIG"]
    assert molecule.molecules["LIG"].GetNumHeavyAtoms() == 6
    assert molecule.molecules["L01"].GetNumHeavyAtoms() == 3
    assert any("LIG 2 of chain C" in n and "L01" in n for n in molecule.notes)
    assert molecule.features("heavy").num_tokens == 3 + 6 + 3 + 6


@pytest.mark.parametrize("residues", [1, 2])
def test_copies_of_one_molecule_are_added_only_beyond_the_residues(tmp_path, residues):
    near = displaced(embedded("c1ccccc1", "benzene"), (0, 2, 0))
    other = displaced(near, (0, 2, 0))
    path = complex_file(tmp_path / "two.pdb", [(m, "BNZ") for m in (other, near)[-residues:]])
    files = [
        write_sdf(tmp_path / "near.sdf", near),
        write_sdf(tmp_path / "far.sdf", displaced(near, (5, 5, 5))),
    ]
    molecule = read_molecule([path, *files])
    assert molecule.topology.getNumResidues() == 3 + 2


def test_mirror_images_are_told_apart_by_their_hand(tmp_path):
    right = displaced(embedded("C[C@H](O)CN", "right"), (2, 0, 0))
    left = displaced(embedded("C[C@@H](O)CN", "left"), (0, 2, 0))
    path = complex_file(tmp_path / "two.pdb", [(left, "LFT"), (right, "RGT")])
    files = [
        write_sdf(tmp_path / f"{m.GetProp('_Name')}.sdf", displaced(m, (7, 7, 7)))
        for m in (right, left)
    ]
    molecule = read_molecule([path, *files])
    assert {n: m.GetProp("_Name") for n, m in molecule.molecules.items()} == {
        "LFT": "left",
        "RGT": "right",
    }


def test_protonation_states_are_told_apart_by_hydrogens_and_copies_by_place(tmp_path):
    acid = displaced(embedded("CCC(=O)O", "acid"), (2, 0, 0))
    anion = displaced(embedded("CCC(=O)[O-]", "anion"), (0, 2, 0))
    path = complex_file(tmp_path / "two.pdb", [(anion, "ONE"), (acid, "TWO")], hydrogens=True)
    files = [write_sdf(tmp_path / f"{m.GetProp('_Name')}.sdf", m) for m in (acid, anion)]
    molecule = read_molecule([path, *files])
    assert molecule.molecules["ONE"].GetProp("_Name") == "anion"
    assert molecule.molecules["TWO"].GetProp("_Name") == "acid"
    # Without hydrogens the same atoms: the place tells, and where it does not, it is said.
    bare = complex_file(tmp_path / "bare.pdb", [(anion, "ONE")])
    near = [write_sdf(tmp_path / "near.sdf", m) for m in [anion]]
    far = write_sdf(tmp_path / "far.sdf", displaced(acid, (5, 5, 5)))
    molecule = read_molecule([bare, far, *near])
    assert molecule.molecules["ONE"].GetProp("_Name") == "anion"


def test_double_bonds_are_put_where_the_coordinates_have_them(tmp_path):
    # Without orders the graph has a symmetry that the molecule does not have.
    mol = displaced(embedded("C=CC(C)CC", "pentene"), (2, 0, 0))
    order = [5, 4, 3, 2, 1, 0] + list(range(6, mol.GetNumAtoms()))
    path = complex_file(tmp_path / "one.pdb", [(mol, "PEN")])
    sdf = write_sdf(tmp_path / "pentene.sdf", Chem.RenumberAtoms(displaced(mol, (5, 0, 0)), order))
    molecule = read_molecule([path, sdf])
    (double,) = [
        b for b in molecule.topology.bonds() if b[0].residue.name == "PEN" and b.order == 2
    ]
    assert {double[0].name, double[1].name} == {"C0", "C1"}
    features = molecule.features("heavy")
    pairs = features.bonds[features.bond_order == 2]
    names = [{features.atom_names[i] for i in pair} for pair in pairs.tolist()]
    assert {"C0", "C1"} in names


def test_one_record_of_several_is_named_after_a_colon(tmp_path):
    several = write_sdf(
        tmp_path / "several.sdf",
        displaced(embedded("CCO", "ethanol"), (2, 0, 0)),
        displaced(embedded("CCN", "an amine"), (0, 2, 0)),
        displaced(embedded("CO", "7"), (0, 0, 2)),
    )
    path = complex_file(tmp_path / "peptide.pdb", [])
    for record, atoms in (("ethanol", 9), ("an amine", 10), ("7", 6), ("1", 10)):
        molecule = read_molecule([path, f"{several}:{record}"])
        assert molecule.molecules["LIG"].GetNumAtoms() == atoms
    both = read_molecule([path, f"{several}:ethanol", f"{several}:7"])
    assert sorted(both.molecules) == ["L01", "LIG"]
    with pytest.raises(FeatureError, match="No molecule is 'water'.*ethanol, an amine, 7"):
        read_molecule([path, f"{several}:water"])
    with pytest.raises(
        FeatureError, match="3 molecules.*after a colon, several.sdf:ethanol"
    ) as told:
        read_molecule([path, several])
    assert "records=" not in str(told.value)
    with pytest.raises(FeatureError, match="no file"):
        read_molecule([path, tmp_path / "none.sdf:ethanol"])


def test_a_record_of_many_is_found_in_a_real_file():
    folder = SHARED / "complexes" / "plb" / "tyk2"
    protein = folder / "01_protein" / "crd" / "protein.pdb"
    if not protein.exists():
        pytest.skip("no shared data")
    ligands = folder / "02_ligands" / "ligands.sdf"
    names = [title(m) for m in read_ligands(ligands)]
    molecule = read_molecule([protein, f"{ligands}:{names[3]}"])
    assert any(names[3] in note for note in molecule.notes)
