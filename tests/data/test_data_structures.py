"""PDB and mmCIF entries: gaps, assemblies, ligands and what is left out."""

from __future__ import annotations

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pytest
from data_cases import SHARED, ligand_mol
from openmm import app, unit

from atmos_openmm.core.geometry import superpose
from atmos_openmm.data import structures
from atmos_openmm.data.assemblies import assemblies_of_cif, assemblies_of_pdb
from atmos_openmm.data.components import component_molecules
from atmos_openmm.data.ideal_geometry import ideal_residue, place_missing, terminal_oxygen
from atmos_openmm.systems.peptides import build_peptide

SEQUENCE = "ALA-SER-LYS-ILE-VAL-THR-GLY"
REAL = SHARED / "structures"


@pytest.fixture(scope="module")
def peptide() -> tuple[app.Topology, np.ndarray]:
    topology, x = build_peptide(SEQUENCE)
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
    positions = modeller.positions.value_in_unit(unit.nanometer)
    return modeller.topology, np.array([[p[0], p[1], p[2]] for p in positions])


def text_of(topology: app.Topology, x: np.ndarray, cif: bool = False) -> str:
    buffer = io.StringIO()
    writer = app.PDBxFile if cif else app.PDBFile
    writer.writeFile(topology, x * unit.nanometer, buffer, keepIds=True)
    return buffer.getvalue()


