"""Files to molecules: what is chosen and said, and what is refused, with the atoms by name."""

from __future__ import annotations

import warnings

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import displaced, embedded, index_of, rebuild, write_pdb, write_sdf

from atmos_openmm.systems.errors import FeatureError, MissingAtomsError, UnknownResidueError
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.inputs import read_molecule, read_structure
from atmos_openmm.systems.ligand_files import read_ligands
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.structure_files import read_structure_file


@pytest.fixture(autouse=True)
def _no_warnings():
    """Nothing here may warn: what there is to say is in the notes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def peptide(tmp_path):
    """A PDB file of ACE-ALA-SER-NME, its Topology and positions."""
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    return write_pdb(tmp_path / "peptide.pdb", topology, positions), topology, positions


def atom_lines(path):
    return [line for line in path.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]


def complex_file(path, mol, place=(2.0, 0.0, 0.0), name="LIG", conect=True, hydrogens=True):
    """A PDB file of a peptide and a ligand, and their positions in nm."""
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    residue = topology.addResidue(name, topology.addChain("B"))
    points = np.array(mol.GetConformer().GetPositions()) * 0.1 + np.array(place)
    atoms, kept = {}, []
    for k, a in enumerate(mol.GetAtoms()):
        if hydrogens or a.GetAtomicNum() > 1:
            element = app.Element.getByAtomicNumber(a.GetAtomicNum())
            atoms[k] = topology.addAtom(f"{element.symbol}{k}", element, residue)
            kept.append(k)
    for b in mol.GetBonds():
        if {b.GetBeginAtomIdx(), b.GetEndAtomIdx()} <= atoms.keys():
            topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    frame = np.concatenate([positions, points[kept]])
    return write_pdb(path, topology, frame, conect), frame


# --- structures ---------------------------------------------------------------------------------


def test_pdb_and_mmcif_give_the_same_molecule(peptide, tmp_path):
    path, topology, positions = peptide
    cif = tmp_path / "peptide.cif"
    with open(cif, "w") as file:
        app.PDBxFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
    one, two = read_molecule(path), read_molecule(str(cif))
    assert one.name == two.name == "peptide" and one.notes == two.notes == ()
    np.testing.assert_allclose(one.positions_nm, positions, atol=6e-5)  # three decimals of 0.1 nm
    expected = features_from_topology(topology, positions=positions).arrays()
    for molecule in (one, two):
        for name, array in molecule.features().arrays().items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_first_of_several_models_is_taken_and_said(peptide, tmp_path):
    path, topology, positions = peptide
    several = tmp_path / "several.pdb"
    body = atom_lines(path)
    moved = write_pdb(tmp_path / "moved.pdb", topology, positions + 0.5)
    several.write_text(
        "\n".join(
            [
                "MODEL        1",
                *body,
                "ENDMDL",
                "MODEL        2",
                *atom_lines(moved),
                "ENDMDL",
                "END",
                "",
            ]
        )
    )
    molecule = read_molecule(several)
    np.testing.assert_allclose(molecule.positions_nm, positions, atol=6e-5)
    assert molecule.notes == ("The file holds 2 models; the first is taken.",)

    cif = tmp_path / "several.cif"
    with open(cif, "w") as file:
        app.PDBxFile.writeHeader(topology, file, keepIds=True)
        for k in range(3):
            frame = (positions + 0.5 * k) * unit.nanometer
            app.PDBxFile.writeModel(topology, frame, file, modelIndex=k + 1, keepIds=True)
    molecule = read_molecule(cif)
    np.testing.assert_allclose(molecule.positions_nm, positions, atol=6e-5)
    assert molecule.notes == ("The file holds 3 models; the first is taken.",)


def alternates(path, target, occupancies=(0.4, 0.6)):
    """Double the side chain of SER: location A moved by nothing, B by 0.5 angstrom along x."""
    lines = []
    for line in atom_lines(path):
        if line[17:20] == "SER" and line[12:16].strip() in ("OG", "HG"):
            for letter, occupancy, shift in zip("AB", occupancies, (0.0, 0.5), strict=True):
                x = float(line[30:38]) + shift
                lines.append(
                    f"{line[:16]}{letter}{line[17:30]}{x:8.3f}{line[38:54]}{occupancy:6.2f}"
                    f"{line[60:]}"
                )
        else:
            lines.append(line)
    target.write_text("\n".join([*lines, "END", ""]))
    return target


@pytest.mark.parametrize(("occupancies", "letter"), [((0.4, 0.6), "B"), ((0.5, 0.5), "A")])
def test_location_of_highest_occupancy_is_taken(peptide, tmp_path, occupancies, letter):
    path, topology, positions = peptide
    molecule = read_molecule(alternates(path, tmp_path / "alt.pdb", occupancies))
    assert molecule.notes == (f"Alternate location {letter} is taken for SER 3 of chain A.",)
    assert molecule.topology.getNumAtoms() == topology.getNumAtoms()
    expected = positions.copy()
    pair = [index_of(topology, 2, n) for n in ("OG", "HG")]
    expected[pair, 0] += 0.05 if letter == "B" else 0.0
    np.testing.assert_allclose(molecule.positions_nm, expected, atol=6e-5)


def test_residue_that_is_two_residues_is_taken_as_one(peptide, tmp_path):
    # Location B of SER 3 is a THR with half of its weight.
    path, topology, _ = peptide
    lines = []
    for line in atom_lines(path):
        ser = line[17:20] == "SER"
        lines.append(f"{line[:16]}A{line[17:54]}  0.70{line[60:]}" if ser else line)
        if ser and line[12:16].strip() in ("N", "CA", "C", "O", "CB"):
            lines.append(f"{line[:16]}BTHR{line[20:54]}  0.30{line[60:]}")
    for suffix in (".pdb", ".cif"):
        target = tmp_path / f"two{suffix}"
        if suffix == ".pdb":
            target.write_text("\n".join([*lines, "END", ""]))
        else:
            target.write_text(cif_of(lines))
        molecule = read_molecule(target)
        assert [r.name for r in molecule.topology.residues()] == ["ACE", "ALA", "SER", "NME"]
        assert molecule.topology.getNumAtoms() == topology.getNumAtoms()
        assert molecule.notes == ("Alternate location A is taken for SER 3 of chain A.",)


def cif_of(lines):
    """PDB's atom lines as an mmCIF file with alternate locations and occupancies."""
    columns = (
        "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
        "label_entity_id label_seq_id Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_comp_id "
        "auth_asym_id auth_atom_id pdbx_PDB_model_num"
    ).split()
    rows = []
    for line in lines:
        name, number = line[12:16].strip(), line[22:26].strip()
        rows.append(
            f"ATOM {line[6:11].strip()} {line[76:78].strip()} {name} {line[16].strip() or '.'} "
            f"{line[17:20]} A 1 {number} {line[30:38]} {line[38:46]} {line[46:54]} "
            f"{line[54:60].strip()} {number} {line[17:20]} A {name} 1"
        )
    head = "\n".join(f"_atom_site.{c}" for c in columns)
    return "data_X\n#\nloop_\n" + head + "\n" + "\n".join(rows) + "\n#\n"


