"""Features: what a Topology says of a molecule, checked against chemistry known by heart."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import SHARED, index_of, rebuild

from atmos_openmm.core.geometry import chiral_volumes, torsion_cosines
from atmos_openmm.systems.errors import (
    FeatureError,
    MissingAtomsError,
    MissingBondsError,
    UnknownResidueError,
)
from atmos_openmm.systems.features import MoleculeFeatures, features_from_topology
from atmos_openmm.systems.peptides import build_peptide

# Formula of the residue inside a chain (NH-CHR-CO) at neutral pH, its formal charge, and the CIP
# labels of its stereocentres.
RESIDUES = {
    "ALA": ("C3H5NO", 0, {"CA": "S"}),
    "ARG": ("C6H13N4O", 1, {"CA": "S"}),
    "ASN": ("C4H6N2O2", 0, {"CA": "S"}),
    "ASP": ("C4H4NO3", -1, {"CA": "S"}),
    "CYS": ("C3H5NOS", 0, {"CA": "R"}),
    "GLN": ("C5H8N2O2", 0, {"CA": "S"}),
    "GLU": ("C5H6NO3", -1, {"CA": "S"}),
    "GLY": ("C2H3NO", 0, {}),
    "HIS": ("C6H7N3O", 0, {"CA": "S"}),
    "ILE": ("C6H11NO", 0, {"CA": "S", "CB": "S"}),
    "LEU": ("C6H11NO", 0, {"CA": "S"}),
    "LYS": ("C6H13N2O", 1, {"CA": "S"}),
    "MET": ("C5H9NOS", 0, {"CA": "S"}),
    "PHE": ("C9H9NO", 0, {"CA": "S"}),
    "PRO": ("C5H7NO", 0, {"CA": "S"}),
    "SER": ("C3H5NO2", 0, {"CA": "S"}),
    "THR": ("C4H7NO2", 0, {"CA": "S", "CB": "R"}),
    "TRP": ("C11H10N2O", 0, {"CA": "S"}),
    "TYR": ("C9H9NO2", 0, {"CA": "S"}),
    "VAL": ("C5H9NO", 0, {"CA": "S"}),
}
ELEMENTS = {1: "H", 6: "C", 7: "N", 8: "O", 16: "S"}


def topology_bonds(topology):
    return {tuple(sorted((b[0].index, b[1].index))) for b in topology.bonds()}


def cip_labels(features: MoleculeFeatures) -> dict[str, str]:
    """CIP labels that RDKit perceives from ref_pos of a capped amino acid's middle residue."""
    from rdkit import Chem

    atoms = np.flatnonzero(features.atom_to_token == 1)
    mol = Chem.RWMol()
    for m in atoms:
        atom = Chem.Atom(int(features.ref_element[m]))
        atom.SetFormalCharge(int(features.ref_charge[m]))
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    kinds = {
        1.0: Chem.BondType.SINGLE,
        2.0: Chem.BondType.DOUBLE,
        1.5: Chem.BondType.AROMATIC,
    }
    number = {int(m): k for k, m in enumerate(atoms)}
    for (i, j), order in zip(features.bonds.tolist(), features.bond_order.tolist(), strict=True):
        if i in number and j in number:
            mol.AddBond(number[i], number[j], kinds[order])
            if order == 1.5:
                for k in (i, j):
                    mol.GetAtomWithIdx(number[k]).SetIsAromatic(True)
    # The amide nitrogen that follows decides priorities at CA no differently than a hydrogen.
    conformer = Chem.Conformer(len(atoms))
    for k, m in enumerate(atoms):
        conformer.SetAtomPosition(k, features.ref_pos[m].astype(float).tolist())
    mol.AddConformer(conformer)
    for atom in mol.GetAtoms():
        atom.SetNumRadicalElectrons(0)
    mol.UpdatePropertyCache(strict=False)
    Chem.AssignStereochemistryFrom3D(mol)
    names = [features.atom_names[m] for m in atoms]
    return {
        names[a.GetIdx()]: a.GetProp("_CIPCode") for a in mol.GetAtoms() if a.HasProp("_CIPCode")
    }


