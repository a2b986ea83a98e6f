"""HybridSampler: records, resumption after kill -9, valid frames, failures."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
import sampling_cases as cases
from openmm import app, unit

import atmos_openmm
from atmos_openmm import AtmosPropagator
from atmos_openmm.core.files import StorageError
from atmos_openmm.core.settings import read_settings
from atmos_openmm.jump.proposal import REASONS
from atmos_openmm.sampling import HybridSampler, run_folder
from atmos_openmm.sampling.storage import read_run
from atmos_openmm.sampling.tables import ORIGINS, TABLES
from atmos_openmm.systems.screening import ScreenSpec

CASES = Path(cases.__file__)

CYCLES = 14
ACCEPTED = REASONS.index("accepted")


def frames(folder, walker):
    """Positions [F, P, 3] of a walker's trajectory, nm."""
    path = next(folder.glob(f"trajectory_{walker:04d}.*"))
    top = mdtraj.Topology.from_openmm(cases.dipeptide()[0])
    return mdtraj.load(str(path), top=top).xyz


def assert_same_run(first, second):
    """Two folders hold the same frames and rows, to the bit."""
    mine, other = read_run(first), read_run(second)
    for name in TABLES:
        for column, values in mine.table(name).items():
            np.testing.assert_array_equal(values, other.table(name)[column], err_msg=column)
    for walker in range(2):
        np.testing.assert_array_equal(frames(first, walker), frames(second, walker))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with cases.hybrid_sampler(folder, commitSeconds=1e9) as sampler:
        summary = sampler.run(cycles=CYCLES)
    return folder, summary


