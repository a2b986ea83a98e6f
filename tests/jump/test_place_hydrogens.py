"""Placing hydrogens on peptides and small molecules: geometry, labels, contacts, relaxation."""

import dataclasses

import numpy as np
import openmm
import pytest
from hydrogen_cases import PEPTIDES, distances_by_kind, heavy_atoms, kinds, plan_of, relaxed_peptide
from openmm import app, unit

from atmos_openmm.jump.place_hydrogens import place_hydrogens
from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.hydrogen_plan import plan_hydrogens
from atmos_openmm.systems.naming import planar_groups, prochiral_groups
from atmos_openmm.systems.screening import build_screen, inspect_frame

# How far an ideal hydrogen may be from the force field's minimum: a bend of ten degrees (four
# kT for Amber's H-C-C, 420 kJ/mol/rad^2) at 0.1 nm is 0.017 nm.
TOLERANCE_NM = 0.017


@pytest.fixture(scope="module", params=PEPTIDES)
def case(request):
    topology, relaxer, positions = relaxed_peptide(request.param)
    return topology, relaxer, positions, place_hydrogens(topology, positions)


def labels_out_of_place(topology, positions):
    """Groups whose labels are not where IUPAC's rules have them."""
    wrong = []
    for centre, previous, first, second in prochiral_groups(topology):
        a, b, c = (positions[k] - positions[centre] for k in (previous, first[0], second[0]))
        if np.dot(a, np.cross(b, c)) > 0:
            wrong.append(centre)
    for (a, b, c), first, _ in planar_groups(topology):
        b1, b2, b3 = (
            positions[b] - positions[a],
            positions[c] - positions[b],
            positions[first[0]] - positions[c],
        )
        if np.dot(np.cross(b1, b2), np.cross(b2, b3)) < 0:
            wrong.append(c)
    return wrong


def test_heavy_atoms_stay_and_are_all_that_is_read(case):
    topology, _, positions, placed = case
    heavy = heavy_atoms(topology)
    np.testing.assert_array_equal(placed[heavy], positions[heavy])
    blank = np.full_like(positions, np.nan)
    blank[heavy] = positions[heavy]
    np.testing.assert_array_equal(place_hydrogens(topology, blank), placed)
    np.testing.assert_array_equal(
        place_hydrogens(topology, positions[heavy] * unit.nanometer), placed
    )


def test_determined_hydrogens_are_at_the_minimum_of_the_force_field(case):
    topology, _, positions, placed = case
    plan = plan_of(topology)
    for kind, found in distances_by_kind(plan, placed, positions, "rotor").items():
        if kind in ("rotor", "lone", "pyramid"):
            continue
        for distance, g in found:
            parent = list(topology.atoms())[plan.parent[g]]
            assert distance < TOLERANCE_NM, (kind, parent)


def test_rotors_stand_in_a_well(case):
    """Methyls and ammonium are within a fifth of their period (24 of 120 degrees: 0.04 nm)."""
    topology, _, positions, placed = case
    plan = plan_of(topology)
    for distance, g in distances_by_kind(plan, placed, positions, "rotor")["rotor"]:
        if (plan.group == g).sum() == 3:
            assert distance < 0.04, list(topology.atoms())[plan.parent[g]]


def test_labels_follow_the_naming_convention(case):
    topology, _, _, placed = case
    assert labels_out_of_place(topology, placed) == []


def test_heavy_atoms_hardly_move_in_a_short_relaxation(case):
    """The peptide is at a minimum: what moves its heavy atoms is where hydrogens were put."""
    topology, relaxer, _, placed = case
    rmsd, largest = relaxer.heavy_moves(placed, 10)
    assert largest < 0.01 and rmsd < 0.003


def test_no_contact_is_bad(case):
    topology, relaxer, _, placed = case
    features = features_from_topology(topology)
    verdict = inspect_frame(build_screen(features, topology, relaxer.system), placed)
    assert verdict, verdict.describe(features)
    # Stricter than the screen's 0.5: hydrogen bonds (0.17 nm) are the closest that there should be.
    strict = build_screen(features, topology, relaxer.system, clash_factor=0.6)
    verdict = inspect_frame(strict, placed, only=["clash"])
    assert verdict, verdict.describe(features)


def test_bonds_have_the_lengths_of_the_system(case):
    topology, relaxer, positions, _ = case
    constrained = app.ForceField("amber14-all.xml").createSystem(topology, constraints=app.HBonds)
    placed = place_hydrogens(topology, positions, system=constrained)
    for k in range(constrained.getNumConstraints()):
        i, j, length = constrained.getConstraintParameters(k)
        # Placed in double precision.
        assert np.linalg.norm(placed[i] - placed[j]) == pytest.approx(length._value, abs=1e-8)


