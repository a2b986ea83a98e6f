"""Copies in one Context are exact replicas of the molecule alone."""

from __future__ import annotations

import functools

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from atmos_openmm.simulate.packing import create_single_system, pack, reach_nm
from atmos_openmm.systems.peptides import BASINS, build_peptide, set_backbone

PROTEIN = "amber14/protein.ff14SB.xml"  # amber14-all without nucleic acids and lipids
COPIES = 9
# Single precision: coordinates up to 10 nm from the origin are known to 2^-21 nm, and a force that
# is summed from some hundred pair terms of up to 1e4 kJ/mol/nm carries about 1e-7 of each.
SINGLE_PRECISION = 1e-4


@functools.cache
def _forcefield(*files: str) -> app.ForceField:
    return app.ForceField(*files)


def _forces(system: mm.System, positions: np.ndarray, platform: str) -> tuple[np.ndarray, float]:
    properties = {"Threads": "1"} if platform == "CPU" else {}
    context = mm.Context(
        system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName(platform), properties
    )
    context.setPositions(positions)
    state = context.getState(forces=True, energy=True)
    return (
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
    )


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("files", [(PROTEIN,), (PROTEIN, "implicit/gbn2.xml")])
def test_forces_of_every_copy_are_those_of_the_molecule_alone(platform: str, files: tuple):
    topology, x0 = build_peptide("ACE-SER-NME")
    forcefield = _forcefield(*files)
    single = create_single_system(topology, forcefield)
    packed = pack(topology, forcefield, COPIES)
    rng = np.random.default_rng(11)
    copies = np.stack(
        [
            set_backbone(topology, x0, *list(BASINS.values())[m % 4])
            + rng.normal(0, 2e-3, x0.shape)
            for m in range(COPIES)
        ]
    )
    together, _ = _forces(packed.system, packed.to_sites(copies), platform)
    alone = np.stack([_forces(single, x, "Reference")[0] for x in copies])
    # Bonded forces are in double on both platforms, nonbonded ones in single on CPU.
    tolerance = SINGLE_PRECISION if platform == "CPU" else 1e-9
    assert np.abs(together.reshape(alone.shape) - alone).max() < tolerance * np.abs(alone).max()


def test_energies_differ_by_one_constant_a_copy():
    """The shift at the cutoff depends on charges alone, so that it is the same in any frame."""
    topology, x0 = build_peptide("ACE-ALA-NME")
    forcefield = _forcefield(PROTEIN, "implicit/gbn2.xml")
    single = create_single_system(topology, forcefield)
    packed = pack(topology, forcefield, 3)
    shifts = []
    for phi in (-2.0, -1.2, 1.0):
        x = set_backbone(topology, x0, phi, 1.5)
        _, energy = _forces(packed.system, packed.to_sites(np.stack([x] * 3)), "Reference")
        shifts.append(energy - 3 * _forces(single, x, "Reference")[1])
    assert np.ptp(shifts) < 1e-6


def test_copies_stay_apart_and_near_the_origin():
    topology, x0 = build_peptide("ACE-TRP-NME")
    packed = pack(topology, _forcefield(PROTEIN), 27)
    x = packed.to_sites(np.stack([x0] * 27)).reshape(27, -1, 3)
    for m in range(27):
        for other in range(m):
            gap = np.linalg.norm(x[m][:, None] - x[other][None], axis=-1).min()
            assert gap > packed.cutoff_nm
    assert np.abs(x).max() < 15.0
    np.testing.assert_allclose(
        packed.from_sites(x.reshape(-1, 3)), np.stack([x0 - x0.mean(0)] * 27), atol=1e-12
    )


@pytest.mark.parametrize("sequence", ["ACE-GLY-NME", "ACE-ARG-NME", "GYDPET"])
def test_the_reach_bounds_the_longest_molecule(sequence: str):
    topology, x = build_peptide(sequence)
    extent = np.linalg.norm(x[:, None] - x[None], axis=-1).max()
    assert extent < reach_nm(topology)
    assert pack(topology, _forcefield(PROTEIN), 1).cutoff_nm > reach_nm(topology)


def test_two_molecules_are_refused():
    topology, x = build_peptide("ACE-GLY-NME")
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.add(topology, x * unit.nanometer)
    with pytest.raises(ValueError, match="38 atoms, of which only 19"):
        reach_nm(modeller.topology)
