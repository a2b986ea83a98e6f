"""Peptides from a sequence: names, templates, handedness, torsions."""

from __future__ import annotations

import itertools

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from atmos_openmm.systems.naming import fix_names, planar_groups, prochiral_groups
from atmos_openmm.systems.peptides import (
    BASINS,
    RESIDUES,
    alpha_handedness,
    backbone_torsions,
    build_peptide,
    canonical_order,
    parse_sequence,
    set_backbone,
)

STANDARD = [name for name in RESIDUES if name not in ("ASH", "GLH", "HID", "HIP", "HIS", "LYN")]
# A start for dynamics has no atoms on top of each other. After 100 steps of minimisation any such
# contact would still hold thousands of kJ/mol; the covalent energy of a residue of this size is
# below 100 kJ/mol, the strongest intramolecular salt bridge (ARG, hundreds) is negative.
RELAXED_BELOW_KJ_PER_MOL = 400.0


@pytest.fixture(scope="module")
def amber() -> app.ForceField:
    return app.ForceField("amber14/protein.ff14SB.xml")


def _relax(topology: app.Topology, positions: np.ndarray, forcefield: app.ForceField):
    system = forcefield.createSystem(topology, constraints=app.HBonds)
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    mm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    state = context.getState(energy=True, positions=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
    )


def test_the_twenty_amino_acids_can_be_built():
    assert len(STANDARD) == 20


@pytest.mark.parametrize("name", [*STANDARD, "ASH", "GLH", "HID", "HIP", "LYN"])
def test_capped_residue_matches_its_template_and_stays_l(name: str, amber: app.ForceField):
    topology, positions = build_peptide(f"ACE-{name}-NME")
    templates = amber.getMatchingTemplates(topology)
    assert [t.name for t in templates] == ["ACE", name, "NME"]
    # The names are the template's own, caps aside (PDB version 3 calls those H1, H2, H3).
    residue = list(topology.residues())[1]
    assert {a.name for a in residue.atoms()} == {a.name for a in templates[1].atoms}
    energy, relaxed = _relax(topology, positions, amber)
    assert energy < RELAXED_BELOW_KJ_PER_MOL
    for x in (positions, relaxed):
        assert alpha_handedness(topology, x).tolist() == ([] if name == "GLY" else [1.0])
    # Every bond length is near its equilibrium: at most 5 % off before any force field saw it.
    lengths = [np.linalg.norm(positions[a.index] - positions[b.index]) for a, b in topology.bonds()]
    after = [np.linalg.norm(relaxed[a.index] - relaxed[b.index]) for a, b in topology.bonds()]
    assert np.max(np.abs(np.array(lengths) / after - 1.0)) < 0.05


def test_alpha_handedness_tells_l_from_d():
    topology, positions = build_peptide("ACE-ALA-NME")
    # L-alanine by the CORN rule: seen from the hydrogen, CO, R, N run clockwise.
    index = {a.name: a.index for a in list(topology.residues())[1].atoms()}
    x = positions - positions[index["CA"]]
    view = -x[index["HA"]] / np.linalg.norm(x[index["HA"]])  # looking direction
    flat = [x[index[n]] - (x[index[n]] @ view) * view for n in ("C", "CB", "N")]
    # Clockwise to the viewer: the turn from one to the next points along the looking direction.
    assert all(np.cross(a, b) @ view > 0 for a, b in zip(flat, flat[1:] + flat[:1], strict=True))
    assert alpha_handedness(topology, -positions).tolist() == [-1.0]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("ILE", {"CA": "S", "CB": "S"}),
        ("THR", {"CA": "S", "CB": "R"}),
        ("CYS", {"CA": "R"}),
        ("PRO", {"CA": "S"}),
    ],
)
def test_chiral_centres_have_their_textbook_labels(name: str, labels: dict[str, str]):
    """CIP labels from the coordinates alone, by an independent reader of the PDB file."""
    import io

    from rdkit import Chem

    topology, positions = build_peptide(f"ACE-{name}-NME")
    text = io.StringIO()
    app.PDBFile.writeFile(topology, positions * unit.nanometer, text)
    mol = Chem.MolFromPDBBlock(text.getvalue(), removeHs=False)
    Chem.AssignStereochemistryFrom3D(mol)
    found = {
        a.GetPDBResidueInfo().GetName().strip(): a.GetProp("_CIPCode")
        for a in mol.GetAtoms()
        if a.HasProp("_CIPCode") and a.GetPDBResidueInfo().GetName().strip() in ("CA", "CB")
    }
    assert found == labels


def test_longer_peptide_with_charged_ends_has_templates(amber: app.ForceField):
    topology, positions = build_peptide("GYDPETGTWG")
    names = [t.name for t in amber.getMatchingTemplates(topology)]
    assert names[0] == "NGLY" and names[-1] == "CGLY" and names[3] == "PRO"
    phi, psi = backbone_torsions(topology, positions)
    assert phi.shape == (10,) and np.isnan(phi[0]) and np.isnan(psi[-1])
    assert np.all(alpha_handedness(topology, positions) == 1.0)
    energy, _ = _relax(topology, positions, amber)
    assert energy < 10 * RELAXED_BELOW_KJ_PER_MOL


def test_proline_at_a_charged_start(amber: app.ForceField):
    topology, _ = build_peptide("PRO-ALA")
    assert [t.name for t in amber.getMatchingTemplates(topology)] == ["NPRO", "CALA"]


