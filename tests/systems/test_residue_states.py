"""Protonation states, ends and rings of chains, metals and cofactors, from files to Systems."""

from __future__ import annotations

import warnings

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import index_of, rebuild, write_pdb

from atmos_openmm.data.structures import inspect
from atmos_openmm.systems.backbone import backbone_torsions, set_backbone
from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.inputs import read_molecule, read_structure
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.structure_files import read_structure_file

FORCEFIELD = ("amber14-all.xml", "implicit/gbn2.xml")
EXPLICIT = ("amber14-all.xml", "amber14/tip3p.xml")


def charge_of(system):
    force = next(f for f in system.getForces() if f.getName() == "NonbondedForce")
    charges = [force.getParticleParameters(k)[0]._value for k in range(system.getNumParticles())]
    return round(sum(charges))


def bonds_of(topology):
    return {tuple(sorted((b[0].index, b[1].index))) for b in topology.bonds()}


def both_formats(tmp_path, topology, positions):
    """The same molecule as PDB and as mmCIF."""
    cif = tmp_path / "made.cif"
    with open(cif, "w") as file:
        app.PDBxFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
    return write_pdb(tmp_path / "made.pdb", topology, positions, conect=False), cif


@pytest.mark.parametrize(
    ("sequence", "charge"),
    [
        ("ACE-ASP-NME", -1),
        ("ACE-ASH-NME", 0),
        ("ACE-GLU-NME", -1),
        ("ACE-GLH-NME", 0),
        ("ACE-LYS-NME", 1),
        ("ACE-LYN-NME", 0),
        ("ACE-HID-NME", 0),
        ("ACE-HIE-NME", 0),
        ("ACE-HIP-NME", 1),
        ("ACE-CYS-NME", 0),
        ("GLY-ALA-SER", 0),
        ("LYS-ALA-NME", 2),
        ("ACE-ALA-ASP", -2),
    ],
)
def test_protonation_that_amber_has_goes_from_file_to_system(tmp_path, sequence, charge):
    topology, positions = build_peptide(sequence)
    for path in both_formats(tmp_path, topology, positions):
        for molecule in (read_molecule(path), read_structure(path)):
            assert charge_of(create_system(molecule.topology, FORCEFIELD)) == charge
        assert read_molecule(path).features().ref_charge.sum() == charge
        # And under Amber's names.
        for name in {"ASH", "GLH", "LYN", "HID", "HIE", "HIP"} & set(sequence.split("-")):
            text = path.read_text()
            for old in ("ASP", "GLU", "LYS", "HIS"):
                text = text.replace(f" {old} ", f" {name} ")
            path.write_text(text)
            assert read_molecule(path).features().ref_charge.sum() == charge


def thiolate(charge_carrier=None, distance_nm=0.235):
    """ACE-CYS-NME without HG, and a metal at its sulphur where it is named."""
    topology, positions = build_peptide("ACE-CYS-NME")
    bare, old = rebuild(topology, drop={index_of(topology, 1, "HG")})
    frame = positions[old]
    if charge_carrier is not None:
        sulphur = frame[index_of(bare, 1, "SG")]
        away = sulphur - frame.mean(axis=0)
        metal = sulphur + distance_nm * away / np.linalg.norm(away)
        residue = bare.addResidue(charge_carrier, bare.addChain("B"), "301")
        bare.addAtom(charge_carrier, app.Element.getBySymbol(charge_carrier), residue)
        frame = np.concatenate([frame, [metal]])
    return bare, frame


def test_a_cysteine_at_a_zinc_is_a_thiolate_and_the_zinc_is_left_to_md(tmp_path):
    topology, frame = thiolate("ZN")
    for path in both_formats(tmp_path, topology, frame):
        molecule = read_molecule(path)
        assert [r.name for r in molecule.topology.residues()][1] == "CYM"
        assert any("CYM" in n and "ZN 301" in n for n in molecule.notes)
        assert any("Not part of the solute" in n and "ZN" in n for n in molecule.notes)
        features = molecule.features()
        assert features.ref_charge.sum() == -1 and features.num_atoms == topology.getNumAtoms() - 1
        system = create_system(molecule.topology, EXPLICIT)
        assert charge_of(system) == 1