def test_previous_frames_are_kept(case):
    """The same heavy atoms give the same hydrogens back, thermal motion and labels included."""
    topology, relaxer, positions, _ = case
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
    integrator.setRandomNumberSeed(5)
    context = openmm.Context(relaxer.system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300, 4)
    integrator.step(100)
    frame = context.getState(positions=True).getPositions(asNumpy=True)._value
    again = place_hydrogens(topology, frame[heavy_atoms(topology)], previous=frame)
    # Into the local frame and back in double precision.
    np.testing.assert_allclose(again, frame, atol=1e-12)
    assert np.abs(place_hydrogens(topology, frame) - frame).max() > 0.01


def test_d_residues_and_mirror_images():
    """A mirrored frame has mirrored hydrogens: hands come from the heavy atoms."""
    topology, _, positions = relaxed_peptide("MET-PHE-PRO-SER-THR")
    mirror = positions * [1, 1, -1]
    with pytest.warns(UserWarning, match="opposite hand"):
        placed = place_hydrogens(topology, mirror)
    plan = plan_of(topology)
    direct = place_hydrogens(topology, positions) * [1, 1, -1]
    for kind, found in distances_by_kind(plan, placed, direct, "methylene").items():
        if kind in ("tertiary", "flat", "methylene"):
            # Ideal in both, methylenes with their labels exchanged.
            assert max(d for d, _ in found) < 1e-9


def test_rotors_avoid_each_other():
    """Two methyls driven into each other are turned; no pair of hydrogens is left clashing."""
    topology, relaxer, positions = relaxed_peptide("ACE-TRP-TYR-VAL-HIP-ASH-NME")
    plan = plan_of(topology)
    placed = place_hydrogens(topology, positions)
    # No turn of a single group lowers the energy that the search minimises, term by term here.
    near = [set(plan.excluded[plan.excluded[:, 0] == f, 1].tolist()) for f in range(len(plan.free))]

    def energy(f, x):
        atoms = plan.hydrogens[plan.group == plan.free[f]]
        parent = x[plan.parent[plan.free[f]]]
        total = 0.0
        for h in atoms:
            for a in range(len(x)):
                if a in near[f] or np.linalg.norm(x[a] - parent) >= 0.5:
                    continue
                d = max(np.linalg.norm(x[h] - x[a]), 0.05)
                size = plan.radius_nm[h] + plan.radius_nm[a]
                depth = np.sqrt(plan.depth_kj_per_mol[h] * plan.depth_kj_per_mol[a])
                total += depth * ((size / d) ** 12 - 2 * (size / d) ** 6)
                # Coulomb's law with a dielectric of 4 r, r in angstrom.
                total += 138.935 * plan.charge[h] * plan.charge[a] / (40 * d * d)
        j, p = plan.free_bond[f]
        e = plan.reference[plan.free[f]]
        b1, b2 = x[j] - x[e], x[p] - x[j]
        n1 = np.cross(b1, b2)
        for h in atoms:
            n2 = np.cross(b2, x[h] - x[p])
            t = np.arctan2(np.dot(b1, n2) * np.linalg.norm(b2), np.dot(n1, n2))
            total += sum(c * np.cos((n + 1) * t) for n, c in enumerate(plan.free_cosines[f])) / len(
                atoms
            )
        return total

    def turned(f, x, angle):
        j, p = plan.free_bond[f]
        axis = (x[p] - x[j]) / np.linalg.norm(x[p] - x[j])
        y = x.copy()
        for h in plan.hydrogens[plan.group == plan.free[f]]:
            arm = x[h] - x[p]
            y[h] = (
                x[p]
                + np.cos(angle) * arm
                + np.sin(angle) * np.cross(axis, arm)
                + (1 - np.cos(angle)) * np.dot(axis, arm) * axis
            )
        return y

    for f in range(len(plan.free)):
        here = energy(f, placed)
        for k in range(1, 24):
            # Gains below 0.1 kJ/mol are left, and up to 0.023 is charged for the turn.
            assert energy(f, turned(f, placed, np.radians(15 * k))) > here - 0.124


def test_wrong_positions_are_refused():
    topology, _, positions = relaxed_peptide("MET-PHE-PRO-SER-THR")
    heavy = heavy_atoms(topology)
    with pytest.raises(ValueError, match=f"of 7 atoms; the Topology has {len(positions)}"):
        place_hydrogens(topology, positions[:7])
    broken = positions.copy()
    broken[heavy[3]] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        place_hydrogens(topology, broken)
    bare = app.Modeller(topology, positions * unit.nanometer)
    bare.delete([a for a in topology.atoms() if a.element.atomic_number == 1])
    with pytest.raises(FeatureError, match="lacks hydrogens|hydrogens"):
        place_hydrogens(bare.topology, positions[heavy])
    with pytest.raises(ValueError, match="no hydrogens to place"):
        plan_hydrogens(features_from_topology(bare.topology, "heavy"))