def test_the_topology_holds_the_start_in_its_units(whole):
    written = app.PDBFile(str(whole[0] / "topology.pdb")).getPositions(asNumpy=True)
    # PDB files have three decimals of an angstrom.
    start = np.asarray(cases.dipeptide()[2])
    np.testing.assert_allclose(written.value_in_unit(unit.nanometer), start, atol=5.1e-5)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-W", "ignore", str(CASES), str(folder), str(10**6)]
    root = Path(atmos_openmm.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.split() == ["cycle", "6"]:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert 6 <= read_run(folder).segments["cycle"].max() + 1 < CYCLES
    with cases.hybrid_sampler(folder) as sampler:
        assert 6 <= sampler.cycle < CYCLES
        summary = sampler.run(cycles=CYCLES)
    assert summary.complete
    assert_same_run(whole[0], folder)


def _die(*arguments):
    raise KeyboardInterrupt


def test_what_was_not_committed_is_made_again(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with cases.hybrid_sampler(folder) as sampler:
        sampler.run(cycles=5)
        # Two more cycles that reach the files, and no commit: as a crash leaves it.
        for _ in range(2):
            sampler._advance()
        with monkeypatch.context() as patch:
            patch.setattr(run_folder, "write_checkpoint", _die)
            with pytest.raises(KeyboardInterrupt):
                sampler._commit()
    assert len(frames(folder, 0)) == 14
    assert len(read_run(folder).frames["frame"]) == 20
    with cases.hybrid_sampler(folder) as sampler:
        assert sampler.cycle == 5
        assert len(frames(folder, 0)) == 10
        sampler.run(cycles=CYCLES)
    assert_same_run(whole[0], folder)


def test_the_record_accounts_for_every_step_frame_and_proposal(whole):
    folder, summary = whole
    rows = read_run(folder)
    segments, proposals, table = rows.segments, rows.proposals, rows.frames
    assert (summary.cycles, summary.walkers, summary.complete) == (CYCLES, 2, True)
    assert summary.frames == len(table["frame"]) == 2 * CYCLES * 2
    for walker in range(2):
        mine = segments["walker"] == walker
        assert (segments["segment"][mine] == np.arange(CYCLES)).all()
        assert (segments["first_step"][mine] == 10 * np.arange(CYCLES)).all()
        assert (segments["steps"][mine] == 10).all() and (segments["frames"][mine] == 2).all()
        assert len(frames(folder, walker)) == segments["frames"][mine].sum()
        tried = proposals["walker"] == walker
        # Jumps fall due from the second cycle on, and the window wants four energies first.
        assert (proposals["cycle"][tried] == np.arange(4, CYCLES)).all()
        assert (proposals["attempt"][tried] == np.arange(CYCLES - 4)).all()
        assert (proposals["step"][tried] == 10 * proposals["cycle"][tried]).all()
        # A proposal starts from the end of the segment it names.
        assert (proposals["segment"][tried] == proposals["cycle"][tried] - 1).all()
        origins = np.array(ORIGINS)[segments["origin"][mine]]
        jumped = np.zeros(CYCLES, dtype=bool)
        jumped[proposals["cycle"][tried]] = proposals["reason"][tried] == ACCEPTED
        expected = np.where(jumped, "jump", "continuation")
        expected[0] = "start"
        assert (origins == expected).all()
        attempts = np.full(CYCLES, -1)
        attempts[proposals["cycle"][tried]] = proposals["attempt"][tried]
        assert (segments["attempt"][mine] == np.where(jumped, attempts, -1)).all()
    assert 0 < summary.reasons["accepted"] < len(proposals["reason"])
    assert summary.learned_ps == 50 * summary.reasons["accepted"]
    assert summary.md_ps == pytest.approx(2 * CYCLES * 10 * cases.STEP_PS)
    text = str(summary)
    assert "accepted" in text and "median energy raw" in text


def test_recorded_energies_belong_to_the_recorded_positions(whole):
    folder, _ = whole
    rows = read_run(folder)
    _, system, _ = cases.dipeptide()
    context = cases.context(openmm.VerletIntegrator(0.001))

    def energy(positions):
        context.setPositions(positions.astype(float))
        return context.getState(energy=True).getPotentialEnergy()._value

    # Single precision of a coordinate (3e-8 nm) under forces of up to 1e4 kJ/mol/nm, 66 of them.
    for walker in range(2):
        mine = rows.frames["walker"] == walker
        recorded = rows.frames["potential_energy_kj_per_mol"][mine]
        again = [energy(x) for x in frames(folder, walker)]
        np.testing.assert_allclose(again, recorded, atol=0.02)
    accepted = rows.proposals["reason"] == ACCEPTED
    for kind in ("before", "after"):
        positions = rows.proposals[f"positions_{kind}_nm"][accepted]
        recorded = rows.proposals[f"energy_{kind}_kj_per_mol"][accepted]
        np.testing.assert_allclose([energy(x) for x in positions], recorded, atol=0.02)
    # The relaxation moved nothing (there are no stages), constraints a little.
    moved = rows.proposals["rmsd_raw_to_after_nm"]
    assert (moved[accepted] < 0.001).all() and np.isfinite(moved[accepted]).all()
    # Rejected for their bonds: neither an energy nor positions after constraints.
    broken = rows.proposals["reason"] == REASONS.index("bonds")
    assert broken.any()
    assert np.isnan(rows.proposals["energy_raw_kj_per_mol"][broken]).all()
    assert np.isnan(rows.proposals["positions_after_nm"][broken]).all()


@pytest.mark.parametrize("kind, other", [("xtc", "dcd"), ("dcd", "xtc")])
def test_an_exact_number_of_valid_frames(tmp_path, kind, other):
    folder = tmp_path / "run"
    with cases.hybrid_sampler(folder, trajectoryFormat=kind) as sampler:
        summary = sampler.run(valid_frames=7, max_cycles=200)
        assert summary.complete and 7 <= summary.generated <= 8
        path = sampler.writeValidFrames(7)
        converted = sampler.writeValidFrames(7, tmp_path / f"valid.{other}")
    table = read_run(folder).frames
    rows = np.flatnonzero(table["generated"])
    rows = rows[np.lexsort((table["walker"][rows], table["cycle"][rows]))][:7]
    assert len(np.unique(table["walker"][rows])) == 2
    expected = np.stack([frames(folder, table["walker"][r])[table["frame"][r]] for r in rows])
    top = mdtraj.Topology.from_openmm(cases.dipeptide()[0])
    np.testing.assert_array_equal(mdtraj.load(str(path), top=top).xyz, expected)
    # XTC rounds to 0.001 nm.
    np.testing.assert_allclose(mdtraj.load(str(converted), top=top).xyz, expected, atol=6e-4)
    # They end cycles that an accepted jump opened.
    assert (table["step"][rows] % 10 == 0).all()
    # The run is over: asking again makes no new cycle.
    with cases.hybrid_sampler(folder, trajectoryFormat=kind) as sampler:
        before = sampler.cycle
        assert sampler.run(valid_frames=7, max_cycles=200).complete and sampler.cycle == before


def test_too_few_valid_frames_are_explained(tmp_path):
    module = cases.script(cases.Fixed(22, "mirrored"))
    with cases.hybrid_sampler(tmp_path / "run", module) as sampler:
        early = sampler.run(valid_frames=3, max_cycles=2)
        assert not early.complete and "energy window was still being learned" in early.message
        summary = sampler.run(valid_frames=3, max_cycles=8)
    assert not summary.complete and summary.generated == 0
    assert "0 of 8 proposals were accepted" in summary.message
    assert "chirality 8" in summary.message


def test_a_run_with_other_settings_is_refused(whole):
    folder, _ = whole
    with pytest.raises(StorageError, match="lag_ps: 50.0 there, 40.0 now"):
        cases.hybrid_sampler(folder, lag=40.0)
    with pytest.raises(StorageError, match="model_sha256"):
        cases.hybrid_sampler(folder, cases.phi_module(width=0.31))
    with pytest.raises(StorageError, match="seed: 11 there, 12 now"):
        cases.hybrid_sampler(folder, seed=12)


def test_a_drawn_seed_is_kept(tmp_path):
    with cases.hybrid_sampler(tmp_path / "run", seed=0) as sampler:
        seed = sampler.seed
        sampler.run(cycles=1)
    assert seed > 0 and read_settings(tmp_path / "run")["seed"] == seed
    with cases.hybrid_sampler(tmp_path / "run", seed=0) as sampler:
        assert sampler.seed == seed and sampler.cycle == 1


def test_a_full_disk_stops_the_run_and_loses_nothing(whole, tmp_path):
    folder = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with cases.hybrid_sampler(folder) as sampler:
        sampler.run(cycles=4)
        size = (folder / "trajectory_0000.dcd").stat().st_size
        try:
            # Room for one and a half frames more in each file: the write breaks off in the middle.
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, before[1]))
            with pytest.raises(StorageError, match="No space is left.*up to cycle 4 is safe"):
                sampler.run(cycles=CYCLES)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        np.testing.assert_array_equal(np.unique(read_run(folder).segments["cycle"]), range(4))
        # With room again the same process goes on, and nothing is missing or double.
        sampler.run(cycles=CYCLES)
    assert_same_run(whole[0], folder)