def test_bonds_to_metals_that_the_file_names_are_left_out_and_said(tmp_path):
    topology, frame = thiolate("ZN")
    path = write_pdb(tmp_path / "zinc.pdb", topology, frame, conect=False)
    lines = [k for k in path.read_text().splitlines() if k != "END"]
    serial = {
        (k[12:16].strip(), k[17:20].strip()): k[6:11]
        for k in lines
        if k[:6] in ("ATOM  ", "HETATM")
    }
    one, two = serial["SG", "CYS"], serial["ZN", "ZN"]
    link = "LINK         SG  CYS A   2                ZN    ZN B 301     1555   1555  2.35"
    path.write_text("\n".join([link, *lines, f"CONECT{one}{two}", "END", ""]))
    molecule = read_molecule(path)
    assert molecule.topology.getNumBonds() == topology.getNumBonds()
    assert any("ZN 301" in n and "left out" in n for n in molecule.notes)
    assert molecule.features().ref_charge.sum() == -1
    # A Topology from elsewhere may have the bond: the protein is modelled all the same.
    topology = molecule.topology
    topology.addBond(*(a for a in topology.atoms() if a.name in ("SG", "ZN")))
    assert features_from_topology(topology).ref_charge.sum() == -1


def test_a_topology_whose_cysteine_lacks_hg_is_a_thiolate_with_a_warning():
    topology, frame = thiolate()
    with pytest.warns(UserWarning, match="CYS 2.*no HG.*thiolate"):
        assert features_from_topology(topology).ref_charge.sum() == -1
    # The name of a disulfide's half says that the bond is missing.
    renamed, _ = rebuild(topology, rename={"CYS": "CYX"})
    with pytest.raises(FeatureError, match="disulfide needs the S-S bond"):
        features_from_topology(renamed)
    # Two of them side by side as well.
    pair = app.Modeller(topology, frame * unit.nanometer)
    other = frame * [1, -1, -1]
    sulphur = index_of(topology, 1, "SG")
    other = other + frame[sulphur] - other[sulphur] + [0.205, 0, 0]
    pair.add(topology, other * unit.nanometer)
    points = np.array(pair.positions.value_in_unit(unit.nanometer))
    with pytest.raises(FeatureError, match="0.205 nm.*disulfide"):
        features_from_topology(pair.topology, positions=points)


def test_cyx_pairs_are_bonded(tmp_path):
    topology, positions = build_peptide("CGGC")
    bare, old = rebuild(topology, drop={index_of(topology, r, "HG") for r in (0, 3)})
    frame = positions[old]
    one, two = (index_of(bare, r, "SG") for r in (0, 3))
    frame[two] = frame[one] + [0.0, 0.0, 0.204]
    for path in both_formats(tmp_path, bare, frame):
        path.write_text(path.read_text().replace("CYS", "CYX"))
        file = read_structure_file(path)
        assert (one, two) in bonds_of(file.topology)
        assert charge_of(create_system(file.topology, FORCEFIELD)) == 0 and not file.notes
        assert [r.name for r in file.topology.residues()] == ["CYS", "GLY", "GLY", "CYS"]
    # Too far apart: the name still says that they are no thiolates.
    frame[two] = frame[one] + [0.0, 0.0, 0.4]
    path = write_pdb(tmp_path / "far.pdb", bare, frame)
    path.write_text(path.read_text().replace("CYS", "CYX"))
    file = read_structure_file(path)
    assert sum("CYX" in n and "half of a disulfide" in n for n in file.notes) == 2
    with pytest.raises(FeatureError, match="disulfide needs the S-S bond"):
        features_from_topology(file.topology)


