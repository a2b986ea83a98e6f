"""Options of a System: what stands for the defaults, and what contradicts itself."""

from __future__ import annotations

import json

import openmm
import program_files as files
import pytest
from openmm import app, unit
from systems_support import write_pdb

from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.forcefield import (
    DEFAULT_FORCEFIELD,
    ForceFieldError,
    create_system,
    make_system,
)
from atmos_openmm.systems.inputs import Molecule, build_sequence, read_molecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.system_file import check_system_fits
from atmos_openmm.systems.system_options import SystemOptions

PROTEIN = ("amber14/protein.ff14SB.xml",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nonbonded": "Ewald"}, "nonbonded is 'Ewald'"),
        ({"constraints": "Bonds"}, "constraints is 'Bonds'"),
        ({"implicit": "gbn3"}, "implicit is 'gbn3'"),
        ({"cutoff_nm": -1.0}, "positive"),
        ({"cutoff_nm": 1.0, "nonbonded": "NoCutoff"}, "NoCutoff, which has none"),
        ({"hydrogen_mass_dalton": -1.0}, "negative"),
        ({"nonbonded": "PME", "implicit": "obc2"}, "do not go together"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ForceFieldError, match=message):
        SystemOptions(**values)


def test_the_defaults_are_those_of_create_system():
    molecule = build_sequence("ACE-ALA-NME")
    made = make_system(molecule)
    plain = create_system(molecule.topology)
    assert files.energy(made.system, molecule.positions_nm) == pytest.approx(
        files.energy(plain, molecule.positions_nm), rel=1e-9
    )
    assert made.choices == {
        "force field": "amber14-all.xml, implicit/gbn2.xml",
        "nonbonded": "NoCutoff",
        "constraints": "HBonds, 12 to hydrogens, 0 between others",
        "hydrogen mass": "1.5 dalton",
        "implicit solvent": "gbn2",
    }
    assert "force field: amber14-all.xml, implicit/gbn2.xml" in made.lines()


def test_a_cutoff_and_a_solvent_give_the_energy_of_openmm():
    molecule = build_sequence("ACE-ALA-NME")
    options = SystemOptions(
        forcefield=PROTEIN,
        nonbonded="CutoffNonPeriodic",
        cutoff_nm=0.5,
        implicit="obc2",
        constraints="None",
        hydrogen_mass_dalton=0.0,
    )
    made = make_system(molecule, options)
    plain = app.ForceField(*PROTEIN, "implicit/obc2.xml").createSystem(
        molecule.topology,
        nonbondedMethod=app.CutoffNonPeriodic,
        nonbondedCutoff=0.5 * unit.nanometer,
    )
    assert files.energy(made.system, molecule.positions_nm) == pytest.approx(
        files.energy(plain, molecule.positions_nm), rel=1e-6
    )
    assert made.choices["nonbonded"] == "CutoffNonPeriodic, cutoff 0.5 nm"
    assert made.choices["hydrogen mass"] == "1.008 dalton"


def test_the_solvent_is_taken_out_of_the_default_and_not_out_of_files_that_were_named():
    assert SystemOptions(implicit="none").forcefield_files() == DEFAULT_FORCEFIELD[:1]
    assert SystemOptions(implicit="obc1").forcefield_files()[1] == "implicit/obc1.xml"
    named = (*PROTEIN, "implicit/obc1.xml")
    assert SystemOptions(forcefield=named, implicit="obc1").forcefield_files() == named
    for implicit in ("none", "obc2"):
        with pytest.raises(ForceFieldError, match="brings one"):
            SystemOptions(forcefield=named, implicit=implicit).forcefield_files()


def test_options_are_described_and_kept_as_json():
    options = SystemOptions(forcefield=PROTEIN, cutoff_nm=0.9)
    assert options.changed() == ("forcefield", "cutoff_nm")
    kept = json.loads(json.dumps(options.as_settings()))
    assert kept["forcefield"] == list(PROTEIN) and kept["cutoff_nm"] == 0.9
    assert SystemOptions(**kept) == options
    assert any("0.9" in line for line in options.describe())


@pytest.fixture
def given(tmp_path):
    """A structure, and the XML file of its System with heavy hydrogens."""
    topology, positions = build_peptide("ACE-ALA-NME")
    system = create_system(topology, PROTEIN, hydrogen_mass_dalton=3.0)
    path = tmp_path / "system.xml"
    path.write_text(openmm.XmlSerializer.serialize(system))
    return write_pdb(tmp_path / "ala.pdb", topology, positions), path, system


def test_a_system_file_beside_a_structure_is_taken_as_it_is(given):
    structure, path, system = given
    molecule = read_molecule([structure, path])
    made = make_system(molecule)
    assert files.energy(made.system, molecule.positions_nm) == pytest.approx(
        files.energy(system, molecule.positions_nm), rel=1e-9
    )
    assert made.choices["parameters"] == "system.xml"
    assert made.choices["hydrogen mass"] == "3 dalton"
    for options in ({"constraints": "None"}, {"cutoff_nm": 1.0}, {"implicit": "obc1"}):
        with pytest.raises(ForceFieldError, match="made already"):
            make_system(molecule, SystemOptions(**options))
    with pytest.raises(ForceFieldError, match="was named"):
        make_system(molecule, SystemOptions(forcefield=PROTEIN))


def test_a_system_of_other_atoms_is_refused_with_the_first_of_them(given, tmp_path):
    structure, path, _ = given
    topology, positions = build_peptide("ACE-GLY-NME")
    other = write_pdb(tmp_path / "gly.pdb", topology, positions)
    with pytest.raises(ForceFieldError, match="22 particles, and the Topology has 19"):
        read_molecule([other, path])
    molecule = read_molecule(structure)
    atoms = list(molecule.topology.atoms())
    nitrogen = next(a for a in atoms if a.name == "N")
    system = create_system(molecule.topology, PROTEIN, hydrogen_mass_dalton=None)
    check_system_fits(system, molecule.topology, "it")
    system.setParticleMass(nitrogen.index, 12.01)
    with pytest.raises(ForceFieldError, match=f"particle {nitrogen.index} is of mass 12.01.*N of"):
        check_system_fits(system, molecule.topology, "it")
    system.setParticleMass(nitrogen.index, 0.0)  # an atom that stands still
    check_system_fits(system, molecule.topology, "it")


def test_xml_files_that_are_no_system_are_refused(given, tmp_path):
    structure, path, _ = given
    with pytest.raises(FileNotFoundError, match="none.xml"):
        read_molecule([structure, tmp_path / "none.xml"])
    state = tmp_path / "field.xml"
    state.write_text("<ForceField/>")
    with pytest.raises(ValueError, match=r"field.xml is no OpenMM XML file"):
        read_molecule([structure, state])
    with pytest.raises(FeatureError, match="the one structure"):
        read_molecule([path])


def test_what_makes_a_system_may_be_anybodys():
    class Mine:
        label = "mine"

        def create_system(self, options):
            return create_system(topology, PROTEIN)

    topology, positions = build_peptide("ACE-ALA-NME")
    made = make_system(Molecule(topology, positions, {}, "ala", parameters=Mine()))
    assert made.choices["parameters"] == "mine"
