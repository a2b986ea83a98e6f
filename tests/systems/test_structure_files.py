"""PDB and mmCIF files as programs write them: what is read, what is said, what is refused where."""

from __future__ import annotations

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import SHARED, displaced, embedded, index_of, rebuild, write_pdb, write_sdf

from atmos_openmm.data.structures import inspect
from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.inputs import read_molecule, read_structure
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.structure_files import read_structure_file
from atmos_openmm.validation.peptide_bonds import omega_torsions

ETHANOL = "CCO"


@pytest.fixture
def peptide(tmp_path):
    """A PDB file of ACE-ALA-SER-NME, its Topology and positions."""
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    return write_pdb(tmp_path / "peptide.pdb", topology, positions), topology, positions


@pytest.fixture
def ligand(tmp_path):
    """A PDB file of the peptide and ethanol with CONECT records."""
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    mol = displaced(embedded(ETHANOL, "ethanol"), (2.5, 0, 0))
    residue = topology.addResidue("EOH", topology.addChain("B"))
    atoms = [
        topology.addAtom(
            f"{a.GetSymbol()}{a.GetIdx()}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue
        )
        for a in mol.GetAtoms()
    ]
    for b in mol.GetBonds():
        topology.addBond(atoms[b.GetBeginAtomIdx()], atoms[b.GetEndAtomIdx()])
    frame = np.concatenate([positions, np.array(mol.GetConformer().GetPositions()) * 0.1])
    return write_pdb(tmp_path / "complex.pdb", topology, frame), topology, frame


def atom_lines(path):
    return [line for line in path.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]


def edited(path, target, change):
    """A copy of a PDB file whose atom lines go through `change`, which may give None or several."""
    lines = []
    for line in path.read_text().splitlines():
        if line.startswith(("ATOM", "HETATM")):
            made = change(line)
            lines += [] if made is None else [made] if isinstance(made, str) else made
        else:
            lines.append(line)
    target.write_text("\n".join(lines) + "\n")
    return target


def bonds_of(topology):
    return {tuple(sorted((b[0].index, b[1].index))) for b in topology.bonds()}


def as_cif(path, topology, positions, change=lambda text: text):
    with open(path, "w") as file:
        app.PDBxFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
    path.write_text(change(path.read_text()))
    return path


def described(topology):
    return [
        (a.name, a.element and a.element.symbol, a.residue.name, a.residue.id, a.residue.chain.id)
        for a in topology.atoms()
    ]


@pytest.mark.parametrize("name", ["1l2y.pdb", "1fme.pdb", "5awl.pdb"])
def test_files_of_the_pdb_are_read_as_openmm_reads_them(name):
    path = SHARED / "structures" / name
    if not path.exists():
        pytest.skip("no shared data")
    ours, theirs = read_structure_file(path), app.PDBFile(str(path))
    assert described(ours.topology) == described(theirs.topology)
    assert bonds_of(ours.topology) == bonds_of(theirs.topology)
    expected = np.array(theirs.getPositions(True).value_in_unit(unit.nanometer))
    np.testing.assert_allclose(ours.positions_nm, expected, atol=1e-12)


# --- serials and bonds by serial ----------------------------------------------------------------