# --- chains -------------------------------------------------------------------------------------


def shifted(topology, positions, x):
    return topology, positions + [x, 0.0, 0.0]


@pytest.mark.parametrize("second", ["ACE-SER-NME", "SER-ALA", "GLY-ALA-NME"])
@pytest.mark.parametrize("first", ["ACE-ALA-NME", "ACE-ALA-GLY"])
def test_ends_inside_a_chain_are_ends(tmp_path, first, second):
    # Two peptides in one chain of the file, without TER between them.
    joined, frame = app.Topology(), []
    chain = joined.addChain("A")
    number = 0
    for k, sequence in enumerate((first, second)):
        topology, positions = build_peptide(sequence)
        for r in topology.residues():
            number += 1
            made = joined.addResidue(r.name, chain, str(number))
            for a in r.atoms():
                joined.addAtom(a.name, a.element, made)
                frame.append(positions[a.index] + [0.0, 0.0, 1.5 * k])
    expected = sum(build_peptide(s)[0].getNumBonds() for s in (first, second))
    for path in both_formats(tmp_path, joined, np.array(frame)):
        text = "\n".join(k for k in path.read_text().splitlines() if not k.startswith("TER"))
        path.write_text(text + "\n")
        molecule = read_molecule(path)
        assert molecule.topology.getNumBonds() == expected
        features = molecule.features()
        assert len(features.bonds) == expected
        create_system(molecule.topology, FORCEFIELD)
        (entry,) = inspect(str(path), hydrogens=True)
        assert not entry.faults and len(entry.sample.molecule().features().bonds) == expected


