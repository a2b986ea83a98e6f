"""Rotatable torsions: what turns, what it leaves alone, and what is left to dynamics."""

from __future__ import annotations

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from systems_support import SHARED, embedded, index_of, joined, rebuild, write_sdf

from atmos_openmm.core.geometry import torsion_angles
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.peptides import RESIDUES, alpha_handedness, build_peptide
from atmos_openmm.systems.torsions import Torsions, find_torsions, torsions_of


def short_names(torsions, block):
    """What follows the residue in the names of a block's torsions."""
    blocks = np.repeat(torsions.block_names, torsions.block_sizes)
    return [n.split()[1] for n, b in zip(torsions.names, blocks, strict=True) if b == block]


def geometry(topology, x):
    """All bond lengths and all cosines of angles of a frame."""
    near = {a.index: [] for a in topology.atoms()}
    for one, two in topology.bonds():
        near[one.index].append(two.index)
        near[two.index].append(one.index)
    angles = [(i, c, j) for c, k in near.items() for i in k for j in k if i < j]
    i, c, j = np.array(angles).T
    u, v = x[i] - x[c], x[j] - x[c]
    lengths = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=1)
    return np.concatenate([*lengths, (u * v).sum(axis=1) / lengths[0] / lengths[1]])


def check_turning(topology, x, torsions, every=1):
    """Turning one torsion changes it by as much, and no other, no bond and no angle."""
    assert len(set(torsions.names)) == len(torsions)
    assert sum(torsions.block_sizes) == len(torsions)
    assert len(torsions.block_names) == len(torsions.previous) == len(torsions.block_sizes)
    before, shape = torsions.measure(x), geometry(topology, x)
    for k in range(0, len(torsions), every):
        a, b, c, d = torsions.atoms[k].tolist()
        group = set(torsions.groups[k].tolist())
        assert d in group and not {a, b, c} & group
        # Only the bond b-c leaves the group, c included.
        for one, two in topology.bonds():
            ends = {one.index, two.index}
            assert len(ends & (group | {c})) != 1 or ends == {b, c}
        y = torsions.rotated(x, {k: 2.5})
        still = np.setdiff1d(np.arange(len(x)), sorted(group))
        np.testing.assert_array_equal(y[still], x[still])
        change = torsions.measure(y) - before
        change[k] -= 2.5
        np.testing.assert_allclose(np.sin(change / 2), 0, atol=1e-10)
        np.testing.assert_allclose(geometry(topology, y), shape, atol=1e-10)


CHIS = dict(
    ARG=4, ASN=2, ASP=2, ASH=2, CYS=1, GLN=3, GLU=3, GLH=3, HID=2, HIE=2, HIP=2, HIS=2, ILE=2,
    LEU=2, LYN=4, LYS=4, MET=3, PHE=2, SER=1, THR=1, TRP=2, TYR=2, VAL=1,
)  # fmt: skip
POLAR = dict(
    ASH=["CG-OD2"], CYS=["CB-SG"], GLH=["CD-OE2"], LYN=["CE-NZ"], SER=["CB-OG"], THR=["CB-OG1"],
    TYR=["CZ-OH"],
)  # fmt: skip
ROTORS = dict(
    ALA=["CA-CB"], ILE=["CB-CG2", "CG1-CD1"], LEU=["CG-CD1", "CG-CD2"], LYS=["CE-NZ"],
    MET=["SD-CE"], THR=["CB-CG2"], VAL=["CB-CG1", "CB-CG2"],
)  # fmt: skip


@pytest.mark.parametrize("residue", sorted(RESIDUES))
def test_amino_acids_capped_and_with_charged_ends(residue):
    topology, x = build_peptide(f"ACE-{residue}-NME")
    name = f"{RESIDUES[residue].pdb_name}2"
    backbone = ["psi"] if residue == "PRO" else ["phi", "psi"]
    chis = [f"chi{k + 1}" for k in range(CHIS.get(residue, 0))]
    torsions = find_torsions(topology)
    assert torsions.block_names == (name,) and torsions.previous == (-1,)
    assert short_names(torsions, name) == backbone + chis + POLAR.get(residue, [])
    assert torsions.backbone.tolist() == [
        n[:3] in ("phi", "psi") for n in short_names(torsions, name)
    ]
    check_turning(topology, x, torsions)
    full = find_torsions(topology, methyls=True)
    assert full.names[0] == "ACE1 CH3-C" and full.names[-1] == "NME3 N-C"
    expected = backbone + chis + POLAR.get(residue, []) + ROTORS.get(residue, [])
    assert sorted(short_names(full, name)) == sorted(expected)
    assert full.previous == (-1, 0, 1)
    check_turning(topology, x, full)
    # A tetrapeptide with NH3+ and COO-.
    topology, x = build_peptide(f"{residue}-ALA-{residue}-{residue}")
    torsions = find_torsions(topology)
    assert torsions.previous == (-1, 0, 1, 2)
    first, last = torsions.block_names[0], torsions.block_names[-1]
    assert "phi" not in short_names(torsions, first)
    assert short_names(torsions, last)[: len(backbone)] == backbone
    check_turning(topology, x, torsions, every=3)


