"""Parameters that openmmforcefields, OpenFF and AmberTools make; all need the extra [ligands]."""

from __future__ import annotations

import random
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import openmm
import parmed
import pytest
from ligand_parameter_cases import KINDS, energies, needs_extra, topology_of
from openmm import app, unit
from rdkit import Chem
from systems_support import SHARED, embedded

from atmos_openmm.systems.errors import ForceFieldError
from atmos_openmm.systems.ligand_files import read_ligands
from atmos_openmm.systems.ligand_forcefield import register_ligands
from atmos_openmm.systems.ligand_parameters import _surroundings, make_parameters

pytestmark = needs_extra
AMBER14 = ("amber14-all.xml", "implicit/gbn2.xml")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache for all tests here, in place of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATMOS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=KINDS)
def ligand(request):
    """A molecule, its shuffled Topology, and positions that are strained everywhere."""
    mol = embedded(KINDS[request.param])
    topology, positions = topology_of(("LIG", mol), order=random.Random(2))
    noise = 0.01 * np.random.default_rng(3).normal(size=positions.shape)
    return mol, topology, positions + noise


def _system(mol, topology, files=(), **options):
    forcefield = app.ForceField(*files)
    register_ligands(forcefield, {"LIG": mol}, **options)
    return forcefield.createSystem(topology)


def _charges(system):
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    return np.array(
        [force.getParticleParameters(k)[0]._value for k in range(system.getNumParticles())]
    )


def _as_openff(mol, topology, charges):
    """The molecule as OpenFF has it, in the Topology's order, with charges."""
    from openff.toolkit import Molecule, Quantity

    by_number = Chem.Mol(mol)
    match = _match(mol, topology)
    ordered = Chem.RenumberAtoms(by_number, match)
    molecule = Molecule.from_rdkit(ordered, hydrogens_are_explicit=True)
    molecule.partial_charges = Quantity(charges, "elementary_charge")
    return molecule


def _match(mol, topology):
    """Number in the molecule of each atom of the Topology, as `topology_of` shuffled them."""
    numbers = list(range(mol.GetNumAtoms()))
    random.Random(2).shuffle(numbers)
    assert [mol.GetAtomWithIdx(k).GetSymbol() for k in numbers] == [
        a.element.symbol for a in topology.atoms()
    ]
    return numbers


def test_openff_gives_the_energies_of_interchange(ligand):
    mol, topology, positions = ligand
    system = _system(mol, topology)
    with _surroundings():
        from openff.toolkit import ForceField

        molecule = _as_openff(mol, topology, _charges(system))
        theirs = (
            ForceField("openff_unconstrained-2.2.1.offxml")
            .create_interchange(molecule.to_topology(), charge_from_molecules=[molecule])
            .to_openmm_system()
        )
    expected = energies(theirs, positions)
    assert energies(system, positions) == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_openff_gives_the_split_of_parmed(ligand, tmp_path):
    """The same molecule written as an Amber prmtop, read and split by ParmEd."""
    mol, topology, positions = ligand
    system = _system(mol, topology)
    with _surroundings():
        from openff.toolkit import ForceField

        molecule = _as_openff(mol, topology, _charges(system))
        interchange = ForceField("openff_unconstrained-2.2.1.offxml").create_interchange(
            molecule.to_topology(), charge_from_molecules=[molecule]
        )
        interchange.to_prmtop(str(tmp_path / "ligand.prmtop"))
        amber = parmed.load_file(str(tmp_path / "ligand.prmtop"))
    assert _split(amber, amber.createSystem(), positions) == pytest.approx(
        _parts(energies(system, positions)), rel=1e-4, abs=1e-2
    )


@pytest.mark.parametrize("name", ["gaff-2.11", "gaff-2.2.20"])
def test_gaff_gives_the_split_of_tleap_and_parmed(ligand, tmp_path, name):
    """Impropers too: openmmforcefields' own order of their atoms is off by up to 6 %.

    With atoms of like types that order is the Topology's, in tleap too, so it is the molecule's.
    """
    mol, shuffled, positions = ligand
    topology, _ = topology_of(("LIG", mol))
    positions = positions[np.argsort(_match(mol, shuffled))]
    system = _system(mol, topology, name=name)
    amber = _tleap(mol, _charges(system), tmp_path, name)
    assert _split(amber, amber.createSystem(), positions) == pytest.approx(
        _parts(energies(system, positions)), rel=1e-4, abs=1e-2
    )


def _tleap(mol, charges, folder, name):
    """AmberTools' way from a molecule to a prmtop, with given charges."""
    import openmmforcefields

    data = Path(openmmforcefields.__file__).parent / "ffxml" / "amber" / "gaff" / "dat"
    Chem.MolToMolFile(mol, str(folder / "in.mol"))
    np.savetxt(folder / "charges", charges, fmt="%.8f")
    (folder / "leap").write_text(
        f"gaff = loadamberparams {data}/{name}.dat\nmore = loadamberparams out.frcmod\n"
        "x = loadmol2 out.mol2\nsaveamberparm x out.prmtop out.crd\nquit\n"
    )
    with _surroundings():
        for line in (
            "antechamber -i in.mol -fi mdl -o out.mol2 -fo mol2 -at gaff2 -dr no -c rc "
            "-cf charges -pf y -s 0",
            f"parmchk2 -i out.mol2 -f mol2 -o out.frcmod -s 2 -p {data}/{name}.dat -a Y",
            "tleap -f leap",
        ):
            program, *rest = line.split()
            subprocess.run(
                [shutil.which(program), *rest], cwd=folder, check=True, capture_output=True
            )
    return parmed.load_file(str(folder / "out.prmtop"))


