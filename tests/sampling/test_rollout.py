"""Rollouts: resumption after any interruption, what is written, bounds, policies, errors."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import rollout_cases
import sampling_cases as cases
from openmm import unit
from rollout_cases import SEED, bound, rollout

import atmos_openmm
from atmos_openmm import AtmosPropagator
from atmos_openmm.jump.noise import walker_seed
from atmos_openmm.sampling import Rollout, read_rollout, rollout_folder
from atmos_openmm.sampling.rollout_folder import COLUMNS
from atmos_openmm.sampling.rollout_state import RolloutState
from atmos_openmm.systems.screening import ScreenSpec

FRAMES = 12
DCD_HEADER_BYTES = 276


def arrays(folder):
    """What the next frame depends on."""
    with np.load(Path(folder) / "checkpoint.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive if name != "meta"}


def assert_same_rollout(first, second):
    """Bit for bit: every frame (the DCD header holds the date), every row, and the state."""
    for path in sorted(Path(first).glob("trajectory_*")):
        other = (Path(second) / path.name).read_bytes()
        assert path.read_bytes()[DCD_HEADER_BYTES:] == other[DCD_HEADER_BYTES:]
    assert (Path(first) / "frames.csv").read_bytes() == (Path(second) / "frames.csv").read_bytes()
    left, right = arrays(first), arrays(second)
    assert left.keys() == right.keys() == set(rollout_folder._ARRAYS)
    for name in left:
        assert left[name].tobytes() == right[name].tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Rollouts that nothing interrupted, by kind: torsion has retries, network a latent."""
    folder = tmp_path_factory.mktemp("whole")
    for kind in ("torsion", "network"):
        with rollout(folder / kind, kind=kind) as made:
            assert made.run(FRAMES).complete
    assert not read_rollout(folder / "torsion")["written"].all()
    return folder


def frames(folder, walker=0):
    path = Path(folder) / f"trajectory_{walker:04d}.dcd"
    return mdtraj.load(str(path), top=str(Path(folder) / "topology.pdb")).xyz


# ---- what a rollout is


@pytest.mark.parametrize("kind", ["torsion", "network"])
def test_it_is_propagate_again_and_again(tmp_path, kind):
    topology, _, positions = cases.dipeptide()
    with rollout(tmp_path / "run", kind=kind, walkers=1, onInvalid="keep") as made:
        made.run(5)
        last, states = made.getPositions(), made.getStates()
    propagator = AtmosPropagator(bound(kind), topology, lag=50.0, temperature=300.0, seed=SEED)
    frame, expected = positions * unit.nanometer, []
    for number in range(5):
        frame = propagator.propagate(frame, state=propagator.getLastState(), attempt=number)
        expected.append(frame._value)
    assert last[0]._value.tobytes() == expected[-1].tobytes()
    assert states[0].tobytes() == propagator.getLastState().tobytes()
    # Angstrom in single precision, as DCD has it.
    np.testing.assert_allclose(frames(tmp_path / "run"), expected, rtol=2e-7, atol=1e-8)


def test_every_attempt_has_a_row(whole):
    table = read_rollout(whole / "torsion")
    assert list(table) == list(COLUMNS)
    for walker in (0, 1):
        rows = {name: values[table["walker"] == walker] for name, values in table.items()}
        np.testing.assert_array_equal(rows["attempt"], np.arange(len(rows["attempt"])))
        np.testing.assert_array_equal(rows["frame"][rows["written"]], np.arange(FRAMES))
        np.testing.assert_array_equal(rows["written"], rows["reason"] == "accepted")
        np.testing.assert_array_equal(rows["learned_time_ps"], 50.0 * (rows["frame"] + 1))
        assert len(frames(whole / "torsion", walker)) == FRAMES
        written = frames(whole / "torsion", walker)
        steps = np.sqrt(((written[1:] - written[:-1]) ** 2).sum(axis=2).mean(axis=1))
        # Both from coordinates of up to 1 nm, rounded to single precision.
        np.testing.assert_allclose(rows["rmsd_nm"][rows["written"]][1:], steps, atol=5e-7)
    failed = ~table["written"]
    assert (table["reason"][failed] == "bonds").all()
    assert all("nm long, expected" in text for text in table["detail"][failed])
    assert (table["detail"][~failed] == "").all()