@pytest.mark.parametrize("name", sorted(RESIDUES))
def test_residue_has_its_formula_charge_bonds_and_hand(name):
    topology, positions = build_peptide(f"ACE-{name}-NME")
    features = features_from_topology(topology)
    formula, charge, labels = RESIDUES[name]
    middle = features.atom_to_token == 1
    counts = Counter(ELEMENTS[z] for z in features.ref_element[middle].tolist())
    text = "".join(f"{e}{n if n > 1 else ''}" for e in "CHNOS" if (n := counts.get(e, 0)))
    assert text == formula
    assert features.num_tokens == 3
    assert features.ref_charge[middle].sum() == charge == features.ref_charge.sum()
    assert set(map(tuple, features.bonds.tolist())) == topology_bonds(topology)
    assert features.restype.tolist() == [20, sorted(RESIDUES).index(name), 20]
    assert features.residue_index.tolist() == [1, 2, 3]
    assert cip_labels(features) == labels

    # The declared centres have the same hand in ref_pos and in a molecule embedded as a whole.
    names = {features.atom_names[c] for c in features.chiral_centers[:, 0]}
    assert names == set(labels)
    for frame in (features.ref_pos.astype(float), positions):
        volumes = chiral_volumes(frame[None], features.chiral_centers)[0]
        assert (volumes * features.chiral_signs > 0.3).all()


def test_alpha_carbon_follows_the_corn_rule():
    # Seen with the hydrogen towards the eye, CO, R, N run clockwise in L amino acids: the triple
    # product of (C, CB, N) about CA is positive.
    topology, _ = build_peptide("ACE-ALA-NME")
    features = features_from_topology(topology)
    atoms = [features.atom_names.index(n, 6) for n in ("CA", "C", "CB", "N")]
    assert chiral_volumes(features.ref_pos.astype(float)[None], np.array([atoms]))[0, 0] > 0.3


def test_reference_conformers_have_chemical_bond_lengths_and_are_centred():
    topology, _ = build_peptide("GYDPETGTWGHKRC")
    features = features_from_topology(topology)
    same = (
        features.ref_space_uid[features.bonds[:, 0]] == features.ref_space_uid[features.bonds[:, 1]]
    )
    pairs = features.bonds[same]
    lengths = np.linalg.norm(features.ref_pos[pairs[:, 0]] - features.ref_pos[pairs[:, 1]], axis=1)
    light = (features.ref_element[pairs] == 1).any(axis=1)
    # X-H bonds are 0.96 (O-H) to 1.34 A (S-H), heavy ones 1.23 (C=O) to 1.82 A (C-S); the bounds
    # of distance geometry leave them about 0.1 A.
    assert ((lengths[light] > 0.86) & (lengths[light] < 1.44)).all()
    assert ((lengths[~light] > 1.13) & (lengths[~light] < 1.92)).all()
    for uid in range(features.ref_space_uid.max() + 1):
        center = features.ref_pos[features.ref_space_uid == uid].mean(axis=0)
        np.testing.assert_allclose(center, 0, atol=1e-5)


def test_order_of_atoms_permutes_the_features():
    topology, _ = build_peptide("GRVHTWKPI")
    features = features_from_topology(topology)
    shuffled, old = rebuild(topology, np.random.default_rng(3))
    assert (old != np.arange(len(old))).sum() > 50
    other = features_from_topology(shuffled)
    for field in (
        "ref_element",
        "ref_charge",
        "ref_atom_name_chars",
        "ref_space_uid",
        "atom_to_token",
        "ref_pos",
    ):
        np.testing.assert_array_equal(getattr(other, field), getattr(features, field)[old])
    for field in ("restype", "residue_index", "asym_id", "token_bonds"):
        np.testing.assert_array_equal(getattr(other, field), getattr(features, field))
    assert [features.atom_names[i] for i in old] == list(other.atom_names)

    def orders(f, number):
        return {
            tuple(sorted((number[i], number[j]))): order
            for (i, j), order in zip(f.bonds.tolist(), f.bond_order.tolist(), strict=True)
        }

    assert orders(other, old.tolist()) == orders(features, list(range(len(old))))

    def centres(f, number):
        rows = zip(f.chiral_centers.tolist(), f.chiral_signs.tolist(), strict=True)
        return {tuple(number[i] for i in row): sign for row, sign in rows}

    assert centres(other, old.tolist()) == centres(features, list(range(len(old))))


