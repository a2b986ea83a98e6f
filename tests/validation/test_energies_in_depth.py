"""Energies of pairs of groups and of residues: against ParmEd's split and against OpenMM itself."""

from __future__ import annotations

from pathlib import Path

import in_depth_cases as cases
import numpy as np
import openmm
import pytest
from openmm import app, unit

from atmos_openmm.validation import (
    EnergyDecomposer,
    EnergySumError,
    EnergyValidator,
    decomposeEnergy,
)
from atmos_openmm.validation.groups import default_pairs, named_pairs
from atmos_openmm.validation.interactions import InteractionEnergies
from atmos_openmm.validation.names import residue_labels
from atmos_openmm.validation.residue_energies import ResidueEnergies
from atmos_openmm.validation.solvation import SolvationDifference

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def nonbonded(system):
    return next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))


def alone(system, atoms, positions, box=None):
    """Energy of a NonbondedForce in which only some particles have charges and well depths."""
    result = openmm.XmlSerializer.clone(system)
    force, kept = nonbonded(result), set(map(int, atoms))
    for i in range(force.getNumParticles()):
        if i not in kept:
            force.setParticleParameters(i, 0, force.getParticleParameters(i)[1], 0)
    for k in range(force.getNumExceptions()):
        i, j, _, sigma, _ = force.getExceptionParameters(k)
        if not {i, j} <= kept:
            force.setExceptionParameters(k, i, j, 0, sigma, 0)
    energies = decomposeEnergy(result, positions, periodicBoxVectors=box).energies_kj_per_mol
    return energies["NonbondedForce"]


def difference(system, pair, positions, box=None):
    both = np.union1d(pair.first, pair.second)
    return alone(system, both, positions, box) - sum(
        alone(system, atoms, positions, box) for atoms in (pair.first, pair.second)
    )


def parmed_split(structure, **options):
    """ParmEd's energies of a structure by its own groups, in kJ/mol."""
    import parmed

    system = structure.createSystem(**options)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(structure.positions)
    return parmed.openmm.energy_decomposition(structure, context, nrg=unit.kilojoule_per_mole)


def test_two_peptides_agree_with_parmed():
    """Its split of the complex less those of its parts; of bonds, angles and torsions."""
    parmed = pytest.importorskip("parmed")
    topology, positions = cases.two_peptides()
    system = app.ForceField(*cases.VACUUM).createSystem(topology)
    structure = parmed.openmm.load_topology(topology, system, xyz=positions * 10)
    whole = parmed_split(structure)
    (pair,) = default_pairs(topology)
    assert len(pair.first) + len(pair.second) == topology.getNumAtoms()
    parts = [parmed_split(structure[atoms.tolist()]) for atoms in (pair.first, pair.second)]
    theirs = whole["nonbonded"] - sum(part["nonbonded"] for part in parts)
    ours = InteractionEnergies(system, [pair])(positions)[pair.name]
    assert ours["total"] == pytest.approx(theirs, rel=1e-4)
    assert ours["total"] == ours["coulomb"] + ours["lennard_jones"]
    assert ours["total"] == pytest.approx(difference(system, pair, positions), abs=1e-6)
    residues = ResidueEnergies(topology, system).by_kind(positions)
    for kind, name in (("bond", "bond"), ("angle", "angle"), ("torsion", "dihedral")):
        assert residues[kind].sum() == pytest.approx(whole[name], rel=1e-4)


def test_residues_sum_to_the_forces_and_hold_their_own_terms():
    topology, positions = cases.two_peptides()
    system = app.ForceField(*cases.VACUUM).createSystem(topology)
    split = ResidueEnergies(topology, system)
    energies = decomposeEnergy(system, positions).energies_kj_per_mol
    found = split.by_kind(positions)
    for kind, force in (
        ("bond", "HarmonicBondForce"),
        ("angle", "HarmonicAngleForce"),
        ("torsion", "PeriodicTorsionForce"),
    ):
        assert found[kind].sum() == pytest.approx(energies[force], rel=1e-9)
    assert split.labels[1].endswith("LYS2") and len(split.labels) == 9
    # Stretching a bond inside the tryptophan is felt there alone.
    trp = next(r for r in topology.residues() if r.name == "TRP")
    atom = next(a.index for a in trp.atoms() if a.name == "HZ3")
    moved = positions.copy()
    moved[atom] += 0.01
    changed = np.flatnonzero(np.abs(split(moved) - split(positions)) > 1e-9)
    assert changed.tolist() == [trp.index]


