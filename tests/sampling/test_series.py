"""Series of trials under a surrogate of the energy: exact for any, and good for peptides."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torsion_cases as cases
from openmm import app, unit

from atmos_openmm.surrogate import SERIES_TRIALS, SurrogateEnergy, chosen_moves
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import find_torsions

# What the surrogate knows of the chain is a torsion that prefers the wrong side.
KNOWN = (3, 0.8, 5.0)


def _wrong_chain(count, energy):
    system = cases.chain(count, energy)
    known = openmm.PeriodicTorsionForce()
    for k in range(count - 3):
        known.addTorsion(k, k + 1, k + 2, k + 3, *KNOWN)
    system.addForce(known)
    return system


def _known(t):
    period, phase, k = KNOWN
    return k * (1 + np.cos(period * t - phase))


def _first(t1, t2):
    return 4 * (1 - np.cos(t1 - 0.4)) + 5 * np.cos(t1 - t2 - 0.6) + _known(t1) + _known(t2)


FUNCTIONS = [
    lambda a, b: (a > 0) & (b > 0),
    lambda a, b: (a > 0) & (b < 0),
    lambda a, b: np.cos(a - b),
    lambda a, b: np.sin(a - b),
    lambda a, b: np.cos(3 * b),
]


@pytest.mark.parametrize("engine", cases.ENGINES)
def test_series_are_exact_for_a_surrogate_that_misses_half_of_the_energy(engine):
    system = _wrong_chain(5, "4*(1-cos(t1-0.4))+5*cos(t1-t2-0.6)")
    torsions = cases.chain_torsions(5, (1, 1))
    assert SurrogateEnergy(system, torsions).unknown_forces == ("CustomCompoundBondForce",)
    density = cases.mixture(torsions, [1.5, -1.8], [0.6, 0.5], [0.3, 0.0], gates=1.0, local=0.4)
    run = cases.ExactRun(
        engine, system, cases.chain_positions([1.5, 1.0]), torsions, density, interval=2, moves=4,
        trials=3,
    )  # fmt: skip
    t = run.sample(1500)
    for f, expected in zip(FUNCTIONS, cases.quadrature(_first, FUNCTIONS, 2), strict=True):
        cases.assert_agrees(f(t[:, 0], t[:, 1]), expected)
    proposed, accepted = run.tests()
    assert proposed == 4 * (len(t) + len(t) // 20 - 1)
    assert 0.1 < accepted / proposed < 0.95  # the energy has its say
    assert sum(tried for tried, _ in run.statistics().values()) == 3 * proposed


def test_a_surrogate_that_is_the_energy_has_every_series_accepted():
    system = _wrong_chain(5, "")
    torsions = cases.chain_torsions(5, (1, 1))
    run = cases.ExactRun(
        "compiled", system, cases.chain_positions([1.5, 1.0]), torsions, cases.uniform(torsions),
        interval=2, moves=1, trials=60,
    )  # fmt: skip
    run.sample(200)
    proposed, accepted = run.tests()
    # A series in which nothing moved counts as rejected: half of the trials pass, and 2^-60.
    assert proposed == accepted > 0


def _reference():
    return openmm.Platform.getPlatform("Reference")


def _obc_force(system, dielectric=60.0):
    """OpenMM's own OBC force with the charges of a System and plausible radii."""
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force = openmm.GBSAOBCForce()
    force.setSolventDielectric(dielectric)
    for k in range(system.getNumParticles()):
        charge = nonbonded.getParticleParameters(k)[0]
        force.addParticle(charge, 0.12 + 0.01 * (k % 6), 0.72 + 0.02 * (k % 5))
    system.addForce(force)
    return system


def _restrain(system):
    """Springs between atoms that torsions move apart: a distance and an angle."""
    last = system.getNumParticles() - 1
    distance, angle = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    distance.addBond(0, last, 0.5, 40.0)
    angle.addAngle(0, last // 2, last, 1.5, 30.0)
    system.addForce(distance)
    system.addForce(angle)


@pytest.mark.parametrize(
    "model", ["", "hct", "obc1", "obc2", "gbn", "gbn2", "GBSAOBCForce", "cutoff", "maps"]
)
def test_the_surrogate_is_the_energy_of_the_torsions(model):
    topology, positions = build_peptide("MDY")
    names = ["amber19-all.xml" if model == "maps" else "amber14-all.xml"]
    if model not in ("", "GBSAOBCForce", "maps"):
        names.append(f"implicit/{'obc2' if model == 'cutoff' else model}.xml")
    field = app.ForceField(*names)
    far = {"nonbondedMethod": app.CutoffNonPeriodic, "nonbondedCutoff": 50.0 * unit.nanometer}
    method = far if model == "cutoff" else {"nonbondedMethod": app.NoCutoff}
    system = field.createSystem(topology, constraints=app.HBonds, **method)
    if model == "GBSAOBCForce":
        _obc_force(system)
    if model == "maps":
        assert any(isinstance(force, openmm.CMAPTorsionForce) for force in system.getForces())
        _restrain(system)
    torsions = find_torsions(topology, system=system)
    surrogate = SurrogateEnergy(system, torsions)
    # A cutoff is left out: so far away it makes no difference, but it is named.
    gaps = ("NonbondedForce", "CustomGBForce") if model == "cutoff" else ()
    assert surrogate.unknown_forces == gaps
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), _reference())
    start = np.array(positions, float)
    random = np.random.default_rng(3)
    energies = []
    for _ in range(40):
        turned = {k: random.normal(0, 0.4) for k in range(len(torsions))}
        frame = torsions.rotated(start, turned)
        context.setPositions(frame)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        energies.append((energy, surrogate.evaluate(frame)))
    true, found = np.array(energies).T
    near = true - true.min() < 300
    assert near.sum() >= 5
    # Single precision: 6e-8 of some 1e4 kJ/mol in terms that cancel; 0.01 kJ/mol is 0.004 kT.
    # A cutoff's constant (1/f - 1/r) is 1/50 nm of the charges' product, which does not turn.
    off = (found - true)[near]
    np.testing.assert_allclose(off, off.mean(), atol=0.01)
    assert np.ptp(true[near]) > 50


