"""Training: it learns, it continues at its step after a kill, it exports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import openmm
import pytest
import torch
from model_support import TINY, peptide

from atmos_openmm.data.layout import TrajectoryData, write_trajectory_file
from atmos_openmm.model.export import load_model
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.checkpoint import load_checkpoint
from atmos_openmm.training.dataset import RolloutSampler, load_molecules
from atmos_openmm.training.export import export_checkpoint
from atmos_openmm.training.loop import (
    CHECKPOINT,
    LOG,
    Trainer,
    TrainingSettings,
    learning_rate_factor,
)
from atmos_openmm.training.losses import denoising_loss

SETTINGS = TrainingSettings(
    steps=6,
    rollouts=2,
    levels=2,
    validate_every=3,
    seed=5,
    model=TINY.to_dict(),
    lag_range_ps=(1.0, 8.0),
)


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """A small file of jittered frames: dynamics of four runs and one exchange temperature."""
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    rng = np.random.default_rng(0)
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)

    def run(kind: str, number: int) -> TrajectoryData:
        frames = positions_nm + 0.003 * rng.standard_normal((20, *positions_nm.shape))
        return TrajectoryData(frames, np.arange(1.0, 21.0), kind, 300.0, "beta", number)

    path = tmp_path_factory.mktemp("data") / "ala.h5"
    runs = [run("dynamics", k) for k in range(4)] + [run("exchange", 4)]
    write_trajectory_file(
        path, "ACE-ALA-NME", topology, openmm.XmlSerializer.serialize(system), {}, runs
    )
    return path


def test_dynamics_of_a_single_frame_is_refused(tmp_path) -> None:
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    path = tmp_path / "one.h5"
    one = TrajectoryData(positions_nm[None], np.array([1.0]), "dynamics", 300.0, "beta", 0)
    write_trajectory_file(
        path, "one", topology, openmm.XmlSerializer.serialize(openmm.System()), {}, [one]
    )
    with pytest.raises(ValueError, match="has 1 frame; a lag needs at least 2"):
        load_molecules([path])


def test_draws_are_functions_of_seed_and_step(data_file) -> None:
    train, valid = load_molecules([data_file], held_out=(3,))
    assert [len(m.dynamics) for m in train] == [3] and [len(m.dynamics) for m in valid] == [1]
    sampler = RolloutSampler(train, rollouts=3, lag_range_ps=(1.0, 8.0), seed=2)
    one, two = sampler.draw(17), sampler.draw(17)
    np.testing.assert_array_equal(one.positions_angstrom, two.positions_angstrom)
    assert (sampler.draw(18).positions_angstrom != one.positions_angstrom).any()


def test_rollouts_are_frames_of_the_trajectory_at_the_lag(data_file) -> None:
    train, _ = load_molecules([data_file])
    sampler = RolloutSampler(
        train, jumps=2, rollouts=4, lag_range_ps=(1.0, 8.0), exchange_fraction=0.0
    )
    for step in range(20):
        rollouts = sampler.draw(step)
        for b in range(4):
            found = []
            for frame in rollouts.positions_angstrom[:, b]:
                for number, run in enumerate(train[0].dynamics):
                    match = np.nonzero((run.positions_angstrom == frame).all((1, 2)))[0]
                    found += [(number, int(k)) for k in match]
            assert len({run for run, _ in found}) == 1
            np.testing.assert_allclose(np.diff([k for _, k in found]), rollouts.lag_ps[:, b])
    assert (np.abs(rollouts.positions_angstrom.mean(2)) < 1e-4).all()


def test_exchange_frames_get_lags_without_memory(data_file) -> None:
    train, _ = load_molecules([data_file])
    rollouts = RolloutSampler(train, rollouts=8, exchange_fraction=1.0).draw(0)
    assert (rollouts.lag_ps >= 1e3).all() and (rollouts.lag_ps <= 1e4).all()


def test_denoising_loss_of_a_network_that_answers_zero_is_one() -> None:
    """EDM's weights make the target of the preconditioned network of unit variance.

    With F = 0 the denoised frame is c_skip x, and the weighted error of data of variance
    sigma_data^2 is 1 at every noise level; the first estimate adds a quarter.
    """
    from atmos_openmm.model.atmos import AtmosModel
    from atmos_openmm.model.features import model_features

    features, _ = peptide()
    model = AtmosModel(TINY).eval()  # fresh: the last layers are zero, so F = 0
    static = model_features(features.tensors(), TINY)
    generator = torch.Generator().manual_seed(0)
    batch, atoms = 64, features.num_atoms
    target = TINY.sigma_data * torch.randn(batch, atoms, 3, generator=generator)
    target = target - target.mean(1, keepdim=True)
    with torch.no_grad():
        context = model.context(static)
        prepared = model.prepare(
            torch.zeros(batch, 3, model.c_s), torch.zeros(batch, 3, 3, model.c_z), context, static
        )
        loss = float(denoising_loss(model, target, prepared, static, 4, generator)) / 1.25
    # Centring takes one of 22 degrees of freedom; the error of a mean square over
    # 256 x 63 numbers is sqrt(2 / 16000) = 1.1 %, and five of those are allowed.
    assert loss == pytest.approx((atoms - 1) / atoms, abs=0.056)


def test_training_learns(data_file, tmp_path) -> None:
    settings = TrainingSettings(
        steps=60,
        rollouts=4,
        levels=4,
        warmup_steps=5,
        learning_rate=3e-3,
        validate_every=1000,
        seed=1,
        model=TINY.to_dict(),
        lag_range_ps=(1.0, 8.0),
    )
    trainer = Trainer([data_file], tmp_path, settings)
    losses = [trainer.train_step()["denoising"] for _ in range(60)]
    # A loss is the mean over 32 noisy frames of 66 numbers, whose spread between draws is about
    # 5 %: ten of them against five tell a fall of 15 % from chance by more than five sigma.
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:5])


def test_a_killed_run_continues_bitwise(data_file, tmp_path) -> None:
    whole = Trainer([data_file], tmp_path / "whole", SETTINGS)
    assert whole.run(report=lambda line: None)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from atmos_openmm.training.loop import Trainer, TrainingSettings\n"
        "import json\n"
        "settings = TrainingSettings(**json.loads(sys.argv[3]))\n"
        "t = Trainer([Path(sys.argv[1])], Path(sys.argv[2]), settings)\n"
        "for _ in range(2):\n    t.train_step()\n"
        "t.save()\n"
        "t.train_step()\n"
        "print('ready', flush=True)\n"
        "import time\ntime.sleep(60)\n"
    )
    settings = json.dumps(SETTINGS.to_dict())
    process = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            program,
            str(data_file),
            str(tmp_path / "cut"),
            settings,
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    continued = Trainer([data_file], tmp_path / "cut", SETTINGS)
    assert continued.step == 2
    continued.run(report=lambda line: None)
    one, state_one = load_checkpoint(tmp_path / "whole" / CHECKPOINT)
    two, state_two = load_checkpoint(tmp_path / "cut" / CHECKPOINT)
    assert state_one["step"] == state_two["step"] == 6
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_log_and_export(data_file, tmp_path) -> None:
    trainer = Trainer([data_file], tmp_path / "run", SETTINGS)
    trainer.run(report=lambda line: None)
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6] and all("held_out" in row for row in rows)
    declared = export_checkpoint(
        tmp_path / "run",
        tmp_path / "out.atmos",
        name="out",
        trained_on="jitter",
        sampler={"steps": 3},
    )
    loaded = load_model(tmp_path / "out.atmos")
    assert loaded.capabilities == declared
    assert loaded.capabilities.elements == [1, 6, 7, 8]
    assert loaded.capabilities.residues == ["ACE", "ALA", "NME"]
    assert loaded.capabilities.lag_range_ps == (1.0, 1e4)
    assert loaded.module.steps == 3
    ema = {
        k[4:]: v
        for k, v in load_checkpoint(tmp_path / "run" / "best.safetensors")[0].items()
        if k.startswith("ema.")
    }
    for name, value in loaded.module.state_dict().items():
        assert torch.equal(value, ema[name])


def test_another_network_in_the_folder_is_refused(data_file, tmp_path) -> None:
    Trainer([data_file], tmp_path, SETTINGS).save()
    other = TrainingSettings(**(SETTINGS.to_dict() | {"model": TINY.to_dict() | {"c_s": 32}}))
    with pytest.raises(ValueError, match="another network"):
        Trainer([data_file], tmp_path, other)


def test_truncated_checkpoint_is_named(data_file, tmp_path) -> None:
    trainer = Trainer([data_file], tmp_path, SETTINGS)
    trainer.save()
    content = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        Trainer([data_file], tmp_path, SETTINGS)


def test_learning_rate_warms_up_and_falls() -> None:
    assert learning_rate_factor(0, 10, 100) == pytest.approx(0.1)
    assert learning_rate_factor(10, 10, 100) == pytest.approx(1.0)
    assert learning_rate_factor(100, 10, 100) == pytest.approx(0.02)


def test_a_heavy_atom_model_leaves_hydrogens_out(data_file, tmp_path) -> None:
    train, _ = load_molecules([data_file], atoms="heavy")
    assert (train[0].features["ref_element"] > 1).all()
    everything, _ = load_molecules([data_file])
    heavy = everything[0].features["ref_element"] > 1
    expected = everything[0].dynamics[0].positions_angstrom[:, heavy]
    found = train[0].dynamics[0].positions_angstrom
    # Each is centred on its own atoms.
    np.testing.assert_allclose(
        found, expected - expected.mean(axis=1, keepdims=True), atol=1e-5, rtol=0
    )
    settings = TrainingSettings(**(SETTINGS.to_dict() | {"atoms": "heavy", "steps": 1}))
    Trainer([data_file], tmp_path, settings).run(report=lambda line: None)
    declared = export_checkpoint(tmp_path, tmp_path / "h.atmos", name="h", trained_on="jitter")
    assert declared.atoms == "heavy" and declared.elements == [6, 7, 8]
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    propagator = AtmosPropagator(tmp_path / "h.atmos", topology, positions=positions_nm)
    bound = propagator.bind()
    # The network moves the heavy atoms; hydrogens are placed on them.
    assert bound.num_atoms() == 22 and bound.heavy_module.num_atoms() == 10