def test_frames_lie_on_the_frames_before(whole):
    # Rigid motion is taken out: the centroid stays, to the rounding of the trajectory file.
    _, _, positions = cases.dipeptide()
    for kind in ("torsion", "network"):
        centroids = frames(whole / kind).mean(axis=1)
        np.testing.assert_allclose(centroids - positions.mean(axis=0), 0, atol=1e-6)


def test_summary_and_progress(tmp_path):
    seen = []
    with rollout(tmp_path / "run") as made:
        summary = made.run(4, progress=seen.append)
    table = read_rollout(tmp_path / "run")
    assert summary.complete and summary.message == ""
    assert (summary.frames, summary.walkers, summary.written, summary.valid) == (4, 2, 8, 8)
    assert summary.attempts == len(table["frame"])
    assert summary.learned_ps == 200.0
    assert summary.mean_rmsd_nm == pytest.approx(table["rmsd_nm"][table["written"]].mean())
    assert summary.largest_h == pytest.approx(table["largest_h"][table["written"]].max())
    assert "2 x 4" in str(summary) and "bonds" in str(summary)
    assert seen[-1].frame == 4 and seen[-1].remaining_s == 0.0
    assert "frame 4/4" in seen[-1].line() and "ETA 0 s" in seen[-1].line()
    assert all(np.isnan(p.remaining_s) for p in seen if p.new_frames == 0)


def test_walkers_are_those_of_single_rollouts(tmp_path):
    # Batched arithmetic may round otherwise: 1e-7 of 1 nm for each of some ten operations in a
    # row, and frames that follow each other add theirs up.
    with rollout(tmp_path / "all", walkers=3) as made:
        made.run(8)
    for walker in range(3):
        folder = tmp_path / str(walker)
        with rollout(folder, walkers=1, seed=walker_seed(SEED, walker)) as made:
            made.run(8)
        np.testing.assert_allclose(frames(folder), frames(tmp_path / "all", walker), atol=1e-5)


def test_walkers_of_the_network_are_those_of_single_rollouts(tmp_path):
    topology, _, positions = cases.dipeptide()
    starts = np.stack([positions, positions[:, [2, 0, 1]] + 0.3])
    with rollout(tmp_path / "all", kind="network", walkers=None) as made:
        assert made.run(0).walkers == 1
    arguments = dict(temperature=300.0, lag=50.0, onInvalid="keep", commitSeconds=0.0)
    with Rollout(topology, starts, bound("network"), tmp_path / "two", seed=3, **arguments) as made:
        made.run(2)
        together = made.getPositions()._value, made.getStates()
    for walker in range(2):
        seed, folder = walker_seed(3, walker), tmp_path / str(walker)
        with Rollout(
            topology, starts[walker], bound("network"), folder, seed=seed, **arguments
        ) as made:
            made.run(2)
            # Single precision through a network of some hundred operations, twice.
            np.testing.assert_allclose(
                made.getPositions()._value[0], together[0][walker], atol=1e-4
            )
            np.testing.assert_allclose(made.getStates()[0], together[1][walker], atol=1e-4)


def test_only_what_the_propagator_moves_is_written(tmp_path):
    from openmm import app

    topology, _, positions = cases.dipeptide()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.add(topology, (positions + [2.0, 0, 0]) * unit.nanometer)
    modeller.topology.setUnitCellDimensions([4, 4, 4] * unit.nanometer)
    propagator = AtmosPropagator(
        bound("torsion"),
        modeller.topology,
        solute=range(22, 44),
        lag=50.0,
        positions=modeller.positions,
    )
    with Rollout(
        modeller.topology,
        modeller.positions,
        propagator,
        tmp_path / "run",
        seed=SEED,
        trajectoryFormat="xtc",
    ) as made:
        made.run(3)
    with rollout(tmp_path / "alone", walkers=1) as made:
        made.run(3)
    loaded = mdtraj.load(
        str(tmp_path / "run/trajectory_0000.xtc"), top=str(tmp_path / "run/topology.pdb")
    )
    assert loaded.n_atoms == 22 and loaded.unitcell_vectors is None
    assert len(list(loaded.topology.bonds)) == len(list(topology.bonds()))
    # XTC keeps 0.001 nm; the centred start is the same but for the rounding of 2 nm.
    np.testing.assert_allclose(loaded.xyz - [2.0, 0, 0], frames(tmp_path / "alone"), atol=6e-4)
    np.testing.assert_allclose(loaded.time, 50.0 * np.arange(3))