def test_conventional_atoms_and_angles():
    topology, x = build_peptide("ALA-ILE-THR")
    torsions = find_torsions(topology)
    atoms = list(topology.atoms())
    named = {
        name: [atoms[i].name for i in quad]
        for name, quad in zip(torsions.names, torsions.atoms, strict=True)
    }
    reversible = {name: min(quad, quad[::-1]) for name, quad in named.items()}
    assert reversible["ILE2 phi"] == ["C", "CA", "N", "C"]
    assert reversible["ALA1 psi"] == min(["N", "CA", "C", "N"], ["N", "C", "CA", "N"])
    assert named["THR3 psi"] == ["N", "CA", "C", "O"]
    assert named["ILE2 chi1"] == ["N", "CA", "CB", "CG1"]
    assert named["ILE2 chi2"] == ["CA", "CB", "CG1", "CD1"]
    assert named["THR3 chi1"] == ["N", "CA", "CB", "OG1"]
    assert named["THR3 CB-OG1"] == ["CA", "CB", "OG1", "HG1"]
    np.testing.assert_allclose(torsions.measure(x), torsion_angles(x, torsions.atoms))
    frames = np.stack([x, torsions.rotated(x, {0: 1.0, 2: -0.5})])
    assert torsions.measure(frames).shape == (2, len(torsions))
    # Several turns at once: each by its own amount.
    change = np.diff(torsions.measure(frames), axis=0)[0]
    expected = np.zeros(len(torsions))
    expected[[0, 2]] = 1.0, -0.5
    np.testing.assert_allclose(np.sin((change - expected) / 2), 0, atol=1e-10)


def test_measured_angles_are_in_the_half_open_interval():
    flat = np.array([[0, 1.0, 0], [0, 0, 0], [1.0, 0, 0], [1.0, -1.0, -0.0]])
    one = Torsions(
        ("x",), np.array([[0, 1, 2, 3]]), (np.array([3]),), np.array([False]), (1,), ("X",), (-1,)
    )
    assert one.measure(flat)[0] == np.pi
    assert one.measure(flat * [1, 1, -1])[0] == np.pi


def test_d_residues_keep_their_hand_and_their_names():
    topology, x = build_peptide("ACE-LEU-NME")
    mirrored = x * [1, 1, -1]
    torsions = find_torsions(topology, positions=x)
    with pytest.warns(UserWarning):
        other = find_torsions(topology, positions=mirrored)
    assert other.names == torsions.names
    np.testing.assert_allclose(other.measure(mirrored), -torsions.measure(x))
    rng = np.random.default_rng(2)
    turned = other.rotated(mirrored, dict(enumerate(rng.uniform(-3, 3, len(other)))))
    assert alpha_handedness(topology, mirrored).tolist() == [-1]
    assert alpha_handedness(topology, turned).tolist() == [-1]


def test_several_chains_are_told_apart():
    part = build_peptide("ACE-ALA-NME")
    topology = joined(part, part)
    torsions = find_torsions(topology)
    assert torsions.names == ("A/ALA2 phi", "A/ALA2 psi", "B/ALA2 phi", "B/ALA2 psi")
    assert torsions.previous == (-1, -1)
    x = np.concatenate([part[1], part[1] + 1.0])
    check_turning(topology, x, torsions)


def disulfide(same_chain):
    part = build_peptide("ACE-CYS-NME")
    topology = joined(part, part)
    if same_chain:
        part = build_peptide("ACE-CYS-GLY-CYS-NME")
        topology = part[0]
    sulfurs = [a.index for a in topology.atoms() if a.name == "SG"]
    drop = {a.index for a in topology.atoms() if a.name == "HG"}
    bridged, old = rebuild(topology, drop=drop, extra_bonds=[tuple(sulfurs)])
    x = part[1] if same_chain else np.concatenate([part[1], part[1] + 0.5])
    return bridged, x[old]


