"""`atmos-openmm simulate`: replica exchange, files, resumption after kill -9, errors."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
from click.testing import CliRunner
from openmm import app, unit

import atmos_openmm
from atmos_openmm.commands.simulate import command
from atmos_openmm.core.constants import GAS_CONSTANT_KJ_PER_MOL_K
from atmos_openmm.core.settings import SettingsMismatchError
from atmos_openmm.simulate.chunks import ChunkStore
from atmos_openmm.simulate.exchange import exchange, swap_probability
from atmos_openmm.simulate.packing import PackedSystem
from atmos_openmm.simulate.plan import RunPlan
from atmos_openmm.simulate.replicas import Replicas, ReplicaState
from atmos_openmm.simulate.simulation import SimulationUnstableError, simulate
from atmos_openmm.simulate.simulation_settings import SimulationSettings
from atmos_openmm.systems.inputs import read_structure
from atmos_openmm.systems.peptides import (
    BASINS,
    alpha_handedness,
    backbone_torsions,
    build_peptide,
    parse_sequence,
    set_backbone,
)
from atmos_openmm.trajectories.layout import TrajectoryFile

PROTEIN = "amber14/protein.ff14SB.xml"  # amber14-all without nucleic acids and lipids
VACUUM = dict(forcefield=(PROTEIN,), platform="Reference")
ARGUMENTS = ["--sequence", "ACE-ALA-NME", "--forcefield", PROTEIN, "--platform", "Reference"]


@functools.cache
def _alanine() -> tuple[app.Topology, np.ndarray]:
    return build_peptide("ACE-ALA-NME")


def _run(out: Path, progress=None, **settings) -> Path:
    topology, positions = _alanine()
    return simulate(
        topology,
        positions,
        out,
        SimulationSettings(**{**VACUUM, **settings}),
        "ACE-ALA-NME",
        progress=progress,
    )


# --- the exchange itself --------------------------------------------------------------------------


def _springs(copies: int, temperatures: tuple[float, ...]) -> Replicas:
    """Two particles on a spring, whose energies have a known distribution."""
    single = mm.System()
    for _ in range(2):
        single.addParticle(10.0)
    spring = mm.HarmonicBondForce()
    spring.addBond(0, 1, 0.0, 1000.0)
    single.addForce(spring)
    packed = PackedSystem(single, 1, 2, np.zeros((1, 3)), 1.0)
    settings = SimulationSettings(
        mode="exchange", temperatures=temperatures, copies=copies, platform="Reference"
    )
    return Replicas(settings, single, packed, 1)


def test_exchange_keeps_the_distribution_of_every_temperature():
    """Draws from the Boltzmann distributions stay draws from them, however often they change."""
    temperatures = (300.0, 400.0, 520.0)
    copies, rounds = 1000, 4
    replicas = _springs(copies, temperatures)
    rng = np.random.default_rng(3)
    kt = GAS_CONSTANT_KJ_PER_MOL_K * np.array(temperatures)
    # Each component of the spring's length is normal with variance kT/k; its energy averages 3/2 kT
    # with variance 3/2 (kT)^2. Velocities: each component has variance kT/m.
    positions = np.zeros((3, copies, 2, 3))
    positions[:, :, 1] = rng.normal(size=(3, copies, 3)) * np.sqrt(kt / 1000.0)[:, None, None]
    velocities = rng.normal(size=(3, copies, 2, 3)) * np.sqrt(kt / 10.0)[:, None, None, None]
    state = ReplicaState.fresh(positions, velocities)
    for round_number in range(rounds):
        exchange(replicas, state, round_number % 2, rng)
    assert state.attempted.tolist() == [copies * rounds // 2] * 2
    assert 0.3 < (state.accepted / state.attempted).min() < 1.0
    assert np.all(np.sort(state.walkers, axis=0) == np.arange(3)[:, None])
    energy = replicas.potential_energies(state.positions_nm)
    kinetic = 5.0 * (state.velocities**2).sum(axis=(2, 3))
    for found, degrees in ((energy, 3), (kinetic, 6)):
        mean, sd = degrees / 2 * kt, np.sqrt(degrees / 2) * kt
        assert np.all(np.abs(found.mean(axis=1) - mean) < 4.0 * sd / np.sqrt(copies))
    # The test can fail: with the criterion turned round the mean is far outside.
    worse = energy.copy()
    low, high = worse[0], worse[1]
    swap = rng.random(copies) < swap_probability(replicas.beta[1], replicas.beta[0], low, high)
    moved = np.where(swap, high, low).mean()
    assert abs(moved - 1.5 * kt[0]) > 4.0 * np.sqrt(1.5) * kt[0] / np.sqrt(copies)


def test_swap_probability_is_metropolis():
    p = swap_probability(0.4, 0.3, np.array([-100.0, -90.0]), np.array([-90.0, -100.0]))
    np.testing.assert_allclose(p, [np.exp(-1.0), 1.0])


def test_round_trips_are_counted():
    replicas = _springs(1, (300.0, 400.0))
    x = np.zeros((2, 1, 2, 3))
    state = ReplicaState.fresh(x, x.copy())
    for _ in range(4):  # equal energies: every swap is taken
        exchange(replicas, state, 0, np.random.default_rng(0))
    # Walker 1 comes down in swap 1, up in 2, down in 3: a trip. Walker 0 in swaps 2 and 4.
    assert state.accepted.tolist() == [4]
    assert state.round_trips.tolist() == [2]


# --- whole runs -----------------------------------------------------------------------------------


def test_exchange_run_writes_every_temperature_and_ladder(tmp_path: Path):
    lines: list[str] = []
    out = _run(
        tmp_path / "x.h5",
        lambda line, last: lines.append(line),
        mode="exchange",
        temperatures=(300.0, 450.0),
        copies=4,
        length_ps=1.0,
        interval_ps=0.1,
        exchange_interval_ps=0.05,
        burn_in_ps=0.2,
        hot_ps=0.1,
        chunk_ps=0.4,
    )
    with TrajectoryFile(out) as file:
        assert [(t.temperature_kelvin, t.attributes["ladder"]) for t in file.trajectories] == [
            (t, m) for t in (300.0, 450.0) for m in range(4)
        ]
        assert {t.kind for t in file.trajectories} == {"exchange"}
        # 450 K runs with 3 fs: 17 steps in each block of 0.05 ps.
        np.testing.assert_allclose(file.trajectories[0].time_ps, 0.048 * 2 * np.arange(1, 11))
        np.testing.assert_allclose(file.trajectories[4].time_ps, 0.051 * 2 * np.arange(1, 11))
        # 0.2 and 1.0 ps in blocks of 0.05 ps, every one of them with an attempt in one of two
        # parities; only parity 0 has a pair.
        assert file.exchange["attempted"].tolist() == [4 * 12]
        assert 0 < file.exchange["accepted"][0] <= 48
        settings = file.settings
        assert settings["simulation"]["copies"] == 4 and settings["timestep_fs"] == [4.0, 3.0]
        topology = file.topology
        for trajectory in file.trajectories:
            for x in trajectory.positions():
                assert alpha_handedness(topology, x).tolist() == [1.0]
        one, two = (file.trajectories[k].positions() for k in (0, 1))
        assert not np.array_equal(one, two)
        assert file.system.getNumParticles() == topology.getNumAtoms()
    assert not (tmp_path / "x.h5.partial").exists()
    assert any("left" in line for line in lines) and "wrote" in lines[-1]


def test_dynamics_starts_in_the_basins_and_has_the_right_temperature(tmp_path: Path):
    copies = 16
    out = _run(
        tmp_path / "x.h5",
        copies=copies,
        length_ps=3.0,
        interval_ps=0.1,
        burn_in_ps=0.0,
        chunk_ps=1.0,
        temperatures=(300.0,),
        starts=("beta", "alphaL"),
    )
    with TrajectoryFile(out) as file:
        phis = []
        for trajectory in file.trajectories:
            assert trajectory.kind == "dynamics" and len(trajectory) == 30
            phi, _ = backbone_torsions(file.topology, trajectory.positions(0))
            phis.append((trajectory.start, bool(phi[0] > 0)))
        assert phis == [("beta", False), ("alphaL", True)] * (copies // 2)
        single = file.system
        frames = np.stack([t.positions(slice(10, None)) for t in file.trajectories])
        constraints = [single.getConstraintParameters(i) for i in range(single.getNumConstraints())]
    for i, j, length in constraints:
        wanted = length.value_in_unit(unit.nanometer)
        found = np.linalg.norm(frames[:, :, i] - frames[:, :, j], axis=-1)
        # The integrator's constraint tolerance is 1e-5, relative.
        assert np.abs(found / wanted - 1.0).max() < 2e-5


def test_velocities_of_a_run_have_the_temperature_they_should(tmp_path: Path):
    """The kinetic energy of the packed Contexts, from the state that a chunk keeps."""
    topology, positions = _alanine()
    settings = SimulationSettings(
        **VACUUM,
        mode="exchange",
        temperatures=(300.0, 420.0),
        copies=16,
        length_ps=1.0,
        interval_ps=0.1,
        exchange_interval_ps=0.1,
        burn_in_ps=0.5,
        chunk_ps=0.1,
        starts=("beta",),
    )
    kinetic: list[np.ndarray] = []
    original = ChunkStore.append

    def spy(self, number, arrays):
        original(self, number, arrays)
        if arrays["mode"] == "exchange" and "frames" in arrays:
            kinetic.append(0.5 * (mass[:, None] * arrays["state_velocities"] ** 2).sum((2, 3)))

    forcefield = app.ForceField(PROTEIN)
    single = forcefield.createSystem(
        topology, constraints=app.HBonds, hydrogenMass=1.5 * unit.dalton
    )
    mass = np.array(
        [
            single.getParticleMass(i).value_in_unit(unit.dalton)
            for i in range(single.getNumParticles())
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkStore, "append", spy)
        simulate(topology, positions, tmp_path / "x.h5", settings, "x")
    degrees = 3 * len(mass) - single.getNumConstraints()
    samples = np.stack(kinetic)  # [chunks, T, M]
    assert samples.shape == (10, 2, 16)
    found = samples.mean(axis=(0, 2)) / (0.5 * GAS_CONSTANT_KJ_PER_MOL_K * degrees)
    # Copies are independent; samples of a copy 0.1 ps apart are correlated over about 1 ps (the
    # friction), so that a copy counts for one sample at least. 4 standard errors, and 1 % for the
    # time step of 4 fs.
    error = np.sqrt(2.0 / (degrees * 16))
    assert np.all(np.abs(found / np.array([300.0, 420.0]) - 1.0) < 4.0 * error + 0.01)


@pytest.mark.parametrize(
    ("settings", "blocks"),
    [
        (dict(interval_ps=10.0, length_ps=50.0), (1.0, 10, 1)),
        (dict(interval_ps=0.25), (0.25, 1, 1)),
        (
            dict(
                mode="exchange",
                temperatures=(300.0, 400.0),
                interval_ps=4.0,
                exchange_interval_ps=2.0,
            ),
            (1.0, 4, 2),
        ),
        (
            dict(
                mode="exchange",
                temperatures=(300.0, 400.0),
                interval_ps=0.5,
                exchange_interval_ps=1.0,
            ),
            (0.5, 1, 2),
        ),
    ],
)
def test_copies_are_recentred_every_picosecond_at_least(settings: dict, blocks: tuple):
    plan = RunPlan.of(SimulationSettings(**settings))
    found = plan.block_ps, plan.frame_blocks, plan.exchange_blocks
    assert found == pytest.approx(blocks)


def test_copies_of_a_long_block_stay_apart(tmp_path: Path):
    """Frames far apart: the trajectories are whole molecules, with the time that was asked for."""
    out = _run(
        tmp_path / "x.h5", copies=3, length_ps=4.0, interval_ps=2.0, burn_in_ps=0.0, chunk_ps=10.0
    )
    with TrajectoryFile(out) as file:
        for trajectory in file.trajectories:
            np.testing.assert_allclose(trajectory.time_ps, [2.0, 4.0])
            assert np.abs(trajectory.positions()).max() < 1.0


def test_both_modes_go_into_one_file(tmp_path: Path):
    out = _run(
        tmp_path / "x.h5",
        mode="both",
        temperatures=(300.0, 400.0),
        copies=2,
        length_ps=0.2,
        interval_ps=0.1,
        exchange_interval_ps=0.1,
        burn_in_ps=0.1,
        chunk_ps=1.0,
    )
    with TrajectoryFile(out) as file:
        assert [t.kind for t in file.trajectories] == ["dynamics"] * 4 + ["exchange"] * 4


def test_a_finished_run_is_not_repeated_and_not_overwritten(tmp_path: Path):
    settings = dict(copies=1, length_ps=0.1, interval_ps=0.1, burn_in_ps=0.0)
    out = _run(tmp_path / "x.h5", **settings)
    before = out.read_bytes()
    lines: list[str] = []
    _run(out, lambda line, last: lines.append(line), **settings)
    assert "complete already" in lines[0]
    with pytest.raises(SettingsMismatchError, match="seed: 1 there, 2 now"):
        _run(out, seed=2, **settings)
    assert out.read_bytes() == before


def test_kill_minus_nine_loses_nothing_that_was_committed(tmp_path: Path):
    out = tmp_path / "x.h5"
    arguments = [
        sys.executable,
        "-m",
        "atmos_openmm.cli",
        "simulate",
        *ARGUMENTS,
        "--out",
        str(out),
        "--copies",
        "2",
        "--length-ps",
        "1.5",
        "--interval-ps",
        "0.1",
        "--burn-in-ps",
        "0",
        "--chunk-ps",
        "0.1",
    ]
    partial = tmp_path / "x.h5.partial"
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300.0
    while not (partial / "chunk-000002.npz").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = {p.name: p.read_bytes() for p in partial.glob("chunk-*.npz")}
    assert 3 <= len(kept) < 15
    # What a kill in the middle of a write leaves behind.
    (partial / f"chunk-{len(kept):06d}.npz.writing").write_bytes(b"half")
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"going on after {0.1 * len(kept):g} ps" in done.stderr
    with TrajectoryFile(out) as file:
        assert [len(t) for t in file.trajectories] == [15, 15]
        # The committed frames are in the file as they were, and the run went on from the last one.
        for m, trajectory in enumerate(file.trajectories):
            x = trajectory.positions()
            for name, content in kept.items():
                number = int(name[6:12])
                (tmp_path / "chunk.npz").write_bytes(content)
                with np.load(tmp_path / "chunk.npz") as chunk:
                    frame = chunk["frames"][0, 0, m]
                np.testing.assert_allclose(x[number], frame, atol=1e-6)
            steps = np.sqrt(((x[1:] - x[:-1]) ** 2).sum(-1).mean(-1))
            # Nothing jumps at the seam: a frame is as far from the next as anywhere else.
            assert steps[len(kept) - 1] < 2.0 * steps.max(
                initial=0.0, where=np.arange(14) != len(kept) - 1
            )
    assert not partial.exists()


def test_other_settings_do_not_mix_with_an_unfinished_run(tmp_path: Path):
    settings = SimulationSettings(**VACUUM, copies=2)
    from dataclasses import asdict

    store = ChunkStore(tmp_path / "x.h5.partial", {**asdict(settings), "name": "ACE-ALA-NME"})
    with pytest.raises(OSError, match="Another process is running"):
        _run(tmp_path / "x.h5", copies=2)
    store.close()
    with pytest.raises(SettingsMismatchError, match="copies: 2 there, 3 now"):
        _run(tmp_path / "x.h5", copies=3)


def test_a_damaged_chunk_is_named(tmp_path: Path):
    store = ChunkStore(tmp_path / "p", {})
    store.append(0, {"x": np.zeros(100)})
    path = tmp_path / "p" / "chunk-000000.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="chunk-000000.npz is damaged"):
        store.load(0)
    store.close()


def test_a_full_disk_keeps_what_was_committed(tmp_path: Path):
    """A limit on the size of files stands for the disk: the write itself fails, as there."""
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from atmos_openmm.simulate.chunks import ChunkStore\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "store = ChunkStore(Path(sys.argv[1]), {})\n"
        "store.append(0, {'x': np.zeros(100)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "try:\n"
        "    store.append(1, {'x': np.zeros(100000)})\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "p")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 chunks before it are safe" in done.stdout
    assert sorted(p.name for p in (tmp_path / "p").glob("chunk*")) == ["chunk-000000.npz"]


def test_dynamics_that_blows_up_is_explained(tmp_path: Path):
    with pytest.raises(SimulationUnstableError, match="blew up 3 times at 300 K"):
        _run(
            tmp_path / "x.h5",
            copies=1,
            length_ps=2.0,
            interval_ps=1.0,
            timestep_fs=40.0,
            burn_in_ps=0.0,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(mode="dream"), "Unknown mode"),
        (dict(temperatures=()), "at least one temperature"),
        (dict(temperatures=(400.0, 300.0)), "must increase"),
        (dict(mode="exchange"), "at least two temperatures"),
        (dict(copies=0), "at least 1"),
        (dict(length_ps=-1.0), "length_ps must be above zero"),
        (dict(burn_in_ps=float("nan")), "burn_in_ps"),
        (dict(seed=0), "between 1"),
        (dict(interval_ps=200.0), "stores none"),
        (
            dict(
                mode="exchange",
                temperatures=(300.0, 400.0),
                interval_ps=1.0,
                exchange_interval_ps=0.3,
            ),
            "multiples",
        ),
        (dict(starts=("gamma",)), "gamma"),
        (dict(timestep_fs=0.0), "timestep_fs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SimulationSettings(**change)


# --- the command ----------------------------------------------------------------------------------


def _invoke(*arguments: str) -> str:
    """Message of the error that a command line ends with."""
    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code != 0
    return result.output + str(result.exception)


def test_command_line_errors(tmp_path: Path):
    out = ["--out", str(tmp_path / "x.h5")]
    assert "either --sequence or --pdb" in _invoke(*out)
    assert "'FOO'" in _invoke(*out, "--sequence", "ACE-FOO-NME")
    assert "--caps goes with" in _invoke(*out, "--pdb", "x.pdb", "--caps")
    assert "no file nowhere.pdb" in _invoke(*out, "--pdb", "nowhere.pdb")
    assert "list of numbers" in _invoke(*out, "--sequence", "A", "--temperatures", "hot")
    blocked = tmp_path / "file"
    blocked.write_text("")
    message = _invoke("--out", str(blocked / "x.h5"), *ARGUMENTS, "--copies", "1")
    assert "Cannot write to the folder" in message and "Choose another" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_pdb_without_hydrogens_is_explained(tmp_path: Path):
    topology, positions = _alanine()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([a for a in modeller.topology.atoms() if a.element.symbol == "H"])
    path = tmp_path / "bare.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    message = _invoke("--out", str(tmp_path / "x.h5"), "--pdb", str(path), "--forcefield", PROTEIN)
    assert "ACE" in message and "missing 3 H atoms" in message
    assert not (tmp_path / "x.h5.partial").exists()


RUN = ("--forcefield", PROTEIN, "--platform", "Reference", "--copies", "2", "--length-ps", "0.01")
RUN += ("--interval-ps", "0.01", "--burn-in-ps", "0", "--starts", "as-given")


def _simulated(tmp_path: Path, path: Path):
    """What a short run of a structure file says, and where its atoms begin."""
    out = tmp_path / "x.h5"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = CliRunner().invoke(command, ["--pdb", str(path), "--out", str(out), *RUN])
    return result, [str(w.message) for w in told]


def test_a_structure_is_read_as_all_commands_read_it(tmp_path: Path):
    # Two locations of a methyl, A at 0.40 and B at 0.60: B is taken, and said.
    topology, positions = _alanine()
    path = tmp_path / "ala.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)
    lines = []
    for line in path.read_text().splitlines():
        if line[12:16].strip() == "CB" and line[17:20] == "ALA":
            for letter, occupancy in (("A", 0.4), ("B", 0.6)):
                lines.append(f"{line[:16]}{letter}{line[17:54]}{occupancy:6.2f}{line[60:]}")
        else:
            lines.append(line)
    path.write_text("\n".join(lines) + "\n")
    result, told = _simulated(tmp_path, path)
    assert result.exit_code == 0, result.output
    assert "Alternate location B is taken for ALA 2" in result.output and not told
    mirrored = tmp_path / "mirrored.cif"
    with open(mirrored, "w") as file:
        app.PDBxFile.writeFile(topology, positions * [1, 1, -1] * unit.nanometer, file)
    (tmp_path / "x.h5").unlink()
    result, told = _simulated(tmp_path, mirrored)
    assert result.exit_code == 0, result.output
    assert any("ALA 2" in text and "opposite hand" in text for text in told)


def test_a_ring_whose_names_are_swapped_is_refused(tmp_path: Path):
    topology, positions = build_peptide("ACE-PHE-NME")
    names = {a.name: a.index for a in topology.atoms() if a.residue.name == "PHE"}
    pair = [names["CD1"], names["CE2"]]
    positions[pair] = positions[pair[::-1]]
    path = tmp_path / "phe.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)
    result, _ = _simulated(tmp_path, path)
    assert result.exit_code != 0
    assert "PHE 2" in str(result.exception) and "are bonded, but 0.2" in str(result.exception)
    with pytest.raises(ValueError, match="CD1 of PHE 2.*are bonded, but 0.2"):
        read_structure(path)


def test_a_pdb_file_starts_as_given(tmp_path: Path):
    topology, positions = _alanine()
    given = set_backbone(topology, positions, *BASINS["alphaL"])
    path = tmp_path / "ala.pdb"
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, given * unit.nanometer, file)
    result = CliRunner().invoke(
        command,
        [
            "--pdb",
            str(path),
            "--out",
            str(tmp_path / "x.h5"),
            "--forcefield",
            PROTEIN,
            "--platform",
            "Reference",
            "--copies",
            "2",
            "--length-ps",
            "0.01",
            "--interval-ps",
            "0.01",
            "--burn-in-ps",
            "0",
            "--starts",
            "as-given",
        ],
    )
    assert result.exit_code == 0, result.output
    with TrajectoryFile(tmp_path / "x.h5") as file:
        assert file.name == "ala" and json.dumps(file.settings)
        assert {t.start for t in file.trajectories} == {"as-given"}
        # Two steps after a minimisation: in the basin that was given, not the built one (beta).
        phi, _ = backbone_torsions(file.topology, file.trajectories[0].positions(0))
        assert 0.5 < phi[0] < 1.8


def test_nothing_is_left_open_by_a_finished_run(tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))
    _run(tmp_path / "x.h5", copies=1, length_ps=0.01, interval_ps=0.01, burn_in_ps=0.0)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.parametrize(("what", "count"), [("", 16), ("held-out", 5), ("dynamics", 20)])
def test_the_script_behind_the_bundled_model_fits_the_command(
    tmp_path: Path, what: str, count: int
):
    """Every line of simulate.sh is one that the command takes, with its own seed and file."""
    script = Path(atmos_openmm.__file__).parent / "models" / "capped-amino-acids" / "simulate.sh"
    done = subprocess.run(
        ["sh", str(script), str(tmp_path), *what.split()],
        text=True,
        check=True,
        capture_output=True,
        env={**os.environ, "ATMOS": "echo", "JOBS": "1"},
    )
    seen = []
    for line in done.stdout.splitlines():
        options = command.make_context("simulate", line.split()[1:]).params
        assert parse_sequence(options["sequence"])[0] == "ACE"
        settings = {
            k: v for k, v in options.items() if k in SimulationSettings.__dataclass_fields__
        }
        SimulationSettings(**{**settings, "starts": tuple(options["starts"].split(","))})
        seen.append((options["seed"], options["out"]))
    assert len(seen) == count
    assert len({seed for seed, _ in seen}) == len({out for _, out in seen}) == count