def hybrid36(number):
    """Serials of five columns as cctbx writes them."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if number < 100_000:
        return str(number)
    number += 10 * 36**4 - 100_000
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text


@pytest.mark.parametrize("kind", ["hybrid-36", "openmm", "six digits", "wrapped"])
@pytest.mark.parametrize("sdf", [False, True])
def test_serials_beyond_five_digits_are_read_with_their_bonds(ligand, tmp_path, kind, sdf):
    path, topology, frame = ligand
    # The serials begin so that some are below the limit and the ligand's are around it.
    start = 99_999 - topology.getNumAtoms() + 12

    def serial(number):
        value = start + number
        if kind == "hybrid-36":
            return hybrid36(value + 30_000 * 36 if value > 99_999 else value)
        if kind == "openmm":
            return f"{value:5d}" if value < 100_000 else f"{value - 100_000 + 0xA0000:5X}"
        return str(value if kind == "six digits" else value % 100_000)

    lines = []
    for line in path.read_text().splitlines():
        if line.startswith(("ATOM", "HETATM")):
            text = serial(int(line[6:11]))
            line = (
                f"{line[:6]}{text:>5} {line[12:]}" if len(text) < 6 else line[:6] + text + line[12:]
            )
        elif line.startswith("TER"):
            continue
        elif line.startswith("CONECT"):
            line = "CONECT" + "".join(
                f"{serial(int(line[k : k + 5])):>5}" for k in range(6, len(line.rstrip()), 5)
            )
        lines.append(line)
    target = tmp_path / "many.pdb"
    target.write_text("\n".join(lines) + "\n")
    paths = [target]
    if sdf:
        paths.append(write_sdf(tmp_path / "ethanol.sdf", embedded(ETHANOL, "ethanol")))
    molecule = read_molecule(paths)
    assert bonds_of(molecule.topology) == bonds_of(topology)
    np.testing.assert_allclose(molecule.positions_nm, frame, atol=6e-5)


def test_atoms_whose_serials_are_stars_are_read(ligand, tmp_path):
    path, topology, frame = ligand
    starred = edited(path, tmp_path / "stars.pdb", lambda line: line[:6] + "*****" + line[11:])
    starred.write_text(
        "\n".join(
            "CONECT" + "*****" * (len(line.rstrip()) // 5 - 1)
            if line.startswith("CONECT")
            else line
            for line in starred.read_text().splitlines()
        )
        + "\n"
    )
    sdf = write_sdf(tmp_path / "ethanol.sdf", embedded(ETHANOL, "ethanol"))
    molecule = read_molecule([starred, sdf])
    assert bonds_of(molecule.topology) == bonds_of(topology)
    assert any("CONECT" in note for note in molecule.notes)


@pytest.mark.parametrize("text", ["****", "A00G", "A010"])
def test_residue_numbers_beyond_four_digits_are_read(tmp_path, text):
    topology, positions = build_peptide("ACE-ALA-ALA-NME")
    path = write_pdb(tmp_path / "many.pdb", topology, positions)

    def change(line):
        if text == "****":
            return line[:22] + text + line[26:]
        # The last digit counts on, in whatever base.
        digit = chr(ord(text[3]) + int(line[22:26]))
        return line[:22] + text[:3] + digit + line[26:]

    molecule = read_molecule(edited(path, tmp_path / "long.pdb", change))
    assert bonds_of(molecule.topology) == bonds_of(topology)
    assert len({r.id for r in molecule.topology.residues()}) == topology.getNumResidues()


# --- lines that are not what they should be -----------------------------------------------------


def test_shifted_columns_are_told_with_line_and_column(peptide, tmp_path):
    path, _, _ = peptide
    first = next(
        k
        for k, line in enumerate(path.read_text().splitlines(), 1)
        if line.startswith(("ATOM", "HETATM"))
    )
    shifted = edited(path, tmp_path / "shifted.pdb", lambda line: line[:26] + " " + line[26:])
    with pytest.raises(FeatureError, match=rf"line {first}, columns 31 to 38"):
        read_structure_file(shifted)
    short = edited(path, tmp_path / "short.pdb", lambda line: line[:40])
    with pytest.raises(FeatureError, match=rf"line {first}, columns 39 to 46"):
        read_structure_file(short)


def chloromethane(path, element_column):
    lines = [
        "HETATM    1  C1  MCL A   1       0.000   0.000   0.000  1.00  0.00           C  ",
        "HETATM    2 CL1  MCL A   1       1.780   0.000   0.000  1.00  0.00".ljust(76)
        + element_column,
    ]
    path.write_text("\n".join([*lines, "CONECT    1    2", "END", ""]))
    return path


def test_an_element_that_contradicts_the_name_is_refused(peptide, tmp_path):
    good = read_structure_file(chloromethane(tmp_path / "good.pdb", "CL  "))
    assert [a.element.symbol for a in good.topology.atoms()] == ["C", "Cl"]
    for column in (" CL ", " C  ", " CL-"):
        bad = chloromethane(tmp_path / "bad.pdb", column)
        with pytest.raises(
            FeatureError,
            match="line 2, columns 77 to 78.*CL1 of MCL 1",
        ):
            read_structure_file(bad)
    # A carbon of a standard residue that the file calls calcium, in both formats.
    path, topology, positions = peptide
    calcium = edited(
        path,
        tmp_path / "ca.pdb",
        lambda line: line[:76] + "CA" + line[78:] if line[12:16] == " CA " else line,
    )
    with pytest.raises(FeatureError, match="CA of ALA 2.*CA.*C"):
        read_structure_file(calcium)
    cif = as_cif(
        tmp_path / "ca.cif",
        topology,
        positions,
        lambda text: text.replace(" C CA ", " Ca CA ").replace(" C   CA ", " Ca CA "),
    )
    assert " Ca CA " in cif.read_text()
    with pytest.raises(FeatureError, match="CA of ALA 2"):
        read_structure_file(cif)


def test_elements_without_a_column_follow_from_names(peptide, tmp_path):
    path, topology, _ = peptide
    # Old files have the entry's name and a serial in these columns.
    for end in ("", "      1CRN1234", "      1CRN  70"):
        bare = edited(path, tmp_path / "bare.pdb", lambda line, end=end: line[:66] + end)
        file = read_structure_file(bare)
        assert [a.element for a in file.topology.atoms()] == [a.element for a in topology.atoms()]


def test_atoms_of_a_residue_in_two_places_are_told_as_such(peptide, tmp_path):
    path, topology, positions = peptide
    lines = atom_lines(path)
    # Hydrogens at the end of the file, as programs that add them write them.
    light = [line for line in lines if line[17:20] == "ALA" and line[76:78].strip() == "H"]
    assert len(light) == 5
    apart = tmp_path / "apart.pdb"
    apart.write_text("\n".join([*(k for k in lines if k not in light), *light, "END", ""]))
    for read in (read_structure, read_molecule):
        with pytest.raises(
            FeatureError, match=r"two places.*ALA 2 of chain A \(from line 7 on, and from line 29"
        ):
            read(apart)


def test_latin_1_remarks_are_no_hindrance(peptide, tmp_path):
    path, topology, _ = peptide
    target = tmp_path / "münchen-weiß.pdb"
    target.write_bytes("REMARK   3 Universität München\n".encode("latin-1") + path.read_bytes())
    assert read_molecule(target).topology.getNumAtoms() == topology.getNumAtoms()


# --- isotopes, insertion codes, blank labels ----------------------------------------------------


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_deuterium_is_read_as_hydrogen_and_said(peptide, tmp_path, suffix):
    path, topology, positions = peptide
    if suffix == ".pdb":
        heavy = edited(
            path,
            tmp_path / "heavy.pdb",
            lambda line: (
                line[:12] + line[12:16].replace("H", "D", 1) + line[16:76] + " D" + line[78:]
                if line[76:78].strip() == "H"
                else line
            ),
        )
    else:
        renamed, _ = rebuild(
            topology,
            rename={
                (a.residue.name, a.name): "D" + a.name[1:]
                for a in topology.atoms()
                if a.element.symbol == "H"
            },
        )
        copy = app.Topology()
        chain = copy.addChain("A")
        for r in renamed.residues():
            made = copy.addResidue(r.name, chain, r.id)
            for a in r.atoms():
                light = a.element.symbol == "H"
                copy.addAtom(a.name, app.element.deuterium if light else a.element, made)
        heavy = as_cif(tmp_path / "heavy.cif", copy, positions)
    molecule = read_molecule(heavy)
    assert bonds_of(molecule.topology) == bonds_of(topology)
    assert described(molecule.topology) == described(topology)
    assert [n for n in molecule.notes if "euterium" in n and str(19 if suffix else 0)[:1]]
    assert molecule.features().num_atoms == topology.getNumAtoms()


def test_insertion_codes_are_part_of_every_label(tmp_path):
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    path = write_pdb(tmp_path / "codes.pdb", topology, positions)
    coded = edited(
        path,
        tmp_path / "codes.pdb",
        lambda line: line[:22] + "  52A" + line[27:] if line[17:20] == "SER" else line,
    )

    def line_of(name, change):
        return edited(
            coded,
            tmp_path / "changed.pdb",
            lambda line: (
                change(line) if line[12:16].strip() == name and line[17:20] == "SER" else line
            ),
        )

    for change in (
        lambda line: line[:30] + "     nan" + line[38:],
        lambda line: line[:30] + "  90.000" + line[38:],
        lambda line: [line, line.replace(" OG ", " HG ")],
        lambda line: None,
    ):
        with pytest.raises(FeatureError, match="SER 52A"):
            read_molecule(line_of("OG", change))
    molecule = read_molecule(coded)
    labels = omega_torsions(molecule.topology).labels
    assert any("SER52A" in label for label in labels), labels
    inside = [a.index for a in molecule.topology.atoms() if a.residue.name == "SER"][:-3]
    with pytest.raises(FeatureError, match="SER 52A"):
        features_from_topology(molecule.topology, solute=inside)
    frame = molecule.positions_nm.copy()
    frame[index_of(molecule.topology, 2, "OG")] = np.nan
    with pytest.raises(FeatureError, match="SER 52A"):
        features_from_topology(molecule.topology, positions=frame)


def test_mmcif_without_label_asym_id_is_read_by_the_authors_chains(peptide, tmp_path):
    _, topology, positions = peptide
    plain = as_cif(tmp_path / "plain.cif", topology, positions)
    rows = plain.read_text().splitlines()
    columns = [r for r in rows if r.startswith("_atom_site.")]
    place = columns.index("_atom_site.label_asym_id")
    target = tmp_path / "blank.cif"
    lines = []
    for row in rows:
        if row.startswith(("ATOM", "HETATM")):
            cells = row.split()
            cells[place] = "."
            row = " ".join(cells)
        lines.append(row)
    target.write_text("\n".join(lines) + "\n")
    file = read_structure_file(target)
    assert bonds_of(file.topology) == bonds_of(topology)
    assert file.chain_names == ("A",)
    (entry,) = inspect(str(target))
    assert entry.sample is not None and not entry.faults


# --- alternate locations ------------------------------------------------------------------------


def phenol_lines(path, occupancies, complete):
    """TYR's ring end as locations A and B, B moved by 0.12 nm; one of them alone has OH and HH."""
    lines = []
    for line in atom_lines(path):
        name = line[12:16].strip()
        if line[17:20] == "TYR" and name in ("CZ", "OH", "HH", "CE1", "CE2", "HE1", "HE2"):
            for letter, occupancy, shift in zip("AB", occupancies, (0.0, 0.5), strict=True):
                if name in ("OH", "HH") and letter != complete:
                    continue
                x = float(line[30:38]) + shift
                lines.append(
                    f"{line[:16]}{letter}{line[17:30]}{x:8.3f}{line[38:54]}{occupancy:6.2f}{line[60:]}"
                )
        else:
            lines.append(line)
    return lines


