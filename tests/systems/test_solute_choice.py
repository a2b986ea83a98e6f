"""What a caller names as the solute: selections, parts of molecules, and what is left out."""

from __future__ import annotations

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest

from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.systems.fragments import find_fragments
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.selection import describe_left_out, select_solute
from atmos_openmm.systems.solute_choice import chosen_indices, split_solute
from atmos_openmm.systems.torsions import find_torsions


@pytest.fixture(scope="module")
def peptide():
    return build_peptide("ACE-LEU-SER-GLU-ALA-NME")


def named(topology, atoms, residue):
    return {a.name for a in topology.atoms() if a.index in atoms and a.residue.index == residue}


def test_a_selection_of_whole_molecules_is_one_of_indices(peptide):
    topology, _ = peptide
    everything = list(range(topology.getNumAtoms()))
    assert chosen_indices(topology, "all") == everything
    assert split_solute(topology, "all") == (everything, None)
    assert split_solute(topology, None) == (None, None)
    assert split_solute(topology, everything[::-1]) == (everything[::-1], None)
    # Heavy atoms stand for their hydrogens.
    heavy = [a.index for a in topology.atoms() if a.element.atomic_number > 1]
    assert split_solute(topology, heavy) == (heavy, None)


def test_parts_of_molecules_bring_their_hydrogens(peptide):
    topology, _ = peptide
    whole, moved = split_solute(topology, "sidechain and resid 1")
    assert whole == list(range(topology.getNumAtoms()))
    side_chain = {"CB", "HB2", "HB3", "CG", "HG", "CD1", "CD2"}
    side_chain |= {f"HD{k}{n}" for k in (1, 2) for n in (1, 2, 3)}
    assert named(topology, moved, 1) == side_chain and len(moved) == len(side_chain)
    # The same by the heavy atoms alone.
    carbons = [a.index for a in topology.atoms() if a.index in moved and a.element.symbol == "C"]
    assert split_solute(topology, carbons) == (whole, moved)
    hydrogen = next(a.index for a in topology.atoms() if a.name == "HA")
    with pytest.raises(FeatureError, match="names the hydrogen .* not the heavy atom"):
        split_solute(topology, [*carbons, hydrogen])


@pytest.mark.parametrize(
    "selection, message",
    [
        ("sidechain and", "not one of MDTraj's language"),
        ("resname LIG", "fits no atom. .* count from 0"),
        ("nonsense 3", "not one of MDTraj's language"),
    ],
)
def test_selections_that_cannot_be_used_are_explained(peptide, selection, message):
    with pytest.raises(FeatureError, match=message):
        split_solute(peptide[0], selection)


def test_pieces_are_placed_by_what_stays_around_them(peptide):
    topology, positions = peptide
    features = features_from_topology(topology, positions=positions)
    _, moved = split_solute(topology, "sidechain and (resid 1 3)")
    leucine, glutamate = find_fragments(features, moved)
    assert set(leucine.atoms.tolist()) | set(glutamate.atoms.tolist()) == moved
    for fragment, residue in ((leucine, 1), (glutamate, 3)):
        assert named(topology, fragment.anchors.tolist(), residue) == {"N", "CA", "C"}
        assert len(fragment.anchors) == 3
    # A loop has anchors at both ends.
    _, moved = split_solute(topology, "resid 2 3")
    (loop,) = find_fragments(features, moved)
    assert named(topology, loop.anchors.tolist(), 1) == {"C", "O", "CA"}
    assert named(topology, loop.anchors.tolist(), 4) == {"N", "CA"}
    # Anchors further away where there are few near by; two atoms are too few.
    _, moved = split_solute(topology, "not resid 0")
    (tail,) = find_fragments(features, moved)
    assert named(topology, tail.anchors.tolist(), 0) == {"CH3", "C", "O"}
    _, moved = split_solute(topology, "not (name CH3 and resid 0)")
    with pytest.raises(FeatureError, match="only 1 heavy atoms stay .* takes 3"):
        find_fragments(features, moved)


def test_a_whole_molecule_beside_parts_is_placed_by_all_that_stays():
    topology, positions = build_peptide("ACE-ALA-NME")
    pair = app.Modeller(topology, positions)
    pair.add(topology, (positions + np.array([2.0, 0, 0])) * unit.nanometer)
    features = features_from_topology(pair.topology, positions=pair.positions)
    count = topology.getNumAtoms()
    whole, moved = split_solute(pair.topology, "chainid 1 or (chainid 0 and name CB)")
    assert len(whole) == 2 * count and len(moved) == count + 4
    methyl, other = find_fragments(features, moved)
    assert len(methyl.atoms) == 4 and len(other.atoms) == count
    heavy = np.flatnonzero(features.ref_element[:count] > 1)
    assert set(other.anchors.tolist()) == set(heavy.tolist()) - set(methyl.atoms.tolist())


def test_torsions_turn_what_is_named_and_nothing_else(peptide):
    topology, positions = peptide
    every = find_torsions(topology, positions=positions)
    chosen = "sidechain and (resid 1 3)"
    _, moved = split_solute(topology, chosen)
    torsions = find_torsions(topology, solute=chosen, positions=positions)
    assert torsions.names == ("LEU2 chi1", "LEU2 chi2", "GLU4 chi1", "GLU4 chi2", "GLU4 chi3")
    assert torsions.block_sizes == (2, 3) and torsions.notes == ()
    for name, group in zip(torsions.names, torsions.groups, strict=True):
        assert set(group.tolist()) <= moved
        np.testing.assert_array_equal(group, every.groups[every.names.index(name)])
    # A loop between fixed ends keeps its backbone, and it is said.
    loop = find_torsions(topology, solute="resid 2 3", positions=positions)
    assert {name.split()[1] for name in loop.names} == {"chi1", "chi2", "chi3", "CB-OG"}
    assert any(
        "Would turn what is not in the solute: SER3 N-CA, SER3 CA-C" in n for n in loop.notes
    )
    # An end of the chain is free, and turns even where it is the larger side.
    head = find_torsions(topology, solute="resid 5 4", positions=positions)
    assert head.names == ("ALA5 phi", "ALA5 psi")
    tail = find_torsions(topology, solute="not resid 0", positions=positions)
    assert "LEU2 phi" in tail.names
    group = tail.groups[tail.names.index("LEU2 phi")]
    assert len(group) > topology.getNumAtoms() / 2 and named(topology, group.tolist(), 0) == set()


def test_lipids_of_membranes_are_left_out_and_named():
    topology, _ = build_peptide("ACE-ALA-NME")
    chain = topology.addChain()
    for name, atoms in (("POPC", "C1 C2 C3"), ("HOH", "O"), ("ZN", "ZN")):
        residue = topology.addResidue(name, chain)
        for atom in atoms.split():
            topology.addAtom(
                atom, app.Element.getBySymbol("Zn" if atom == "ZN" else atom[0]), residue
            )
    assert select_solute(topology, None) == set(range(22))
    assert describe_left_out(topology) == "1 HOH, 1 POPC, 1 ZN"