def test_disulfides_of_mmcif_without_struct_conn_are_found(tmp_path):
    topology, positions = build_peptide("CGGC")
    thiols = {index_of(topology, r, "HG") for r in (0, 3)}
    bare, old = rebuild(topology, drop=thiols)
    frame = positions[old]
    one, two = (index_of(bare, r, "SG") for r in (0, 3))
    frame[two] = frame[one] + [0.0, 0.0, 0.204]
    cif = tmp_path / "cys.cif"
    with open(cif, "w") as file:
        app.PDBxFile.writeFile(bare, frame * unit.nanometer, file, keepIds=True)
    text = cif.read_text()
    assert "_struct_conn" not in text  # OpenMM's writer names no bonds of standard residues
    file = read_structure_file(cif)
    pairs = {tuple(sorted((b[0].index, b[1].index))) for b in file.topology.bonds()}
    assert (one, two) in pairs


def test_amber_and_charmm_names_of_residues_are_understood(tmp_path):
    topology, positions = build_peptide("GLY-HIE-ALA")
    path = write_pdb(tmp_path / "names.pdb", topology, positions)
    text = path.read_text().replace("GLY ", "NGLY").replace("HIS ", "HSE ").replace("ALA ", "CALA")
    path.write_text(text)
    molecule = read_molecule(path)
    expected = features_from_topology(topology, positions=positions)
    features = molecule.features()
    np.testing.assert_array_equal(features.restype, expected.restype)
    np.testing.assert_array_equal(features.ref_charge, expected.ref_charge)