@pytest.mark.parametrize("occupancies", [(0.5, 0.5), (0.6, 0.4)])
def test_the_complete_location_is_preferred(tmp_path, occupancies):
    topology, positions = build_peptide("ACE-TYR-NME")
    path = write_pdb(tmp_path / "tyr.pdb", topology, positions)
    target = tmp_path / "mixed.pdb"
    target.write_text("\n".join([*phenol_lines(path, occupancies, "B"), "END", ""]))
    molecule = read_structure(target)
    length = np.linalg.norm(
        np.diff(
            molecule.positions_nm[[index_of(molecule.topology, 1, n) for n in ("CZ", "OH")]], axis=0
        )
    )
    assert abs(length - 0.136) < 0.01
    assert molecule.topology.getNumAtoms() == topology.getNumAtoms()
    assert "B is taken for TYR 2" in molecule.notes[0]
    assert len(molecule.notes) == 1 or "complete" in molecule.notes[1]
    assert len(molecule.notes) == (1 if occupancies[0] == 0.5 else 2)


def test_a_mixture_of_locations_is_said(tmp_path):
    topology, positions = build_peptide("ACE-TYR-NME")
    path = write_pdb(tmp_path / "tyr.pdb", topology, positions)
    lines = phenol_lines(path, (0.6, 0.4), "B")
    # B lacks a ring atom: neither is complete.
    lines = [k for k in lines if not (k[16] == "B" and k[12:16].strip() == "CE1")]
    target = tmp_path / "mixed.pdb"
    target.write_text("\n".join([*lines, "END", ""]))
    molecule = read_structure(target)
    assert molecule.topology.getNumAtoms() == topology.getNumAtoms()
    mixed = [n for n in molecule.notes if "mixture" in n or "mixed" in n]
    assert len(mixed) == 1 and "TYR 2" in mixed[0] and "OH" in mixed[0] and "B" in mixed[0]


