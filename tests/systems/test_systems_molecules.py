"""Features of modified residues, several chains, caps by atoms, and of real structures."""

from __future__ import annotations

import warnings

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import (
    PHOSPHATE,
    PHOSPHATE_BONDS,
    SHARED,
    add_atoms,
    embedded,
    index_of,
    joined,
    phosphoserine,
    rebuild,
    write_sdf,
)

from atmos_openmm.core.geometry import chiral_volumes, torsion_cosines
from atmos_openmm.systems.errors import (
    FeatureError,
    MissingAtomsError,
    MissingBondsError,
    UnknownResidueError,
)
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.modified import _MIRROR_IMAGES, _MODIFIED, modified_molecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.residues import RESTYPES
from atmos_openmm.systems.screening import build_screen, screen


def assert_partition(features, topology, residues):
    """Every atom is in the model once, in one token, in Topology order, beside its residue's."""
    atoms = list(topology.atoms())
    model = features.atom_indices
    assert (np.diff(model) > 0).all()
    assert len(features.atom_to_token) == len(model)
    assert set(features.atom_to_token.tolist()) == set(range(features.num_tokens))
    owners = {}
    for m, token in enumerate(features.atom_to_token.tolist()):
        owners.setdefault(token, set()).add(atoms[model[m]].residue.index)
        assert features.ref_element[m] == atoms[model[m]].element.atomic_number
        assert features.residue_names[token] == atoms[model[m]].residue.name
    assert all(len(found) == 1 for found in owners.values())
    assert {r for found in owners.values() for r in found} == residues
    # A ligand's tokens follow its atoms, which a program may have put in any order; tokens
    # never leave their residue's block.
    blocks = [owners[t].copy().pop() for t in range(features.num_tokens)]
    assert blocks == sorted(blocks)


def residues_of(features, topology):
    """Residues of the Topology that have atoms in the model."""
    model = set(features.atom_indices.tolist())
    return {a.residue.index for a in topology.atoms() if a.index in model}


# --- modified residues --------------------------------------------------------------------------


def test_phosphoserine_has_a_token_for_each_heavy_atom_and_the_class_of_serine():
    topology = phosphoserine()
    features = features_from_topology(topology)
    serine = RESTYPES.index("SER")
    assert features.restype.tolist() == [20] + [serine] * 10 + [20]
    assert features.ref_charge.sum() == -2
    assert features.residue_index.tolist() == [1] + [2] * 10 + [3]
    assert set(features.asym_id.tolist()) == {0}
    assert_partition(features, topology, {0, 1, 2})
    # Bonds inside of it are told, those of the chain are not.
    inside = features.token_bonds[1:11, 1:11]
    assert inside.sum() / 2 == 9 and features.token_bonds.sum() == inside.sum()
    names = [features.atom_names[int(c)] for c in features.chiral_centers[:, 0]]
    assert names == ["CA"]


def test_protonation_of_a_modified_residue_follows_its_hydrogens():
    acid = phosphoserine([("HO3P", "H")], [("O3P", "HO3P")])
    features = features_from_topology(acid)
    assert features.ref_charge.sum() == -1
    charged = [features.atom_names[i] for i in np.flatnonzero(features.ref_charge)]
    assert len(charged) == 1 and charged[0] in ("O1P", "O2P")
    # Which oxygen is drawn with the double bond makes no stereocentre of the phosphorus.
    centres = [features.atom_names[int(c)] for c in features.chiral_centers[:, 0]]
    assert centres == ["CA"]
    assert "P" in [features.atom_names[int(c)] for c in features.label_centers[:, 0]]
    # A hydrogen lost from carbon is a fault, and not another protonation state.
    broken, _ = rebuild(acid, drop={index_of(acid, 1, "HB2")})
    with pytest.raises(MissingAtomsError, match="SEP 2.*CB has 1, expected 2"):
        features_from_topology(broken)


