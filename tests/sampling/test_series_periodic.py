"""Series of trials in periodic boxes: the surrogate's pairs, and averages that stay exact."""

from __future__ import annotations

import functools

import numpy as np
import openmm
import pytest
import torsion_cases as cases
from openmm import app, unit

from atmos_openmm.surrogate import SERIES_TRIALS, SurrogateEnergy, chosen_moves
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import find_torsions

CUTOFF_NM = 0.7


def _in_water(water="tip3p", shape="cube"):
    """A capped serine in a box: field, Topology, positions (nm)."""
    field = app.ForceField("amber14-all.xml", f"amber14/{water}.xml")
    topology, positions = build_peptide("S", caps=True)
    modeller = app.Modeller(topology, np.array(positions) * unit.nanometer)
    model = {"tip4pew": "tip4pew"}.get(water, "tip3p")
    # The least that is twice the cutoff wide.
    padding = {"cube": 0.7, "dodecahedron": 1.2}[shape] * unit.nanometer
    modeller.addSolvent(field, model=model, padding=padding, boxShape=shape)
    return field, modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))


def _system(field, topology, method, **settings):
    return field.createSystem(
        topology,
        nonbondedMethod=method,
        nonbondedCutoff=CUTOFF_NM * unit.nanometer,
        constraints=app.HBonds,
        **settings,
    )


def _context(system):
    # Reference does not agree with a direct sum over the images of a skewed box (OpenMM 8.6).
    skewed = system.getDefaultPeriodicBoxVectors()[2][0]._value != 0
    platform = openmm.Platform.getPlatform("CPU" if skewed else "Reference")
    properties = {"Threads": "1"} if skewed else {}
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)


def _energy(context, frame):
    context.setPositions(frame)
    return context.getState(energy=True).getPotentialEnergy()._value


def _turned(torsions, start, count, width, seed=3):
    random = np.random.default_rng(seed)
    turns = ({k: random.normal(0, width) for k in range(len(torsions))} for _ in range(count))
    return [torsions.rotated(start, turn) for turn in turns]


def _differences(system, torsions, frames):
    """Energies, and those of the surrogate less these."""
    context, surrogate = _context(system), SurrogateEnergy(system, torsions)
    assert surrogate.unknown_forces == ()
    true = np.array([_energy(context, frame) for frame in frames])
    found = np.array([surrogate.evaluate(frame) for frame in frames])
    near = true - true.min() < 200
    assert near.sum() >= 10
    return true[near], (found - true)[near]


@pytest.mark.parametrize(
    "water, shape, switch",
    [("tip3p", "cube", None), ("tip3p", "dodecahedron", 0.6), ("tip4pew", "cube", 0.6)],
)
def test_with_a_reaction_field_the_surrogate_is_the_energy_of_the_torsions(water, shape, switch):
    field, topology, start = _in_water(water, shape)
    settings = {} if switch is None else {"switchDistance": switch * unit.nanometer}
    system = _system(field, topology, app.CutoffPeriodic, **settings)
    torsions = find_torsions(topology, system=system)
    true, off = _differences(system, torsions, _turned(torsions, start, 40, 0.2))
    # Coordinates up to 4 nm are rounded by 2e-7 nm; 200 kJ/mol of repulsion have a slope of 1e4
    # kJ/mol/nm.
    np.testing.assert_allclose(off, off.mean(), atol=0.004)
    assert np.ptp(true) > 30


@pytest.mark.parametrize("method", [app.PME, app.Ewald, app.LJPME])
def test_a_shifted_force_stands_for_the_sums_of_ewald(method):
    field, topology, start = _in_water()
    system = _system(field, topology, method)
    torsions = find_torsions(topology, system=system)
    true, off = _differences(system, torsions, _turned(torsions, start, 25, 0.1))
    # Found: half of RT with so short a cutoff, and a fourth of what the energy itself changes by.
    assert off.std() < 0.7 * cases.KT
    assert true.std() > 3 * off.std()


