"""HybridSampler with acceptance "metropolis": tables, densities, starts, resumption, averages."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import exact_cases
import numpy as np
import pytest
import sampling_cases as cases
from exact_cases import assert_same_run, frames

import atmos_openmm
from atmos_openmm.core.files import StorageError
from atmos_openmm.density import TorsionDensity
from atmos_openmm.jump.torsion_moves import MOVE_KINDS
from atmos_openmm.sampling import averages_of, read_exact_run, read_run
from atmos_openmm.sampling.exact_starts import Stereochemistry
from atmos_openmm.sampling.exact_storage import given_density, read_density_record
from atmos_openmm.systems.torsions import find_torsions

CYCLES = 20
NAMES = ("ALA2 phi", "ALA2 psi")


def torsions():
    topology, system, positions = cases.dipeptide()
    return find_torsions(topology, positions=positions, system=system)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with exact_cases.exact_sampler(folder, commitSeconds=1e9) as sampler:
        summary = sampler.run(cycles=CYCLES)
    return folder, summary


def test_the_tables_account_for_every_move_and_frame(whole):
    folder, summary = whole
    rows = read_exact_run(folder)
    assert (summary.cycles, summary.walkers, summary.complete) == (CYCLES, 2, True)
    for walker in range(2):
        mine = rows.moves["walker"] == walker
        assert (rows.moves["cycle"][mine] == np.arange(CYCLES)).all()
        # Moves fall due from the second cycle on, four at a time.
        proposed = rows.moves["proposed"][mine].sum(axis=1)
        assert proposed[0] == 0 and (proposed[1:] == 4).all()
        assert (rows.moves["accepted"] <= rows.moves["proposed"]).all()
        assert (rows.moves["hmc_accepted"] == -1).all()
        seen = rows.frames["walker"] == walker
        assert (rows.frames["frame"][seen] == np.arange(CYCLES)).all()
        assert (rows.frames["step"][seen] == 5 * np.arange(1, CYCLES + 1)).all()
        angles = torsions().measure(frames(folder, walker))
        turned = rows.frames["torsions"][seen] - angles
        # Trajectories are in single precision.
        assert np.abs((turned + np.pi) % (2 * np.pi) - np.pi).max() < 1e-4
        np.testing.assert_array_equal(rows.torsions()[walker], rows.frames["torsions"][seen])
    moves = summary.averages.moves
    assert sum(counts[0] for counts in moves.values()) == 2 * 4 * (CYCLES - 1)
    assert set(moves) <= set(MOVE_KINDS) and rows.counts() == moves
    assert summary.frames == 2 * CYCLES
    assert summary.md_ps == pytest.approx(2 * CYCLES * 5 * cases.STEP_PS)
    text = str(summary)
    assert "each of weight 1" in text and "uniform" in text and "ALA2 phi, psi  beta/PPII" in text


def test_walkers_start_in_different_basins(whole):
    assert read_density_record(whole[0])["starts"] == ["given", "drawn"]
    first = read_exact_run(whole[0]).torsions()[:, 0]
    apart = np.abs((first[0] - first[1] + np.pi) % (2 * np.pi) - np.pi)
    assert np.degrees(apart).max() > 60


def test_walkers_of_one_start_are_warned_of(tmp_path):
    with exact_cases.exact_sampler(tmp_path / "same", starts="given") as sampler:
        warnings = sampler.run(cycles=12).averages.warnings
    assert "all walkers started from one conformation" in warnings[0]
    start = cases.dipeptide()[2]
    apart = np.stack([start, torsions().rotated(start, {1: 2.0})])
    with exact_cases.exact_sampler(tmp_path / "apart", positions=apart) as sampler:
        warnings = sampler.run(cycles=12).averages.warnings
    assert read_density_record(tmp_path / "apart")["starts"] == ["given", "given"]
    assert "one conformation" not in " ".join(warnings)


def test_populations_are_those_of_the_potential(tmp_path):
    """Bonds, angles and a potential of phi alone: P(phi > 0) is an integral over one angle."""
    height = 3.0  # kJ/mol
    _, system, _, _ = exact_cases.system_of_phi(height)
    with exact_cases.exact_sampler(
        tmp_path / "run", system=system, walkers=4, stepSize=0.001, commitSeconds=1e9
    ) as sampler:
        averages = sampler.run(cycles=3000).averages
    grid = np.linspace(-np.pi, np.pi, 100000, endpoint=False)
    weights = np.exp(-height * (1 - np.cos(grid + 0.8)) / (8.31446e-3 * 300))
    expected = weights[grid > 0].sum() / weights.sum()
    left = next(basin for basin in averages.basins if basin.basin == "phi>0")
    assert 0.15 < expected < 0.3 and left.error < 0.012
    assert abs(left.population - expected) < 3 * left.error
    # psi is free: alpha-R takes half of phi < 0, by 180 degrees of 360.
    alpha = next(basin for basin in averages.basins if basin.basin == "alpha-R")
    assert abs(alpha.population - (1 - expected) / 2) < 3 * alpha.error
    assert left.r_hat < 1.05 and left.walkers == (0, 1, 2, 3)


def test_run_json_names_what_is_sampled(whole):
    document = json.loads((whole[0] / "run.json").read_text())
    settings = document["settings"]
    assert settings["torsions"] == list(NAMES) and settings["density"] == "uniform"
    assert settings["acceptance"] == "metropolis" and settings["moves"] == 4
    assert "cis and a trans" in " ".join(document["notes"]["left_to_dynamics"])


def test_averages_are_those_of_the_folder(whole):
    folder, summary = whole
    with exact_cases.exact_sampler(folder) as sampler:
        assert sampler.cycle == CYCLES
        averages = sampler.averages()
    assert averages == summary.averages == averages_of(folder)
    assert averages.frames == CYCLES - 2 and averages.discarded == 2
    assert averages_of(folder, discard=0).frames == CYCLES
    assert sum(basin.population for basin in averages.basins) == pytest.approx(1)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-W", "ignore", exact_cases.__file__, str(folder), str(10**6)]
    paths = (Path(atmos_openmm.__file__).parents[1], Path(exact_cases.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.split() == ["cycle", "6"]:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    with exact_cases.exact_sampler(folder) as sampler:
        assert 5 <= sampler.cycle < CYCLES
        summary = sampler.run(cycles=CYCLES)
    assert summary.complete
    assert_same_run(whole[0], folder)


def test_a_run_is_stopped_and_made_longer(whole, tmp_path):
    folder = tmp_path / "run"
    with exact_cases.exact_sampler(folder, commitSeconds=1e9) as sampler:
        lines = []
        summary = sampler.run(
            cycles=CYCLES,
            progress=lambda p: (lines.append(p.line()), sampler.stop() if p.cycle == 3 else None),
        )
        assert not summary.complete and "Stopped at cycle 3 of 20" in str(summary)
        assert sampler.run(cycles=CYCLES).complete
    assert "cycle 3/20  accepted" in lines[2] and "of 16 moves" in lines[2]
    assert_same_run(whole[0], folder)


def test_a_run_of_series_is_stopped_and_goes_on(tmp_path):
    changes = {"trials": 7, "moves": 2}
    with exact_cases.exact_sampler(tmp_path / "whole", **changes) as sampler:
        summary = sampler.run(cycles=CYCLES)
    folder = tmp_path / "parts"
    for cycles in (3, CYCLES):
        with exact_cases.exact_sampler(folder, **changes) as sampler:
            sampler.run(cycles=cycles)
    assert_same_run(tmp_path / "whole", folder)
    moves = dict(summary.averages.moves)
    assert summary.averages.tested == moves.pop("series")
    assert summary.averages.tested[0] == 2 * 2 * (CYCLES - 1)
    assert sum(tried for tried, _ in moves.values()) == 7 * summary.averages.tested[0]
    assert "trials by kind" in str(summary)


def test_the_density_is_adapted_once(tmp_path):
    folder, told = tmp_path / "run", []
    changes = {"adapt": 70, "moves": 10}
    with exact_cases.exact_sampler(folder, preparing=told.append, **changes) as sampler:
        assert sampler.run(cycles=4).averages.setup_seconds > 0
    assert told[-1].line().startswith("adapting 70/70")
    record = read_density_record(folder)["adaptation"]
    assert [each["cycles"] for each in record["rounds"]] == [10, 20, 40]
    before, after = given_density(folder), TorsionDensity.load(folder / "density.safetensors")
    assert len(before.blocks[0].means) == 0 and len(after.blocks[0].means) > 0
    told.clear()
    with exact_cases.exact_sampler(folder, preparing=told.append, **changes) as sampler:
        assert sampler.cycle == 4
        sampler.run(cycles=6)
    assert told == []
    # The same in one go: the adaptation is part of what is repeated to the bit.
    with exact_cases.exact_sampler(tmp_path / "other", **changes) as sampler:
        sampler.run(cycles=6)
    assert_same_run(folder, tmp_path / "other")


def test_a_replaced_density_is_noticed(tmp_path):
    folder = tmp_path / "run"
    with exact_cases.exact_sampler(folder) as sampler:
        sampler.run(cycles=1)
    density = TorsionDensity.from_angles(
        np.random.default_rng(1).normal(0, 0.3, (100, 2)), NAMES, (2,), (-1,)
    )
    density.save(folder / "density.safetensors")
    with pytest.raises(StorageError, match="not the density that the run was made with"):
        exact_cases.exact_sampler(folder)
    # Another density for the same folder is another run.
    density.save(tmp_path / "mine.safetensors")
    with pytest.raises(
        StorageError, match=r"density: 'uniform' there, 'file mine.safetensors' now"
    ):
        exact_cases.exact_sampler(folder, density=tmp_path / "mine.safetensors")
    with exact_cases.exact_sampler(tmp_path / "run2", density=density) as sampler:
        assert sampler.run(cycles=2).density["source"] == "given"


def test_a_damaged_record_of_the_density_is_named(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "copy")
    for text in ("", "{", "[1, 2]", "\x00"):
        (folder / "density.json").write_text(text)
        with pytest.raises(StorageError, match="density.json is damaged"):
            averages_of(folder)
    (folder / "density.json").unlink()
    assert averages_of(folder).basins == averages_of(whole[0]).basins


def test_the_density_of_a_model_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ATMOS_CACHE", str(tmp_path / "cache"))
    module, told = cases.phi_module(width=2.0), []
    changes = {"lag": 50.0, "preparing": told.append}
    with exact_cases.exact_sampler(tmp_path / "run", module, **changes) as sampler:
        assert sampler.run(cycles=2).density["source"] == "model module"
    assert told[-1].line().startswith("model frames 1000/1000")
    told.clear()
    monkeypatch.setenv("ATMOS_CACHE", str(tmp_path / "another"))
    with exact_cases.exact_sampler(tmp_path / "run", module, **changes) as sampler:
        assert sampler.run(cycles=3).complete
    assert told == []


def test_hmc_tests_every_trajectory(tmp_path):
    folder = tmp_path / "run"
    with exact_cases.exact_sampler(folder, dynamics="hmc", reportInterval=10) as sampler:
        summary = sampler.run(cycles=CYCLES)
    rows = read_exact_run(folder)
    assert set(np.unique(rows.moves["hmc_accepted"])) <= {0, 1}
    proposed, accepted = summary.averages.trajectories
    assert proposed == 2 * CYCLES and accepted == (rows.moves["hmc_accepted"] == 1).sum() > 0
    assert "HMC trajectories" in str(summary)
    with pytest.raises(ValueError, match="multiple of the jump interval"):
        exact_cases.exact_sampler(tmp_path / "other", dynamics="hmc", reportInterval=7)


def test_what_an_exact_run_is_not_asked(whole, tmp_path):
    with exact_cases.exact_sampler(whole[0]) as sampler:
        with pytest.raises(ValueError, match="no valid generated frames"):
            sampler.run(valid_frames=3, max_cycles=100)
        with pytest.raises(ValueError, match="no valid generated frames"):
            sampler.writeValidFrames()
    with pytest.raises(StorageError, match="holds a Metropolis run, not a hybrid run"):
        read_run(whole[0])
    with cases.hybrid_sampler(tmp_path / "filter") as sampler:
        sampler.run(cycles=1)
        with pytest.raises(ValueError, match="'filter' has no averages"):
            sampler.averages()
    with pytest.raises(StorageError, match="holds a hybrid run, not a Metropolis run"):
        read_exact_run(tmp_path / "filter")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"moves": 0}, "moves is 0"),
        ({"adapt": -1}, "adapt is -1"),
        ({"adapt": 3}, "too few for a density"),
        ({"dynamics": "verlet"}, "Unknown dynamics 'verlet'; use langevin or hmc"),
        ({"starts": "random"}, "Unknown starts 'random'"),
        ({"moveShares": {"some": 1}}, "some"),
        ({"density": "model"}, "needs a propagator"),
        ({"density": TorsionDensity.uniform(["VAL2 chi1"], [1], [-1])}, "another molecule"),
        ({"acceptance": "filter"}, "needs a propagator"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        exact_cases.exact_sampler(tmp_path / "run", **changes)


def test_dynamics_that_breaks_down_is_not_made_again(tmp_path):
    folder = tmp_path / "run"
    with exact_cases.exact_sampler(folder, equilibrationSteps=0) as sampler:
        sampler.run(cycles=2)
        for walker in sampler.walkers:
            walker.integrator.setStepSize(0.5)
        with pytest.raises(ValueError, match="broke down after step"):
            sampler.run(cycles=50)
    assert len(read_exact_run(folder).moves["cycle"]) >= 4


def test_stereochemistry_is_compared():
    topology, _, positions = cases.dipeptide()
    same = Stereochemistry(topology, torsions(), positions)
    assert same.is_kept(positions)
    assert same.is_kept(torsions().rotated(positions, {0: 2.0, 1: -1.0}))
    assert not same.is_kept(positions * [1, 1, -1])
    stretched = np.array(positions)
    stretched[0] += 0.1
    assert not same.is_kept(stretched)
    # A cis amide: what is left of C in ACE is turned about C-N.
    atoms = {(a.residue.name, a.name): a.index for a in topology.atoms()}
    c, n = atoms["ACE", "C"], atoms["ALA", "N"]
    axis = (positions[n] - positions[c]) / np.linalg.norm(positions[n] - positions[c])
    cis = np.array(positions)
    for atom in topology.atoms():
        if atom.residue.name == "ACE":
            arm = positions[atom.index] - positions[c]
            cis[atom.index] = positions[c] + 2 * axis * (arm @ axis) - arm
    assert not same.is_kept(cis)