def test_bond_orders_and_name_characters():
    topology, _ = build_peptide("ACE-PHE-NME")
    features = features_from_topology(topology)
    counts = Counter(features.bond_order.tolist())
    # Six aromatic ring bonds, two carbonyls, the rest single, amides included.
    assert counts[1.5] == 6 and counts[2.0] == 2
    assert counts[1.0] == len(features.bonds) - 8
    atom = features.atom_names.index("CD1")
    assert features.ref_atom_name_chars[atom].tolist() == [35, 36, 17, 0]
    assert not features.token_bonds.any()


@pytest.mark.parametrize(
    ("sequence", "charge", "charged"),
    [
        ("ACE-HID-NME", 0, set()),
        ("ACE-HIE-NME", 0, set()),
        ("ACE-HIP-NME", 1, {"ND1"}),
        ("ACE-ASH-NME", 0, set()),
        ("ACE-GLH-NME", 0, set()),
        ("ACE-LYN-NME", 0, set()),
        ("GLY-ASP-LYS", 0, {"N", "OD2", "NZ", "OXT"}),
        ("PRO-ARG", 1, {"N", "NH2", "OXT"}),
    ],
)
def test_protonation_states(sequence, charge, charged):
    topology, _ = build_peptide(sequence)
    features = features_from_topology(topology)
    assert features.ref_charge.sum() == charge
    names = {features.atom_names[i] for i in np.flatnonzero(features.ref_charge)}
    assert names == charged


def test_histidine_tautomers_differ_in_their_hydrogen():
    carrier = {}
    for name in ("HID", "HIE"):
        topology, _ = build_peptide(f"ACE-{name}-NME")
        features = features_from_topology(topology)
        on = {n: 0 for n in ("ND1", "NE2")}
        for i, j in features.bonds.tolist():
            for n, h in ((i, j), (j, i)):
                if features.atom_names[n] in on and features.ref_element[h] == 1:
                    on[features.atom_names[n]] += 1
        carrier[name] = on
    assert carrier == {"HID": {"ND1": 1, "NE2": 0}, "HIE": {"ND1": 0, "NE2": 1}}


def test_disulfide_is_a_token_bond():
    topology, _ = build_peptide("CGGC")
    sulfurs = [index_of(topology, r, "SG") for r in (0, 3)]
    thiol = [index_of(topology, r, "HG") for r in (0, 3)]
    reduced = features_from_topology(topology)
    bridged, _ = rebuild(topology, drop=thiol, extra_bonds=[tuple(sulfurs)])
    features = features_from_topology(bridged)
    expected = np.zeros((4, 4), np.float32)
    expected[0, 3] = expected[3, 0] = 1
    np.testing.assert_array_equal(features.token_bonds, expected)
    assert not reduced.token_bonds.any()
    assert features.num_atoms == reduced.num_atoms - 2
    assert features.ref_charge.sum() == 0

    broken, _ = rebuild(topology, drop=thiol)
    with pytest.raises(MissingAtomsError, match="SG has 0, expected 1.*createDisulfideBonds"):
        features_from_topology(broken)


def test_heavy_atoms_with_and_without_hydrogens_in_the_topology():
    topology, _ = build_peptide("KDEHRYP")
    everything = features_from_topology(topology)
    heavy = features_from_topology(topology, atoms="heavy")
    keep = np.flatnonzero(everything.ref_element > 1)
    np.testing.assert_array_equal(heavy.atom_indices, keep)
    np.testing.assert_array_equal(heavy.ref_charge, everything.ref_charge[keep])
    assert (heavy.ref_element > 1).all()
    hydrogens = np.flatnonzero(everything.ref_element == 1)
    bare, _ = rebuild(topology, drop=set(hydrogens.tolist()))
    assert bare.getNumAtoms() == len(keep)
    without = features_from_topology(bare, atoms="heavy")
    np.testing.assert_array_equal(without.ref_charge, heavy.ref_charge)
    np.testing.assert_array_equal(without.ref_pos, heavy.ref_pos)
    np.testing.assert_array_equal(without.bond_order, heavy.bond_order)
    np.testing.assert_array_equal(without.chiral_signs, heavy.chiral_signs)