def test_frames_that_break_down_in_dynamics_are_taken_back(tmp_path):
    # Half the size, and a screen and constraints that let it pass: finite, and hopeless.
    spec = cases.screen()
    permissive = ScreenSpec(
        bonds=spec.bonds[:0],
        bond_lengths_nm=spec.bond_lengths_nm[:0],
        chiral_centers=spec.chiral_centers[:0],
        chiral_signs=spec.chiral_signs[:0],
        cis_trans=spec.cis_trans[:0],
        rings=(),
        radii_nm=spec.radii_nm,
        clash_factor=0.0,
        constraint_tolerance_nm=1.0,
    )
    topology, _, _ = cases.dipeptide()
    propagator = AtmosPropagator(
        cases.script(cases.Fixed(22, "squeezed")), topology, lag=1.0, screen=permissive
    )
    with cases.hybrid_sampler(tmp_path / "run", propagator, lag=1.0, acceptance="none") as sampler:
        summary = sampler.run(cycles=4)
    assert summary.reasons["unstable"] > 0
    rows = read_run(tmp_path / "run")
    assert np.isfinite(frames(tmp_path / "run", 0)).all()
    assert len(rows.frames["frame"]) == 2 * 4 * 2
    assert (rows.segments["origin"] != ORIGINS.index("jump")).all()


