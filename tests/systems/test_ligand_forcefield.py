"""Ligands get parameters where a force field has none; the packages that make them stand aside."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ligand_parameter_cases import made_up, topology_of
from openmm import app
from rdkit import Chem
from systems_support import embedded

from atmos_openmm.systems import ligand_forcefield, ligand_parameters
from atmos_openmm.systems.errors import ForceFieldError
from atmos_openmm.systems.ligand_cache import LigandKey, keep_parameters, kept_parameters
from atmos_openmm.systems.ligand_forcefield import register_ligands
from atmos_openmm.systems.ligand_parameters import make_parameters
from atmos_openmm.systems.peptides import build_peptide

XYLENE = embedded("Cc1ccc(C)cc1")
AMIDINE = embedded("NC(=[NH2+])c1ccccc1")


@pytest.fixture
def made(monkeypatch, tmp_path):
    """What is made, in order, by a maker of made-up parameters; the user's cache is empty."""
    calls = []

    def make(smiles, forcefield, charges):
        calls.append((smiles, forcefield, charges))
        return made_up(smiles)

    monkeypatch.setenv("ATMOS_CACHE", str(tmp_path))
    monkeypatch.setattr(ligand_forcefield, "make_parameters", make)
    return calls


def _system(ligands, molecules=None, **options):
    forcefield = app.ForceField()
    register_ligands(forcefield, molecules or dict(ligands), **options)
    topology, _ = topology_of(*ligands, order=random.Random(1))
    return forcefield.createSystem(topology)


def _charges(system):
    force = next(f for f in system.getForces() if f.getName() == "NonbondedForce")
    return [force.getParticleParameters(k)[0]._value for k in range(system.getNumParticles())]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "openff-1.3.0"}, r"openff-1\.3\.0 is no force field for ligands; .*gaff-2\.11"),
        ({"name": "amber14-all.xml"}, "version 2 of OpenFF or GAFF"),
        ({"charges": "resp"}, "resp is no charge method for ligands; expected nagl or am1bcc"),
    ],
)
def test_an_unknown_choice_is_told_at_once(options, message):
    with pytest.raises(ForceFieldError, match=message):
        register_ligands(app.ForceField(), {"PXY": XYLENE}, **options)


def test_several_ligands_in_any_order_with_any_names(made):
    notes = register_ligands(app.ForceField(), {"PXY": XYLENE, "BEN": AMIDINE}, name="gaff-2.11")
    assert notes == [
        "PXY: C8H10, gaff-2.11 with NAGL charges.",
        "BEN: C7H9N2+, gaff-2.11 with NAGL charges.",
    ]
    assert not made
    lines = []
    system = _system(
        [("BEN", AMIDINE), ("PXY", XYLENE), ("BEN", AMIDINE)],
        name="openff-2.3.0",
        charges="am1bcc",
        progress=lines.append,
    )
    assert sum(_charges(system)) == 2.0 and sum(_charges(system)[:18]) == 1.0
    assert made == [
        ("NC(=[NH2+])c1ccccc1", "openff-2.3.0", "am1bcc"),
        ("Cc1ccc(C)cc1", "openff-2.3.0", "am1bcc"),
    ]
    assert lines[0] == "BEN 1 (18 atoms): openff-2.3.0 with AM1-BCC charges"


def test_a_residue_may_have_another_name_than_its_molecule(made):
    assert _system([("LIG", XYLENE)], {"L01": AMIDINE, "L02": XYLENE}).getNumParticles() == 18
    assert [smiles for smiles, *_ in made] == ["Cc1ccc(C)cc1"]


def test_implicit_hydrogens_of_the_molecule_count(made):
    assert _system([("PXY", XYLENE)], {"PXY": Chem.RemoveHs(XYLENE)}).getNumParticles() == 18