def test_images_are_alike():
    field, topology, start = _in_water()
    system = _system(field, topology, app.CutoffPeriodic)
    torsions = find_torsions(topology, system=system)
    surrogate = SurrogateEnergy(system, torsions)
    sides = np.array([v[k]._value for k, v in enumerate(system.getDefaultPeriodicBoxVectors())])
    solute = np.array([a.residue.name in ("ACE", "SER", "NME") for a in topology.atoms()])
    random = np.random.default_rng(5)
    expected = surrogate.evaluate(start)
    # Each atom of the water in any image; all of them moved, so that the walls cut the solute.
    images = random.integers(-2, 3, start.shape) * sides
    images[solute] = random.integers(-2, 3, 3) * sides
    for moved in (images, random.uniform(-3, 3, 3), images + 0.37 * sides):
        # Rounded coordinates at contact: 2e-7 nm by some slopes of 1e3 kJ/mol/nm.
        assert surrogate.evaluate(start + moved) == pytest.approx(expected, abs=0.005)
    # A larger box is another surrounding.
    assert abs(surrogate.evaluate(start, np.diag(1.1 * sides)) - expected) > 1


def _ions_around_a_chain(method):
    """A charged chain of five particles among six ions, in a box."""
    system = cases.chain(5)
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(method)
    force.setCutoffDistance(0.7)
    force.setEwaldErrorTolerance(2e-3)
    charges = [0.2, 0.0, -0.1, 0.3, -0.4]
    for charge in charges:
        force.addParticle(charge, 0.2, 0.4)
    for first in range(5):
        for second in range(first + 1, min(first + 3, 5)):
            force.addException(first, second, 0.0, 0.2, 0.0)
    for first in range(2):
        product = charges[first] * charges[first + 3] / 1.2
        force.addException(first, first + 3, product, 0.2, 0.2)
    ions = np.random.default_rng(8).uniform(0.45, 0.6, (6, 3)) * (
        np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1], [-1, -1, 1], [1, -1, -1]]) * 0.8
    )
    for k in range(6):
        system.addParticle(40.0)
        force.addParticle(0.5 if k % 2 else -0.5, 0.25, 0.4)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors([1.6, 0, 0], [0.2, 1.5, 0], [-0.3, 0.4, 1.5])
    chain = cases.chain_positions([1.5, 1.0])
    # The last particle of the chain is beyond a wall.
    return system, np.vstack([chain, chain.mean(axis=0) + ions]) + np.array([1.3, 0.1, 1.4])


FUNCTIONS = [np.cos, np.sin, lambda t: np.cos(2 * t), lambda t: np.sin(2 * t)]


@functools.cache
def _distribution():
    """Angles, and the weights of both torsions on a grid of these where nothing else moves."""
    system, start = _ions_around_a_chain(openmm.NonbondedForce.PME)
    torsions, context = cases.chain_torsions(5, (1, 1)), _context(system)
    here = torsions.measure(start[None])[0]
    axis = (np.arange(48) + 0.5) * 2 * np.pi / 48 - np.pi

    def at(first, second):
        return _energy(context, torsions.rotated(start, {0: first - here[0], 1: second - here[1]}))

    energies = np.array([[at(first, second) for second in axis] for first in axis])
    weights = np.exp(-(energies - energies.min()) / cases.KT)
    return axis, weights / weights.sum()