def test_a_start_of_the_wrong_hand_is_refused(tmp_path):
    # L alanine is expected where no positions say otherwise, and the start is its mirror image.
    topology, system, positions = cases.dipeptide()
    propagator = AtmosPropagator(cases.phi_module(), topology, lag=50.0)
    with pytest.raises(ValueError, match="CA of ALA.*wrong hand.*positions="):
        HybridSampler(
            topology,
            system,
            positions * [1, 1, -1],
            propagator,
            tmp_path / "run",
            platform="Reference",
            equilibrationSteps=5,
        )


@pytest.mark.parametrize("committed", [0, 6])
def test_an_interruption_between_walkers_goes_back_to_the_last_commit(
    whole, tmp_path, monkeypatch, committed
):
    folder = tmp_path / "run"
    with cases.hybrid_sampler(folder) as sampler:
        sampler.run(cycles=committed)
        with monkeypatch.context() as patch:

            def interrupt(cycle):
                raise KeyboardInterrupt

            # The first walker makes its cycle, the second does not.
            patch.setattr(sampler.walkers[1], "run_cycle", interrupt)
            with pytest.raises(KeyboardInterrupt):
                sampler.run(cycles=CYCLES)
        assert sampler.run(cycles=CYCLES).complete
    assert_same_run(whole[0], folder)


@pytest.mark.parametrize("point", range(9))
def test_an_interruption_of_a_commit_doubles_nothing(whole, tmp_path, monkeypatch, point):
    # At each flush to the disk and each rename; the same object goes on.
    folder = tmp_path / "run"
    with cases.hybrid_sampler(folder) as sampler:
        sampler.run(cycles=3)
        calls = 0

        def dying(operation):
            def wrapper(*arguments):
                nonlocal calls
                calls += 1
                if calls == point + 1:
                    raise KeyboardInterrupt
                return operation(*arguments)

            return wrapper

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", dying(os.fsync))
            patch.setattr(os, "replace", dying(os.replace))
            with pytest.raises(KeyboardInterrupt):
                sampler.run(cycles=CYCLES)
        assert sampler.run(cycles=CYCLES).complete
    assert_same_run(whole[0], folder)


def test_stop_commits_and_says_how_to_go_on(whole, tmp_path):
    folder = tmp_path / "run"
    with cases.hybrid_sampler(folder, commitSeconds=1e9) as sampler:
        summary = sampler.run(
            cycles=CYCLES, progress=lambda p: sampler.stop() if p.cycle == 3 else None
        )
        assert not summary.complete and summary.cycles == 3 and sampler.stopped
        assert "go on" in summary.message
        assert sampler.run(cycles=CYCLES).complete
    assert_same_run(whole[0], folder)
    assert json.loads((folder / "run.json").read_text())["notes"]["openmm"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"walkers": 0}, "walkers is 0"),
        ({"jumpInterval": 0}, "jumpInterval is 0"),
        ({"trajectoryFormat": "trr"}, "dcd or xtc"),
        ({"acceptance": "boltzmann"}, "Unknown acceptance 'boltzmann'"),
        ({"lag": None}, "No lag was given"),
        ({"lag": -1.0}, "positive"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        cases.hybrid_sampler(tmp_path / "run", **changes)
    with cases.hybrid_sampler(tmp_path / "good", reportInterval=7) as sampler:
        with pytest.raises(ValueError, match="Say when to stop"):
            sampler.run()
        with pytest.raises(ValueError, match="misses the ends of cycles"):
            sampler.run(valid_frames=1, max_cycles=10)