@pytest.mark.parametrize(
    ("name", "charge"), [("HID", 0), ("HIP", 1), ("ASH", 0), ("GLH", 0), ("LYN", 0), ("CYM", -1)]
)
def test_names_give_protonation_where_there_are_no_hydrogens(name, charge):
    plain = {"HID": "HIS", "HIP": "HIS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS", "CYM": "CYS"}
    topology, _ = build_peptide(f"ACE-{plain[name]}-NME")
    light = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    bare, _ = rebuild(topology, drop=light, rename={plain[name]: name})
    features = features_from_topology(bare, atoms="heavy")
    assert features.ref_charge.sum() == charge
    assert features.residue_names[1] == name


def test_foreign_atom_names_are_fitted_by_the_graph():
    topology, _ = build_peptide("ACE-ILE-NME")
    names = {("ILE", "CD1"): "CD", ("ILE", "HD11"): "HD1", ("ILE", "H"): "HN"}
    renamed, _ = rebuild(topology, rename=names)
    features, expected = features_from_topology(renamed), features_from_topology(topology)
    np.testing.assert_array_equal(features.chiral_centers, expected.chiral_centers)
    np.testing.assert_array_equal(features.chiral_signs, expected.chiral_signs)
    np.testing.assert_array_equal(features.ref_charge, expected.ref_charge)
    heavy = expected.ref_element > 1
    np.testing.assert_allclose(features.ref_pos[heavy], expected.ref_pos[heavy], atol=1e-6)


# --- handedness from positions ------------------------------------------------------------------


def test_mirrored_positions_make_a_d_residue_and_say_so():
    topology, positions = build_peptide("ACE-ILE-NME")
    mirrored = positions * [1, 1, -1]
    with pytest.warns(UserWarning, match="opposite hand.*CA, CB"):
        features = features_from_topology(topology, positions=mirrored)
    standard = features_from_topology(topology)
    np.testing.assert_array_equal(features.chiral_signs, -standard.chiral_signs)
    assert cip_labels(features) == {"CA": "R", "CB": "R"}
    np.testing.assert_array_equal(features.label_signs, -standard.label_signs)


def test_labels_of_methylene_hydrogens_follow_the_positions():
    topology, positions = build_peptide("ACE-LEU-NME")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = features_from_topology(topology, positions=positions)
    standard = features_from_topology(topology)
    np.testing.assert_array_equal(named.ref_pos, standard.ref_pos)
    pair = [index_of(topology, 1, n) for n in ("HB2", "HB3")]
    exchanged = positions.copy()
    exchanged[pair] = exchanged[pair[::-1]]
    features = features_from_topology(topology, positions=exchanged * unit.nanometer)
    np.testing.assert_allclose(features.ref_pos[pair], standard.ref_pos[pair[::-1]])
    row = [standard.atom_names[c] for c in standard.label_centers[:, 0]].index("CB", 1)
    changed = np.flatnonzero(features.label_signs != standard.label_signs)
    assert changed.tolist() == [row]
    for f, x in ((features, exchanged), (standard, positions)):
        for frame in (x, f.ref_pos.astype(float)):
            volumes = chiral_volumes(frame[None], f.label_centers)[0]
            assert (volumes * f.label_signs > 0.3).all()


@pytest.mark.parametrize(
    ("name", "torsion"),
    [("ASN", "CB CG ND2 HD21"), ("GLN", "CG CD NE2 HE21"), ("ARG", "CD NE CZ NH1")],
)
def test_ends_of_flat_groups_follow_names_or_positions(name, torsion):
    topology, positions = build_peptide(f"ACE-{name}-NME")
    atoms = [index_of(topology, 1, n) for n in torsion.split()]
    standard = features_from_topology(topology)
    turned = positions.copy()
    other = {"HD21": "HD22", "HE21": "HE22", "NH1": "NH2"}[torsion.split()[-1]]
    pair = [atoms[-1], index_of(topology, 1, other)]
    turned[pair] = turned[pair[::-1]]
    features = features_from_topology(topology, positions=turned)

    def cosine(f):
        return torsion_cosines(f.ref_pos.astype(float)[None], np.array([atoms]))[0, 0]

    assert cosine(standard) > 0 > cosine(features)


