"""The 3-D view: what of a molecule is shown, what lies in the page, and the library in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from openmm import app

from atmos_openmm.report import structure_viewer
from atmos_openmm.report.structure_viewer import MoleculeView, ViewedFrame, view_frames

SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


def _residue(topology, chain, name, number, atoms, bonds):
    residue = topology.addResidue(name, chain, str(number))
    made = {
        atom: topology.addAtom(atom, app.Element.getBySymbol(element), residue)
        for atom, element in atoms
    }
    for first, second in bonds:
        topology.addBond(made[first], made[second])
    return made


BACKBONE = [("N", "N"), ("CA", "C"), ("C", "C"), ("O", "O")]
BACKBONE_BONDS = [("N", "CA"), ("CA", "C"), ("C", "O")]


@pytest.fixture
def complex_topology():
    """Residues -1, 1, 2 of a chain with a gap before 5, a ligand, two waters."""
    topology = app.Topology()
    chain = topology.addChain("A")
    made = [_residue(topology, chain, "ALA", n, BACKBONE, BACKBONE_BONDS) for n in (-1, 1, 2, 5)]
    for before, after in ((0, 1), (1, 2)):
        topology.addBond(made[before]["C"], made[after]["N"])
    _residue(topology, topology.addChain("B"), "LIG", 1, [("C-1", "C"), ("O", "O")], [("C-1", "O")])
    water = topology.addChain("W")
    for n in (1, 2):
        atoms = [("O", "O"), ("H1", "H"), ("H2", "H")]
        _residue(topology, water, "HOH", n, atoms, [("O", "H1"), ("O", "H2")])
    return topology


def test_the_library_is_the_one_that_npm_has():
    folder = structure_viewer.LIBRARY.parent
    assert hashlib.sha256(structure_viewer.LIBRARY.read_bytes()).hexdigest() == SHA256
    assert SHA256 in (folder / "README.md").read_text(encoding="utf-8")
    licence = (folder / "LICENSE-3Dmol.txt").read_text(encoding="utf-8")
    assert "BSD-3-Clause" in licence and "Redistributions in binary form" in licence


def test_what_a_page_needs_is_installed_with_the_package():
    root = Path(__file__).parents[2]
    package_data = (root / "pyproject.toml").read_text(encoding="utf-8")
    manifest = (root / "MANIFEST.in").read_text(encoding="utf-8")
    for folder in ("assets", "third_party"):
        assert f'"report/{folder}/*"' in package_data
        assert f"recursive-include atmos_openmm/report/{folder} *" in manifest


def test_atoms_that_a_reason_names(complex_topology):
    view = MoleculeView(complex_topology)
    assert view.named_atoms("bond A/ALA1/N-CA is 0.2 nm long, expected 0.145") == [4, 5]
    assert view.named_atoms("A/ALA-1/C-A/ALA1/N-CA: strained.") == [2, 4, 5]
    assert view.named_atoms("A/ALA2/CA has the wrong hand, and B/LIG1/C-1 is near") == [9, 16]
    assert view.named_atoms("coordinates of 3 atoms are not finite, first A/ALA5/N") == [12]
    assert view.named_atoms("the energy is above the window's 12.0 kJ/mol (A/ALA9/CA)") == []


def test_water_is_shown_where_a_reason_names_it(complex_topology):
    without = MoleculeView(complex_topology)
    assert without.shown.atoms.tolist() == list(range(18))
    named = MoleculeView(complex_topology, ["A/ALA1/O and W/HOH2/H1 are 0.05 nm apart"])
    assert named.shown.atoms.tolist() == [*range(18), 21, 22, 23]
    assert named.places("W/HOH2/H1") == (19,)
    assert named.labels[-1] == "W/HOH2"


def test_the_ribbon_ends_at_gaps_and_ligands_have_none(complex_topology):
    residues = MoleculeView(complex_topology).scene()["residues"]
    places = [row["place"] for row in residues[:4]]
    assert places[1] == places[0] + 1 and places[2] == places[1] + 1
    assert places[3] > places[2] + 1
    assert [row["polymer"] for row in residues] == [True] * 4 + [False]
    assert [row["ligand"] for row in residues] == [False] * 4 + [True]
    assert [row["count"] for row in residues] == [4, 4, 4, 4, 2]


def test_a_cap_is_no_ligand():
    from atmos_openmm.systems.peptides import build_peptide

    topology, _ = build_peptide("A", caps=True, seed=1)
    residues = MoleculeView(topology).scene()["residues"]
    assert [(row["polymer"], row["ligand"]) for row in residues] == [
        (False, False),
        (True, False),
        (False, False),
    ]


def _part(markup, name):
    text = re.search(rf'data-part="{name}">([^<]*)<', markup).group(1)
    return gzip.decompress(base64.b64decode(text))


def test_the_page_holds_library_and_frames(complex_topology):
    view = MoleculeView(complex_topology)
    rng = np.random.default_rng(1)
    native = rng.normal(size=(18, 3)) + [50, 0, -50]
    lost = native.copy()
    lost[17] += 1e6
    frames = [
        ViewedFrame("Frame 7 <b>", "invalid: bonds", "A/ALA1/N & more", native + 0.1, "bad", (4, 5),
                    np.arange(5.0)),
        ViewedFrame("Frame 8", "valid", "nothing", lost, "good"),
    ]  # fmt: skip
    made = view_frames(view, frames, native, 6.0)
    assert _part(made.markup, "library") == structure_viewer.LIBRARY.read_bytes()
    assert "<b>" not in made.markup and "Frame 7 &lt;b&gt;" in made.markup
    scene = json.loads(_part(made.markup, "scene"))
    assert scene["bonds"] == view.shown.bonds.ravel().tolist() and len(scene["bonds"]) == 2 * 15
    first, second = scene["frames"]
    unit = structure_viewer.UNIT_NM
    shown = np.reshape(first["positions"], (-1, 3)) * unit
    assert np.allclose(shown, native + 0.1 - native.mean(axis=0), atol=0.51 * unit)
    assert first["named"] == [4, 5] and first["strain"] == [0, 1, 2, 3, 4]
    assert second["strain"] is None
    # An atom that has flown away stays within sight of the others.
    assert max(second["positions"]) * unit < 3 + np.abs(native - native.mean(axis=0)).max()
    # The same frames make the same page.
    assert view_frames(view, frames, native, 6.0) == made


def test_without_native_and_strain_there_are_no_controls_for_them(complex_topology):
    view = MoleculeView(complex_topology)
    frame = ViewedFrame("Frame 1", "valid", "nothing", np.zeros((18, 3)))
    markup = view_frames(view, [frame], None, 6.0).markup
    assert 'name="native"' not in markup and "strain" not in markup
    assert 'value="chain"' in markup