def cyclic_peptide():
    """Head-to-tail cyclo-hexaglycine: Topology and coordinates."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    mol = Chem.AddHs(Chem.MolFromSmiles("N1CC(=O)" + "NCC(=O)" * 4 + "NCC1=O"))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=3) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=2000)
    backbone = mol.GetSubstructMatches(Chem.MolFromSmarts("[NX3][CX4][CX3]=O"))
    # In the order of the chain.
    order, left = [backbone[0]], list(backbone[1:])
    while left:
        following = next(m for m in left if mol.GetBondBetweenAtoms(order[-1][2], m[0]))
        left.remove(following)
        order.append(following)
    topology = app.Topology()
    chain = topology.addChain("A")
    places, atoms = [], {}
    for k, match in enumerate(order):
        residue = topology.addResidue("GLY", chain, str(k + 1))
        for name, index in zip(("N", "CA", "C", "O"), match, strict=True):
            atoms[index] = topology.addAtom(name, app.Element.getBySymbol(name[0]), residue)
            places.append(index)
            light = [
                n.GetIdx()
                for n in mol.GetAtomWithIdx(index).GetNeighbors()
                if n.GetAtomicNum() == 1
            ]
            for h, label in zip(
                light, {"N": ("H",), "CA": ("HA2", "HA3")}.get(name, ()), strict=True
            ):
                atoms[h] = topology.addAtom(label, app.element.hydrogen, residue)
                places.append(h)
    for b in mol.GetBonds():
        topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    return topology, np.array(mol.GetConformer().GetPositions())[places] * 0.1


def ring_file(tmp_path, kind):
    topology, positions = cyclic_peptide()
    if kind == "cif":
        return both_formats(tmp_path, topology, positions)[1], topology
    path = write_pdb(tmp_path / "ring.pdb", topology, positions, conect=False)
    lines = [k for k in path.read_text().splitlines() if not k.startswith(("END", "TER"))]
    if kind == "link":
        lines.insert(
            0, "LINK         N   GLY A   1                 C   GLY A   6     1555   1555  1.33"
        )
    if kind == "conect":
        first = next(k[6:11] for k in lines if k[12:16] == " N  " and k[22:26] == "   1")
        last = next(k[6:11] for k in lines if k[12:16] == " C  " and k[22:26] == "   6")
        lines.append(f"CONECT{last}{first}")
    path.write_text("\n".join([*lines, "END", ""]))
    return path, topology


@pytest.mark.parametrize("kind", ["nothing", "link", "conect", "cif"])
def test_a_ring_of_residues_is_closed_and_has_no_terminal_oxygen(tmp_path, kind):
    path, expected = ring_file(tmp_path, kind)
    molecule = read_molecule(path)
    assert bonds_of(molecule.topology) == bonds_of(expected)
    features = molecule.features()
    assert features.ref_charge.sum() == 0
    assert charge_of(create_system(molecule.topology, FORCEFIELD)) == 0
    for hydrogens in (False, True):
        (entry,) = inspect(str(path), hydrogens=hydrogens)
        assert entry.sample is not None and not entry.faults
        made = entry.sample.source.load()
        names = [a.name for a in made.topology.atoms()]
        assert "OXT" not in names and names.count("N") == 6
        assert made.features("all" if hydrogens else "heavy").ref_charge.sum() == 0


def test_torsions_of_a_ring_go_around_it():
    topology, positions = cyclic_peptide()
    phi, psi = backbone_torsions(topology, positions)
    assert np.isfinite(phi).all() and np.isfinite(psi).all()
    np.testing.assert_array_equal(set_backbone(topology, positions, 1.0, 1.0), positions)


def test_d_residues_by_name_go_to_a_system(tmp_path):
    topology, positions = build_peptide("ACE-ALA-PHE-NME")
    mirrored, _ = rebuild(topology, rename={"ALA": "DAL", "PHE": "DPN"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in both_formats(tmp_path, mirrored, positions * [1, 1, -1]):
            for molecule in (read_molecule(path), read_structure(path)):
                assert bonds_of(molecule.topology) == bonds_of(topology)
                assert charge_of(create_system(molecule.topology, FORCEFIELD)) == 0
            assert read_molecule(path).features().num_atoms == topology.getNumAtoms()


# --- cofactors ----------------------------------------------------------------------------------


def with_residue(name, symbols, at=3.0):
    """The peptide and a residue of atoms in a row without bonds."""
    topology, positions = build_peptide("ACE-ALA-NME")
    residue = topology.addResidue(name, topology.addChain("B"), "401")
    places = []
    for k, symbol in enumerate(symbols):
        topology.addAtom(f"{symbol.upper()}{k}", app.Element.getBySymbol(symbol), residue)
        places.append([at + 0.14 * k, 0.0, 0.0])
    return topology, np.concatenate([positions, places])


@pytest.mark.parametrize(
    ("name", "symbols"),
    [("NAD", "CCCNP"), ("HEM", ["Fe", "N", "C", "C"]), ("XYZ", ["C", "Zn", "C"])],
)
def test_cofactors_and_residues_with_metals_are_left_to_md_and_said(tmp_path, name, symbols):
    topology, frame = with_residue(name, symbols)
    for path in both_formats(tmp_path, topology, frame):
        molecule = read_molecule(path)
        assert any(name in n and "Not part of the solute" in n for n in molecule.notes)
        assert any(f"{name} 401" in n and "left to molecular dynamics" in n for n in molecule.notes)
        assert any("left to molecular dynamics" in n for n in read_structure(path).notes)
        assert molecule.features().num_atoms == topology.getNumAtoms() - len(symbols)


def test_a_cofactor_whose_chemistry_is_given_is_modelled(tmp_path):
    from rdkit import Chem

    topology, frame = with_residue("NAD", "CCO")
    path = write_pdb(tmp_path / "nad.pdb", topology, frame, conect=False)
    molecule = read_molecule(path, molecules={"NAD": Chem.MolFromSmiles("CCO")})
    assert molecule.features("heavy").num_tokens == 3 + 3
    assert not any("NAD" in n for n in molecule.notes)