def test_label_order_brings_frames_into_the_convention():
    topology, positions = build_peptide("VLRN")
    standard = features_from_topology(topology)
    assert standard.label_order == tuple(range(len(positions)))
    named = features_from_topology(topology, positions=positions)
    assert named.label_order == standard.label_order

    # Relabel like atoms: a methyl's hydrogens, valine's and leucine's methyls, a methylene,
    # arginine's ends. Nothing but names changes, and the order undoes it.
    relabelled = positions.copy()
    exchanges = [
        (0, "CG1 HG11 HG12 HG13", "CG2 HG21 HG22 HG23"),
        (0, "HG21", "HG23"),
        (1, "HB2", "HB3"),
        (1, "CD1 HD11 HD12 HD13", "CD2 HD21 HD22 HD23"),
        (2, "NH1 HH11 HH12", "NH2 HH21 HH22"),
        (2, "HG2", "HG3"),
        (3, "HD21", "HD22"),
        (0, "H2", "H3"),
    ]
    for residue, one, two in exchanges:
        i, j = ([index_of(topology, residue, n) for n in names.split()] for names in (one, two))
        relabelled[i + j] = relabelled[j + i]
    features = features_from_topology(topology, positions=relabelled)
    order = np.array(features.label_order)
    assert sorted(order) == list(range(len(positions)))
    assert (order != np.arange(len(order))).sum() >= 2 * len(exchanges)
    restored = relabelled[order]
    again = features_from_topology(topology, positions=restored)
    np.testing.assert_array_equal(again.label_signs, standard.label_signs)
    np.testing.assert_array_equal(again.ref_pos, standard.ref_pos)
    np.testing.assert_allclose(features.ref_pos[order], standard.ref_pos, atol=1e-6)
    heavy = standard.ref_element > 1
    np.testing.assert_array_equal(restored[heavy], positions[heavy])
    # Only like atoms have changed places.
    np.testing.assert_array_equal(standard.ref_element[order], standard.ref_element)


# --- ligands, solvent, chains -------------------------------------------------------------------


def benzamidine(orders=True, ions=True):
    """A Topology with a water, benzamidinium (bond orders if wanted) and ions."""
    from rdkit import Chem

    mol = Chem.AddHs(Chem.MolFromSmiles("NC(=[NH2+])c1ccccc1"))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    topology = app.Topology()
    chain = topology.addChain("A")
    water = topology.addResidue("HOH", chain)
    oxygen = topology.addAtom("O", app.element.oxygen, water)
    for n in ("H1", "H2"):
        topology.addBond(oxygen, topology.addAtom(n, app.element.hydrogen, water))
    topology.addAtom("M", None, water)
    residue = topology.addResidue("BEN", chain)
    atoms = []
    for k, a in enumerate(mol.GetAtoms()):
        element = app.Element.getByAtomicNumber(a.GetAtomicNum())
        atoms.append(topology.addAtom(f"{element.symbol}{k}", element, residue))
    for b in mol.GetBonds():
        order = int(b.GetBondTypeAsDouble()) if orders else None
        pair = atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()]
        topology.addBond(*pair, order=order)
    if ions:
        for name, element in (("NA", app.element.sodium), ("CL", app.element.chlorine)):
            topology.addAtom(name, element, topology.addResidue(name, chain))
    return topology


def test_ligand_from_bond_orders_or_molecule():
    from rdkit import Chem

    features = features_from_topology(benzamidine())
    assert features.atom_indices.tolist() == list(range(4, 22))
    assert features.num_tokens == 9 and set(features.restype.tolist()) == {20}
    assert features.ref_charge.sum() == 1
    assert features.token_bonds.sum() / 2 == 9
    assert Counter(features.bond_order.tolist()) == {1.0: 10 + 1, 1.5: 6, 2.0: 1}
    assert len(set(features.asym_id.tolist())) == 1 and set(features.residue_index) == {1}
    given = {"BEN": Chem.MolFromSmiles("NC(=[NH2+])c1ccccc1")}
    other = features_from_topology(benzamidine(orders=False), molecules=given)
    assert other.ref_charge.sum() == 1
    np.testing.assert_array_equal(other.bond_order, features.bond_order)