def test_hydrogens_of_heavy_atom_models_are_placed(tmp_path):
    topology, _, positions = cases.dipeptide()
    model = rollout_cases.model_file(tmp_path, atoms="heavy")
    propagator = AtmosPropagator(model, topology, positions=positions)
    for folder, stages in (("whole", [4]), ("stopped", [1, 2, 4])):
        for count in stages:
            with Rollout(
                topology, positions, propagator, tmp_path / folder, seed=SEED, onInvalid="keep"
            ) as made:
                made.run(count)
    assert_same_rollout(tmp_path / "whole", tmp_path / "stopped")
    written = frames(tmp_path / "whole")
    hydrogens = {a.index for a in topology.atoms() if a.element.symbol == "H"}
    pairs = [
        [b[0].index, b[1].index] for b in topology.bonds() if {b[0].index, b[1].index} & hydrogens
    ]
    assert len(pairs) == len(hydrogens) == 12
    lengths = np.linalg.norm(
        written[:, [i for i, _ in pairs]] - written[:, [j for _, j in pairs]], axis=2
    )
    # The network's weights are random, and its heavy atoms anywhere; N-H and C-H are not.
    assert lengths.min() > 0.09 and lengths.max() < 0.12


# ---- going on


@pytest.mark.parametrize("kind", ["torsion", "network"])
def test_stopped_and_continued_in_one_process(whole, tmp_path, kind):
    with rollout(tmp_path / "run", kind=kind) as made:
        made.run(3)
        assert made.frame == 3
        # Stopped at whatever attempt comes next, with one walker ahead if the other failed.
        summary = made.run(FRAMES, progress=lambda p: made.stop())
        assert made.stopped and not summary.complete and "Stopped at frame" in summary.message
        made.run(7, progress=lambda p: None)
    with rollout(tmp_path / "run", kind=kind) as made:
        assert made.frame == 7
        made.run(FRAMES)
    assert_same_rollout(whole / kind, tmp_path / "run")


def test_stopped_after_every_single_attempt(whole, tmp_path):
    for _ in range(200):
        with rollout(tmp_path / "run") as made:
            if made.run(FRAMES, progress=lambda p, made=made: made.stop()).complete:
                break
    assert_same_rollout(whole / "torsion", tmp_path / "run")


def test_the_interval_of_commits_changes_nothing(whole, tmp_path):
    with rollout(tmp_path / "run", commitSeconds=1e9) as made:
        made.run(FRAMES)
    assert_same_rollout(whole / "torsion", tmp_path / "run")


@pytest.mark.parametrize("kind", ["torsion", "network"])
def test_killed_and_continued_in_another_process(whole, tmp_path, kind):
    folder = tmp_path / "run"
    program = Path(rollout_cases.__file__)
    paths = os.pathsep.join(map(str, (Path(atmos_openmm.__file__).parents[1], program.parent)))
    command = [sys.executable, "-W", "ignore", str(program), kind, str(folder), str(10**6)]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.split() == ["frame", "4"]:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    unbroken, total = whole / kind, FRAMES
    with rollout(folder, kind=kind) as made:
        assert 4 <= made.frame < 10**6
        if made.frame >= FRAMES:
            # The signal came late: compare with a longer one.
            unbroken, total = tmp_path / "longer", made.frame + 3
        made.run(total)
    if total > FRAMES:
        with rollout(unbroken, kind=kind) as made:
            made.run(total)
    assert_same_rollout(unbroken, folder)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("by", ["the same object", "another"])
@pytest.mark.parametrize("point", range(5))
def test_a_kill_within_a_commit(whole, tmp_path, monkeypatch, point, by):
    # The process "dies" at the n-th flush to the disk of a commit: trajectories, table, state.
    folder = tmp_path / "run"
    with rollout(folder) as made:
        made.run(5)
    made = rollout(folder)
    calls = 0
    fsync = os.fsync

    def dying(descriptor):
        nonlocal calls
        calls += 1
        if calls == point + 1:
            raise Killed
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying)
        with pytest.raises(Killed):
            made.run(8)
    if by == "another":
        made.close()
        made = rollout(folder)
        assert made.frame in (5, 6)
    made.run(FRAMES)
    made.close()
    assert_same_rollout(whole / "torsion", folder)
    assert not list(folder.glob("*.tmp"))