def test_heavy_atoms_of_a_modified_residue_need_no_hydrogens():
    topology = phosphoserine()
    full = features_from_topology(topology)
    light = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    bare, _ = rebuild(topology, drop=light)
    heavy = features_from_topology(bare, "heavy")
    keep = full.ref_element > 1
    np.testing.assert_array_equal(heavy.ref_charge, full.ref_charge[keep])
    np.testing.assert_array_equal(heavy.restype, full.restype)
    np.testing.assert_array_equal(heavy.token_bonds, full.token_bonds)


def test_hydroxyl_of_a_modified_residue_is_missed():
    # An acid may lack its hydrogen, an alcohol or sulfenic acid has lost it.
    topology, _ = build_peptide("ACE-CYS-NME")
    bare, _ = rebuild(topology, drop={index_of(topology, 1, "HG")}, rename={"CYS": "CSO"})
    broken = add_atoms(bare, 1, [("OD", "O")], [("SG", "OD")])
    with pytest.raises(MissingAtomsError, match="CSO 2.*OD has 0, expected 1"):
        features_from_topology(broken)
    whole = add_atoms(bare, 1, [("OD", "O"), ("HD", "H")], [("SG", "OD"), ("OD", "HD")])
    assert features_from_topology(whole).ref_charge.sum() == 0
    assert features_from_topology(broken, "heavy").ref_charge.sum() == 0


@pytest.mark.parametrize("sequence", ["GLY-HID-ASP", "ACE-HIP-ASH-NME", "LYN-SER-HIE-ARG"])
def test_polar_hydrogens_alone_tell_the_protonation(sequence):
    topology, positions = build_peptide(sequence)
    full = features_from_topology(topology, "heavy", positions=positions)
    carbons = {a.index for a in topology.atoms() if a.element.symbol == "C"}
    carried = {
        h.index
        for b in topology.bonds()
        for c, h in ((b[0], b[1]), (b[1], b[0]))
        if c.index in carbons and h.element.symbol == "H"
    }
    polar, old = rebuild(topology, drop=carried)
    assert carried
    features = features_from_topology(polar, "heavy", positions=positions[old])
    for name, array in full.arrays().items():
        if name != "atom_indices":
            np.testing.assert_array_equal(getattr(features, name), array, err_msg=name)
    with pytest.raises(MissingAtomsError, match="lacks hydrogens"):
        features_from_topology(polar, "all")


def test_modified_residue_at_the_end_of_a_chain():
    from rdkit import Chem

    topology, _ = build_peptide("GLY-SER")
    light = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    bare, _ = rebuild(topology, drop=light, rename={"SER": "SEP"})
    ended = add_atoms(bare, 1, PHOSPHATE, [("OG", "P"), *PHOSPHATE_BONDS])
    features = features_from_topology(ended, "heavy")
    charged = {features.atom_names[i] for i in np.flatnonzero(features.ref_charge)}
    assert features.ref_charge.sum() == -2 and {"N", "OXT"} < charged
    # The dictionary's form of the residue, a free amino acid, does as well as the chain's.
    free = {"SEP": Chem.MolFromSmiles("[NH3+][C@@H](COP(=O)([O-])[O-])C(=O)[O-]")}
    for end in (ended, phosphoserine()):
        given = features_from_topology(end, "heavy", molecules=free)
        known = features_from_topology(end, "heavy")
        np.testing.assert_array_equal(given.ref_charge.sum(), known.ref_charge.sum())
        np.testing.assert_array_equal(given.restype, known.restype)
    open_end, _ = rebuild(ended, drop={index_of(ended, 1, "OXT")})
    with pytest.raises(MissingAtomsError, match=r"SEP 2.*OXT"):
        features_from_topology(open_end, "heavy")