# --- small molecules ----------------------------------------------------------------------------

SMALL = {
    "C#CC": {"linear", "rotor"},
    "CC#N": {"rotor"},
    "CC": {"rotor"},
    "CO": {"rotor"},
    "CS": {"rotor"},
    "C=C": {"flat end"},
    "CC=CC=O": {"rotor", "flat"},
    "CC(=O)O": {"rotor"},
    "CC(=O)N": {"rotor", "flat end"},
    "C/C=N/O": {"rotor", "flat"},
    "CS(=O)(=O)N": {"rotor"},
    "C1CCNCC1": {"methylene", "pyramid"},
    "C1CC[NH2+]CC1": {"methylene"},
    "C[NH+](C)C": {"rotor", "tertiary"},
    "NC(=[NH2+])NC": {"flat end", "flat", "rotor"},
    "CC(C)(O)C#C": {"rotor", "linear"},
    "OC(=O)c1ccncc1": {"flat", "rotor"},
    "C": {"lone"},
    "O": {"lone"},
}
"""Molecules and the kinds of groups that they have."""


def small_molecule(smiles):
    """Topology, RDKit molecule at its MMFF94 minimum, positions in nm."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=5000)
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    atoms = [
        topology.addAtom(
            f"{a.GetSymbol()}{k}", app.Element.getByAtomicNumber(a.GetAtomicNum()), residue
        )
        for k, a in enumerate(mol.GetAtoms())
    ]
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology, mol, 0.1 * mol.GetConformer().GetPositions()


def mmff_energy(mol, positions, relax):
    """MMFF94 energy, kJ/mol; relaxed with heavy atoms held."""
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    copy = Chem.Mol(mol)
    copy.GetConformer().SetPositions(10 * positions)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        copy, rdForceFieldHelpers.MMFFGetMoleculeProperties(copy)
    )
    field.Initialize()
    for atom in copy.GetAtoms():
        if atom.GetAtomicNum() > 1:
            field.AddFixedPoint(atom.GetIdx())
    if relax:
        field.Minimize(maxIts=2000)
    return 4.184 * field.CalcEnergy()


@pytest.mark.parametrize("smiles", SMALL)
def test_small_molecules_end_in_the_minimum_of_another_force_field(smiles):
    topology, mol, positions = small_molecule(smiles)
    everything = range(mol.GetNumAtoms())
    placed = place_hydrogens(topology, positions, {"LIG": mol}, solute=everything)
    plan = plan_hydrogens(
        features_from_topology(topology, "all", everything, molecules={"LIG": mol})
    )
    assert set(kinds(plan)) == SMALL[smiles]
    # Relaxing hydrogens alone leads to the minimum that they came from, or one as deep: within
    # 0.1 kT of 300 K, where another well would be several.
    minimum = mmff_energy(mol, positions, False)
    assert mmff_energy(mol, placed, True) < minimum + 0.25


def test_impossible_groups_are_refused():
    topology, mol, _ = small_molecule("CC")
    features = features_from_topology(topology, "all", range(8), molecules={"LIG": mol})
    bonds = features.bonds.copy()
    bonds[features.ref_element[bonds[:, 1]] == 1, 0] = 0
    broken = dataclasses.replace(features, bonds=bonds)
    with pytest.raises(FeatureError, match="C0 of LIG .* has 6 hydrogens and 1 heavy neighbours"):
        plan_hydrogens(broken)


def test_water_can_be_part_of_the_solute():
    """A lone group turns to its neighbours: two waters make a hydrogen bond."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(2):
        residue = topology.addResidue("HOH", chain)
        atoms = [
            topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in ("O", "H1", "H2")
        ]
        topology.addBond(atoms[0], atoms[1])
        topology.addBond(atoms[0], atoms[2])
    oxygens = np.array([[0.0, 0, 0], [0.28, 0, 0]])
    placed = place_hydrogens(topology, oxygens, solute=range(6))
    across = np.linalg.norm(placed[[1, 2]][:, None] - placed[None, [3]], axis=-1).min()
    back = np.linalg.norm(placed[[4, 5]][:, None] - placed[None, [0]], axis=-1).min()
    # One hydrogen points at the other oxygen: 0.28 - 0.096 nm, longer by at most 30 degrees.
    assert 0.18 < min(across, back) < 0.205
    assert np.linalg.norm(placed[[1, 2]][:, None] - placed[None, [4, 5]], axis=-1).min() > 0.19