def test_an_interruption_between_walkers(whole, tmp_path, monkeypatch):
    take = RolloutState.take
    with rollout(tmp_path / "run", commitSeconds=1e9) as made:
        made.run(4)
        calls = []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return take(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(RolloutState, "take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                made.run(FRAMES)
        made.run(FRAMES)
    assert_same_rollout(whole / "torsion", tmp_path / "run")


# ---- bounds


def test_the_latent_of_a_random_network_is_bounded(tmp_path):
    import torch
    from model_support import TINY, network

    from atmos_openmm.model.bound import bind_network
    from atmos_openmm.systems.features import features_from_topology

    topology, _, positions = cases.dipeptide()
    features = features_from_topology(topology, positions=positions)
    model = network(seed=4)
    with torch.no_grad():
        for part in (model.transition, model.state_update):
            for parameter in part.parameters():
                # Far from what training gives, so that gates are driven to their ends.
                parameter.mul_(5.0)
    module = bind_network(model, features.tensors(), TINY)
    with rollout(tmp_path / "run", module, onInvalid="keep", commitSeconds=1e9) as made:
        summary = made.run(25)
        states = made.getStates()
    assert summary.complete
    # A weighted mean of numbers in [-1, 1] may round to one unit in the last place beyond it.
    assert 0.5 < summary.largest_h <= 1 + 2 * np.finfo(np.float32).eps
    assert np.ptp(states) > 0.1


def test_the_latent_of_the_bundled_model_is_bounded(tmp_path):
    topology, _, positions = cases.dipeptide()
    propagator = AtmosPropagator("capped-amino-acids", topology, positions=positions)
    with Rollout(topology, positions, propagator, tmp_path / "run", seed=SEED) as made:
        summary = made.run(5)
    assert summary.complete and summary.written == summary.valid == 5
    assert 0.1 < summary.largest_h <= 1 + 2 * np.finfo(np.float32).eps
    assert summary.lag_ps == propagator.info()["lag_range_ps"][1]
    # The frames are those of a molecule that moves: no two alike, and none torn.
    assert 0.01 < summary.mean_rmsd_nm < 0.5


def test_memory_does_not_grow_with_frames(tmp_path):
    """Neither what Python and numpy hold, nor what the process holds in all."""
    import gc
    import tracemalloc

    topology, _, positions = cases.dipeptide()
    # Without tests in the screen, which would take most of the time.
    nothing = ScreenSpec(
        *(np.zeros(shape, int) for shape in ((0, 2), 0, (0, 4), 0, (0, 4))), (), np.full(22, 1e-6)
    )
    propagator = AtmosPropagator(bound("wide"), topology, lag=50.0, screen=nothing)
    with Rollout(topology, positions, propagator, tmp_path / "run", commitSeconds=1e9) as made:
        made.run(200)
        tracemalloc.start()
        try:
            held = []
            for count in (600, 1600):
                made.run(count)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        before = _resident_bytes()
        made.run(3600)
        after = _resident_bytes()
    # A quarter of what it would take to keep the frames, of 22 atoms in double precision.
    assert held[1] - held[0] < 1000 * 22 * 3 * 8 / 4
    # A quarter of what it would take to keep the latents, of 80 kB each.
    assert after - before < 2000 * rollout_cases.WIDE * 4 / 4


def _resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_the_buffer_between_commits_is_limited(tmp_path, monkeypatch):
    from atmos_openmm.sampling import rollout as module

    monkeypatch.setattr(module, "_BUFFER_BYTES", 10_000)
    sizes = []
    with rollout(tmp_path / "run", commitSeconds=1e9) as made:
        made.run(30, progress=lambda p: sizes.append(made._buffered()))
    assert max(sizes) <= 10_000
    # Two walkers' frames of 22 atoms in double precision, and two rows.
    assert sizes[0] >= 2 * 1024


# ---- frames that fail


def fixed(kind):
    return cases.script(cases.Fixed(22, kind))


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("far", "displaced"),
        ("coincident", "bonds"),
        ("squeezed", "bonds"),
        ("mirrored", "chirality"),
    ],
)
@pytest.mark.parametrize("policy", ["keep", "stop", "retry"])
def test_policies(tmp_path, kind, reason, policy):
    with rollout(tmp_path / "run", fixed(kind), walkers=1, onInvalid=policy, maxAttempts=4) as made:
        summary = made.run(1)
    table = read_rollout(tmp_path / "run")
    assert set(table["reason"]) == {reason} and all(table["detail"])
    assert list(table["written"]) == {"keep": [True], "stop": [False], "retry": [False] * 4}[policy]
    assert summary.complete == (policy == "keep")
    assert summary.reasons[reason] == len(table["reason"])
    if policy == "keep":
        assert len(frames(tmp_path / "run")) == 1
    else:
        assert reason in summary.message and "frame 0 of walker 0" in summary.message
        assert "The same command again" in summary.message