def test_ligand_without_chemistry_is_refused_with_advice():
    from rdkit import Chem

    with pytest.raises(UnknownResidueError, match=r"BEN.*molecules=\{'BEN': mol\}"):
        features_from_topology(benzamidine(orders=False))
    with pytest.raises(FeatureError, match="does not fit the Topology's 9 heavy atoms"):
        features_from_topology(benzamidine(), molecules={"BEN": Chem.MolFromSmiles("CCO")})
    neutral = {"BEN": Chem.MolFromSmiles("NC(=N)c1ccccc1")}
    with pytest.raises(MissingAtomsError, match="protonation state"):
        features_from_topology(benzamidine(orders=False), molecules=neutral)


def test_ligand_takes_its_hand_from_positions():
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles("F[C@](Cl)(Br)CO"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=7)
    positions = mol.GetConformer().GetPositions() * 0.1
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    atoms = [
        topology.addAtom(f"X{k}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue)
        for k, a in enumerate(mol.GetAtoms())
    ]
    for b in mol.GetBonds():
        topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    # Every bond is single and every valence filled: no molecule is needed.
    for x in (positions, positions * [1, -1, 1]):
        features = features_from_topology(topology, positions=x)
        assert len(features.chiral_centers) == 1
        for frame in (x, features.ref_pos.astype(float)):
            volume = chiral_volumes(frame[None], features.chiral_centers)[0]
            assert (volume * features.chiral_signs > 0.3).all()
    flat = positions.copy()
    flat[1] = flat[[0, 2, 3]].mean(axis=0)
    with pytest.raises(FeatureError, match="flat at X1"):
        features_from_topology(topology, positions=flat)
    with pytest.raises(FeatureError, match="unknown hand: X1"):
        features_from_topology(topology)


def test_solvent_ions_and_virtual_sites_are_left_out():
    topology, positions = build_peptide("ACE-ALA-NME")
    modeller = app.Modeller(topology, positions * unit.nanometer)
    solvent = benzamidine()
    modeller.add(solvent, np.zeros((solvent.getNumAtoms(), 3)) * unit.nanometer)
    waters = [a.index for a in modeller.topology.atoms() if a.residue.name == "BEN"]
    features = features_from_topology(modeller.topology)
    assert features.num_atoms == 22 + len(waters)
    only = features_from_topology(modeller.topology, solute=range(22))
    assert only.num_atoms == 22
    assert set(only.asym_id.tolist()) == {0} and set(features.asym_id.tolist()) == {0, 1}


def test_copies_of_a_chain_share_their_entity():
    topology, positions = build_peptide("ACE-ALA-NME")
    other, far = build_peptide("ACE-GLY-NME")
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.add(other, far * unit.nanometer)
    modeller.add(topology, positions * unit.nanometer)
    features = features_from_topology(modeller.topology)
    assert features.asym_id.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert features.entity_id.tolist() == [0] * 3 + [1] * 3 + [0] * 3
    assert features.sym_id.tolist() == [0] * 6 + [1] * 3
    assert features.residue_index.tolist() == [1, 2, 3] * 3


def test_tensors_have_the_contracts_types():
    torch = pytest.importorskip("torch")
    topology, _ = build_peptide("ACE-GLY-NME")
    features = features_from_topology(topology)
    tensors = features.tensors()
    assert tensors["ref_pos"].shape == (19, 3) and tensors["ref_pos"].dtype == torch.float32
    assert tensors["restype"].dtype == torch.int64
    assert tensors["chiral_centers"].shape == (0, 4)
    tensors["ref_pos"][:] = 0
    assert np.abs(features.ref_pos).max() > 0


# --- errors -------------------------------------------------------------------------------------


def test_missing_hydrogens_are_named():
    topology, _ = build_peptide("ACE-SER-NME")
    broken, _ = rebuild(topology, drop={index_of(topology, 1, "HG")})
    message = r"SER 2.*OG has 0, expected 1.*Modeller\.addHydrogens"
    with pytest.raises(MissingAtomsError, match=message):
        features_from_topology(broken)


def test_missing_heavy_atoms_are_named():
    topology, _ = build_peptide("ACE-LEU-NME")
    drop = {index_of(topology, 1, n) for n in ("CD2", "HD21", "HD22", "HD23")}
    broken, _ = rebuild(topology, drop=drop)
    with pytest.raises(MissingAtomsError, match=r"LEU 2.*lacks 1 of its 8.*CD2"):
        features_from_topology(broken)


def test_missing_terminal_oxygen_is_named():
    topology, _ = build_peptide("AG")
    broken, _ = rebuild(topology, drop={index_of(topology, 1, "OXT")})
    with pytest.raises(MissingAtomsError, match="GLY 2.*OXT"):
        features_from_topology(broken)


def test_bond_errors_say_what_to_do():
    topology, _ = build_peptide("ACE-ALA-NME")
    every = topology_bonds(topology)
    none, _ = rebuild(topology, skip_bonds=every)
    with pytest.raises(MissingBondsError, match="createStandardBonds"):
        features_from_topology(none)
    twice, _ = rebuild(topology, extra_bonds=[min(every)])
    with pytest.raises(MissingBondsError, match="twice"):
        features_from_topology(twice)
    pair = index_of(topology, 1, "CA"), index_of(topology, 1, "CB")
    gap, _ = rebuild(topology, skip_bonds={pair})
    with pytest.raises(MissingBondsError, match="missing CA-CB"):
        features_from_topology(gap)
    loose, _ = rebuild(topology, skip_bonds={(pair[0], index_of(topology, 1, "HA"))})
    with pytest.raises(MissingBondsError, match=r"without a bond: residue ALA 2.*HA\."):
        features_from_topology(loose)


def test_unknown_residue_is_named():
    topology, _ = build_peptide("ACE-PHE-NME")
    renamed, _ = rebuild(topology, rename={"PHE": "XYZ"}, orders=False)
    with pytest.raises(UnknownResidueError, match=r"XYZ 2.*index 1.*RDKit Mol"):
        features_from_topology(renamed)


def test_arguments_are_checked():
    topology, positions = build_peptide("ACE-ALA-NME")
    with pytest.raises(FeatureError, match="21 atoms, but the Topology has 22"):
        features_from_topology(topology, positions=positions[:-1])
    with pytest.raises(FeatureError, match="expected 'all' or 'heavy'"):
        features_from_topology(topology, atoms="most")
    with pytest.raises(FeatureError, match="cuts through residue ALA"):
        features_from_topology(topology, solute=range(10))
    with pytest.raises(FeatureError, match="bonded to atom.*not in the solute"):
        features_from_topology(topology, solute=range(16))
    with pytest.raises(FeatureError, match="atoms are 0 to 21"):
        features_from_topology(topology, solute=[22])
    with pytest.raises(FeatureError, match="twice"):
        features_from_topology(topology, solute=[0, 0])
    with pytest.raises(FeatureError, match="empty"):
        features_from_topology(topology, solute=[])
    water = app.Topology()
    residue = water.addResidue("HOH", water.addChain())
    water.addAtom("O", app.element.oxygen, residue)
    with pytest.raises(FeatureError, match="all solvent or ions"):
        features_from_topology(water)


# --- real structures ----------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(("name", "atoms", "charge"), [("1l2y", 304, 1), ("1fme", 504, 4)])
def test_nmr_structures_agree_with_their_own_coordinates(name, atoms, charge):
    pdb = app.PDBFile(str(SHARED / "structures" / f"{name}.pdb"))
    plain = features_from_topology(pdb.topology)
    assert plain.num_atoms == atoms and plain.ref_charge.sum() == charge
    named = features_from_topology(pdb.topology, positions=pdb.positions)
    np.testing.assert_array_equal(plain.chiral_signs, named.chiral_signs)
    # Methylenes are deposited with the wwPDB's names; methyls and ammonium have no such rule.
    differ = np.flatnonzero(plain.label_signs != named.label_signs)
    hydrogens = [
        sum(
            plain.ref_element[b] == 1
            for pair in plain.bonds.tolist()
            if c in pair
            for b in pair
            if b != c
        )
        for c in plain.label_centers[differ, 0].tolist()
    ]
    assert all(n == 3 for n in hydrogens)
