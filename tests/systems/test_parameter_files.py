"""AMBER, GROMACS and CHARMM files: the energies of OpenMM's own readers, and our names."""

from __future__ import annotations

import numpy as np
import openmm
import parmed
import program_files as files
import pytest
from openmm import app, unit
from systems_support import SHARED, embedded, write_sdf

from atmos_openmm.systems.errors import FeatureError
from atmos_openmm.systems.forcefield import ForceFieldError, make_system
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.parameter_readers import read_with_parmed
from atmos_openmm.systems.system_options import SystemOptions

BARE = {"constraints": "None", "hydrogen_mass_dalton": None}
SEQUENCE = "ACE-ILE-HIS-NME"
WIDTH_NM = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same peptide as files of all three programs, AMBER's also in a box."""
    path = tmp_path_factory.mktemp("programs")
    made = files.structure(SEQUENCE)
    files.save(made, path / "a.prmtop", path / "a.rst7", path / "a.nc", path / "a.pdb")
    files.charmm(made, path)
    boxed = files.structure(SEQUENCE, WIDTH_NM)
    files.save(boxed, path / "box.parm7", path / "box.rst7", path / "box.top", path / "box.gro")
    return path


def _amber(folder):
    return app.AmberPrmtopFile(str(folder / "a.prmtop")).createSystem()


def _gromacs(folder):
    return app.GromacsTopFile(str(folder / "box.top")).createSystem()


def _charmm(folder):
    psf = app.CharmmPsfFile(str(folder / "charmm.psf"))
    names = (str(folder / "charmm.rtf"), str(folder / "charmm.par"))
    return psf.createSystem(app.CharmmParameterSet(*names))


CHARMM = ("charmm.psf", "charmm.rtf", "charmm.par")


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (("a.prmtop", "a.rst7"), _amber),
        (("a.prmtop", "a.nc"), _amber),
        (("a.prmtop", "a.pdb"), _amber),
        (("box.top", "box.gro"), _gromacs),
        ((*CHARMM, "charmm.crd"), _charmm),
        ((*CHARMM, "a.pdb"), _charmm),
    ],
)
def test_energies_are_those_of_openmms_readers(folder, names, plain):
    molecule = read_molecule([folder / name for name in names])
    made = make_system(molecule, SystemOptions(nonbonded="NoCutoff", **BARE))
    ours = files.energy(made.system, molecule.positions_nm)
    assert ours == pytest.approx(files.energy(plain(folder), molecule.positions_nm), rel=1e-6)
    assert [r.name for r in molecule.topology.residues()] == SEQUENCE.split("-")
    assert molecule.features().num_tokens == 4
    assert made.choices["parameters"].startswith(names[0])


@pytest.mark.parametrize("name", ["a.prmtop", "box.top"])
def test_parmed_is_a_second_opinion(folder, name):
    other = read_with_parmed(folder / name)
    coordinates = {"a.prmtop": "a.rst7", "box.top": "box.gro"}[name]
    molecule = read_molecule([folder / name, folder / coordinates])
    options = SystemOptions(nonbonded="NoCutoff", **BARE)
    energies = [
        files.energy(parameters.create_system(options), molecule.positions_nm)
        for parameters in (other, molecule.parameters)
    ]
    assert energies[0] == pytest.approx(energies[1], rel=1e-4)


def test_parmed_reads_what_openmm_cannot(folder, monkeypatch):
    there = read_molecule([folder / "a.prmtop", folder / "a.rst7"])

    def fail(*arguments):
        raise ValueError("too old")

    monkeypatch.setattr(app, "AmberPrmtopFile", fail)
    molecule = read_molecule([folder / "a.prmtop", folder / "a.rst7"])
    assert any("ParmEd" in note and "too old" in note for note in molecule.notes)
    options = SystemOptions(implicit="obc1", **BARE)
    energies = [
        files.energy(make_system(m, options).system, m.positions_nm) for m in (there, molecule)
    ]
    assert energies[0] == pytest.approx(energies[1], rel=1e-4)


def test_options_decide_and_are_told(folder):
    molecule = read_molecule([folder / "box.parm7", folder / "box.rst7"])
    widths = molecule.topology.getUnitCellDimensions().value_in_unit(unit.nanometer)
    assert list(widths) == pytest.approx([WIDTH_NM] * 3)
    made = make_system(molecule, SystemOptions(cutoff_nm=0.8, constraints="AllBonds"))
    assert made.choices["nonbonded"] == "PME, cutoff 0.8 nm"
    assert made.choices["hydrogen mass"] == "1.5 dalton"
    hydrogens = sum(a.element.symbol == "H" for a in molecule.topology.atoms())
    others = molecule.topology.getNumBonds() - hydrogens
    assert made.choices["constraints"] == (
        f"AllBonds, {hydrogens} to hydrogens, {others} between others"
    )
    lone = read_molecule([folder / "a.prmtop", folder / "a.rst7"])
    made = make_system(lone, SystemOptions(implicit="gbn2", **BARE))
    plain = app.AmberPrmtopFile(str(folder / "a.prmtop")).createSystem(implicitSolvent=app.GBn2)
    assert files.energy(made.system, lone.positions_nm) == pytest.approx(
        files.energy(plain, lone.positions_nm), rel=1e-6
    )
    assert made.choices["implicit solvent"] == "gbn2"
    assert made.choices["nonbonded"] == "NoCutoff"


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("a.prmtop", "a.rst7"), {"forcefield": ("amber14-all.xml",)}, "a.prmtop brings the"),
        (("a.prmtop", "a.rst7"), {"nonbonded": "PME"}, "no periodic box"),
        (("a.prmtop", "a.rst7"), {"cutoff_nm": 0.9}, "CutoffNonPeriodic"),
        (("box.parm7", "box.rst7"), {"implicit": "obc2"}, "periodic box"),
        (("box.top", "box.gro"), {"implicit": "obc2", "nonbonded": "NoCutoff"}, "no radii"),
    ],
)
def test_options_that_contradict_the_files_are_refused(folder, names, options, message):
    molecule = read_molecule([folder / name for name in names])
    with pytest.raises(ForceFieldError, match=message):
        make_system(molecule, SystemOptions(**options))