def test_a_kept_frame_is_gone_on_from(tmp_path):
    # Mirrored once it has the wrong hand, and mirrored twice the right one again.
    with rollout(tmp_path / "run", fixed("mirrored"), walkers=1, onInvalid="keep") as made:
        made.run(4)
    table = read_rollout(tmp_path / "run")
    assert list(table["reason"]) == ["chirality", "accepted"] * 2


@pytest.mark.parametrize("kind", ["nan", "nan state"])
@pytest.mark.parametrize("policy", ["keep", "stop", "retry"])
def test_numbers_that_are_not_finite_end_a_rollout(tmp_path, kind, policy):
    with rollout(tmp_path / "run", fixed(kind), onInvalid=policy, maxAttempts=3) as made:
        summary = made.run(5)
        assert not summary.complete and summary.frames == summary.written == 0
        assert "not finite" in summary.message
        assert ("latent state" in summary.message) == (kind == "nan state")
        tries = 3 if policy == "retry" else 1
        # The same call again tries as often again, with fresh noise.
        made.run(5)
    table = read_rollout(tmp_path / "run")
    assert list(table["attempt"][table["walker"] == 1]) == list(range(2 * tries))
    assert set(table["reason"]) == {"nonfinite"} and not table["written"].any()
    assert len(table["frame"]) == 4 * tries
    assert not np.isfinite(table["rmsd_nm"]).any()


def test_exploding_frames_in_the_middle_are_drawn_again(tmp_path):
    # Spoilt frames are thrown a million nanometres apart, further than any file format goes.
    module = cases.phi_module(noise_nm=1e6)
    for suffix in ("dcd", "xtc"):
        folder = tmp_path / suffix
        with rollout(folder, module, trajectoryFormat=suffix) as made:
            assert made.run(10).complete
        table = read_rollout(folder)
        assert set(table["reason"]) == {"accepted", "nonfinite"}
        assert "beyond any molecule" in table["detail"][table["reason"] == "nonfinite"][0]


def test_a_rollout_that_stopped_goes_on_with_fresh_noise(tmp_path):
    stops = 0
    with rollout(tmp_path / "run", onInvalid="stop", walkers=1) as made:
        while not (summary := made.run(FRAMES)).complete:
            stops += 1
            assert "bonds" in summary.message
    with rollout(tmp_path / "other", walkers=1) as made:
        made.run(FRAMES)
    assert stops > 0
    assert_same_rollout(tmp_path / "other", tmp_path / "run")


def test_what_was_made_before_a_module_fails_is_kept(tmp_path, monkeypatch):
    from atmos_openmm.sampling import rollout_proposer

    call, calls = rollout_proposer.propose_frames, []

    def failing(*arguments, **keywords):
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("The propagator module failed: out of order")
        return call(*arguments, **keywords)

    monkeypatch.setattr(rollout_proposer, "propose_frames", failing)
    with rollout(tmp_path / "run", kind="wide", commitSeconds=1e9) as made:
        with pytest.raises(RuntimeError, match="out of order"):
            made.run(FRAMES)
    assert read_rollout(tmp_path / "run")["frame"].max() == 2


def test_the_cause_of_a_failing_module_is_told(tmp_path):
    with rollout(tmp_path / "run", fixed("raise")) as made:
        with pytest.raises(RuntimeError, match="the propagator is out of order"):
            made.run(1)
    with rollout(tmp_path / "shape", fixed("shape")) as made:
        with pytest.raises(RuntimeError, match="positions of shape"):
            made.run(1)