def test_a_disulfide_within_a_chain_is_a_ring():
    topology, x = disulfide(True)
    torsions = find_torsions(topology)
    # Inside the loop nothing turns; outside of it phi of the first, psi of the last residue.
    assert torsions.names == ("CYS2 phi", "CYS4 psi")
    assert any("In rings" in note and "CYS2 SG-CYS4 SG" in note for note in torsions.notes)
    check_turning(topology, x, torsions)


def test_a_disulfide_between_chains_turns():
    topology, x = disulfide(False)
    torsions = find_torsions(topology)
    assert {"A/CYS2 SG-B/CYS2 SG", "A/CYS2 chi1", "B/CYS2 chi1"} <= set(torsions.names)
    check_turning(topology, x, torsions)


def test_cyclic_peptides_turn_their_side_chains():
    topology, x = build_peptide("ALA-LEU-GLY-SER")
    drop = {a.index for a in topology.atoms() if a.name in ("OXT", "H2", "H3")}
    ends = index_of(topology, 0, "N"), index_of(topology, 3, "C")
    ring, old = rebuild(topology, drop=drop, extra_bonds=[ends])
    torsions = find_torsions(ring)
    assert torsions.names == ("LEU2 chi1", "LEU2 chi2", "SER4 chi1", "SER4 CB-OG")
    # GLY3 has nothing that turns, so SER4 has no block before it.
    assert torsions.block_names == ("LEU2", "SER4") and torsions.previous == (-1, -1)
    check_turning(ring, x[old], torsions)
    full = find_torsions(ring, methyls=True)
    assert full.block_names == ("ALA1", "LEU2", "SER4") and full.previous == (-1, 0, -1)


@pytest.mark.parametrize(
    "smiles, turning",
    [
        ("CCCC", [(1, 2)]),
        ("CC(=O)NC1CCCCC1", [(3, 4)]),
        ("c1ccccc1C#CC", []),
        ("COC(=O)c1ccccc1", [(2, 4)]),
        ("NC(=[NH2+])c1ccccc1", [(1, 3)]),
        ("CC(F)(F)F", []),
        ("OC(=O)CCl", [(0, 1), (1, 3)]),
        ("CS(=O)(=O)Nc1ccccc1", [(1, 4), (4, 5)]),
        ("c1ccccc1-c1ccccn1", [(5, 6)]),
        ("C=CC=C", [(1, 2)]),
        ("CSC(=O)CC", [(2, 4)]),
        ("CC(C)(C)OC", [(1, 4)]),
        ("OCC(O)CO", [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5)]),
    ],
)
def test_ligands(tmp_path, smiles, turning):
    mol = embedded(smiles, "ligand")
    molecule = read_molecule(write_sdf(tmp_path / "ligand.sdf", mol))
    options = {"positions": molecule.positions_nm, "molecules": molecule.molecules}
    torsions = find_torsions(molecule.topology, **options)
    bonds = {tuple(sorted(quad[1:3].tolist())) for quad in torsions.atoms}
    assert bonds == set(turning)
    assert not torsions.backbone.any()
    assert all(name.startswith("LIG1 ") for name in torsions.names)
    check_turning(molecule.topology, molecule.positions_nm, torsions)
    full = find_torsions(molecule.topology, methyls=True, **options)
    check_turning(molecule.topology, molecule.positions_nm, full)
    assert set(torsions.names) <= set(full.names)


@pytest.mark.parametrize("target", ["mcl1", "tyk2"])
def test_real_ligands(target):
    files = sorted((SHARED / "complexes" / "plb" / target).rglob("*.sdf"))
    if not files:
        pytest.skip("real complexes are not there")
    molecule = read_molecule(files[0], records=[0])
    torsions = find_torsions(
        molecule.topology, positions=molecule.positions_nm, molecules=molecule.molecules
    )
    assert len(torsions) >= 2
    check_turning(molecule.topology, molecule.positions_nm, torsions)


def system_of(topology, constraints, **options):
    field = app.ForceField("amber14-all.xml")
    return field.createSystem(topology, constraints=constraints, **options)