def test_atoms_without_radii_get_no_implicit_solvent(tmp_path):
    made = files.structure("ACE-ALA-NME")
    for atom in made.atoms:
        atom.solvent_radius = 0.0
    molecule = read_molecule(files.save(made, tmp_path / "bare.prmtop", tmp_path / "bare.rst7"))
    with pytest.raises(ForceFieldError, match="without a radius"):
        make_system(molecule, SystemOptions(implicit="obc2"))


def test_files_that_do_not_go_together_are_refused(folder, tmp_path):
    other = files.structure("ACE-ALA-NME")
    files.save(other, tmp_path / "b.prmtop", tmp_path / "b.rst7", tmp_path / "b.pdb")
    with pytest.raises(FeatureError, match="a.prmtop has 48 atoms, and .*b.rst7 has 22"):
        read_molecule([folder / "a.prmtop", tmp_path / "b.rst7"])
    with pytest.raises(FeatureError, match="both topologies with parameters"):
        read_molecule([folder / "a.prmtop", tmp_path / "b.prmtop"])
    with pytest.raises(FeatureError, match="both hold coordinates"):
        read_molecule([folder / "a.prmtop", folder / "a.rst7", folder / "a.pdb"])
    with pytest.raises(FeatureError, match="has no parameters"):
        read_molecule([folder / "charmm.psf", folder / "charmm.crd"])
    with pytest.raises(FeatureError, match="of no use beside a.prmtop"):
        read_molecule([folder / "a.prmtop", folder / "charmm.par"])
    with pytest.raises(FeatureError, match="There is no file"):
        read_molecule([folder / "none.prmtop", folder / "a.rst7"])
    with pytest.raises(FeatureError, match="go with their topology"):
        read_molecule([folder / "a.rst7"])
    with pytest.raises(FeatureError, match=r"include.*GMXDATA"):
        bad = tmp_path / "bad.top"
        bad.write_text('#include "amber99sb.ff/forcefield.itp"\n')
        read_molecule([bad, folder / "box.gro"])
    # The same number of atoms in another order: the first that differs is told.
    lines = (folder / "a.pdb").read_text().splitlines()
    atoms = [k for k, line in enumerate(lines) if line.startswith("ATOM")]
    lines[atoms[0]], lines[atoms[1]] = lines[atoms[1]], lines[atoms[0]]
    swapped = tmp_path / "swapped.pdb"
    swapped.write_text("\n".join(lines))
    with pytest.raises(FeatureError, match=r"Atom 6 is N of ILE 2.*H of ILE 2.*swapped.pdb"):
        read_molecule([folder / "a.prmtop", swapped])


def test_a_topology_alone_has_no_coordinates(folder):
    molecule = read_molecule(folder / "a.prmtop")
    assert molecule.positions_nm.shape == (0, 3)
    assert make_system(molecule).system.getNumParticles() == 48
    assert molecule.features().num_tokens == 4


@pytest.mark.filterwarnings("ignore:Could not find netCDF4 module")
def test_of_a_trajectory_the_first_frame_is_taken(folder, tmp_path):
    start = read_molecule([folder / "a.prmtop", folder / "a.rst7"])
    frames = np.stack([start.positions_nm + shift for shift in (0.1, 0.2, 0.3)])
    path = tmp_path / "traj.nc"
    file = parmed.amber.NetCDFTraj.open_new(str(path), frames.shape[1], box=False)
    for frame in frames:
        file.add_coordinates(frame * 10.0)
    file.close()
    molecule = read_molecule([folder / "a.prmtop", path])
    assert np.allclose(molecule.positions_nm, frames[0], atol=1e-6)
    assert "traj.nc holds 3 frames; the first is taken." in molecule.notes