def test_what_the_force_field_knows_needs_nothing(monkeypatch):
    """A force field file of the ligand's own is used as ever, without any package."""
    monkeypatch.setitem(sys.modules, "openff.toolkit", None)
    forcefield = app.ForceField(io.StringIO(made_up("Cc1ccc(C)cc1")))
    register_ligands(forcefield, {"PXY": XYLENE, "BEN": AMIDINE})
    topology, _ = topology_of(("PXY", XYLENE))
    assert forcefield.createSystem(topology).getNumParticles() == 18


def test_stereoisomers_have_parameters_of_their_own_unless_they_stand_together(made):
    left, right = embedded("C[C@H](F)Cl"), embedded("C[C@@H](F)Cl")
    for mol in (left, right):
        _system([("LIG", mol)])
    assert len(made) == 2
    notes = register_ligands(app.ForceField(), {"ONE": left, "TWO": right})
    assert "ONE and TWO differ in stereochemistry or bond orders alone" in notes[-1]


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("OB(O)c1ccccc1", r"LIG 1 \(OB\(O\)c1ccccc1\) has the elements B; OpenFF and GAFF have"),
        ("C[Si](C)(C)C", "has the elements Si"),
        ("C[CH]C", "is a radical"),
        ("CC(=O)[O-].C[NH3+]", "is several molecules"),
    ],
)
def test_what_no_force_field_here_knows(made, smiles, message):
    with pytest.raises(ForceFieldError, match=message):
        _system([("LIG", embedded(smiles))])
    assert not made


def test_a_residue_that_is_not_its_molecule(made):
    bare = Chem.RemoveHs(XYLENE)
    with pytest.raises(ForceFieldError, match=r"atoms are C8, expected C8 H10\. Add the atoms"):
        _system([("PXY", bare)], {"PXY": XYLENE})
    unbonded = Chem.RWMol(XYLENE)
    unbonded.RemoveBond(0, 1)
    with pytest.raises(ForceFieldError, match=r"bonds are not \(17, expected 18\)\. Give"):
        _system([("PXY", unbonded)], {"PXY": XYLENE})
    with pytest.raises(ValueError, match="No template found for residue"):
        _system([("OTH", AMIDINE)], {"PXY": XYLENE})
    assert not made


def test_a_residue_of_a_chain_is_no_ligand(made):
    topology, _ = build_peptide("ACE-ALA-NME")
    forcefield = app.ForceField()
    register_ligands(forcefield, {"ALA": embedded("C[C@H](N)C(=O)O")})
    with pytest.raises(ValueError, match="No template found for residue"):
        forcefield.createSystem(topology)  # ACE stands first
    register_ligands(forcefield, {"ACE": embedded("CC=O")})
    with pytest.raises(ForceFieldError, match="ACE 1 is bonded to other residues; only whole"):
        forcefield.createSystem(topology)


def test_parameters_are_kept_by_molecule(made, tmp_path):
    for order in ("Cc1ccc(C)cc1", "c1(C)ccc(C)cc1"):
        _system([("PXY", embedded(order))])
    assert len(made) == 1
    _system([("PXY", XYLENE)], charges="am1bcc")
    _system([("PXY", XYLENE)], name="openff-2.3.0")
    _system([("PXY", XYLENE)], cache=tmp_path / "elsewhere")
    assert len(made) == 4
    assert len(list((tmp_path / "ligands").iterdir())) == 3
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "other", "empty", "folder"])
def test_a_damaged_entry_is_made_anew(made, tmp_path, damage):
    _system([("PXY", XYLENE)])
    (entry,) = (tmp_path / "ligands").iterdir()
    whole = entry.read_bytes()
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        entry.write_bytes(
            {
                "cut": whole[:-20],
                "changed": whole.replace(b"0.4", b"0.5", 1),
                "other": whole.replace(b"Cc1ccc(C)cc1", b"Cc1ccc(N)cc1", 1),
                "empty": b"",
            }[damage]
        )
    _system([("PXY", XYLENE)])
    assert len(made) == 2
    assert damage == "folder" or entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(made, tmp_path):
    (tmp_path / "file").write_text("")
    lines = []
    _system([("PXY", XYLENE)], cache=tmp_path / "file" / "below", progress=lines.append)
    assert "not kept for the next time" in lines[-1]


