"""Exact moves by way of AtmosPropagator."""

import numpy as np
import openmm
import pytest
from openmm import unit

from atmos_openmm.density import TorsionDensity
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.peptides import build_peptide

FORCEFIELD = ("amber14-all.xml", "implicit/gbn2.xml")


@pytest.fixture(scope="module")
def alanine():
    topology, positions = build_peptide("ACE-ALA-NME")
    system = create_system(topology, FORCEFIELD, hydrogen_mass_dalton=1.5)
    return topology, positions, system


def test_an_integrator_of_a_given_density_moves_the_torsions(alanine):
    topology, positions, system = alanine
    propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
    integrator = propagator.createIntegrator(
        300 * unit.kelvin, 1 / unit.picosecond, 4 * unit.femtoseconds, system=system,
        acceptance="metropolis", density="uniform", jumpInterval=5, moves=4, trials=1,
        moveShares={"torsion": 1, "small": 1}, seed=3,
    )  # fmt: skip
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    integrator.step(51)
    statistics = integrator.getMoveStatistics()
    # A jump is due after each 5 steps.
    assert sum(tried for tried, _ in statistics.values()) == 40
    assert set(statistics) == {"torsion", "small"}
    assert integrator.getNumJumps() == 10


def test_the_density_is_the_models_by_default(alanine, tmp_path, monkeypatch):
    topology, positions, system = alanine
    monkeypatch.setenv("ATMOS_CACHE", str(tmp_path))
    propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
    torsions = propagator.torsions(system)
    asked = []

    def from_model(owner, names, start, **settings):
        asked.append((owner, names.names, np.shape(start), settings["lag"]))
        return TorsionDensity.uniform(names.names, names.block_sizes, names.previous)

    monkeypatch.setattr(TorsionDensity, "from_model", staticmethod(from_model))
    propagator.createIntegrator(
        300, 1, 0.004, system=system, acceptance="metropolis", lag=100, positions=positions
    )
    assert asked == [(propagator, torsions.names, np.shape(positions), 100.0)]


def test_the_bundled_torsion_head_knows_a_peptide_that_it_never_saw():
    # From its list of public test peptides; a density costs one pass of the network.
    topology, positions = build_peptide("GDTI")
    system = create_system(topology, ("amber14-all.xml", "implicit/obc1.xml"))
    propagator = AtmosPropagator("peptide-torsions", topology, positions=positions)
    accepted = {}
    for density in (None, "uniform"):
        integrator = propagator.createIntegrator(
            310, 1, 0.002, system=system, acceptance="metropolis", density=density, jumpInterval=10,
            seed=1,
        )  # fmt: skip
        integrator.setRandomNumberSeed(1)
        platform = openmm.Platform.getPlatformByName("CPU")
        context = openmm.Context(system, integrator, platform, {"Threads": "1"})
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context)
        integrator.step(1001)
        series = integrator.getSeriesStatistics()
        assert series[0] == 100 and series[1] > 95
        accepted[density] = {k: b / a for k, (a, b) in integrator.getMoveStatistics().items()}
    # Seen: .30 against .04 of the backbones, .29 against .05 of the side chains, .51 against .20.
    for kind, factor in (("backbone", 3), ("sidechain", 2), ("torsion", 1.5)):
        assert accepted[None][kind] > factor * accepted["uniform"][kind], kind


@pytest.mark.parametrize(
    ("density", "error", "message"),
    [(None, ValueError, "give positions"), ("gaussian", FileNotFoundError, "no file gaussian")],
)
def test_a_density_that_is_missing_or_unknown_is_refused(alanine, density, error, message):
    topology, positions, system = alanine
    propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
    with pytest.raises(error, match=message):
        propagator.createIntegrator(
            300, 1, 0.004, system=system, acceptance="metropolis", density=density
        )


def test_a_density_of_other_torsions_is_refused(alanine):
    topology, positions, system = alanine
    propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
    other = TorsionDensity.uniform(("GLY2 phi", "GLY2 psi"), (2,), (-1,))
    with pytest.raises(ValueError, match="GLY2 phi"):
        propagator.createIntegrator(
            300, 1, 0.004, system=system, acceptance="metropolis", density=other
        )