def _split(structure, system, positions_nm):
    """ParmEd's split of the energy in kJ/mol, as `_parts` names it."""
    structure.positions = positions_nm * unit.nanometer
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(structure.positions)
    found = parmed.openmm.energy_decomposition(structure, context)
    torsions = found["dihedral"] + found.get("improper", 0.0)
    values = found["bond"], found["angle"], torsions, found["nonbonded"]
    return dict(
        zip(("bond", "angle", "torsion", "nonbonded"), (4.184 * v for v in values), strict=True)
    )


def _parts(found):
    names = {
        "bond": "HarmonicBondForce",
        "angle": "HarmonicAngleForce",
        "torsion": "PeriodicTorsionForce",
        "nonbonded": "NonbondedForce",
    }
    return {part: found[name] for part, name in names.items()}


@pytest.mark.parametrize("name", ["openff-2.2.1", "gaff-2.11"])
def test_two_ligands_leave_each_other_alone(name):
    """Their files hold types and terms of the same names; in GAFF's case those of both."""
    mols = {
        key: embedded(KINDS[kind]) for key, kind in (("ONE", "p-xylene"), ("TWO", "halogenated"))
    }
    alone = {}
    for key, mol in mols.items():
        topology, positions = topology_of((key, mol))
        for force, energy in energies(_system(mol, topology, name=name), positions).items():
            alone[force] = alone.get(force, 0.0) + energy
    topology, positions = topology_of(*mols.items(), apart_nm=1e6)
    forcefield = app.ForceField(*AMBER14[:1])
    register_ligands(forcefield, mols, name=name)
    together = energies(forcefield.createSystem(topology), positions)
    assert together == pytest.approx(alone, rel=1e-5, abs=1e-3)


def test_charges_of_am1bcc_are_near_those_of_the_network():
    """Acetate; the two methods differ by less than 0.1 charges, and both add up."""
    mol = embedded("CC(=O)[O-]")
    topology, _ = topology_of(("LIG", mol))
    network, calculated = (
        _charges(_system(mol, topology, charges=method)) for method in ("nagl", "am1bcc")
    )
    assert network.sum() == pytest.approx(-1, abs=1e-4)
    assert calculated.sum() == pytest.approx(-1, abs=1e-4)
    assert 1e-6 < np.abs(network - calculated).max() < 0.1


def test_nothing_is_left_behind_and_nothing_warned(tmp_path, monkeypatch):
    import os
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.getcwd(), os.environ["PATH"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_parameters("CCO", "gaff-2.11", "nagl")
    assert not list(tmp_path.iterdir())
    assert (os.getcwd(), os.environ["PATH"]) == before and tempfile.tempdir == str(tmp_path)


def test_a_version_that_is_not_installed_is_told():
    with pytest.raises(ForceFieldError, match=r"gaff-2\.99 with nagl charges fails for CCO: .*one"):
        make_parameters("CCO", "gaff-2.99", "nagl")


def test_a_protein_and_a_ligand_in_implicit_solvent():
    """Radii of GBn2 go by element and neighbour for the ligand as for the protein."""
    from atmos_openmm.systems.peptides import build_peptide

    mol = embedded("NC(=[NH2+])c1ccc(Cl)cc1C(=O)[O-]")
    topology, positions = build_peptide("ACE-ALA-NME")
    modeller = app.Modeller(topology, positions * unit.nanometer)
    more, places = topology_of(("LIG", mol))
    modeller.add(more, (places + 2.0) * unit.nanometer)
    system = _system(mol, modeller.topology, AMBER14)
    solvent = next(f for f in system.getForces() if isinstance(f, openmm.CustomGBForce))
    first = topology.getNumAtoms()
    charges = _charges(system)
    for atom, rdatom in zip(list(modeller.topology.atoms())[first:], mol.GetAtoms(), strict=True):
        values = solvent.getParticleParameters(atom.index)
        assert values[0] == charges[atom.index]
        assert values[1] + 0.0195141 == pytest.approx(_mbondi3_nm(rdatom)), atom
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(modeller.positions)
    assert np.isfinite(context.getState(energy=True).getPotentialEnergy()._value)


def _mbondi3_nm(atom):
    neighbours = [n.GetSymbol() for n in atom.GetNeighbors()]
    if atom.GetSymbol() == "H":
        return 0.13 if neighbours == ["N"] else 0.12
    carboxylate = Chem.MolFromSmarts("[OX1]~C~[OX1]")
    matches = atom.GetOwningMol().GetSubstructMatches(carboxylate)
    if any(atom.GetIdx() in (first, last) for first, _, last in matches):
        return 0.14
    return {"C": 0.17, "N": 0.155, "O": 0.15, "Cl": 0.17}[atom.GetSymbol()]


def _benchmark(target):
    file = SHARED / "complexes" / "plb" / target / "02_ligands" / "ligands.sdf"
    return read_ligands(file) if file.is_file() else []


@pytest.mark.parametrize(("target", "count"), [("tyk2", 13), ("mcl1", 25)])
def test_all_ligands_of_the_benchmark(target, count):
    mols = _benchmark(target)
    if not mols:
        pytest.skip(f"the ligands of {target} are not there")
    assert len(mols) == count
    for mol in mols:
        topology, positions = topology_of(("LIG", mol))
        system = _system(mol, topology)
        assert _charges(system).sum() == pytest.approx(Chem.GetFormalCharge(mol), abs=1e-3)
        assert np.isfinite(list(energies(system, positions).values())).all()
