"""Checkpoints, State XML, serialization and copies. Every round trip ends with more jumps."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import openmm
import pytest
from integrator_support import (
    NUM_ATOMS,
    make_context,
    make_integrator,
    molecule_positions,
    molecule_screen,
    molecule_system,
    phase_point,
)
from openmm import unit

from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.jump.identity import Identity, module_bytes

INTERVAL = 10
BEFORE = 205
AFTER = 200
# A seed that the Context draws is another in every run of the tests. One jump in six is rejected
# (a normal number above 1), so 20 jumps hold no rejection in 3 runs of 100, and 120 in one of 1e9.
BEFORE_DRAWN = 1205
AFTER_DRAWN = 1200


def _run_state(integrator):
    return (
        integrator.getNumProposed(),
        integrator.getNumAccepted(),
        integrator.getRejections(),
        integrator.getLearnedTime()._value,
        integrator.getStepsSinceJump(),
        integrator.getCurrentJumpSeed(),
        integrator.getNumWindowSamples(),
        integrator.getWindowMean()._value,
        integrator.getWindowStandardDeviation()._value,
        tuple(integrator.getHiddenState()),
    )


def _started(mode="none", seed=7, steps=BEFORE):
    """An integrator in the middle of a run, with accepted and rejected jumps behind it."""
    integrator = make_integrator(interval=INTERVAL, mode=mode, seed=seed)
    context = make_context(integrator)
    integrator.step(steps)
    assert 0 < integrator.getNumAccepted() < integrator.getNumProposed()
    return integrator, context


def _finish(integrator, context, steps=AFTER):
    """Go on with the run, through more jumps of both kinds, and tell how it ends."""
    accepted, rejected = integrator.getNumAccepted(), integrator.getNumRejected()
    integrator.step(steps)
    assert integrator.getNumAccepted() > accepted
    assert integrator.getNumRejected() > rejected
    return phase_point(context), _run_state(integrator)


def _assert_same_end(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


# The seed 0 has each Context draw its own: the checkpoint must bring the drawn one along.
@pytest.mark.parametrize(
    "mode, seed, before, after",
    [
        ("none", 7, BEFORE, AFTER),
        ("filter", 7, BEFORE, AFTER),
        ("none", 0, BEFORE_DRAWN, AFTER_DRAWN),
    ],
)
def test_checkpoint_continues_bitwise(mode, seed, before, after):
    integrator, context = _started(mode, seed, before)
    checkpoint = context.createCheckpoint()
    end = _finish(integrator, context, after)
    context.loadCheckpoint(checkpoint)
    _assert_same_end(_finish(integrator, context, after), end)
    other = make_integrator(interval=INTERVAL, mode=mode, seed=seed)
    other_context = make_context(other)
    other_context.loadCheckpoint(checkpoint)
    _assert_same_end(_finish(other, other_context, after), end)


_CONTINUE = """
import sys, pickle
sys.path[:] = {support!r}
from integrator_support import *
import openmm
from openmm import XmlSerializer
integrator = AtmosIntegrator.cast(XmlSerializer.deserialize(open("integrator.xml").read()))
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(molecule_system(), integrator, platform)
context.loadCheckpoint(open("checkpoint", "rb").read())
integrator.step({steps})
np.save("end.npy", phase_point(context))
print(integrator.getNumProposed(), integrator.getNumAccepted(), integrator.getLearnedTime()._value)
"""


def test_checkpoint_continues_bitwise_in_a_new_process(tmp_path):
    integrator, context = _started()
    (tmp_path / "integrator.xml").write_text(openmm.XmlSerializer.serialize(integrator))
    (tmp_path / "checkpoint").write_bytes(context.createCheckpoint())
    end, _ = _finish(integrator, context)
    code = _CONTINUE.format(support=sys.path, steps=AFTER)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "end.npy"), end)
    proposed, accepted, learned = done.stdout.split()[-3:]
    assert int(proposed) == integrator.getNumProposed()
    assert int(accepted) == integrator.getNumAccepted()
    assert float(learned) == integrator.getLearnedTime()._value


def test_state_xml_carries_the_run():
    integrator, context = _started()
    state = context.getState(
        positions=True, velocities=True, parameters=True, integratorParameters=True
    )
    xml = openmm.XmlSerializer.serialize(state)
    other = make_integrator(interval=INTERVAL, seed=0)
    other_context = make_context(other)
    other_context.setState(openmm.XmlSerializer.deserialize(xml))
    assert _run_state(other) == _run_state(integrator)
    np.testing.assert_array_equal(phase_point(other_context), phase_point(context))
    # The thermostat's random numbers are not in a State, so the dynamics differs, but the jumps
    # take up their count and their noise.
    proposed = other.getNumProposed()
    other.step(INTERVAL)
    assert other.getNumProposed() == proposed + 1
    assert other.getLastProposal().attempt == proposed


def test_states_of_other_integrators():
    plain = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    plain_context = make_context(plain)
    plain.step(5)
    query = {"positions": True, "velocities": True, "integratorParameters": True}
    plain_state = plain_context.getState(**query)
    integrator, context = _started()
    seed = integrator.getCurrentJumpSeed()
    # A State of plain dynamics starts a hybrid run afresh.
    context.setState(plain_state)
    assert integrator.getNumProposed() == integrator.getStepsSinceJump() == 0
    assert len(integrator.getHiddenState()) == 0
    assert integrator.getCurrentJumpSeed() == seed
    integrator.step(INTERVAL + 1)
    assert integrator.getNumProposed() == 1
    custom = openmm.CustomIntegrator(0.001)
    custom.addGlobalVariable("a", 1.0)
    custom.addComputePerDof("x", "x+0*a")
    custom_state = make_context(custom).getState(**query)
    with pytest.raises(openmm.OpenMMException, match="parameters of another kind of integrator"):
        context.setState(custom_state)
    assert integrator.getNumProposed() == 1


def test_checkpoints_of_other_integrators_are_refused():
    plain_context = make_context(openmm.LangevinMiddleIntegrator(300, 1, 0.002))
    integrator, context = _started()
    with pytest.raises(openmm.OpenMMException, match="holds no data of an AtmosIntegrator"):
        context.loadCheckpoint(plain_context.createCheckpoint())
    checkpoint = context.createCheckpoint()
    with pytest.raises(openmm.OpenMMException, match="ends early"):
        context.loadCheckpoint(checkpoint[:-4])
    # Another module, whose state has another size.
    other = make_integrator(module_bytes(Identity(NUM_ATOMS)), interval=INTERVAL)
    with pytest.raises(openmm.OpenMMException, match="another propagator module"):
        make_context(other).loadCheckpoint(checkpoint)


def _through_serializer(integrator):
    xml = openmm.XmlSerializer.serialize(integrator)
    duplicate = openmm.XmlSerializer.deserialize(xml)
    assert type(duplicate) is openmm.LangevinMiddleIntegrator
    assert AtmosIntegrator.isinstance(duplicate)
    return AtmosIntegrator.cast(duplicate)


def _through_clone(integrator):
    return AtmosIntegrator.cast(openmm.XmlSerializer.clone(integrator))


def _through_pickle(integrator):
    return pickle.loads(pickle.dumps(integrator))


DUPLICATES = [_through_serializer, _through_clone, _through_pickle, copy.copy, copy.deepcopy]


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_duplicates_have_the_settings_and_run_the_same(duplicate):
    def fresh():
        integrator = make_integrator(interval=INTERVAL, mode="filter")
        integrator.setScreen(molecule_screen(rings=((0, 1, 2),), clash_factor=0.4))
        integrator.setEnergyWindow(7.5)
        integrator.setRelaxationStages([3, 4])
        integrator.setRelaxationTolerance(5.0)
        integrator.setTorchThreads(2)
        integrator.setCheckpointRestore("always")
        integrator.setProposalRecording(17, True)
        integrator.setConstraintTolerance(1e-7)
        integrator.setIntegrationForceGroups({0, 1, 5})
        return integrator

    integrator = fresh()
    other = duplicate(integrator)
    assert type(other) is AtmosIntegrator
    xml = openmm.XmlSerializer.serialize(integrator)
    assert openmm.XmlSerializer.serialize(other) == xml
    for name in ("getTemperature", "getFriction", "getStepSize", "getConstraintTolerance",
                 "getRandomNumberSeed", "getIntegrationForceGroups", "getModule",
                 "getAtomIndices", "getJumpInterval", "getLag", "getAcceptanceMode",
                 "getEnergyWindow", "getWindowSamples", "getRelaxationStages",
                 "getRelaxationTolerance", "getJumpSeed", "getTorchThreads",
                 "getCheckpointRestore", "getProposalCapacity",
                 "getKeepProposalPositions"):  # fmt: skip
        assert getattr(other, name)() == getattr(integrator, name)(), name
    assert other.getScreen().rings == ((0, 1, 2),)
    ends = []
    for each in (integrator, other):
        context = make_context(each)
        each.step(BEFORE)
        assert each.getNumProposed() > 0
        ends.append((phase_point(context), _run_state(each)))
    _assert_same_end(*ends)


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_a_duplicate_starts_a_run_of_its_own(duplicate):
    integrator, context = _started()
    other = duplicate(integrator)
    assert other.getNumProposed() == 0
    assert other.getModule() == integrator.getModule()
    other_context = make_context(other)
    other_context.setPositions(context.getState(positions=True).getPositions())
    other.step(INTERVAL + 1)
    assert other.getNumProposed() == 1


def test_python_attributes_follow_copies():
    integrator = make_integrator()
    integrator.label = ["walker"]
    assert copy.copy(integrator).label is integrator.label
    deep = copy.deepcopy(integrator)
    assert deep.label == ["walker"] and deep.label is not integrator.label


def test_copies_of_a_view_own_themselves():
    duplicate = copy.copy(_through_serializer(make_integrator()))
    _context = make_context(duplicate)
    duplicate.step(INTERVAL + 1)
    assert duplicate.getNumProposed() == 1


def test_cast_refuses_other_integrators():
    plain = openmm.VerletIntegrator(0.001)
    assert not AtmosIntegrator.isinstance(plain)
    with pytest.raises(openmm.OpenMMException, match="is not an AtmosIntegrator"):
        AtmosIntegrator.cast(plain)
    integrator = make_integrator()
    assert AtmosIntegrator.cast(integrator) is integrator


_DESERIALIZE = """
import atmos_openmm
import openmm
import sys
assert "torch" not in sys.modules
integrator = openmm.XmlSerializer.deserialize(open("integrator.xml").read())
from atmos_openmm import AtmosIntegrator
print(AtmosIntegrator.cast(integrator).getJumpInterval())
"""


@pytest.mark.parametrize("swap", [False, True])
def test_importing_the_package_is_enough_to_deserialize(tmp_path, swap):
    xml = openmm.XmlSerializer.serialize(make_integrator(interval=123))
    (tmp_path / "integrator.xml").write_text(xml)
    first, second = "import atmos_openmm\nimport openmm\n", "import openmm\nimport atmos_openmm\n"
    code = _DESERIALIZE.replace(first, second) if swap else _DESERIALIZE
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["123"]


def test_damaged_xml_is_refused():
    xml = openmm.XmlSerializer.serialize(make_integrator())
    start = xml.index('base64="') + len('base64="')
    with pytest.raises(openmm.OpenMMException, match="not base64 text"):
        openmm.XmlSerializer.deserialize(xml[:start] + "!" + xml[start + 1 :])
    with pytest.raises(openmm.OpenMMException, match="cannot load the propagator module"):
        openmm.XmlSerializer.deserialize(xml[:start] + "AAAA" + xml[start + 4 :])


def _compound():
    compound = openmm.CompoundIntegrator()
    compound.addIntegrator(openmm.VerletIntegrator(0.001))
    compound.addIntegrator(make_integrator(interval=INTERVAL))
    compound.setCurrentIntegrator(1)
    return compound


def test_in_a_compound_integrator():
    compound = _compound()
    context = make_context(compound)
    inner = AtmosIntegrator.cast(compound.getIntegrator(1))
    compound.step(BEFORE)
    assert inner.getNumProposed() == BEFORE // INTERVAL
    checkpoint = context.createCheckpoint()
    end = _finish(inner, context)
    other = openmm.XmlSerializer.clone(_compound())
    other_context = make_context(other)
    other_context.loadCheckpoint(checkpoint)
    other_inner = AtmosIntegrator.cast(other.getIntegrator(1))
    _assert_same_end(_finish(other_inner, other_context), end)
    state = context.getState(positions=True, integratorParameters=True)
    xml = openmm.XmlSerializer.serialize(state)
    third = _compound()
    third_context = make_context(third)
    third_context.setState(openmm.XmlSerializer.deserialize(xml))
    third_inner = AtmosIntegrator.cast(third.getIntegrator(1))
    assert _run_state(third_inner) == _run_state(inner)
    third.step(INTERVAL)
    assert third_inner.getNumProposed() == inner.getNumProposed() + 1


def test_rejected_jumps_of_a_compound_integrator_restore_by_checkpoint():
    compound = _compound()
    context = make_context(compound)
    inner = AtmosIntegrator.cast(compound.getIntegrator(1))
    inner.setCheckpointRestore("always")
    compound.step(BEFORE)
    plain = _compound()
    plain_context = make_context(plain)
    plain.step(BEFORE)
    plain_inner = AtmosIntegrator.cast(plain.getIntegrator(1))
    assert inner.getNumRejected() > 0
    _assert_same_end(
        (phase_point(context), _run_state(inner)),
        (phase_point(plain_context), _run_state(plain_inner)),
    )


def test_reinitialize_preserves_the_run_or_starts_afresh():
    integrator, context = _started()
    before = _run_state(integrator)
    checkpoint = context.createCheckpoint()
    end = _finish(integrator, context)
    context.loadCheckpoint(checkpoint)
    context.reinitialize(preserveState=True)
    assert _run_state(integrator) == before
    _assert_same_end(_finish(integrator, context), end)
    context.reinitialize(preserveState=False)
    assert integrator.getNumProposed() == integrator.getStepsSinceJump() == 0
    assert integrator.getLearnedTime()._value == 0
    assert integrator.getCurrentJumpSeed() == 7
    context.setPositions(molecule_positions())
    integrator.step(INTERVAL + 1)
    assert integrator.getNumProposed() == 1


@pytest.mark.parametrize("first", ["context", "integrator"])
def test_context_and_integrator_may_go_in_either_order(first):
    integrator, context = _started()
    if first == "context":
        del context
        assert integrator.getNumProposed() > 0
    else:
        del integrator
        assert np.isfinite(phase_point(context)).all()


def test_in_a_simulation_with_reporters_and_files(tmp_path):
    from openmm import app

    topology = app.Topology()
    chain = topology.addChain()
    residue = topology.addResidue("MOL", chain)
    for symbol in ("C", "N", "O", "F", "C", "H"):
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)

    def simulation():
        integrator = make_integrator(interval=INTERVAL)
        result = app.Simulation(
            topology, molecule_system(), integrator, openmm.Platform.getPlatformByName("Reference")
        )
        result.context.setPositions(molecule_positions())
        result.context.setVelocitiesToTemperature(300 * unit.kelvin, 3)
        return result

    first = simulation()
    log = tmp_path / "log.csv"
    first.reporters.append(app.StateDataReporter(str(log), 25, step=True, time=True))
    first.reporters.append(app.DCDReporter(str(tmp_path / "frames.dcd"), 25))
    first.step(BEFORE)
    assert first.integrator.getNumProposed() == BEFORE // INTERVAL
    first.reporters.clear()
    rows = [line.split(",") for line in log.read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == list(range(25, BEFORE, 25))
    assert [float(row[1]) for row in rows] == pytest.approx([0.002 * n for n in range(25, 201, 25)])
    first.saveCheckpoint(str(tmp_path / "run.chk"))
    first.saveState(str(tmp_path / "run.xml"))
    end = _finish(first.integrator, first.context)
    second = simulation()
    second.loadCheckpoint(str(tmp_path / "run.chk"))
    assert second.currentStep == BEFORE
    _assert_same_end(_finish(second.integrator, second.context), end)
    third = simulation()
    third.loadState(str(tmp_path / "run.xml"))
    assert third.integrator.getNumProposed() == BEFORE // INTERVAL
    third.step(INTERVAL)
    assert third.integrator.getNumProposed() == BEFORE // INTERVAL + 1