def test_peptide_bonds_are_trans():
    topology, positions = build_peptide("PGAP", caps=True)
    residues = list(topology.residues())
    from atmos_openmm.core.geometry import torsion_angles

    for before, after in itertools.pairwise(residues):
        first = {a.name: a.index for a in before.atoms()}
        second = {a.name: a.index for a in after.atoms()}
        quad = (
            first.get("CA", first.get("CH3")),
            first["C"],
            second["N"],
            second["CA"] if "CA" in second else second["C"],
        )
        # The restraint of the light minimisation is flat within 5 degrees and soft beyond.
        assert np.cos(torsion_angles(positions, [quad])[0]) < np.cos(np.deg2rad(165.0))


@pytest.mark.parametrize("basin", BASINS)
def test_set_backbone_turns_to_the_basin_and_changes_nothing_else(basin: str):
    topology, positions = build_peptide("ACE-ALA-SER-NME")
    turned = set_backbone(topology, positions, *BASINS[basin])
    phi, psi = backbone_torsions(topology, turned)
    np.testing.assert_allclose(phi, BASINS[basin][0], atol=1e-9)
    np.testing.assert_allclose(psi, BASINS[basin][1], atol=1e-9)
    bonds = [(a.index, b.index) for a, b in topology.bonds()]
    for i, j in bonds:
        before, after = (np.linalg.norm(x[i] - x[j]) for x in (positions, turned))
        assert after == pytest.approx(before, abs=1e-12)
    assert np.all(alpha_handedness(topology, turned) == 1.0)


def test_set_backbone_leaves_the_ring_of_proline():
    topology, positions = build_peptide("ACE-PRO-NME")
    turned = set_backbone(topology, positions, 1.0, 2.0)
    before, _ = backbone_torsions(topology, positions)
    phi, psi = backbone_torsions(topology, turned)
    assert phi[0] == pytest.approx(before[0]) and psi[0] == pytest.approx(2.0)


def test_backbone_torsion_sign_is_the_iupac_one():
    """Seen along the middle bond, a clockwise turn of the far bond is positive."""
    from atmos_openmm.core.geometry import torsion_angles

    angle = np.deg2rad(50.0)
    # Looking from atom 1 to atom 2 along +z, clockwise is from +x towards +y.
    x = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [np.cos(angle), np.sin(angle), 1]])
    assert torsion_angles(x, [(0, 1, 2, 3)])[0] == pytest.approx(angle)


@pytest.mark.parametrize("name", ["ARG", "GLN", "LEU", "LYS", "PRO", "VAL"])
def test_fix_names_undoes_any_exchange_of_names(name: str, amber: app.ForceField):
    topology, positions = build_peptide(f"ACE-{name}-NME")
    np.testing.assert_array_equal(fix_names(topology, positions), positions)
    pairs = [g[-2:] for g in planar_groups(topology)] + [g[-2:] for g in prochiral_groups(topology)]
    assert pairs
    energy, _ = _relax(topology, positions, amber)
    rng = np.random.default_rng(7)
    changed = 0
    for _ in range(8):
        wrong = positions.copy()
        for first, second in pairs:
            if rng.random() < 0.5:
                wrong[first + second] = wrong[second + first]
        changed += not np.array_equal(wrong, positions)
        right = fix_names(topology, np.stack([wrong, wrong]))
        assert right.shape == (2, *positions.shape)
        # Every group stands by its rule again. Two hydrogens of a methyl group that went along
        # with their carbon may have come back as another rotation of the three.
        np.testing.assert_array_equal(fix_names(topology, right), right)
        heavy = [a.index for a in topology.atoms() if a.element.symbol != "H"]
        np.testing.assert_array_equal(right[0][heavy], positions[heavy])
        again, _ = _relax(topology, right[0], amber)
        assert again == pytest.approx(energy, abs=1e-3)
    assert changed


def test_atom_order_is_backbone_then_side_chain():
    assert canonical_order(
        "HIS", ["N", "CA", "CB", "CG", "CD2", "NE2", "CE1", "ND1", "C", "O"]
    ) == ["N", "CA", "CB", "C", "O", "CG", "ND1", "CE1", "NE2", "CD2"]
    topology, _ = build_peptide("ACE-ILE-NME")
    names = [a.name for a in topology.atoms()]
    assert (
        names
        == (
            "CH3 H1 H2 H3 C O N H CA HA CB HB C O CG2 HG21 HG22 HG23 CG1 HG12 HG13 "
            "CD1 HD11 HD12 HD13 N H C H1 H2 H3"
        ).split()
    )


def test_same_seed_same_conformer():
    _, one = build_peptide("ACE-LYS-NME", seed=3)
    _, two = build_peptide("ACE-LYS-NME", seed=3)
    _, other = build_peptide("ACE-LYS-NME", seed=4)
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0.01


def test_sequences_are_read():
    assert parse_sequence("ace-ala-nme") == ["ACE", "ALA", "NME"]
    assert parse_sequence("AG") == ["ALA", "GLY"]
    assert parse_sequence("A", caps=True) == ["ACE", "ALA", "NME"]
    assert parse_sequence("ACE-ALA", caps=True) == ["ACE", "ALA", "NME"]
    assert parse_sequence("HIE") == ["HIE"]


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("", "empty"),
        ("AXB", "'B', 'X'"),
        ("ACE-FOO-NME", "'FOO'"),
        ("ALA-ACE-ALA", "inside"),
        ("ACE-NME", "no residue"),
        ("A" * 41, "41 residues"),
    ],
)
def test_sequences_that_cannot_be_built(sequence: str, message: str):
    with pytest.raises(ValueError, match=message):
        build_peptide(sequence)