def test_names_of_thiolates_are_kept(tmp_path):
    topology, positions = build_peptide("ACE-CYS-NME")
    bare, old = rebuild(topology, drop={index_of(topology, 1, "HG")})
    path = write_pdb(tmp_path / "cym.pdb", bare, positions[old])
    molecule = read_molecule(path)
    assert molecule.features().ref_charge.sum() == -1
    (note,) = molecule.notes
    assert "CYS 2 of chain A" in note and "no HG" in note and "CYM" in note
    path.write_text(path.read_text().replace("CYS", "CYM"))
    molecule = read_molecule(path)
    assert molecule.features().ref_charge.sum() == -1 and not molecule.notes


def test_protonation_by_name_that_is_lost_is_said(tmp_path):
    topology, positions = build_peptide("ACE-HIP-NME")
    light = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    bare, old = rebuild(topology, drop=light)
    path = write_pdb(tmp_path / "hip.pdb", bare, positions[old])
    path.write_text(path.read_text().replace("HIS", "HIP"))
    molecule = read_molecule(path)
    assert len(molecule.notes) == 1 and "HIP 2 without hydrogens" in molecule.notes[0]
    assert molecule.features("heavy").ref_charge.sum() == 0
    with pytest.raises(
        MissingAtomsError, match="no hydrogens, and features of all.*addHydrogens.*heavy"
    ):
        molecule.features("all")


def test_what_is_left_out_is_said(peptide, tmp_path):
    _, topology, positions = peptide
    modeller = app.Modeller(topology, positions * unit.nanometer)
    other = app.Topology()
    chain = other.addChain()
    for name, element in (("NA", "Na"), ("CL", "Cl"), ("CL", "Cl")):
        other.addAtom(name, app.Element.getBySymbol(element), other.addResidue(name, chain))
    water = other.addResidue("HOH", chain)
    other.addAtom("O", app.element.oxygen, water)
    modeller.add(other, np.arange(12).reshape(4, 3) * unit.nanometer + [5, 5, 5] * unit.nanometer)
    frame = np.array(modeller.positions.value_in_unit(unit.nanometer))
    molecule = read_molecule(write_pdb(tmp_path / "wet.pdb", modeller.topology, frame))
    assert molecule.notes == ("Not part of the solute: 2 CL, 1 HOH, 1 NA.",)
    assert molecule.features().num_atoms == topology.getNumAtoms()


def test_modified_residue_without_bonds_in_the_file_gets_them(tmp_path):
    topology, positions = build_peptide("ACE-ALA-SER-GLY-NME")
    # A PDB file without CONECT records: SER becomes ABA-like serine under a name OpenMM does
    # not know, alpha-aminobutyric acid, by way of its oxygen turned into a carbon.
    copy, frame = app.Topology(), []
    chain = copy.addChain("A")
    for r in topology.residues():
        here = copy.addResidue("ABA" if r.name == "SER" else r.name, chain, r.id)
        for a in r.atoms():
            if a.name == "HG" and r.name == "SER":
                continue
            carbon = a.name == "OG"
            copy.addAtom(
                "CG" if carbon else a.name, app.element.carbon if carbon else a.element, here
            )
            frame.append(positions[a.index])
            if carbon:
                away = positions[a.index] - positions[index_of(topology, r.index, "CB")]
                away /= np.linalg.norm(away)
                side = np.cross(away, [0.3, 0.5, 0.8])
                side /= np.linalg.norm(side)
                third = np.cross(away, side)
                for k in range(3):
                    angle = 2 * np.pi * k / 3
                    turn = np.cos(angle) * side + np.sin(angle) * third
                    copy.addAtom(f"HG{k + 1}", app.element.hydrogen, here)
                    frame.append(positions[a.index] + 0.109 * (0.334 * away + 0.943 * turn))
    path = write_pdb(tmp_path / "aba.pdb", copy, np.array(frame), conect=False)
    molecule = read_molecule(path)
    features = molecule.features()
    assert features.restype.tolist() == [20, 0] + [0] * 6 + [7, 20]
    assert features.residue_index.tolist() == [1, 2] + [3] * 6 + [4, 5]
    assert len(features.bonds) == copy.getNumAtoms() - 1  # a tree


# --- ligands ------------------------------------------------------------------------------------

SMILES = "C[C@H](O)c1cc(C(=O)[O-])ccc1[NH3+]"


