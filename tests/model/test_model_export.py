"""Model files, and one network in eager Python, in TorchScript and in the C++ integrator."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from importlib import resources

import numpy as np
import openmm
import pytest
import torch
from model_support import TINY, declaration, jump_inputs, network, peptide
from openmm import unit

from atmos_openmm.model.bound import bind, bind_network
from atmos_openmm.model.config import ModelConfig, full
from atmos_openmm.model.model_features import model_features
from atmos_openmm.model.model_file import (
    METADATA,
    ModelFileError,
    load_model,
    save_model,
)
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.peptides import build_peptide


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.atmos"
    save_model(path, network(), declaration())
    return path


def test_eager_scripted_and_file_give_the_same_jump(model_file) -> None:
    features, x = peptide()
    eager = network()
    static = model_features(features.tensors(), TINY)
    h_s, h_z, noise, lag, temperature = jump_inputs(eager, features.num_atoms, 3)
    results = []
    for module in (eager, torch.jit.script(eager), load_model(model_file).module):
        with torch.no_grad():
            context = module.context(static)
            results.append(module.propagate(x, h_s, h_z, noise, lag, temperature, context, static))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_jump_in_the_compiled_integrator_is_that_of_python(model_file) -> None:
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    propagator = AtmosPropagator(model_file, topology, positions=positions_nm)
    integrator = propagator.createIntegrator(
        300 * unit.kelvin,
        1 / unit.picosecond,
        1 * unit.femtosecond,
        system=system,
        jumpInterval=1,
        lag=20 * unit.picosecond,
        acceptance="none",
        seed=11,
    )
    integrator.setRandomNumberSeed(3)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(300, 5)
    integrator.step(1)
    # A jump starts from the middle of the step that ended last.
    state = context.getState(positions=True, velocities=True)
    half_step = 0.5 * unit.femtosecond
    before = state.getPositions(asNumpy=True) - half_step * state.getVelocities(asNumpy=True)
    integrator.step(1)
    proposal = integrator.getLastProposal()
    expected = AtmosPropagator(
        model_file, topology, positions=positions_nm, seed=11, lag=20 * unit.picosecond
    ).propagate(before, temperature=300 * unit.kelvin, attempt=int(proposal.attempt))
    found = proposal.positions_raw_nm
    scale = np.abs(found).max()
    np.testing.assert_allclose(
        found, expected.value_in_unit(unit.nanometer), atol=1e-5 * max(1.0, scale), rtol=0
    )


def test_bound_module_takes_batches_and_its_own_state(model_file) -> None:
    features, x = peptide()
    bound = bind(load_model(model_file), features.tensors())
    # One frame of noise to start from and one before each of the 16 steps.
    assert (bound.num_atoms(), bound.noise_size()) == (22, 17 * 66)
    generator = torch.Generator().manual_seed(0)
    frames = x.expand(3, -1, -1) / 10.0
    state = torch.zeros(3, bound.state_size())
    noise = torch.randn(3, bound.noise_size(), generator=generator)
    lag, temperature = torch.full((3,), 5.0), torch.full((3,), 300.0)
    together = bound.propagate(frames, state, noise, lag, temperature)
    alone = bound.propagate(frames[1:2], state[1:2], noise[1:2], lag[1:2], temperature[1:2])
    for one, two in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1:2], two, atol=2e-4, rtol=1e-4)
    again = bound.propagate(frames, together[1], noise, lag, temperature)
    assert (again[1] - together[1]).abs().max() > 1e-3  # the state is used
    assert together[2].shape == (3,)


def test_full_widths_are_a_configuration() -> None:
    features, x = peptide()
    config = dataclasses.replace(
        full(),
        context_blocks=1,
        transition_blocks=1,
        token_blocks=1,
        context_atom_blocks=1,
        frame_blocks=1,
        encoder_blocks=1,
        decoder_blocks=1,
    )
    model = network(config)
    bound = bind_network(model, features.tensors(), config)
    assert bound.state_size() == 3 * 384 + 9 * 128
    model.steps = 1
    y, _, _ = bound.propagate(
        x / 10.0,
        torch.zeros(1, bound.state_size()),
        torch.zeros(1, bound.noise_size()),
        torch.ones(1),
        torch.full((1,), 300.0),
    )
    assert torch.isfinite(y).all()


def test_configuration_round_trip_and_unknown_names() -> None:
    assert ModelConfig.from_dict(full().to_dict()) == full()
    with pytest.raises(ValueError, match="Unknown model settings \\['widths'\\]"):
        ModelConfig.from_dict({"widths": 3})


def test_files_are_reproducible_and_name_no_source_files(model_file, tmp_path) -> None:
    """The bundled model too: what it was exported from is nobody's business."""
    again = tmp_path / "again.atmos"
    save_model(again, network(), declaration())
    assert again.read_bytes() == model_file.read_bytes()
    bundled = resources.files("atmos_openmm") / "models" / "capped-amino-acids.atmos"
    for path in (str(model_file), str(bundled)):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            content = b"".join(archive.read(name) for name in names)
        assert {name.split("/")[0] for name in names} == {"model"}
        # Raw numbers spell a few letters by chance, not these.
        assert not [n for n in names if "debug" in n] and b"site-packages" not in content


def test_truncated_file(model_file, tmp_path) -> None:
    content = model_file.read_bytes()
    broken = tmp_path / "broken.atmos"
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match="truncated"):
        load_model(broken)


def test_file_that_is_something_else(tmp_path) -> None:
    other = tmp_path / "other.atmos"
    other.write_text("not a model")
    with pytest.raises(ModelFileError, match="no .atmos file"):
        load_model(other)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing.atmos")


def test_torchscript_without_declaration(tmp_path) -> None:
    path = tmp_path / "plain.atmos"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    with pytest.raises(ModelFileError, match=METADATA):
        load_model(path)


def rewritten(source, target, change) -> None:
    """Copy a model file with its declaration or a tensor changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            new.writestr(item.filename, change(item.filename, old.read(item)))


def test_tampered_weights_are_refused(model_file, tmp_path) -> None:
    path = tmp_path / "tampered.atmos"
    touched = []

    def flip(name: str, content: bytes) -> bytes:
        if "/data/" in name and len(content) >= 64 and not touched:
            touched.append(name)
            content = bytes([content[0] ^ 1]) + content[1:]
        return content

    rewritten(model_file, path, flip)
    assert touched
    with pytest.raises(ModelFileError, match="altered|truncated"):
        load_model(path)


def test_unknown_format_version(model_file, tmp_path) -> None:
    path = tmp_path / "future.atmos"

    def change(name: str, content: bytes) -> bytes:
        if name.endswith(METADATA):
            values = json.loads(content)
            values["format_version"] = 99
            content = json.dumps(values).encode()
        return content

    rewritten(model_file, path, change)
    with pytest.raises(ModelFileError, match="format version 99"):
        load_model(path)


def test_the_bundled_model_holds_the_code_of_the_layer_operator() -> None:
    """An archive keeps the code that it was exported with, so it has to be written anew."""
    path = resources.files("atmos_openmm") / "models" / "capped-amino-acids.atmos"
    with zipfile.ZipFile(str(path)) as archive:
        code = b"".join(archive.read(n) for n in archive.namelist() if n.endswith(".py"))
    assert b"triangle_multiplication" in code
