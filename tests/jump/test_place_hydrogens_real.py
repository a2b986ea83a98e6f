"""Hydrogens placed on real structures: crystals, NMR models, a complex with its ligand.

Experimental structures have strain of their own, which any relaxation takes out. What counts is
therefore measured against the same relaxation of the hydrogens that the structure came with (the
depositors', tleap's or Modeller's, all minimised by someone).
"""

import numpy as np
import pytest
from hydrogen_cases import (
    SHARED,
    Relaxer,
    distances_by_kind,
    heavy_atoms,
    plan_of,
    real_structure,
)

from atmos_openmm.jump.place_hydrogens import place_hydrogens
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.hydrogen_groups import FREE_KINDS
from atmos_openmm.systems.hydrogen_plan import plan_hydrogens
from atmos_openmm.systems.screening import build_screen, inspect_frame

pytestmark = pytest.mark.skipif(
    not (SHARED / "structures").is_dir(), reason="the shared structures are not here"
)

ITERATIONS = 5
"""Of the minimiser, all atoms free, after the hydrogens have settled with heavy atoms held."""


def judge(features, topology, system, positions):
    """The screen's verdict on a frame, and how many contacts are below 0.6 of the radii."""
    spec = build_screen(features, topology, system)
    verdict = inspect_frame(spec, positions)
    strict = build_screen(features, topology, system, clash_factor=0.6)
    return verdict, inspect_frame(strict, positions, only=["clash"]).count


def molecules_of(topology):
    """Chemistry of the residues that are not standard: p-xylene."""
    from rdkit import Chem

    ligands = [r.name for r in topology.residues() if r.name in ("LIG", "TMP", "PXY", "MOL", "UNL")]
    return {name: Chem.MolFromSmiles("Cc1ccc(C)cc1") for name in ligands}


@pytest.mark.parametrize("name", ["1l2y", "5awl", "t4l"])
def test_heavy_atoms_move_no_more_than_with_the_hydrogens_given(name):
    topology, system, positions = real_structure(name)
    molecules = molecules_of(topology)
    relaxer = Relaxer(system, heavy_atoms(topology))
    features = features_from_topology(topology, positions=positions, molecules=molecules)
    placed = place_hydrogens(topology, positions, molecules)
    moves = {}
    for label, frame in (("given", positions), ("placed", placed)):
        settled = relaxer.run(frame, 50, hold_heavy=True)
        after = relaxer.run(settled, ITERATIONS)
        distance = np.linalg.norm((after - positions)[relaxer.heavy], axis=1)
        verdict, close = judge(features, topology, system, after)
        moves[label] = np.sqrt((distance**2).mean()), distance.max(), close
        if label == "placed":
            assert verdict, verdict.describe(features)
    given, found = moves["given"], moves["placed"]
    # What the structure's own strain moves by 0.01 nm or more, it moves with any hydrogens.
    assert found[0] < 0.01 and found[1] < max(0.01, 1.15 * given[1])
    assert found[0] < 1.15 * given[0]
    assert found[2] <= given[2] + 1


def test_a_relaxed_structure_stays_where_it_is():
    """Without strain of their own heavy atoms move less than 0.01 nm, each of them."""
    topology, system, positions = real_structure("5awl")
    relaxer = Relaxer(system, heavy_atoms(topology))
    relaxed = relaxer.run(positions, 400)
    rmsd, largest = relaxer.heavy_moves(place_hydrogens(topology, relaxed), ITERATIONS)
    assert largest < 0.01 and rmsd < 0.003


@pytest.mark.parametrize("name", ["5awl"])
def test_determined_hydrogens_are_at_the_minimum_on_the_same_heavy_atoms(name):
    """Nine in ten within 0.01 nm, medians below 0.005: strained groups bend their hydrogens."""
    topology, system, positions = real_structure(name)
    true = Relaxer(system, heavy_atoms(topology)).run(positions, 60, hold_heavy=True)
    plan = plan_of(topology)
    # The files' own labels of pairs may differ from the convention.
    found = distances_by_kind(plan, place_hydrogens(topology, positions), true, "methylene")
    determined = [d for kind, group in found.items() if kind not in FREE_KINDS for d, _ in group]
    assert np.median(determined) < 0.005 and np.quantile(determined, 0.9) < 0.01


@pytest.mark.parametrize("name", ["tyk2"])
def test_a_kinase_sized_protein_has_no_bad_contact(name):
    """Straight from the placement, before any relaxation; 290 residues, 4,652 atoms."""
    topology, system, positions = real_structure(name)
    features = features_from_topology(topology, positions=positions)
    placed = place_hydrogens(topology, positions)
    verdict, close = judge(features, topology, system, placed)
    assert verdict, verdict.describe(features)
    # The files' hydrogens, minimised by their makers, have none below 0.6 of the radii.
    assert close == 0


@pytest.mark.parametrize("name", ["tyk2", "mcl1"])
def test_ligands_of_the_benchmark(name):
    """Every ligand's hydrogens from its heavy atoms alone: no bad contact, right chemistry."""
    from openmm import app
    from rdkit import Chem

    path = SHARED / "complexes" / "plb" / name / "02_ligands" / "ligands.sdf"
    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
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
        positions = 0.1 * mol.GetConformer().GetPositions()
        placed = place_hydrogens(topology, positions, {"LIG": mol})
        features = features_from_topology(topology, positions=positions, molecules={"LIG": mol})
        spec = build_screen(features, topology, clash_factor=0.6)
        verdict = inspect_frame(spec, placed)
        assert verdict, f"{mol.GetProp('_Name')}: {verdict.describe(features)}"
        plan = plan_hydrogens(features)
        free = np.isin(plan.group, plan.free)
        # Against the file's own hydrogens (an unknown force field's), in any order.
        for g in np.unique(plan.group[~free]):
            members = plan.hydrogens[plan.group == g]
            table = np.linalg.norm(placed[members][:, None] - positions[members][None], axis=-1)
            assert table.min(axis=1).max() < 0.02, f"{mol.GetProp('_Name')} {members}"