@pytest.mark.parametrize("conect", [True, False])
@pytest.mark.parametrize("hydrogens", [True, False])
def test_ligand_in_the_structure_is_matched_to_its_sdf(tmp_path, conect, hydrogens):
    mol = embedded(SMILES, "drug")
    path, frame = complex_file(tmp_path / "complex.pdb", mol, conect=conect, hydrogens=hydrogens)
    # Another order of atoms and another conformer in another place.
    from rdkit import Chem

    order = np.random.default_rng(5).permutation(mol.GetNumAtoms()).tolist()
    other = Chem.RenumberAtoms(displaced(embedded(SMILES, "drug", seed=11), (9, 9, 9)), order)
    other.SetProp("_Name", "drug")
    sdf = write_sdf(tmp_path / "drug.sdf", other)
    molecule = read_molecule([path, sdf])
    assert molecule.topology.getNumAtoms() == len(frame)
    assert [n for n in molecule.notes if "drug of drug.sdf" in n and "LIG 5" in n]
    features = molecule.features("all" if hydrogens else "heavy")
    token = np.flatnonzero(np.array(features.residue_names) == "LIG")
    heavy = Chem.RemoveHs(mol)
    assert len(token) == heavy.GetNumAtoms()
    inside = np.isin(features.atom_to_token, token)
    assert features.ref_charge[inside].sum() == 0 and np.abs(features.ref_charge).sum() == 2
    # Bonds with orders are those of the molecule, atom for atom of the file.
    first = int(np.flatnonzero(inside)[0])
    wanted = mol if hydrogens else heavy
    expected = {
        (b.GetBeginAtomIdx(), b.GetEndAtomIdx(), b.GetBondTypeAsDouble())
        for b in wanted.GetBonds()
        if wanted.GetAtomWithIdx(b.GetBeginAtomIdx()).GetAtomicNum() != 8
        and wanted.GetAtomWithIdx(b.GetEndAtomIdx()).GetAtomicNum() != 8
    }
    expected = {(min(i, j), max(i, j), order) for i, j, order in expected}
    found = {
        (i - first, j - first, order)
        for (i, j), order in zip(features.bonds.tolist(), features.bond_order.tolist(), strict=True)
        if inside[i] and 8 not in features.ref_element[[i, j]]
    }
    assert found == expected
    # The carboxylate's two oxygens are alike: its orders as a set.
    oxygen = sorted(
        order
        for (i, j), order in zip(features.bonds.tolist(), features.bond_order.tolist(), strict=True)
        if inside[i] and 8 in features.ref_element[[i, j]] and 1 not in features.ref_element[[i, j]]
    )
    assert oxygen == [1.0, 1.0, 2.0]
    assert len(features.chiral_centers) == 3


def test_hand_of_a_ligand_is_that_of_the_structure_and_a_difference_is_told(tmp_path):
    path, _ = complex_file(tmp_path / "complex.pdb", embedded(SMILES))
    mirrored = embedded(SMILES.replace("@H", "@@H"))
    molecule = read_molecule([path, write_sdf(tmp_path / "drug.sdf", mirrored)])
    with pytest.warns(UserWarning, match="LIG 5.*opposite hand of the molecule known for it at C1"):
        features = molecule.features()
    centre = [features.atom_names[int(c)] for c in features.chiral_centers[:, 0]].index("C1")
    entry = features.chiral_centers[centre]
    c, a, b, d = molecule.positions_nm[features.atom_indices[entry]]
    assert np.sign(np.dot(a - c, np.cross(b - c, d - c))) == features.chiral_signs[centre]


def test_ligand_that_is_not_there_is_added_where_its_coordinates_are(peptide, tmp_path):
    path, topology, positions = peptide
    one = displaced(embedded("CCO", "ethanol"), (3, 0, 0))
    two = displaced(embedded("C[NH3+]", "amine"), (0, 3, 0))
    sdf = write_sdf(tmp_path / "two.sdf", one, two)
    molecule = read_molecule([path, sdf], records=["ethanol", 1])
    assert [r.name for r in molecule.topology.residues()][-2:] == ["LIG", "L01"]
    assert molecule.molecules.keys() == {"LIG", "L01"}
    np.testing.assert_allclose(molecule.positions_nm[: len(positions)], positions, atol=6e-5)
    points = np.concatenate([m.GetConformer().GetPositions() for m in (one, two)]) * 0.1
    np.testing.assert_allclose(molecule.positions_nm[len(positions) :], points, atol=1e-5)
    features = molecule.features()
    assert features.num_tokens == 4 + 3 + 2 and features.ref_charge.sum() == 1
    assert features.asym_id.tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert features.atom_names[-8:] == ("C1", "N1", "H1", "H2", "H3", "H4", "H5", "H6")
    chars = features.ref_atom_name_chars[-8].tolist()
    assert chars == [ord("C") - 32, ord("1") - 32, 0, 0]

    alone = read_molecule(sdf, records=[0])
    assert alone.name == "two" and alone.features().num_tokens == 3


