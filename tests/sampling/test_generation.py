"""Valid frames in a number: what is written, budgets, restarts, resumption, the command."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np
import pytest
import sampling_cases as cases
from rollout_cases import SEED, bound

from atmos_openmm.cli import main
from atmos_openmm.core.files import StorageError
from atmos_openmm.core.settings import read_settings
from atmos_openmm.sampling import Generation, read_generation, read_rollout
from atmos_openmm.validation import EnergyReference, EnergyValidator

DCD_HEADER_BYTES = 276


def judged(limit_kj=None, **options):
    """A validator of the dipeptide; the window may end at a given energy."""
    topology, system, _ = cases.dipeptide()
    reference = None
    if limit_kj is not None:
        energies = np.array([limit_kj - 7.0, limit_kj - 5.0] * 20)
        sd = energies.std(ddof=1)
        reference = EnergyReference(energies - (energies.mean() + 6 * sd - limit_kj), "made up")
    return EnergyValidator(
        topology, system, reference=reference, **{"relaxationIterations": 0, **options}
    )


def generation(folder, validator, **changes):
    topology, _, positions = cases.dipeptide()
    arguments = {
        "temperature": 300.0,
        "lag": 50.0,
        "walkers": 2,
        "seed": SEED,
        "commitSeconds": 0.0,
        **changes,
    }
    return Generation(topology, positions, bound("torsion"), folder, validator, **arguments)


def frames(folder, walker=0):
    path = Path(folder) / f"trajectory_{walker:04d}.dcd"
    return mdtraj.load(str(path), top=str(Path(folder) / "topology.pdb")).xyz


@pytest.fixture(scope="module")
def limit():
    """An energy that some of the frames are above."""
    _, _, positions = cases.dipeptide()
    return judged().validate(positions).energies.constrained_kj_per_mol + 5.0


def test_all_that_is_written_is_valid_and_all_draws_are_in_the_table(tmp_path, limit):
    validator = judged(limit)
    with generation(tmp_path, validator) as made:
        summary = made.generate(8, maxDraws=500)
    assert summary.complete and summary.valid == 8
    table = read_generation(tmp_path)
    assert len(table["frame"]) == summary.draws and table["written"].sum() == 8
    assert (table["verdict"][table["written"]] == "valid").all()
    assert (table["reason"] == "energy").any()
    assert set(table["verdict"]) >= {"valid", "invalid"}
    over = table["energy_kj_per_mol"] > table["window_limit_kj_per_mol"]
    assert (table["reason"][over] != "accepted").all()
    for walker in range(2):
        written = frames(tmp_path, walker)
        assert len(written) == 4
        assert all(validator.validate(x).verdict == "valid" for x in written)
    settings = read_settings(tmp_path)
    assert settings["kind"] == "generation" and settings["energy_window"] == 6
    assert "valid frames" in str(summary) and "energy" in str(summary)
    with pytest.raises(StorageError, match="holds a generation, not a rollout"):
        read_rollout(tmp_path)


def test_a_budget_ends_it_with_the_reason_and_more_goes_on(tmp_path, limit):
    with generation(tmp_path / "one", judged(limit)) as made:
        short = made.generate(8, maxDraws=6)
    assert not short.complete and short.draws <= 7
    assert "budget of 6 draws" in short.message and "failed most often" in short.message
    with generation(tmp_path / "one", judged(limit)) as made:
        assert made.generate(8, maxDraws=500).complete
    with generation(tmp_path / "whole", judged(limit)) as made:
        made.generate(8, maxDraws=500)
    for name in ("trajectory_0000.dcd", "trajectory_0001.dcd"):
        left, right = ((tmp_path / f / name).read_bytes() for f in ("one", "whole"))
        assert left[DCD_HEADER_BYTES:] == right[DCD_HEADER_BYTES:]
    tables = [(tmp_path / f / "frames.csv").read_bytes() for f in ("one", "whole")]
    assert tables[0] == tables[1]


def test_another_window_in_the_same_folder_is_refused(tmp_path, limit):
    with generation(tmp_path, judged(limit)) as made:
        made.generate(2, maxDraws=100)
    with pytest.raises(StorageError, match="reference_sha256"):
        generation(tmp_path, judged(limit + 1))


def test_a_walker_that_finds_nothing_goes_back_to_its_start(tmp_path, limit):
    """A window that no frame is in: every third draw begins anew, until the budget ends."""
    with generation(tmp_path, judged(limit - 500), maxAttempts=3, walkers=1) as made:
        summary = made.generate(1, maxDraws=10)
    assert (summary.valid, summary.draws, summary.restarts) == (0, 10, 3)
    assert not read_generation(tmp_path)["written"].any()


def test_relaxed_frames_are_written_relaxed(tmp_path, limit):
    strict = judged(limit, relaxationIterations=80)
    with generation(tmp_path, strict, accept="relaxed", walkers=1) as made:
        assert made.generate(3, maxDraws=100).complete
    table = read_generation(tmp_path)
    chosen = table["written"]
    assert "valid after relaxation" in set(table["verdict"][chosen])
    check = judged(limit)
    assert all(check.validate(x).verdict == "valid" for x in frames(tmp_path))
    assert (table["reason"][chosen] == "accepted").all()


def test_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match="accept is 'all'"):
        generation(tmp_path, judged(), accept="all")
    with generation(tmp_path, judged()) as made, pytest.raises(ValueError, match="at most 0"):
        made.generate(1, maxDraws=0)


def test_the_command_says_whether_it_is_complete(tmp_path, capsys):
    arguments = ["generate", "--sequence", "ACE-ALA-NME", "--seed", "3", "--no-relax"]
    arguments += ["--forcefield", "amber14-all.xml", "-o", str(tmp_path / "run")]
    assert main([*arguments, "--valid", "2"]) == 0
    assert "2 of 2" in capsys.readouterr().out
    assert main([*arguments, "--valid", "40", "--max-draws", "3"]) == 1
    streams = capsys.readouterr()
    assert "Going on" in streams.err
    assert "budget of 3 draws" in streams.out and "--max-draws" in streams.out
    assert (tmp_path / "run" / "frames.csv").read_text().startswith("frame,walker,attempt")
    both = ["--system", "a.xml"]
    assert main([*arguments, "--valid", "1", *both]) == 2