def test_processes_may_keep_the_same_molecule_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from atmos_openmm.systems.ligand_cache import *\n"
        "key = LigandKey('C', 'openff-2.2.1', 'nagl')\n"
        "for _ in range(200):\n"
        "    keep_parameters(key, Path(sys.argv[1]), sys.argv[2] * 100000)\n"
        "    assert kept_parameters(key, Path(sys.argv[1])) in ('a' * 100000, 'b' * 100000)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), letter]) for letter in "ab"
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    (entry,) = tmp_path.iterdir()
    assert json.loads(entry.read_text())["key"]["smiles"] == "C"


def test_an_entry_comes_back(tmp_path):
    key = LigandKey("C", "openff-2.2.1", "nagl")
    assert kept_parameters(key, tmp_path) is None
    keep_parameters(key, tmp_path, "<xml/>")
    assert kept_parameters(key, tmp_path) == "<xml/>"
    assert kept_parameters(LigandKey("C", "openff-2.2.1", "am1bcc"), tmp_path) is None


@pytest.mark.parametrize("package", ["openff.toolkit", "openmmforcefields.generators"])
def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    message = r'need the package open\w+.*pip install "atmos-openmm\[ligands\]".*conda-forge'
    with pytest.raises(ForceFieldError, match=message):
        make_parameters("C", "openff-2.2.1", "nagl")


def test_the_line_installs_an_extra_that_there_is():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (extra,) = re.findall(r'install "atmos-openmm\[(\w+)\]"', ligand_parameters.INSTALL)
    assert re.search(rf"^{extra} = \[$", text, re.MULTILINE)


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setattr(ligand_parameters.shutil, "which", lambda name: None)
    with pytest.raises(ForceFieldError, match=r"program antechamber of AmberTools .*\[ligands\]"):
        ligand_parameters._need_programs("antechamber", "sqm")


def _bond(xml, k):
    term = f'<HarmonicBondForce><Bond class1="c3" class2="hc" length="0.1" k="{k}"/>'
    return xml.replace("</ForceField>", f"{term}</HarmonicBondForce></ForceField>")


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (made_up("[NH4+]"), r"nagl charges of C add up to 1\.0000, its formal charges to 0"),
        (made_up("C").replace('charge="0.0"', 'charge="nan"'), "add up to nan"),
        (_bond(made_up("C"), 0.0), "gaff-2.11 has no parameters for the bond c3-hc of C"),
        (ValueError("no type\n-----------\nlong file"), "charges fails for C: no type. Choose"),
    ],
)
def test_parameters_that_cannot_be_right_are_refused(monkeypatch, xml, message):
    def template(*arguments):
        if isinstance(xml, Exception):
            raise xml
        return xml

    monkeypatch.setattr(ligand_parameters, "_template", template)
    with pytest.raises(ForceFieldError, match=message):
        make_parameters("C", "gaff-2.11", "nagl")


def test_types_of_gaff_carry_its_name(monkeypatch):
    xml = _bond(made_up("C"), 5.0).replace("<HarmonicBond", "<PeriodicTorsionForce/><HarmonicBond")
    monkeypatch.setattr(ligand_parameters, "_template", lambda *_: xml)
    mended = make_parameters("C", "gaff-2.11", "nagl")
    assert 'class1="gaff-2.11:c3"' in mended and 'type="gaff-2.11:C#0"' in mended
    assert (
        '<Type name="gaff-2.11:C#0"' in mended
        and '<PeriodicTorsionForce ordering="amber"' in mended
    )
    assert '<Residue name="C"' in mended and '<Atom name="0"' in mended
    assert make_parameters("C", "openff-2.2.1", "nagl").count("ordering") == 0