def test_choice_among_the_molecules_of_a_file_is_asked_for(peptide, tmp_path):
    sdf = write_sdf(tmp_path / "two.sdf", embedded("CCO", "ethanol"), embedded("CCN", "amine"))
    with pytest.raises(FeatureError, match=r"2 molecules \(ethanol, amine\).*two.sdf:ethanol"):
        read_molecule([peptide[0], sdf])
    for choice in (["methanol"], [2], [-1]):
        with pytest.raises(FeatureError, match="No molecule is.*ethanol, amine, or numbers 0 to 1"):
            read_molecule([peptide[0], sdf], records=choice)
    with pytest.raises(FeatureError, match="no SDF file is given"):
        read_molecule(peptide[0], records=["ethanol"])
    # A file with one molecule needs no choice, whatever is chosen elsewhere.
    one = write_sdf(tmp_path / "one.sdf", displaced(embedded("CO", "methanol"), (4, 0, 0)))
    molecule = read_molecule([one, sdf], records=["amine"])
    assert molecule.notes == (
        "methanol of one.sdf is added as residue LIG.",
        "amine of two.sdf is added as residue L01.",
    )
    alike = write_sdf(tmp_path / "alike.sdf", embedded("CCO", "a"), embedded("CCN", "a"))
    with pytest.raises(FeatureError, match="Several molecules are 'a'"):
        read_molecule(alike, records=["a"])


def test_ligand_that_fits_no_residue_is_refused_atom_by_atom(tmp_path):
    path, _ = complex_file(tmp_path / "complex.pdb", embedded("OCc1ccccc1"))
    sdf = write_sdf(tmp_path / "other.sdf", displaced(embedded("NCc1ccccc1", "amine"), (5, 5, 5)))
    with pytest.raises(FeatureError, match=r"LIG 5.*none of the.*amine.*counterpart O0, of.*N 0"):
        read_molecule([path, sdf])


def test_ligand_without_chemistry_is_refused_with_advice(tmp_path):
    mol = embedded("Oc1ccccc1")
    path, _ = complex_file(tmp_path / "complex.pdb", mol)
    with pytest.raises(UnknownResidueError, match="LIG 5.*7 heavy atoms: O0, C1.*read_molecule"):
        read_molecule(path)
    bare, _ = complex_file(tmp_path / "bare.pdb", mol, conect=False)
    with pytest.raises(FeatureError, match="LIG 5.*no bonds.*CONECT"):
        read_molecule(bare)
    # The chemistry alone is enough, with or without CONECT records.
    for file in (path, bare):
        assert read_molecule(file, molecules={"LIG": mol}).features().num_tokens == 4 + 7


def test_ligand_on_top_of_the_structure_or_flat_is_refused(peptide, tmp_path):
    from rdkit import Chem
    from rdkit.Chem import rdDepictor

    path, _, positions = peptide
    mol = embedded("CCO", "ethanol")
    centre = np.array(mol.GetConformer().GetAtomPosition(0)) * 0.1
    on_top = displaced(mol, positions[index_of(peptide[1], 2, "OG")] - centre)
    with pytest.raises(FeatureError, match="ethanol lies on atoms.*atom 0 is 0.000 nm from OG of"):
        read_molecule([path, write_sdf(tmp_path / "top.sdf", on_top)])
    flat = Chem.MolFromSmiles("CCO")
    rdDepictor.Compute2DCoords(flat)
    with pytest.raises(FeatureError, match="not three-dimensional"):
        read_molecule([path, write_sdf(tmp_path / "flat.sdf", flat)])


def test_sdf_files_that_make_no_sense_are_refused(tmp_path):
    sdf = write_sdf(tmp_path / "good.sdf", embedded("CCO", "ethanol"))
    assert [m.GetNumAtoms() for m in read_ligands(sdf)] == [9]
    with pytest.raises(FeatureError, match="no file"):
        read_ligands(tmp_path / "missing.sdf")
    text = sdf.read_text()
    # A second double bond at the carbon that has the oxygen.
    wrong = tmp_path / "wrong.sdf"
    wrong.write_text(text.replace("  2  3  1", "  2  3  3"))
    with pytest.raises(FeatureError, match=r"molecule 0 \(ethanol\).*valence"):
        read_ligands(wrong)
    wrong.write_text("nothing\n")
    with pytest.raises(FeatureError, match="cannot be parsed|holds no molecules"):
        read_ligands(wrong)