def test_ryckaert_bellemans_torsions_and_force_groups():
    system = cases.chain(4)
    force = openmm.RBTorsionForce()
    force.addTorsion(0, 1, 2, 3, 9.28, 12.16, -13.12, -3.06, 26.24, -31.5)
    system.addForce(force)
    far = openmm.PeriodicTorsionForce()
    far.addTorsion(0, 1, 2, 3, 2, 0.3, 7.0)
    far.setForceGroup(4)
    system.addForce(far)
    torsions = cases.chain_torsions(4)
    surrogate = SurrogateEnergy(system, torsions, groups=1)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), _reference())
    pairs = []
    for t in np.linspace(-3, 3, 13):
        frame = cases.chain_positions([t])
        context.setPositions(frame)
        energy = context.getState(energy=True, groups={0}).getPotentialEnergy()._value
        pairs.append((energy, surrogate.evaluate(frame)))
    true, found = np.array(pairs).T
    # Double precision throughout; the chain has no pairs.
    np.testing.assert_allclose(found - found[0], true - true[0], atol=1e-9)


def test_populations_that_symmetry_fixes_and_series_that_are_accepted():
    topology, positions = build_peptide("Y", caps=True)
    system = create_system(topology, ["amber14-all.xml", "implicit/gbn2.xml"])
    torsions = find_torsions(topology, system=system)
    run = cases.ExactRun(
        "compiled", system, positions, torsions, cases.uniform(torsions), interval=5, moves=1,
        trials=SERIES_TRIALS, platform="CPU",
    )  # fmt: skip
    angles = run.sample(1000)
    names = [name.split()[-1] for name in torsions.names]
    # Both faces of the ring alike.
    cases.assert_agrees(angles[:, names.index("chi2")] > 0, 0.5)
    proposed, accepted = run.tests()
    assert accepted > 0.98 * proposed  # single precision is off by 0.004 kT


def test_what_is_simplified_is_named():
    topology, _ = build_peptide("A", caps=True)
    field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    salt = field.createSystem(topology, implicitSolventKappa=1.0 / unit.nanometer)
    torsions = find_torsions(topology, system=salt)
    assert SurrogateEnergy(salt, torsions).unknown_forces == ("CustomGBForce",)
    scaled = field.createSystem(topology)
    nonbonded = next(f for f in scaled.getForces() if isinstance(f, openmm.NonbondedForce))
    nonbonded.addGlobalParameter("scale", 0.0)
    nonbonded.addParticleParameterOffset("scale", 0, 0.1, 0.0, 0.0)
    assert SurrogateEnergy(scaled, torsions).unknown_forces == ("NonbondedForce",)
    assert chosen_moves(salt, None, None) == chosen_moves(scaled, None, None) == (10, 1)


def test_other_molecules_are_refused():
    system = _wrong_chain(5, "")
    surrogate = SurrogateEnergy(system, cases.chain_torsions(5))
    with pytest.raises(openmm.OpenMMException, match="4 positions, but the System has 5"):
        surrogate.evaluate(np.zeros((4, 3)))
    with pytest.raises(openmm.OpenMMException, match="box has 3 numbers"):
        surrogate.evaluate(np.zeros((5, 3)), np.ones(3))
    with pytest.raises(openmm.OpenMMException, match="particle 5, but the System has 5"):
        SurrogateEnergy(system, cases.chain_torsions(6))


def test_defaults_follow_from_the_system():
    topology, _ = build_peptide("A", caps=True)
    system = create_system(topology, ["amber14-all.xml", "implicit/gbn2.xml"])
    assert chosen_moves(system, None, None) == (1, SERIES_TRIALS)
    assert chosen_moves(system, 3, None) == (3, SERIES_TRIALS)
    assert chosen_moves(system, None, 5) == (1, 5)
    bias = openmm.CustomTorsionForce("cos(theta)")
    bias.addTorsion(0, 1, 2, 3)
    system.addForce(bias)
    assert chosen_moves(system, None, None) == (10, 1)
    assert chosen_moves(None, None, None) == (10, 1)