def without(text: str, drop) -> str:
    """PDB text less the atoms for which drop(name, residue number) holds."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line
        for line in lines
        if not (line.startswith("ATOM") and drop(line[12:16].strip(), int(line[22:26])))
        and not line.startswith("CONECT")
    )


def only(path: Path, **options):
    (entry,) = structures.inspect(path, **options)
    return entry


def test_a_whole_structure_is_itself(peptide, tmp_path: Path):
    path = tmp_path / "1abc.pdb"
    path.write_text(text_of(*peptide))
    entry = only(path)
    sample = entry.sample
    assert entry.faults == () and (sample.name, sample.kind) == ("1abc", "static")
    assert sample.spacing_ps is None and sample.temperature_kelvin is None
    # Three decimals of an angstrom.
    np.testing.assert_allclose(sample.frames.read(0), peptide[1], atol=0.6e-4)
    assert sample.resolved().all()
    features = sample.features("heavy")
    assert features.residue_names == tuple(SEQUENCE.split("-"))
    with gzip.open(tmp_path / "1abc.pdb.gz", "wt") as file:
        file.write(path.read_text())
    packed = only(tmp_path / "1abc.pdb.gz").sample
    np.testing.assert_array_equal(packed.frames.read(), sample.frames.read())


def test_missing_atoms_are_added_and_masked(peptide, tmp_path: Path):
    path = tmp_path / "1abc.pdb"
    gone = {("CG1", 4), ("CG2", 4), ("CD1", 4), ("OG1", 6), ("NZ", 3), ("OXT", 7)}
    text = without(text_of(*peptide), lambda name, number: (name, number) in gone)
    path.write_text(text)
    sample = only(path).sample
    whole = tmp_path / "whole.pdb"
    whole.write_text(text_of(*peptide))
    features, complete = sample.features("heavy"), only(whole).sample.features("heavy")
    assert sorted(features.atom_names) == sorted(complete.atom_names)
    mask = sample.resolved(features)
    assert {features.atom_names[k] for k in np.flatnonzero(~mask)} == {n for n, _ in gone}
    # Bonds to what was placed are bonds, and every stereocentre has its hand.
    x = sample.positions_nm(0, features)
    lengths = np.linalg.norm(x[features.bonds[:, 0]] - x[features.bonds[:, 1]], axis=-1)
    assert 0.11 < lengths.min() and lengths.max() < 0.2
    c, a, b, d = (x[features.chiral_centers[:, k]] for k in range(4))
    triple = np.einsum("ij,ij->i", a - c, np.cross(b - c, d - c))
    assert np.array_equal(np.sign(triple), features.chiral_signs)
    assert sorted(features.chiral_signs) == sorted(complete.chiral_signs)


def test_a_gap_is_filled_where_the_file_names_what_is_missing(peptide, tmp_path: Path):
    path = tmp_path / "1abc.pdb"
    body = without(text_of(*peptide), lambda name, number: number in (1, 4, 5))
    header = "".join(
        f"REMARK 465     {name} A     {number}\n"
        for name, number in (("ALA", 1), ("ILE", 4), ("VAL", 5))
    )
    path.write_text(header + body)
    sample = only(path).sample
    features = sample.features("heavy")
    # The unseen end is left out, the gap is filled: one chain.
    assert features.residue_names == ("SER", "LYS", "ILE", "VAL", "THR", "GLY")
    assert set(features.asym_id) == {0} and features.residue_index.tolist() == [1, 2, 3, 4, 5, 6]
    unseen = ~sample.resolved(features)
    assert set(np.flatnonzero(unseen)) == set(
        np.flatnonzero(np.isin(features.atom_to_token, (2, 3)))
    )
    x = sample.positions_nm(0, features)
    middle = x[unseen].mean(axis=0)
    assert np.linalg.norm(middle - x[~unseen].mean(axis=0)) < 0.5
    # Without the remark nothing tells what is missing: two chains.
    path.write_text(body)
    features = only(path).sample.features("heavy")
    assert features.residue_names == ("SER", "LYS", "THR", "GLY")
    assert features.asym_id.tolist() == [0, 0, 1, 1]
    assert features.atom_names.count("OXT") == 2


def test_alternate_locations_models_and_modified_residues(peptide, tmp_path: Path):
    path = tmp_path / "1abc.pdb"
    topology, x = peptide
    lines = text_of(topology, x).splitlines(keepends=True)
    out, serial = [], 0
    for line in lines:
        if line.startswith("CONECT"):
            continue
        name, number = line[12:16].strip(), line[22:26].strip()
        if line.startswith("ATOM") and number == "2":
            # Phosphoserine, by name; its phosphate below.
            line = line.replace("SER", "SEP").replace("ATOM  ", "HETATM")
            if name == "OG":
                serial = len(out)
        if line.startswith("ATOM") and number == "4" and name == "CD1":
            far = f"{float(line[30:38]) + 1.0:8.3f}"
            out.append(line[:16] + "A" + line[17:54] + "  0.30" + line[60:])
            line = line[:16] + "B" + line[17:30] + far + line[38:54] + "  0.70" + line[60:]
        out.append(line)
    sep = list(topology.residues())[1]
    index = {a.name: a.index for a in sep.atoms()}
    axis = x[index["OG"]] - x[index["CB"]]
    axis /= np.linalg.norm(axis)
    side = np.cross(axis, [0.3, 0.5, 0.7])
    side /= np.linalg.norm(side)
    third = np.cross(axis, side)
    phosphorus = x[index["OG"]] + 0.16 * axis
    template = out[serial]
    added = []
    for k, name in enumerate(("P", "O1P", "O2P", "O3P")):
        turn = 2 * np.pi * k / 3
        arm = 0.05 * axis + 0.14 * (np.cos(turn) * side + np.sin(turn) * third)
        p = 10 * (phosphorus if k == 0 else phosphorus + arm)
        added.append(
            f"{template[:12]} {name:<3}{template[16:30]}{p[0]:8.3f}{p[1]:8.3f}{p[2]:8.3f}"
            f"  1.00  0.00           {name[0]}  \n"
        )
    out[serial + 1 : serial + 1] = added
    path.write_text("".join(out))
    sample = only(path).sample
    assert "Alternate location B is taken for ILE 4 of chain A." in sample.molecule().notes
    features = sample.features("heavy")
    assert features.residue_names.count("SEP") == 10  # a token for each heavy atom
    # Dianion of the phosphate, charged termini (+1, -1), lysine.
    assert features.ref_charge.sum() == -2 + 1
    assert set(features.asym_id) == {0}


def cif_with(peptide, extra: str, ligand: str | None = None) -> str:
    """mmCIF text of the peptide and more categories."""
    topology, x = peptide
    modeller = app.Modeller(topology, x * unit.nanometer)
    if ligand is not None:
        mol = ligand_mol(ligand)
        new = app.Topology()
        residue = new.addResidue("LIG", new.addChain("B"), "101")
        heavy = [a for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
        for a in heavy:
            element = app.Element.getByAtomicNumber(a.GetAtomicNum())
            new.addAtom(f"{a.GetSymbol().upper()}{a.GetIdx() + 1}", element, residue)
        place = mol.GetConformer().GetPositions()[[a.GetIdx() for a in heavy]] * 0.1 + 2.0
        modeller.add(new, place * unit.nanometer)
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return text_of(modeller.topology, positions, cif=True) + extra


ASSEMBLY = """#
loop_
_pdbx_struct_assembly_gen.assembly_id
_pdbx_struct_assembly_gen.oper_expression
_pdbx_struct_assembly_gen.asym_id_list
1 1,2 A
2 (1)(2) A,B
#
loop_
_pdbx_struct_oper_list.id
_pdbx_struct_oper_list.matrix[1][1]
_pdbx_struct_oper_list.matrix[1][2]
_pdbx_struct_oper_list.matrix[1][3]
_pdbx_struct_oper_list.vector[1]
_pdbx_struct_oper_list.matrix[2][1]
_pdbx_struct_oper_list.matrix[2][2]
_pdbx_struct_oper_list.matrix[2][3]
_pdbx_struct_oper_list.vector[2]
_pdbx_struct_oper_list.matrix[3][1]
_pdbx_struct_oper_list.matrix[3][2]
_pdbx_struct_oper_list.matrix[3][3]
_pdbx_struct_oper_list.vector[3]
1 1 0 0 0 0 1 0 0 0 0 1 0
2 0 -1 0 30 1 0 0 0 0 0 1 -5
#
"""
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
SHIFT = np.array([3.0, 0.0, -0.5])


def test_assemblies_of_cif_files_are_built(peptide, tmp_path: Path):
    path = tmp_path / "1abc.cif"
    path.write_text(cif_with(peptide, ASSEMBLY))
    sample = only(path).sample
    assert sample.name == "1abc-1"
    one = only(path, assembly=None).sample
    x, base = sample.frames.read(0), one.frames.read(0)
    count = len(base)
    np.testing.assert_array_equal(x[:count], base)
    # Coordinates of 1 to 3 nm, rounded to float32 twice.
    np.testing.assert_allclose(x[count:], base @ TURN.T + SHIFT, atol=4 * 2.0**-24 * 5)
    features = sample.features("heavy")
    assert features.asym_id.tolist() == [0] * 7 + [1] * 7
    assert set(features.entity_id) == {0} and features.sym_id.tolist() == [0] * 7 + [1] * 7
    assert len(features.bonds) == 2 * len(one.features("heavy").bonds)
    moved = only(path, assembly="2").sample.frames.read(0)
    np.testing.assert_allclose(moved, base @ TURN.T + SHIFT, atol=4 * 2.0**-24 * 5)
    (fault,) = only(path, assembly="7").faults
    assert fault.fatal and "no assembly '7'; there are 1, 2" in fault.message


def test_operators_are_composed_from_right_to_left():
    rows = [{"id": "1", **_operator(TURN, SHIFT)}, {"id": "X0", **_operator(np.eye(3), [1, 2, 3])}]
    tables = {
        "pdbx_struct_oper_list": rows,
        "pdbx_struct_assembly_gen": [
            {"assembly_id": "a", "oper_expression": "(1,X0)(X0)", "asym_id_list": "A,B"}
        ],
    }
    (made,) = assemblies_of_cif(tables)
    ((chains, operators),) = made.parts
    assert chains == {"A", "B"} and operators.shape == (2, 3, 4) and not made.identity
    point = np.array([0.1, -0.2, 0.4])
    first = TURN @ (point + np.array([1, 2, 3]) * 0.1) + SHIFT * 0.1
    np.testing.assert_allclose(operators[0] @ [*point, 1.0], first, atol=1e-12)
    tables["pdbx_struct_assembly_gen"][0]["oper_expression"] = "(1-3)"
    with pytest.raises(ValueError, match="operator '2' is not listed"):
        assemblies_of_cif(tables)


def _operator(matrix, vector) -> dict[str, str]:
    row = {f"matrix[{i + 1}][{j + 1}]": str(matrix[i][j]) for i in range(3) for j in range(3)}
    return row | {f"vector[{i + 1}]": str(vector[i]) for i in range(3)}


def test_assemblies_of_pdb_files():
    text = """REMARK 350 BIOMOLECULE: 1
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A, B,
REMARK 350                    AND CHAINS: C
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
REMARK 350   BIOMT1   2  0.000000 -1.000000  0.000000       30.00000
REMARK 350   BIOMT2   2  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT3   2  0.000000  0.000000  1.000000       -5.00000
REMARK 350 BIOMOLECULE: 2
REMARK 350 APPLY THE FOLLOWING TO CHAINS: A
REMARK 350   BIOMT1   1  1.000000  0.000000  0.000000        0.00000
REMARK 350   BIOMT2   1  0.000000  1.000000  0.000000        0.00000
REMARK 350   BIOMT3   1  0.000000  0.000000  1.000000        0.00000
"""
    one, two = assemblies_of_pdb(text)
    ((chains, operators),) = one.parts
    assert (one.name, chains) == ("1", {"A", "B", "C"}) and not one.identity
    np.testing.assert_allclose(operators[1], np.column_stack([TURN, SHIFT]), atol=1e-12)
    assert two.name == "2" and two.identity and two.parts[0][0] == {"A"}
    with pytest.raises(ValueError, match="no triples"):
        assemblies_of_pdb("\n".join(text.splitlines()[:-1]))


def component(text: str) -> str:
    mol = ligand_mol(text)
    from rdkit import Chem

    Chem.Kekulize(mol, clearAromaticFlags=True)
    names = [f"{a.GetSymbol().upper()}{a.GetIdx() + 1}" for a in mol.GetAtoms()]
    rows = [
        "loop_",
        "_chem_comp_atom.comp_id",
        "_chem_comp_atom.atom_id",
        "_chem_comp_atom.type_symbol",
    ]
    rows += [f"LIG {n} {a.GetSymbol()}" for n, a in zip(names, mol.GetAtoms(), strict=True)]
    rows += [
        "#",
        "loop_",
        "_chem_comp_bond.comp_id",
        "_chem_comp_bond.atom_id_1",
        "_chem_comp_bond.atom_id_2",
        "_chem_comp_bond.value_order",
    ]
    order = {1.0: "sing", 2.0: "doub", 3.0: "trip"}
    for b in mol.GetBonds():
        ends = names[b.GetBeginAtomIdx()], names[b.GetEndAtomIdx()]
        rows.append(f"LIG {ends[0]} {ends[1]} {order[b.GetBondTypeAsDouble()]}")
    return "\n".join([*rows, "#", ""])


def test_ligands_have_the_chemistry_that_the_file_or_the_user_gives(peptide, tmp_path: Path):
    ligand = "Nc1ccc(C(=O)[O-])cc1"
    path = tmp_path / "1abc.cif"
    path.write_text(cif_with(peptide, "#\n" + component(ligand), ligand))
    entry = only(path)
    features = entry.sample.features("heavy")
    assert entry.faults == () and features.residue_names.count("LIG") == 10
    inside = features.atom_to_token >= 7
    assert features.ref_charge[inside].sum() == -1.0
    both = inside[features.bonds].all(axis=1)
    assert sorted(features.bond_order[both]) == [1.0] * 3 + [1.5] * 6 + [2.0]
    # Without it the ligand is left out, and that is said.
    bare = tmp_path / "2abc.cif"
    bare.write_text(cif_with(peptide, "", ligand))
    entry = only(bare)
    (fault,) = entry.faults
    assert (fault.kind, fault.fatal) == ("incomplete", False)
    assert "1 LIG, whose chemistry the file does not tell" in fault.message
    assert "LIG" not in entry.sample.features("heavy").residue_names
    given = only(bare, smiles={"LIG": ligand})
    assert given.faults == ()
    again = given.sample.features("heavy")
    np.testing.assert_array_equal(again.bond_order, features.bond_order)
    (fault,) = only(bare, smiles={"LIG": "C(("}).faults
    assert fault.fatal and "cannot be read" in fault.message


def test_formal_charges_follow_from_listed_bonds():
    def molecule(rows, bonds):
        tables = {
            "chem_comp_atom": [{"comp_id": "X", "atom_id": n, "type_symbol": s} for n, s in rows],
            "chem_comp_bond": [
                {"comp_id": "X", "atom_id_1": a, "atom_id_2": b, "value_order": o}
                for a, b, o in bonds
            ],
        }
        return component_molecules(tables)

    from rdkit import Chem

    made = molecule(
        [("S", "S"), ("O1", "O"), ("O2", "O"), ("O3", "O"), ("O4", "O")],
        [("S", "O1", "doub"), ("S", "O2", "DOUB"), ("S", "O3", "sing"), ("S", "O4", "sing")],
    )
    assert Chem.MolToSmiles(made["X"][0]) == "O=S(=O)([O-])[O-]"
    assert molecule([("ZN", "ZN")], []) == {}
    assert molecule([("C1", "C"), ("C2", "C")], []) == {}


def test_what_is_not_modelled_is_left_out_and_said(peptide, tmp_path: Path):
    path = tmp_path / "1abc.pdb"
    extra = "".join(
        f"HETATM{900 + k:5d} {name:<4} {res:>3} B{number:4d}    {k:8.3f}{20.0:8.3f}{0.0:8.3f}"
        f"  1.00  0.00          {element:>2}  \n"
        for k, (name, res, number, element) in enumerate(
            [
                (" O", "HOH", 1, "O"),
                ("ZN", "ZN", 2, "ZN"),
                (" P", "DA", 3, "P"),
                (" O5'", "DA", 3, "O"),
                (" C1", "XYZ", 4, "C"),
                (" C2", "XYZ", 4, "C"),
            ]
        )
    )
    path.write_text(text_of(*peptide).replace("END", extra + "END"))
    entry = only(path)
    told = " ".join(f.message for f in entry.faults)
    assert "nucleotides" in told and "XYZ, whose chemistry" in told and len(entry.faults) == 2
    assert entry.sample.features("heavy").num_tokens == 7
    (tmp_path / "empty.pdb").write_text(extra)
    (fault,) = only(tmp_path / "empty.pdb").faults
    assert fault.fatal and "nothing is left to model" in fault.message


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("a.pdb", "ATOM      1  CA  ALA A   1      no      numbers\n", "cannot be read"),
        ("a.cif", "data_x\nloop_\n_atom_site.id\n", "no atoms"),
        ("a.cif", "nothing", "mmCIF|data block"),
        ("a.pdb", "REMARK nothing\n", "no atoms"),
    ],
)
def test_faulty_files_are_named(tmp_path: Path, name: str, content: str, says: str):
    path = tmp_path / name
    path.write_text(content)
    (fault,) = only(path).faults
    assert fault.fatal and fault.kind == "unreadable"
    assert re.search(says, fault.message) and str(path) in str(fault)
    assert "no such file" in only(tmp_path / "none.pdb").faults[0].message
    (tmp_path / "cut.pdb.gz").write_bytes(gzip.compress(b"ATOM" * 5000)[:60])
    assert only(tmp_path / "cut.pdb.gz").faults[0].fatal


def test_placed_atoms_are_where_ideal_geometry_has_them():
    ideal = ideal_residue("THR")
    turn = superpose(np.eye(3)[None] * 0.7, np.roll(np.eye(3), 1, axis=0))[0]
    assert turn.shape == (3, 3)
    rng = np.random.default_rng(2)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    moved = {n: q @ x + 1.5 for n, x in ideal.items()}
    seen = {n: moved[n] for n in ("N", "CA", "C", "CB")}
    placed = place_missing("THR", seen)
    assert set(placed) == {"OG1", "CG2", "O"}
    for name, x in placed.items():
        np.testing.assert_allclose(x, moved[name], atol=1e-9)
    alone = place_missing("THR", {}, np.ones(3))
    np.testing.assert_allclose(np.mean(list(alone.values()), axis=0), 1.0, atol=1e-9)
    oxt = terminal_oxygen(*(ideal[n] for n in ("C", "CA", "O")))
    assert np.isclose(np.linalg.norm(oxt - ideal["C"]), np.linalg.norm(ideal["O"] - ideal["C"]))
    near = np.linalg.norm(oxt - ideal["CA"]) - np.linalg.norm(ideal["O"] - ideal["CA"])
    assert abs(near) < 1e-9 and np.linalg.norm(oxt - ideal["O"]) > 0.19


def test_positions_that_were_read_are_kept(peptide, tmp_path: Path, monkeypatch):
    read = []
    original = structures.read_structure

    def spy(text: str, path: str):
        read.append(path)
        return original(text, path)

    monkeypatch.setattr(structures, "read_structure", spy)
    paths = [tmp_path / f"{k}abc.cif" for k in range(6)]
    for path in paths:
        path.write_text(text_of(*peptide, cif=True))
    samples = [only(path).sample for path in paths]
    assert read == [str(path) for path in paths]
    for sample in samples * 2:
        assert sample.resolved().all() and sample.frames.read(0).shape == (sample.num_atoms, 3)
    assert len(read) == len(paths)
    # A file that is written anew is read anew.
    before = samples[0].frames.read(0)
    paths[0].write_text(text_of(peptide[0], peptide[1] + 1.0, cif=True) + "# another\n")
    np.testing.assert_allclose(samples[0].frames.read(0), before + 1.0, atol=1e-4)
    assert len(read) == len(paths) + 1


@pytest.mark.skipif(not (REAL / "3ptb.cif").exists(), reason="no real structures")
def test_real_structures():
    trypsin = only(REAL / "3ptb.cif").sample
    features = trypsin.features("heavy")
    assert trypsin.resolved().all() and features.num_tokens == 223 + 9  # benzamidine: 9 atoms
    cysteines = [k for k, n in enumerate(features.residue_names) if n == "CYS"]
    bridges = features.token_bonds[np.ix_(cysteines, cysteines)].sum() / 2
    assert len(cysteines) == 12 and bridges == 6
    cage = only(REAL / "1l2y.pdb", hydrogens=True).sample
    assert cage.features("all").num_atoms == 304