# --- faults of the structure --------------------------------------------------------------------


def test_all_residues_with_missing_heavy_atoms_are_listed(tmp_path):
    topology, positions = build_peptide("ACE-LEU-ALA-LYS-NME")
    drop = {index_of(topology, 1, n) for n in ("CD1", "HD11", "HD12", "HD13")}
    drop |= {index_of(topology, 3, n) for n in ("CE", "HE2", "HE3", "NZ", "HZ1", "HZ2", "HZ3")}
    bare, old = rebuild(topology, drop=drop)
    path = write_pdb(tmp_path / "bare.pdb", bare, positions[old])
    with pytest.raises(MissingAtomsError) as caught:
        read_molecule(path)
    message = str(caught.value)
    assert "LEU 2" in message and "(CD1 not found)" in message
    assert "LYS 4" in message and "(CE, NZ not found)" in message and "ALA" not in message


def test_chain_break_is_named_with_the_residues_that_are_missing(tmp_path):
    topology, positions = build_peptide("ACE-ALA-GLY-GLY-GLY-SER-NME")
    drop = {a.index for a in topology.atoms() if a.residue.index in (2, 3, 4)}
    bare, old = rebuild(topology, drop=drop)
    path = write_pdb(tmp_path / "break.pdb", bare, positions[old])
    with pytest.raises(MissingAtomsError, match=r"between ALA 2 and SER 6 of.*\(3 residues are"):
        read_molecule(path)
    # The force field would not mind the long bond, so that a run has to.
    with pytest.raises(ValueError, match="chain is broken between ALA 2 and SER 6"):
        read_structure(path)


def test_molecule_split_by_the_box_is_told_from_a_break(peptide, tmp_path):
    _, topology, positions = peptide
    split = positions - positions.min(axis=0) + 0.5
    topology.setPeriodicBoxVectors(np.eye(3) * 4.0 * unit.nanometer)
    cut = np.array([a.residue.index >= 2 for a in topology.atoms()])
    split[cut, 0] += 4.0
    path = write_pdb(tmp_path / "split.pdb", topology, split)
    with pytest.raises(FeatureError, match="box splits the molecule between.*ALA 2.*SER 3"):
        read_molecule(path)


def test_bad_coordinates_names_and_files_are_refused(peptide, tmp_path):
    path, _, _ = peptide
    lines = path.read_text().splitlines()
    oxygen = next(k for k, line in enumerate(lines) if line[12:16].strip() == "OG")
    bad = tmp_path / "bad.pdb"

    def write(line):
        bad.write_text("\n".join([*lines[:oxygen], line, *lines[oxygen + 1 :]]) + "\n")
        return bad

    with pytest.raises(FeatureError, match=r"not finite: OG of SER 3"):
        read_molecule(write(lines[oxygen][:30] + "     nan" + lines[oxygen][38:]))
    with pytest.raises(FeatureError, match="cannot be read as pdb"):
        read_molecule(write(lines[oxygen][:30] + "********" + lines[oxygen][38:]))
    with pytest.raises(FeatureError, match="same name in a residue: HG of SER 3 of chain A"):
        read_molecule(write(lines[oxygen].replace(" OG ", " HG ")))
    with pytest.raises(FeatureError, match="are bonded, but"):
        read_molecule(write(lines[oxygen][:30] + "  99.000" + lines[oxygen][38:]))
    for given, message in [
        (tmp_path / "none.pdb", "no file"),
        (tmp_path / "peptide.xyz", "none of the files"),
        ([path, path], "both structures"),
        ([], "empty"),
    ]:
        with pytest.raises(FeatureError, match=message):
            read_molecule(given)
    (tmp_path / "empty.pdb").write_text("END\n")
    with pytest.raises(FeatureError, match=r"empty\.pdb"):
        read_molecule(tmp_path / "empty.pdb")
    (tmp_path / "empty.cif").write_text("data_X\n")
    with pytest.raises(FeatureError, match="no atom_site"):
        read_molecule(tmp_path / "empty.cif")