@pytest.mark.parametrize("method", ["NoCutoff", "CutoffNonPeriodic"])
def test_pairs_across_a_bond_have_their_exceptions(method):
    """Groups that are bonded to each other: excluded and scaled pairs are as in the force."""
    topology, positions = cases.two_peptides()
    system = app.ForceField(*cases.VACUUM).createSystem(
        topology, nonbondedMethod=getattr(app, method), nonbondedCutoff=0.8 * unit.nanometer
    )
    (pair,) = named_pairs({"a": range(30), "b": range(30, 55)}, system.getNumParticles())
    ours = InteractionEnergies(system, [pair])(positions)["a - b"]["total"]
    assert ours == pytest.approx(difference(system, pair, positions), abs=1e-6)


@pytest.mark.parametrize("method", ["CutoffPeriodic", "PME", "LJPME", "switched"])
def test_solute_and_solvent_in_a_box(method):
    topology, positions, box = cases.peptide_in_water()
    options = {"nonbondedCutoff": 0.9 * unit.nanometer}
    options["nonbondedMethod"] = app.CutoffPeriodic if method == "switched" else None
    if method == "switched":
        options["switchDistance"] = 0.7 * unit.nanometer
    else:
        options["nonbondedMethod"] = getattr(app, method)
    system = app.ForceField("amber14-all.xml", "amber14/tip3p.xml").createSystem(
        topology, **options
    )
    # The correction for the tail of a cutoff is no sum over pairs.
    nonbonded(system).setUseDispersionCorrection(False)
    (pair,) = default_pairs(topology)
    assert pair.name == "solute - solvent" and len(pair.first) == 22
    ours = InteractionEnergies(system, [pair])(positions, box)[pair.name]
    theirs = difference(system, pair, positions, box)
    assert ours["total"] == pytest.approx(theirs, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("model", ["gbn2", "obc2", "obc1"])
def test_solvation_is_that_of_systems_made_of_the_parts(model):
    topology, positions = cases.two_peptides()
    field = app.ForceField("amber14-all.xml", f"implicit/{model}.xml")
    (pair,) = default_pairs(topology)

    def energy(atoms):
        modeller = app.Modeller(topology, positions * unit.nanometer)
        modeller.delete([a for a in topology.atoms() if a.index not in set(atoms.tolist())])
        system = field.createSystem(modeller.topology)
        energies = decomposeEnergy(system, positions[atoms]).energies_kj_per_mol
        return sum(value for name, value in energies.items() if "GB" in name)

    theirs = energy(np.arange(topology.getNumAtoms())) - energy(pair.first) - energy(pair.second)
    (ours,) = SolvationDifference(field.createSystem(topology), [pair])(positions)
    assert ours == pytest.approx(theirs, rel=1e-9)
    validator = EnergyValidator(
        topology, field.createSystem(topology), relaxationIterations=0, interactionSolvation=True
    )
    parts = validator.validate(positions).energies.interactions_kj_per_mol[pair.name]
    assert parts["solvation"] == pytest.approx(theirs, rel=1e-9)
    assert parts["total"] == pytest.approx(
        parts["coulomb"] + parts["lennard_jones"] + parts["solvation"]
    )


def test_custom_pairs_are_those_between_the_groups():
    """Lennard-Jones in a CustomNonbondedForce, as CHARMM's force fields have it."""
    topology, positions = cases.two_peptides()
    system = app.ForceField(*cases.VACUUM).createSystem(topology)
    force = nonbonded(system)
    custom = openmm.CustomNonbondedForce("4*sqrt(e1*e2)*(x^2-x); x=((s1+s2)/(2*r))^6")
    custom.addPerParticleParameter("s")
    custom.addPerParticleParameter("e")
    (pair,) = default_pairs(topology)
    plain = InteractionEnergies(system, [pair])(positions)[pair.name]
    for i in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(i)
        custom.addParticle([sigma._value, epsilon._value])
        force.setParticleParameters(i, charge, sigma, 0)
    for k in range(force.getNumExceptions()):
        custom.addExclusion(*force.getExceptionParameters(k)[:2])
    system.addForce(custom)
    found = InteractionEnergies(system, [pair])(positions)[pair.name]
    assert found["lennard_jones"] == 0
    assert found["custom"] == pytest.approx(plain["lennard_jones"], rel=1e-9)
    assert found["total"] == pytest.approx(plain["total"], rel=1e-9)
    validator = EnergyValidator(topology, system, relaxationIterations=0)
    rows = [validator.validate(x).row() for x in (positions, np.full_like(positions, np.nan))]
    assert list(rows[0]) == list(rows[1])


def test_residues_of_one_name_are_told_apart():
    topology, _ = cases.two_peptides()
    labels = residue_labels(topology)
    assert len(set(labels)) == len(labels) == 9
    assert labels[0] == "A/ACE1" and labels[5] == "A(2)/ACE1"


def test_groups_are_found_and_checked():
    topology, _, _ = cases.peptide_in_water()
    assert [p.name for p in default_pairs(topology)] == ["solute - solvent"]
    with pytest.raises(ValueError, match="share particle 4"):
        named_pairs({"a": range(5), "b": [4, 7]}, 20)
    with pytest.raises(ValueError, match="particles from 0 to 19; found \\[19, 20\\]"):
        named_pairs({"a": [19, 20]}, 20)
    assert named_pairs({"a": [3]}, 20) == []


def test_the_complex_of_lysozyme_agrees_with_parmed():
    """T4 lysozyme L99A with p-xylene from its AMBER files, with OBC1: ParmEd's own reader."""
    folder = SHARED / "complexes" / "t4l_pxylene"
    if not folder.exists():
        pytest.skip("needs the complex of T4 lysozyme")
    parmed = pytest.importorskip("parmed")
    structure = parmed.load_file(str(folder / "complex.prmtop"), str(folder / "complex.crd"))
    prmtop = app.AmberPrmtopFile(str(folder / "complex.prmtop"))
    system = prmtop.createSystem()
    positions = np.array(structure.coordinates) / 10
    (pair,) = default_pairs(prmtop.topology)
    assert (len(pair.first), len(pair.second)) == (2603, 18)
    whole = parmed_split(structure)
    parts = [parmed_split(structure[mask]) for mask in ("!:TMP", ":TMP")]
    theirs = whole["nonbonded"] - sum(part["nonbonded"] for part in parts)
    ours = InteractionEnergies(system, [pair])(positions)[pair.name]["total"]
    assert ours == pytest.approx(theirs, rel=1e-4)
    residues = ResidueEnergies(prmtop.topology, system).by_kind(positions)
    for kind, name in (("bond", "bond"), ("angle", "angle"), ("torsion", "dihedral")):
        assert residues[kind].sum() == pytest.approx(whole[name], rel=1e-4)


def test_in_a_large_system_the_costliest_force_is_what_the_others_leave():
    topology, positions, box = cases.peptide_in_water()
    system = app.ForceField("amber14-all.xml", "amber14/tip3p.xml").createSystem(
        topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer
    )
    assert system.getNumParticles() >= 500
    nonbonded(system).setName("pairs")
    decomposer = EnergyDecomposer(system)
    first, later = (decomposer.decompose(positions, box) for _ in range(2))
    assert first.energies_kj_per_mol == later.energies_kj_per_mol
    assert list(first.energies_kj_per_mol) == list(decomposer.labels)
    for force in system.getForces():
        force.setForceGroup(1 if force.getName() == "pairs" else 0)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPeriodicBoxVectors(*box)
    context.setPositions(positions)
    energy = context.getState(energy=True, groups={1}).getPotentialEnergy()
    expected = energy.value_in_unit(unit.kilojoule_per_mole)
    assert first.energies_kj_per_mol["pairs"] == pytest.approx(expected, abs=1e-8)


def test_a_sum_that_does_not_hold_in_a_large_system_is_found():
    system = openmm.System()
    scaled, force = openmm.CustomExternalForce("scale*x^2"), openmm.NonbondedForce()
    scaled.addGlobalParameter("scale", 3.0)
    for i in range(600):
        system.addParticle(1.0)
        scaled.addParticle(i, [])
        force.addParticle(0, 1, 0)
    system.addForce(scaled)
    system.addForce(force)
    decomposer = EnergyDecomposer(system)
    decomposer.context.setParameter("scale", 3.000003)
    with pytest.raises(EnergySumError, match="not a function of the positions"):
        decomposer.decompose(np.random.default_rng(1).normal(size=(600, 3)))