@pytest.mark.parametrize("engine", cases.ENGINES)
def test_series_reach_the_distribution_of_the_energy(engine):
    system, start = _ions_around_a_chain(openmm.NonbondedForce.PME)
    torsions = cases.chain_torsions(5, (1, 1))
    assert SurrogateEnergy(system, torsions).unknown_forces == ()
    run = cases.ExactRun(
        engine, system, start, torsions, cases.uniform(torsions), interval=1, moves=2, trials=8,
        step_ps=cases.STANDSTILL_PS, platform="CPU",
    )  # fmt: skip
    angles = run.sample(500 if engine == "driver" else 1200)
    proposed, accepted = run.tests()
    assert 0.2 < accepted / proposed < 0.9  # the surrogate is not the energy
    axis, weights = _distribution()
    assert weights.max() < 0.05
    for k in range(2):
        marginal = weights.sum(axis=1 - k)
        for f in FUNCTIONS:
            cases.assert_agrees(f(angles[:, k]), float((f(axis) * marginal).sum()))


def test_the_driver_and_the_compiled_integrator_make_the_same_series():
    runs = []
    for engine in ("driver", "compiled"):
        system, start = _ions_around_a_chain(openmm.NonbondedForce.PME)
        torsions = cases.chain_torsions(5, (1, 1))
        run = cases.ExactRun(
            engine, system, start, torsions, cases.uniform(torsions), interval=1, moves=2,
            trials=10, step_ps=cases.STANDSTILL_PS,
        )  # fmt: skip
        run.context.setPeriodicBoxVectors([1.7, 0, 0], [0.2, 1.5, 0], [-0.3, 0.4, 1.5])
        for _ in range(30):
            run.advance()
        runs.append(run)
    driver, compiled = runs
    assert driver.statistics() == compiled.statistics()
    assert driver.tests() == compiled.tests()
    assert driver.tests()[1] > 10
    # In 30 steps of 1e-7 ps nothing but torsions goes farther than this.
    np.testing.assert_allclose(driver.positions(), compiled.positions(), atol=1e-5)


@pytest.mark.parametrize("method", ["NoCutoff", "PME"])
def test_virtual_sites_that_turn_along_are_left_out(method):
    system, start = _ions_around_a_chain(getattr(openmm.NonbondedForce, method))
    torsions = cases.chain_torsions(5, (1, 1))
    site = system.addParticle(0.0)
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(3, 4, 0.4, 0.6))
    pairs = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    pairs.addParticle(0.4, 0.2, 0.1)
    surrogate = SurrogateEnergy(system, torsions)
    assert surrogate.unknown_forces == ("virtual sites",)
    frames = [np.vstack([start, start[4] + shift]) for shift in (0.05, 0.3)]
    # Trials do not place it, so that nothing may depend on where it was.
    assert surrogate.evaluate(frames[0]) == surrogate.evaluate(frames[1])
    # One of atoms that stay is like any of those.
    system.setVirtualSite(site, openmm.TwoParticleAverageSite(0, 1, 0.4, 0.6))
    surrogate = SurrogateEnergy(system, torsions)
    assert surrogate.unknown_forces == ()
    assert abs(surrogate.evaluate(frames[0]) - surrogate.evaluate(frames[1])) > 1


def test_defaults_in_a_box():
    field, topology, _ = _in_water()
    system = _system(field, topology, app.PME)
    assert chosen_moves(system, None, None) == (1, SERIES_TRIALS)
    system.addForce(openmm.MonteCarloBarostat(1.0, 300.0))
    assert chosen_moves(system, None, None) == (1, SERIES_TRIALS)
    bias = openmm.CustomTorsionForce("cos(theta)")
    bias.addTorsion(4, 6, 8, 14)
    system.addForce(bias)
    assert chosen_moves(system, None, None) == (10, 1)


def test_born_models_in_a_box_are_named():
    system, _ = _ions_around_a_chain(openmm.NonbondedForce.PME)
    force = openmm.GBSAOBCForce()
    for _ in range(system.getNumParticles()):
        force.addParticle(0.1, 0.15, 0.8)
    force.setNonbondedMethod(openmm.GBSAOBCForce.NoCutoff)
    system.addForce(force)
    assert SurrogateEnergy(system, cases.chain_torsions(5)).unknown_forces == (force.getName(),)