def test_a_molecule_that_the_box_splits_is_made_whole(folder, tmp_path):
    made = files.structure(SEQUENCE, WIDTH_NM)
    whole = np.array(made.coordinates)
    made.coordinates = np.mod(whole - whole.mean(axis=0), WIDTH_NM * 10.0)
    files.save(made, tmp_path / "split.rst7")
    molecule = read_molecule([folder / "box.parm7", tmp_path / "split.rst7"])
    assert any("made whole" in note for note in molecule.notes)
    inside = molecule.positions_nm - molecule.positions_nm.mean(axis=0)
    assert np.allclose(inside, (whole - whole.mean(axis=0)) * 0.1, atol=1e-5)


def _acetate(tmp_path):
    """Acetate as AMBER files: bonds without orders, and a charge of -1 in partial charges."""
    mol = embedded("CC(=O)[O-]", "acetate")
    top: app.Topology = app.Topology()
    residue = top.addResidue("ACT", top.addChain())
    system, bonds, charges = openmm.System(), openmm.HarmonicBondForce(), openmm.NonbondedForce()
    atoms, pairs = [], []
    for atom in mol.GetAtoms():
        element = app.Element.getByAtomicNumber(atom.GetAtomicNum())
        atoms.append(top.addAtom(f"{atom.GetSymbol()}{atom.GetIdx()}", element, residue))
        system.addParticle(element.mass)
        charges.addParticle(-1.0 / mol.GetNumAtoms(), 0.2, 0.5)
    for bond in mol.GetBonds():
        ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        top.addBond(atoms[ends[0]], atoms[ends[1]])
        bonds.addBond(*ends, 0.12, 1000.0)
        pairs.append(ends)
    charges.createExceptionsFromBonds(pairs, 0.0, 0.0)
    system.addForce(bonds)
    system.addForce(charges)
    xyz = mol.GetConformer().GetPositions()
    made = parmed.openmm.load_topology(top, system, xyz=xyz)
    return mol, files.save(made, tmp_path / "act.prmtop", tmp_path / "act.rst7")


@pytest.mark.filterwarnings("ignore:Detected incomplete exceptions")
@pytest.mark.filterwarnings("ignore::parmed.exceptions.OpenMMWarning")
def test_a_ligand_is_told_from_bonds_hydrogens_and_charges_or_by_an_sdf_file(tmp_path):
    from rdkit import Chem

    mol, paths = _acetate(tmp_path)
    molecule = read_molecule(paths)
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule.molecules["ACT"])) == "CC(=O)[O-]"
    assert any("ACT" in n and "CC(=O)[O-]" in n and "bond orders" in n for n in molecule.notes)
    assert molecule.features().ref_charge.sum() == -1
    told = read_molecule([*paths, write_sdf(tmp_path / "acetate.sdf", mol)])
    assert any("acetate.sdf" in note for note in told.notes)
    assert told.topology.getNumAtoms() == molecule.topology.getNumAtoms()
    other = write_sdf(tmp_path / "ethanol.sdf", embedded("CCO", "ethanol"))
    with pytest.raises(FeatureError, match="none of the ligands given"):
        read_molecule([*paths, other])


T4L = SHARED / "complexes" / "t4l_pxylene"
TUDOR = SHARED / "complexes" / "smn_tudor_36x"
TRPZIP2 = SHARED / "peptides" / "trpzip2"


@pytest.mark.skipif(not T4L.exists(), reason="real data")
def test_t4_lysozyme_with_p_xylene():
    from rdkit import Chem

    molecule = read_molecule([T4L / "complex.prmtop", T4L / "complex.crd"])
    made = make_system(molecule, SystemOptions(implicit="obc1", **BARE))
    energy = files.energy(made.system, molecule.positions_nm)
    assert energy == pytest.approx(-26139.288, rel=1e-6)
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule.molecules["TMP"])) == "Cc1ccc(C)cc1"
    assert molecule.features().num_tokens == 162 + 8


@pytest.mark.skipif(not TRPZIP2.exists(), reason="real data")
def test_trpzip2_from_amber_files():
    molecule = read_molecule([TRPZIP2 / "tz2.parm7", TRPZIP2 / "tz2.nc"])
    plain = app.AmberPrmtopFile(str(TRPZIP2 / "tz2.parm7")).createSystem()
    made = make_system(molecule, SystemOptions(**BARE))
    assert files.energy(made.system, molecule.positions_nm) == pytest.approx(
        files.energy(plain, molecule.positions_nm), rel=1e-6
    )
    assert molecule.features().num_tokens == 13


@pytest.mark.skipif(not TUDOR.exists(), reason="real data")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_smn_tudor_from_gromacs_files():
    molecule = read_molecule([TUDOR / "topol.top", TUDOR / "com_traj.xtc"])
    made = make_system(molecule, SystemOptions(**BARE))
    plain = app.GromacsTopFile(
        str(TUDOR / "topol.top"), periodicBoxVectors=molecule.topology.getPeriodicBoxVectors()
    ).createSystem(nonbondedMethod=app.PME)
    energies = [files.energy(system, molecule.positions_nm) for system in (made.system, plain)]
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)
    # One chain for the protein, one for the ligand, one for water and ions.
    assert molecule.topology.getNumChains() == 3
    numbered = read_molecule([TUDOR / "topol.top", TUDOR / "com.pdb"])
    assert [r.id for r in numbered.topology.residues()][:2] == ["90", "91"]