@pytest.mark.parametrize("constraints", [None, app.HBonds, app.AllBonds, app.HAngles])
@pytest.mark.parametrize("methyls", [False, True])
def test_constraints_that_a_torsion_may_not_turn(constraints, methyls):
    topology, x = build_peptide("ACE-SER-VAL-NME")
    system = system_of(topology, constraints)
    free = find_torsions(topology, methyls=methyls)
    torsions = find_torsions(topology, system=system, methyls=methyls)
    if constraints in (None, app.HBonds, app.AllBonds):
        assert torsions.names == free.names
    else:
        # The hydroxyl's angle is fixed by a constraint H-C that shares C with the bonds of C,
        # which do not turn with it: their metric depends on the torsion.
        assert set(free.names) - set(torsions.names) == {"SER2 CB-OG"}
        note = "The metric of the constraints depends on: SER2 CB-OG."
        assert note in torsions.notes
    # All constraints still hold after turning everything.
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(x)
    context.applyConstraints(1e-12)
    start = np.array(context.getState(positions=True).getPositions(asNumpy=True)._value)
    rng = np.random.default_rng(3)
    y = torsions.rotated(start, dict(enumerate(rng.uniform(-3, 3, len(torsions)))))
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        assert np.linalg.norm(y[i] - y[j]) == pytest.approx(length._value, abs=1e-10)


def metric(system, x):
    """Log of the determinant of the constraints' metric, J M^-1 J^T."""
    rows = np.zeros((system.getNumConstraints(), system.getNumParticles(), 3))
    for k in range(len(rows)):
        i, j, _ = system.getConstraintParameters(k)
        rows[k, i], rows[k, j] = x[i] - x[j], x[j] - x[i]
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    scaled = (rows / np.sqrt(np.array(masses))[None, :, None]).reshape(len(rows), -1)
    return np.linalg.slogdet(scaled @ scaled.T)[1]


@pytest.mark.parametrize("constraints", [app.HBonds, app.AllBonds, app.HAngles])
def test_the_metric_of_the_constraints_depends_on_no_torsion_that_is_kept(constraints):
    topology, x = build_peptide("ACE-SER-TYR-NME")
    system = system_of(topology, constraints, hydrogenMass=1.5 * unit.amu)
    torsions = find_torsions(topology, system=system, methyls=True)
    before = metric(system, x)
    rng = np.random.default_rng(3)
    y = torsions.rotated(x, dict(enumerate(rng.uniform(-3, 3, len(torsions)))))
    assert metric(system, y) == pytest.approx(before, abs=1e-8)
    if constraints is app.HAngles:
        every = find_torsions(topology, methyls=True)
        held = every.names.index("SER2 CB-OG")
        assert abs(metric(system, every.rotated(x, {held: 1.5})) - before) > 1e-3


def test_constraints_across_a_torsion_and_fixed_particles_hold_it():
    topology, _ = build_peptide("ACE-ALA-NME")
    system = system_of(topology, None)
    system.addConstraint(0, topology.getNumAtoms() - 1, 0.5)
    torsions = find_torsions(topology, system=system)
    assert torsions.names == ()
    assert "Constraints join both sides of: ALA2 phi, ALA2 psi." in torsions.notes
    system = system_of(topology, None)
    system.setParticleMass(0, 0.0)
    torsions = find_torsions(topology, system=system)
    assert torsions.names == ("ALA2 psi",)
    assert "Would move particles without mass: ALA2 phi." in torsions.notes


def test_a_foreign_system_and_heavy_features_are_refused():
    topology, _ = build_peptide("ACE-ALA-NME")
    system = system_of(topology, app.HBonds)
    with pytest.raises(ValueError, match="not in the features"):
        torsions_of(features_from_topology(topology, "heavy"), system)
    with pytest.raises(ValueError, match="has 3 particles"):
        small = openmm.System()
        for _ in range(3):
            small.addParticle(1.0)
        torsions_of(features_from_topology(topology), small)


def test_water_and_virtual_sites_are_left_alone():
    topology, x = build_peptide("ACE-ALA-NME")
    modeller = app.Modeller(topology, x * unit.nanometer)
    field = app.ForceField("amber14-all.xml", "amber14/tip4pew.xml")
    modeller.addSolvent(field, model="tip4pew", numAdded=20)
    system = field.createSystem(
        modeller.topology, nonbondedMethod=app.CutoffPeriodic, constraints=app.HBonds,
        nonbondedCutoff=0.4,
    )  # fmt: skip
    torsions = find_torsions(modeller.topology, system=system)
    assert torsions.names == ("ALA2 phi", "ALA2 psi")
    y = np.array(modeller.positions.value_in_unit(unit.nanometer))
    assert max(g.max() for g in torsions.groups) < 22
    np.testing.assert_array_equal(torsions.rotated(y, {0: 1.0})[22:], y[22:])
    # The smaller side turns, whatever else is in the box.
    plain = find_torsions(topology)
    np.testing.assert_array_equal(plain.atoms, torsions.atoms)
