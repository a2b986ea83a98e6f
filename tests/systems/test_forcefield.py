"""One rule makes every System."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit

from atmos_openmm.systems.forcefield import (
    ForceFieldError,
    create_system,
    has_implicit_solvent,
    load_forcefield,
)
from atmos_openmm.systems.peptides import build_peptide

PROTEIN = "amber14/protein.ff14SB.xml"


def _boxed(width_nm: float):
    topology, positions = build_peptide("ACE-ALA-NME")
    topology.setUnitCellDimensions([width_nm] * 3 * unit.nanometer)
    return topology, positions


def _nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    return next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))


def _masses(system: openmm.System) -> set[float]:
    return {system.getParticleMass(i)._value for i in range(system.getNumParticles())}


def test_a_lone_molecule_has_no_cutoff_rigid_hydrogens_and_heavy_ones():
    topology, _ = build_peptide("ACE-ALA-NME")
    system = create_system(topology, [PROTEIN])
    assert _nonbonded(system).getNonbondedMethod() == openmm.NonbondedForce.NoCutoff
    hydrogens = [a.index for a in topology.atoms() if a.element.symbol == "H"]
    assert system.getNumConstraints() == len(hydrogens)
    assert {system.getParticleMass(i)._value for i in hydrogens} == {1.5}
    assert any(isinstance(f, openmm.CMMotionRemover) for f in system.getForces())


def test_what_differs_is_said():
    topology, _ = build_peptide("ACE-ALA-NME")
    system = create_system(
        topology,
        load_forcefield([PROTEIN]),
        nonbonded="CutoffNonPeriodic",
        cutoff_nm=0.7,
        constraints=None,
        hydrogen_mass_dalton=None,
        remove_com_motion=False,
    )
    force = _nonbonded(system)
    assert force.getNonbondedMethod() == openmm.NonbondedForce.CutoffNonPeriodic
    assert force.getCutoffDistance() == 0.7 * unit.nanometer
    assert system.getNumConstraints() == 0 and 1.5 not in _masses(system)
    assert not any(isinstance(f, openmm.CMMotionRemover) for f in system.getForces())


@pytest.mark.parametrize(("width_nm", "cutoff_nm"), [(3.0, 1.0), (1.8, 0.49 * 1.8)])
def test_a_box_gives_pme_with_a_cutoff_that_fits(width_nm, cutoff_nm):
    topology, positions = _boxed(width_nm)
    system = create_system(topology, [PROTEIN])
    assert _nonbonded(system).getNonbondedMethod() == openmm.NonbondedForce.PME
    assert _nonbonded(system).getCutoffDistance()._value == pytest.approx(cutoff_nm)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(positions)
    assert np.isfinite(context.getState(energy=True).getPotentialEnergy()._value)


@pytest.mark.parametrize("solvent", ["implicit/gbn2.xml", "amber99_obc.xml"])
def test_an_implicit_solvent_in_a_box_is_refused_unless_the_cutoff_is_named(solvent):
    """OpenMM takes OBC beside PME, and gives energies that mean nothing."""
    topology, _ = _boxed(3.0)
    files = (PROTEIN if "gbn2" in solvent else "amber99sbildn.xml", solvent)
    assert has_implicit_solvent(files) and not has_implicit_solvent([PROTEIN])
    with pytest.raises(ForceFieldError, match="implicit solvent, and the structure a periodic box"):
        create_system(topology, files)
    system = create_system(topology, files, nonbonded="NoCutoff")
    assert not system.usesPeriodicBoundaryConditions()


def test_what_does_not_fit_is_explained():
    topology, positions = build_peptide("ACE-ALA-NME")
    with pytest.raises(ForceFieldError, match=r"none\.xml cannot be loaded: .*or paths"):
        create_system(topology, ["none.xml"])
    with pytest.raises(ForceFieldError, match=r"tip3p\.xml does not fit .*file of their own"):
        create_system(topology, ["tip3p.xml"])
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
    with pytest.raises(ForceFieldError, match="has no hydrogens: add them first"):
        create_system(modeller.topology, [PROTEIN])