def test_selenomethionine_is_one_token_of_methionine():
    topology, _ = build_peptide("ACE-MET-NME")
    copy = app.Topology()
    chain, new = copy.addChain("A"), {}
    for r in topology.residues():
        here = copy.addResidue("MSE" if r.name == "MET" else r.name, chain, r.id)
        for a in r.atoms():
            selenium = a.name == "SD"
            new[a] = copy.addAtom(
                "SE" if selenium else a.name, app.element.selenium if selenium else a.element, here
            )
    for b in topology.bonds():
        copy.addBond(new[b[0]], new[b[1]])
    features, sulfur = features_from_topology(copy), features_from_topology(topology)
    np.testing.assert_array_equal(features.restype, sulfur.restype)
    np.testing.assert_array_equal(features.atom_to_token, sulfur.atom_to_token)
    different = np.flatnonzero(features.ref_element != sulfur.ref_element)
    assert [features.atom_names[i] for i in different] == ["SE"]
    assert features.ref_element[different].tolist() == [34]


def test_d_residue_by_name_has_tokens_for_its_atoms_and_the_right_hand():
    topology, positions = build_peptide("ACE-ILE-NME")
    renamed, _ = rebuild(topology, rename={"ILE": "DIL"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        features = features_from_topology(renamed, positions=positions * [1, 1, -1])
    assert features.restype.tolist() == [20] + [RESTYPES.index("ILE")] * 8 + [20]
    volumes = chiral_volumes(features.ref_pos.astype(float)[None], features.chiral_centers)[0]
    assert (volumes * features.chiral_signs > 0.3).all() and len(volumes) == 2
    with pytest.warns(UserWarning, match="DIL 2.*opposite hand of the molecule known.*CA, CB"):
        features_from_topology(renamed, positions=positions)


@pytest.mark.parametrize("name", sorted({*_MODIFIED, *_MIRROR_IMAGES, "MSE"} - {"AIB"}))
def test_known_modified_residues_are_of_the_hand_that_their_name_says(name):
    # The CORN rule: the triple product of (C, CB, N) about CA is positive in L amino acids.
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(modified_molecule(name))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=3) == 0
    (n, ca, c, _), *rest = mol.GetSubstructMatches(Chem.MolFromSmarts("[#7]-[#6X4]-[#6;H1]=O"))
    assert not rest
    cb = next(
        a.GetIdx()
        for a in mol.GetAtomWithIdx(ca).GetNeighbors()
        if a.GetAtomicNum() == 6 and a.GetIdx() != c
    )
    frame = np.array(mol.GetConformer().GetPositions())
    volume = chiral_volumes(frame[None], np.array([[ca, c, cb, n]]))[0, 0]
    mirrored = modified_molecule(name) is not None and name[0] == "D" or name == "MED"
    assert volume < -0.3 if mirrored else volume > 0.3


# --- chains -------------------------------------------------------------------------------------


def test_homodimer_shares_its_entity_whatever_its_protonation():
    one, two = build_peptide("GLY-HID-ALA"), build_peptide("GLY-HIE-ALA")
    other = build_peptide("GLY-HIS-SER")
    for same_chain in (False, True):
        # In one chain of the Topology, ends without a gap in the numbers are ends.
        topology = joined(one, other, two, same_chain=same_chain)
        features = features_from_topology(topology)
        assert features.asym_id.tolist() == [0] * 3 + [1] * 3 + [2] * 3
        assert features.entity_id.tolist() == [0] * 3 + [1] * 3 + [0] * 3
        assert features.sym_id.tolist() == [0] * 6 + [1] * 3
        assert features.residue_index.tolist() == [1, 2, 3] * 3


def test_residues_missing_by_their_numbers_are_counted():
    parts = build_peptide("GLY-ALA-NME"), build_peptide("ACE-SER-GLY")
    topology = joined(*parts, same_chain=True, numbers=[5, 6, 7, 11, 12, 13])
    features = features_from_topology(topology)
    assert features.residue_index.tolist() == [1, 2, 3, 7, 8, 9]
    assert set(features.asym_id.tolist()) == {0} == set(features.entity_id.tolist())


def test_ligands_of_one_name_are_one_entity_only_where_they_are_one_molecule():
    names = ["CCO", "CCO", "CCN"]
    topology = app.Topology()
    for smiles in names:
        mol = embedded(smiles)
        residue = topology.addResidue("LIG", topology.addChain())
        atoms = [
            topology.addAtom(f"X{k}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue)
            for k, a in enumerate(mol.GetAtoms())
        ]
        for b in mol.GetBonds():
            topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    features = features_from_topology(topology)
    assert features.asym_id.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert features.entity_id.tolist() == [0] * 6 + [1] * 3
    assert features.sym_id.tolist() == [0] * 3 + [1] * 3 + [0] * 3


def test_ligand_bonded_to_a_chain_is_a_chain_of_its_own_whose_bonds_are_told():
    # Cysteine alkylated by a methyl that is a residue of its own.
    topology, _ = build_peptide("GLY-CYS-GLY")
    bare, _ = rebuild(topology, drop={index_of(topology, 1, "HG")})
    sulfur = next(a for a in bare.atoms() if a.name == "SG")
    methyl = bare.addResidue("CH3", bare.addChain())
    carbon = bare.addAtom("C1", app.element.carbon, methyl)
    bare.addBond(sulfur, carbon)
    for k in range(3):
        bare.addBond(carbon, bare.addAtom(f"H{k}", app.element.hydrogen, methyl))
    features = features_from_topology(bare)
    assert features.asym_id.tolist() == [0, 0, 0, 1]
    expected = np.zeros((4, 4))
    expected[1, 3] = expected[3, 1] = 1
    np.testing.assert_array_equal(features.token_bonds, expected)


def test_ligands_bonded_to_each_other_are_one_chain():
    # Methoxymethane in two residues, twice, as glycans come; and a lone ligand between them.
    topology = app.Topology()
    kinds = {"C": app.element.carbon, "O": app.element.oxygen, "H": app.element.hydrogen}

    def residue(name, heavy, hydrogens):
        here = topology.addResidue(name, chain)
        atoms = [topology.addAtom(f"{e}{k}", kinds[e], here) for k, e in enumerate(heavy)]
        for one, two in zip(atoms, atoms[1:], strict=False):
            topology.addBond(one, two)
        for atom, count in zip(atoms, hydrogens, strict=True):
            for k in range(count):
                topology.addBond(atom, topology.addAtom(f"H{atom.name}{k}", kinds["H"], here))
        return atoms

    chain = topology.addChain()
    for k in range(2):
        methyl, ether = residue("MET1", "C", [3]), residue("MEO", "OC", [0, 3])
        topology.addBond(methyl[0], ether[0])
        if k == 0:
            residue("ETH", "CC", [3, 3])
    features = features_from_topology(topology)
    assert features.asym_id.tolist() == [0] * 3 + [1] * 2 + [2] * 3
    assert features.residue_index.tolist() == [1, 2, 2, 1, 1, 1, 2, 2]
    assert features.entity_id.tolist() == [0] * 3 + [1] * 2 + [0] * 3
    assert features.sym_id.tolist() == [0] * 5 + [1] * 3
    told = np.argwhere(np.triu(features.token_bonds)).tolist()
    assert told == [[0, 1], [1, 2], [3, 4], [5, 6], [6, 7]]


def test_token_bonds_of_chains_are_those_that_the_sequence_does_not_tell():
    # Protenix's rule: a bond of residues that are neighbours in a chain is not told, whatever
    # bond it is; the bond that closes a ring is.
    topology, _ = build_peptide("CCGG")
    thiols = {index_of(topology, r, "HG") for r in (0, 1)}
    sulfurs = tuple(index_of(topology, r, "SG") for r in (0, 1))
    vicinal, _ = rebuild(topology, drop=thiols, extra_bonds=[])
    pair = [index_of(vicinal, r, "SG") for r in (0, 1)]
    atoms = list(vicinal.atoms())
    vicinal.addBond(atoms[pair[0]], atoms[pair[1]])
    assert not features_from_topology(vicinal).token_bonds.any()
    assert sulfurs != tuple(pair)

    ends = {index_of(topology, 3, "OXT")} | {index_of(topology, 0, n) for n in ("H2", "H3")}
    ring, _ = rebuild(topology, drop=ends)
    atoms = list(ring.atoms())
    ring.addBond(atoms[index_of(ring, 3, "C")], atoms[index_of(ring, 0, "N")])
    features = features_from_topology(ring)
    told = np.argwhere(np.triu(features.token_bonds)).tolist()
    assert told == [[0, 3]] and features.ref_charge.sum() == 0


def test_caps_by_atoms_are_ligands_in_the_chain():
    topology, _ = build_peptide("ACE-ALA-NME")
    one, many = (features_from_topology(topology, caps=c) for c in ("token", "atoms"))
    assert one.num_tokens == 3 and not one.token_bonds.any()
    assert many.restype.tolist() == [20, 20, 20, 0, 20, 20]
    assert many.residue_index.tolist() == [1, 1, 1, 2, 3, 3]
    # C-C and C=O of the acetyl, N-C of the methylamine, and both links to alanine.
    assert many.token_bonds.sum() / 2 == 5
    for name in ("ref_pos", "ref_charge", "ref_space_uid", "bonds", "chiral_centers"):
        np.testing.assert_array_equal(getattr(many, name), getattr(one, name))
    assert_partition(many, topology, {0, 1, 2})
    with pytest.raises(FeatureError, match="caps is 'none'"):
        features_from_topology(topology, caps="none")


# --- ligands ------------------------------------------------------------------------------------


ISOMERS = [("C/C=C/CO", "C/C=C\\CO"), ("O/N=C(/C)CC", "O/N=C(\\C)CC")]


@pytest.mark.parametrize(("smiles", "other"), [*ISOMERS, *(pair[::-1] for pair in ISOMERS)])
def test_double_bonds_of_ligands_are_as_in_the_positions(smiles, other, tmp_path):
    mol = embedded(smiles)
    molecule = read_molecule(write_sdf(tmp_path / "ligand.sdf", mol))
    bond = next(b for b in mol.GetBonds() if b.GetBondTypeAsDouble() == 2)
    middle = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    outer = [
        next(n.GetIdx() for n in mol.GetAtomWithIdx(k).GetNeighbors() if n.GetIdx() not in middle)
        for k in middle
    ]
    torsion = np.array([[outer[0], *middle, outer[1]]])
    wanted = np.sign(torsion_cosines(molecule.positions_nm[None], torsion)[0, 0])
    contrary = {"LIG": embedded(other)}
    # From the molecule, from the orders of the Topology's bonds, and against the other isomer.
    for chemistry in (molecule.molecules, None, contrary):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            features = features_from_topology(
                molecule.topology, positions=molecule.positions_nm, molecules=chemistry
            )
        found = torsion_cosines(features.ref_pos.astype(float)[None], torsion)[0, 0]
        assert np.sign(found) == wanted
        told = ["another isomer" in str(w.message) for w in caught]
        assert told == ([True] if chemistry is contrary else [])


# --- errors -------------------------------------------------------------------------------------


def test_all_unknown_residues_are_listed_with_their_atoms():
    topology, _ = build_peptide("ACE-PHE-ALA-SER-NME")
    renamed, _ = rebuild(topology, rename={"PHE": "XYZ", "SER": "QQQ"}, orders=False)
    with pytest.raises(UnknownResidueError) as caught:
        features_from_topology(renamed)
    message = str(caught.value)
    assert "XYZ 2" in message and "QQQ 4" in message and "ALA" not in message
    assert "11 heavy atoms: N, CA, CB, C, O, CG, CD1, CE1, CZ, CE2, CD2" in message
    assert "molecules={'XYZ': mol}" in message and "molecules={'QQQ': mol}" in message


def test_ligand_without_bonds_is_told_apart_from_missing_hydrogens():
    topology, _ = build_peptide("ACE-ALA-NME")
    mol = embedded("c1ccccc1")
    residue = topology.addResidue("BNZ", topology.addChain())
    for k, a in enumerate(mol.GetAtoms()):
        topology.addAtom(f"X{k}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue)
    with pytest.raises(MissingBondsError, match=r"BNZ.*no bonds \(6 heavy atoms.*CONECT.*SDF"):
        features_from_topology(topology)


def test_molecule_that_does_not_fit_is_compared_atom_by_atom():
    from rdkit import Chem

    mol = embedded("OCc1ccccc1")
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    atoms = [
        topology.addAtom(f"X{k}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue)
        for k, a in enumerate(mol.GetAtoms())
    ]
    for b in mol.GetBonds():
        topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    with pytest.raises(FeatureError, match="of the residue without counterpart: X0; of the mol"):
        features_from_topology(topology, molecules={"LIG": Chem.MolFromSmiles("NCc1ccccc1")})


def test_positions_that_are_not_finite_are_named():
    topology, positions = build_peptide("ACE-ALA-NME")
    positions[8, 1] = np.nan
    with pytest.raises(FeatureError, match=r"at 1 atoms: 8 \(CA of ALA 2\)"):
        features_from_topology(topology, positions=positions)


def test_missing_atom_of_a_chain_end_is_told_apart_from_a_missing_bond():
    topology, _ = build_peptide("GLY-SER")
    light = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    broken, _ = rebuild(topology, drop=light | {index_of(topology, 1, "OG")})
    with pytest.raises(MissingAtomsError, match=r"SER 2.*lacks 1 of its 7 heavy atoms \(OG not"):
        features_from_topology(broken, "heavy")


def test_atoms_of_one_name_are_told():
    topology, _ = build_peptide("ACE-LEU-NME")
    twice, _ = rebuild(topology, rename={("LEU", "CD2"): "CD1"})
    # The graph tells which is which as long as all atoms and bonds are there.
    assert features_from_topology(twice).num_atoms == topology.getNumAtoms()
    pair = index_of(topology, 1, "CG"), index_of(topology, 1, "CD2")
    light = {index_of(topology, 1, f"HD2{k}") for k in (1, 2, 3)}
    broken, _ = rebuild(topology, drop=light, rename={("LEU", "CD2"): "CD1"}, skip_bonds={pair})
    with pytest.raises(FeatureError, match="LEU 2.*several atoms named CD1"):
        features_from_topology(broken, "heavy")


def test_nucleic_acids_are_refused_by_name():
    topology, positions = build_peptide("ACE-ALA-NME")
    residue = topology.addResidue("DA", topology.addChain())
    pair = [topology.addAtom(n, app.element.carbon, residue) for n in ("C1'", "C2'")]
    topology.addBond(*pair)
    with pytest.raises(UnknownResidueError, match="DA.*nucleic acids are not modelled"):
        features_from_topology(topology)
    assert features_from_topology(topology, solute=range(22)).num_atoms == 22


# --- real structures ----------------------------------------------------------------------------

COMPLEXES = SHARED / "complexes"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")


def crystal(name, tmp_path):
    """A real structure with its ligand, the number of its residues and of ligand heavy atoms."""
    if name == "5awl":
        return read_molecule(SHARED / "structures" / "5awl.pdb"), 10, 0
    if name == "3ptb":
        sdf = write_sdf(tmp_path / "ben.sdf", embedded("NC(=[NH2+])c1ccccc1"))
        return read_molecule([SHARED / "structures" / "3ptb.cif", sdf]), 223, 9
    if name == "tyk2":
        folder = COMPLEXES / "plb" / "tyk2"
        files = [folder / "01_protein/crd/protein.pdb", folder / "02_ligands/ligands.sdf"]
        return read_molecule(files, records=["lig_ejm_47"]), 290, 24
    if name == "smn":
        # In 5,734 waters, chain ends with Amber's names, and a ligand without CONECT records.
        mol = embedded("CN1C2=C(CCC2)C(=N)C2=C1CCC2")
        sdf = write_sdf(tmp_path / "36x.sdf", mol)
        return read_molecule([COMPLEXES / "smn_tudor_36x" / "com.pdb", sdf]), 58, 14
    sdf = write_sdf(tmp_path / "pxylene.sdf", embedded("Cc1ccc(C)cc1"))
    return read_molecule([COMPLEXES / "t4l_pxylene" / "complex.pdb", sdf]), 162, 8


@real
@pytest.mark.parametrize("name", ["5awl", "3ptb", "tyk2", "t4l", "smn"])
def test_real_structures_agree_with_their_features(name, tmp_path):
    molecule, residues, ligand_atoms = crystal(name, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no residue has the wrong hand
        features = molecule.features("heavy")
    assert features.num_tokens == residues + ligand_atoms
    inside = residues_of(features, molecule.topology)
    assert_partition(features, molecule.topology, inside)
    frame = molecule.positions_nm[features.atom_indices] * 10.0
    # Nature's frames pass the tests that jumps have to pass.
    assert screen(build_screen(features, molecule.topology), frame * 0.1) == "accepted"

    # Every stereocentre: one CA for each residue but glycine and caps, CB of THR and ILE.
    kinds = features.restype.tolist()
    sided = {RESTYPES.index(n) for n in ("THR", "ILE")}
    tokens = [t for t in kinds if t < 20]
    expected = sum(t != RESTYPES.index("GLY") for t in tokens) + sum(t in sided for t in tokens)
    assert len(features.chiral_signs) == expected
    volumes = chiral_volumes(frame[None], features.chiral_centers)[0]
    assert (volumes * features.chiral_signs > 0.3).all()
    plain = features_from_topology(molecule.topology, "heavy", molecules=molecule.molecules)
    np.testing.assert_array_equal(plain.chiral_signs, features.chiral_signs)

    # Bond lengths of distance geometry scatter by 0.03 A about ideal ones, refined structures by
    # 0.02 A (1.5 A resolution) to 0.03 A (MD of the prepared ones); four times the root of the
    # sum of squares is 0.17 A. Where a charge or double bond is spread over two bonds, a Kekule
    # form has one of them 0.06 A too long.
    same = features.ref_space_uid[features.bonds]
    bonds = features.bonds[same[:, 0] == same[:, 1]]
    lengths = [
        np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)
        for x in (frame, features.ref_pos.astype(float))
    ]
    error = np.abs(lengths[0] - lengths[1])
    assert error.max() < 0.17 + 0.06 and error.mean() < 0.05


@real
@pytest.mark.parametrize("name", ["t4l", "smn"])
def test_heavy_features_are_the_heavy_part_of_all(name, tmp_path):
    molecule, _, _ = crystal(name, tmp_path)
    full, heavy = molecule.features("all"), molecule.features("heavy")
    keep = np.flatnonzero(full.ref_element > 1)
    number = {int(k): n for n, k in enumerate(keep)}
    assert_partition(full, molecule.topology, residues_of(full, molecule.topology))
    np.testing.assert_array_equal(heavy.atom_indices, full.atom_indices[keep])
    for field in ("restype", "residue_index", "asym_id", "entity_id", "sym_id", "token_bonds"):
        np.testing.assert_array_equal(getattr(heavy, field), getattr(full, field))
    for field in (
        "atom_to_token",
        "ref_charge",
        "ref_element",
        "ref_atom_name_chars",
        "ref_space_uid",
        "ref_mask",
    ):
        np.testing.assert_array_equal(getattr(heavy, field), getattr(full, field)[keep])
    assert heavy.atom_names == tuple(full.atom_names[k] for k in keep)
    inner = np.isin(full.bonds, keep).all(axis=1)
    mapped = [[number[i] for i in pair] for pair in full.bonds[inner].tolist()]
    assert heavy.bonds.tolist() == mapped
    np.testing.assert_array_equal(heavy.bond_order, full.bond_order[inner])
    centres = [[number[i] for i in row] for row in full.chiral_centers.tolist()]
    assert heavy.chiral_centers.tolist() == centres
    np.testing.assert_array_equal(heavy.chiral_signs, full.chiral_signs)
    # The same conformers, each centred over the atoms that are there.
    for uid in range(heavy.ref_space_uid.max() + 1):
        here = heavy.ref_space_uid == uid
        part = full.ref_pos[keep][here]
        np.testing.assert_allclose(heavy.ref_pos[here], part - part.mean(axis=0), atol=1e-5)


@real
def test_ligand_of_a_real_complex_has_the_bonds_of_its_sdf(tmp_path):
    from rdkit import Chem

    molecule, _, count = crystal("tyk2", tmp_path)
    mol = molecule.molecules["LIG"]
    features = molecule.features("all")
    ligand = np.flatnonzero(np.array(features.residue_names)[features.atom_to_token] == "LIG")
    first = int(ligand[0])
    assert ligand.tolist() == list(range(first, first + mol.GetNumAtoms()))
    inside = features.bonds[:, 0] >= first
    orders = {
        (i - first, j - first): order
        for (i, j), order in zip(
            features.bonds[inside].tolist(), features.bond_order[inside].tolist(), strict=True
        )
    }
    expected = {
        tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))): b.GetBondTypeAsDouble()
        for b in mol.GetBonds()
    }
    assert orders == expected
    assert features.ref_element[ligand].tolist() == [a.GetAtomicNum() for a in mol.GetAtoms()]
    charges = [a.GetFormalCharge() for a in mol.GetAtoms()]
    assert features.ref_charge[ligand].tolist() == charges
    np.testing.assert_allclose(
        molecule.positions_nm[features.atom_indices[ligand]] * 10,
        mol.GetConformer().GetPositions(),
        atol=1e-6,
    )
    heavy = Chem.RemoveHs(mol)
    assert features.token_bonds.sum() / 2 == heavy.GetNumBonds() and count == heavy.GetNumAtoms()


@real
@pytest.mark.parametrize(("target", "count"), [("tyk2", 13), ("mcl1", 25)])
def test_drug_like_ligands_agree_with_rdkit_and_their_coordinates(target, count):
    from rdkit import Chem

    path = COMPLEXES / "plb" / target / "02_ligands" / "ligands.sdf"
    for record in range(count):
        molecule = read_molecule(path, records=[record])
        mol = molecule.molecules["LIG"]
        features = molecule.features("heavy")
        heavy = Chem.RemoveHs(mol)
        assert features.num_tokens == features.num_atoms == heavy.GetNumAtoms()
        assert features.token_bonds.sum() / 2 == len(features.bonds) == heavy.GetNumBonds()
        assert features.ref_charge.sum() == Chem.GetFormalCharge(mol)
        centres = Chem.FindMolChiralCenters(heavy, useLegacyImplementation=False)
        assert features.chiral_centers[:, 0].tolist() == [i for i, _ in centres]
        frame = molecule.positions_nm[features.atom_indices]
        volumes = chiral_volumes(frame[None], features.chiral_centers)[0]
        assert (volumes * features.chiral_signs > 0.3).all()
        # The molecule gives the same hand as the coordinates it came with.
        plain = features_from_topology(molecule.topology, "heavy", molecules={"LIG": mol})
        np.testing.assert_array_equal(plain.chiral_signs, features.chiral_signs)
        assert screen(build_screen(features, molecule.topology), frame) == "accepted"


@real
def test_disulfides_of_trypsin_are_token_bonds(tmp_path):
    molecule, _, _ = crystal("3ptb", tmp_path)
    features = molecule.features("heavy")
    cysteine = RESTYPES.index("CYS")
    protein = features.restype < 20
    told = np.argwhere(np.triu(features.token_bonds * np.outer(protein, protein)))
    assert len(told) == 6 and (features.restype[told] == cysteine).all()
    assert features.num_tokens == 232 and "62 HOH" in molecule.notes[-1]
    # The charge of trypsin's side chains and ends: every CYS is in a disulfide.
    counts = {n: (features.restype == RESTYPES.index(n)).sum() for n in RESTYPES}
    charge = counts["LYS"] + counts["ARG"] - counts["ASP"] - counts["GLU"]
    assert features.ref_charge.sum() == charge + 1  # benzamidinium; the ends cancel


def test_positions_may_carry_units():
    topology, positions = build_peptide("ACE-ALA-NME")
    one = features_from_topology(topology, positions=positions * unit.nanometer)
    two = features_from_topology(topology, positions=positions * 10 * unit.angstrom)
    np.testing.assert_array_equal(one.ref_pos, two.ref_pos)