def test_neighbours_of_different_locations_are_said(tmp_path):
    topology, positions = build_peptide("ACE-SER-SER-NME")
    path = write_pdb(tmp_path / "ser.pdb", topology, positions)
    lines = []
    for line in atom_lines(path):
        if line[17:20] == "SER" and line[12:16].strip() in ("CB", "OG"):
            high = "A" if line[22:26].strip() == "2" else "B"
            for letter in "AB":
                weight = 0.6 if letter == high else 0.4
                lines.append(f"{line[:16]}{letter}{line[17:54]}{weight:6.2f}{line[60:]}")
        else:
            lines.append(line)
    target = tmp_path / "both.pdb"
    target.write_text("\n".join([*lines, "END", ""]))
    notes = read_structure(target).notes
    assert any("SER 2" in n and "SER 3" in n and "differ" in n for n in notes), notes


# --- disulfides ---------------------------------------------------------------------------------


def cystines(tmp_path, distances_nm, kind=".pdb"):
    """Cysteines without HG in chains of their own; the sulphurs stand in a row so far apart."""
    parts = app.Topology()
    frame = []
    x = 0.0
    for k, gap in enumerate([0.0, *distances_nm]):
        topology, positions = build_peptide("ACE-CYS-NME")
        sulphur = index_of(topology, 1, "SG")
        x += gap
        # Every other one points the other way, so that nothing but the sulphurs are close.
        turned = (positions - positions[sulphur]) * ([1, 1, 1] if k % 2 else [1, -1, -1])
        out = (positions[sulphur] - positions.mean(axis=0)) * ([1, 1, 1] if k % 2 else [1, -1, -1])
        out /= np.linalg.norm(out)
        want = np.array([0.0, 0.0, -1.0 if k % 2 else 1.0])
        axis = np.cross(out, want)
        c = out @ want
        skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        turned = turned @ (np.eye(3) + skew + skew @ skew / (1 + c)).T + [x, 0.0, 0.0]
        chain = parts.addChain("ABCDEF"[k])
        for r in topology.residues():
            made = parts.addResidue(r.name, chain, r.id)
            for a in r.atoms():
                if a.name != "HG":
                    parts.addAtom(a.name, a.element, made)
                    frame.append(turned[a.index])
    frame = np.array(frame)
    if kind == ".pdb":
        return write_pdb(tmp_path / "cys.pdb", parts, frame, conect=False)
    return as_cif(tmp_path / "cys.cif", parts, frame)


def sulphur_bonds(topology):
    return [
        (b[0].residue.chain.id, b[1].residue.chain.id)
        for b in topology.bonds()
        if b[0].name == b[1].name == "SG"
    ]


@pytest.mark.parametrize("kind", [".pdb", ".cif"])
@pytest.mark.parametrize(
    ("distance", "bonded"), [(0.205, True), (0.245, True), (0.28, False), (0.295, False)]
)
def test_sulphurs_too_far_apart_are_no_disulfide(tmp_path, kind, distance, bonded):
    file = read_structure_file(cystines(tmp_path, [distance], kind))
    assert bool(sulphur_bonds(file.topology)) == bonded
    told = [n for n in file.notes if "CYS 2" in n and "too far for a disulfide" in n]
    assert bool(told) != bonded and all(
        f"{distance:.2f}" in n or f"{distance:.3f}" in n for n in told
    )


def test_a_sulphur_between_two_is_said(tmp_path):
    file = read_structure_file(cystines(tmp_path, [0.23, 0.21]))
    assert [sorted(pair) for pair in sulphur_bonds(file.topology)] == [["B", "C"]]
    assert any("chain A" in n and "chain B" in n and "chain C" in n for n in file.notes), file.notes
