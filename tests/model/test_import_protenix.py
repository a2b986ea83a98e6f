"""Importing Protenix's weights: every tensor arrives in its module, and nothing is overlooked."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch

from atmos_openmm import cli
from atmos_openmm.model import protenix
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig, full
from atmos_openmm.model.protenix import CheckpointMismatch, Count
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.training_settings import bundled_path
from atmos_openmm.training.weights.checkpoint import load_checkpoint, part
from atmos_openmm.training.weights.checkpoint_export import export_checkpoint
from atmos_openmm.training.weights.protenix_import import import_protenix
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

SHALLOW = dict.fromkeys(protenix.DEPTHS, 1) | {"msa_blocks": 2}
QKV = "attention_pair_bias.attention.linear_q.weight"


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes by Protenix's names, from our own network through the inverse of the mapping."""
    return {
        theirs: shape
        for ours, shape in protenix.expected_shapes(config).items()
        if (theirs := protenix.protenix_key(ours)) is not None
    }


def random_weights(config: ModelConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) for name, shape in shapes_of(config).items()
    }


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- names -------------------------------------------------------------------------------------


def test_names_map_back_and_forth_and_the_rest_is_fresh() -> None:
    fresh = set()
    for ours in protenix.expected_shapes(replace(full(), **SHALLOW)):
        theirs = protenix.protenix_key(ours)
        if theirs is None:
            fresh.add(ours.split(".")[0])
        else:
            assert protenix.atmos_key(theirs) == ours
    assert fresh == set(protenix.FRESH)
    for module in protenix.LEFT_OUT:
        assert protenix.atmos_key(f"{module}.weight") is None


@pytest.mark.parametrize("field", protenix.DEPTHS)
def test_numbers_of_blocks_are_the_checkpoints(field) -> None:
    config = replace(full(), **SHALLOW | {field: 3})
    found = protenix.configuration_of(shapes_of(config))
    assert found == config and getattr(found, field) == 3


# --- checkpoints that do not fit ---------------------------------------------------------------


def test_every_tensor_that_does_not_fit_is_listed() -> None:
    shapes = shapes_of(replace(full(), **SHALLOW | {"context_blocks": 4}))
    for k in (0, 1, 3):
        del shapes[f"pairformer_stack.blocks.{k}.{QKV}"]
    del shapes["distogram_head.linear.bias"]
    shapes["distogram_head.extra"] = (2,)
    shapes["novel_head.linear.weight"] = (7, 7)
    shapes["layernorm_s.weight"] = (12,)
    for k in (0, 1):
        shapes[f"msa_module.blocks.{k}.pair_stack.tri_mul_in.linear_g.weight"] = (9, 128)
    with pytest.raises(CheckpointMismatch) as caught:
        protenix.configuration_of(shapes)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("The checkpoint does not fit:")
    assert lines[1:-1] == [
        "missing:",
        "  distogram_head.linear.bias [64]",
        f"  pairformer_stack.blocks.{{0-1,3}}.{QKV} [384, 384]",
        "unexpected:",
        "  distogram_head.extra [2]",
        "  novel_head.linear.weight [7, 7]",
        "of the wrong shape:",
        "  layernorm_s.weight [12], expected [384]",
        "  msa_module.blocks.{0-1}.pair_stack.tri_mul_in.linear_g.weight [9, 128], "
        "expected [128, 128]",
    ]
    assert "protenix_base_default_v1.0.0" in lines[-1]


def test_a_gap_in_the_numbers_of_blocks_is_missing_and_unexpected() -> None:
    shapes = shapes_of(replace(full(), **SHALLOW))
    moved = {name.replace("_stack.blocks.0.", "_stack.blocks.5."): s for name, s in shapes.items()}
    with pytest.raises(CheckpointMismatch) as caught:
        protenix.configuration_of(moved)
    text = str(caught.value)
    assert f"pairformer_stack.blocks.0.{QKV}" in text.split("unexpected:")[0]
    assert f"pairformer_stack.blocks.5.{QKV}" in text.split("unexpected:")[1]


def test_blocks_that_are_absent_altogether_are_missing() -> None:
    shapes = shapes_of(replace(full(), **SHALLOW))
    without = {name: shape for name, shape in shapes.items() if "msa_module" not in name}
    with pytest.raises(CheckpointMismatch, match="missing:\n  msa_module.blocks.0"):
        protenix.configuration_of(without)


def test_a_v2_checkpoint_is_called_one() -> None:
    shapes = shapes_of(replace(full(), **SHALLOW, c_z=256))
    with pytest.raises(CheckpointMismatch, match="protenix-v2 .* 256 .* 128 .*_v1.0.0"):
        protenix.configuration_of(shapes)


def test_a_variant_with_esm_embeddings_is_called_one() -> None:
    shapes = shapes_of(replace(full(), **SHALLOW))
    shapes["input_embedder.linear_esm.weight"] = (449, 2560)
    with pytest.raises(CheckpointMismatch, match="ESM embeddings .* protenix_base_default"):
        protenix.configuration_of(shapes)


def test_a_checkpoint_of_another_program_is_called_one() -> None:
    shapes = {f"layer{k}.weight": (3, 3) for k in range(20)}
    with pytest.raises(CheckpointMismatch, match="'layer7' and 12 more: it is of another program"):
        protenix.configuration_of(shapes)


# --- the whole import --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow() -> ModelConfig:
    """The full configuration, narrow and shallow, so that files are small."""
    return replace(
        full(),
        **SHALLOW,
        c_s=32,
        c_z=16,
        c_atom=16,
        c_atompair=4,
        c_token=32,
        c_noise=8,
        heads_s=2,
        heads_z=2,
        heads_atom=2,
        heads_token=2,
        frame_blocks=1,
        transition_blocks=1,
    )


@pytest.fixture
def saved(tmp_path, narrow):
    """A narrow checkpoint in a folder of its own, its weights, and an output beside it."""
    folder = tmp_path / "files"
    folder.mkdir()
    path = folder / "protenix.pt"
    weights = random_weights(narrow)
    weights["confidence_head.linear.weight"] = torch.full((3, 3), float("nan"))
    torch.save({"model": weights}, path)
    return path, weights, folder / "weights.safetensors"


def test_every_tensor_arrives_and_the_network_loads(saved, narrow) -> None:
    path, weights, output = saved
    lines: list[str] = []
    summary = import_protenix(path, output, widths=narrow, seed=4, report=lines.append)
    assert len(lines) == 3 and sorted(p.name for p in path.parent.iterdir()) == [
        "protenix.pt",
        "weights.safetensors",
    ]
    tensors, state = load_checkpoint(output)
    found = part(tensors, "ema")
    for name, value in weights.items():
        ours = protenix.atmos_key(name)
        assert ours is None or torch.equal(found[ours], value)
    assert ModelConfig.from_dict(state["settings"]["model"]) == narrow == summary.config
    assert state["step"] == 0 and state["imported"]["seed"] == 4
    model = AtmosModel(narrow)
    model.load_state_dict(found)  # strict
    size = sum(value.numel() for value in model.state_dict().values())
    counts = [summary.mapped, summary.fresh]
    assert sum(c.parameters for part_ in counts for c in part_.values()) == size
    assert sum(c.tensors for part_ in counts for c in part_.values()) == len(model.state_dict())
    assert summary.left_out == {"confidence_head": Count(1, 9)}
    assert summary.size_bytes == output.stat().st_size


def test_what_is_fresh_follows_the_seed_and_nothing_else(saved, narrow) -> None:
    path, _, output = saved
    expected = torch.rand(3, generator=torch.Generator().manual_seed(17))
    torch.manual_seed(17)
    files = []
    for seed in (4, 4, 5):
        import_protenix(path, output, widths=narrow, seed=seed, force=True)
        files.append(part(load_checkpoint(output)[0], "ema"))
    assert torch.equal(torch.rand(3), expected)  # The global random state is left alone.
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])
    changed = {name for name in files[0] if not torch.equal(files[0][name], files[2][name])}
    assert changed and {name.split(".")[0] for name in changed} <= set(protenix.FRESH)
    # Not on the depths of Protenix's parts.
    deeper = protenix.fresh_weights(replace(narrow, context_blocks=3, token_blocks=2), 4)
    assert all(torch.equal(value, files[0][name]) for name, value in deeper.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_written_as_float32(saved, narrow, dtype) -> None:
    path, weights, output = saved
    torch.save({"model": {name: value.to(dtype) for name, value in weights.items()}}, path)
    summary = import_protenix(path, output, widths=narrow)
    assert list(summary.dtypes) == [str(dtype).removeprefix("torch.")]
    found = part(load_checkpoint(output)[0], "ema")
    for name, value in weights.items():
        ours = protenix.atmos_key(name)
        assert ours is None or torch.equal(found[ours], value.to(dtype).float())


def test_values_that_are_not_finite_are_counted_and_refused(saved, narrow) -> None:
    path, weights, output = saved
    weights["layernorm_s.weight"][3] = float("inf")
    weights["distogram_head.linear.bias"][:2] = float("nan")
    torch.save({"model": weights}, path)
    before = listing(path.parent)
    with pytest.raises(CheckpointMismatch) as caught:
        import_protenix(path, output, widths=narrow)
    lines = sorted(str(caught.value).splitlines()[1:-1])
    assert lines == ["  distogram_head.linear.bias: 2 values", "  layernorm_s.weight: 1 values"]
    assert listing(path.parent) == before


def test_an_output_is_replaced_only_by_force(saved, narrow) -> None:
    path, _, output = saved
    output.write_text("mine")
    with pytest.raises(FileExistsError, match="weights.safetensors exists; .* replaced"):
        import_protenix(path, output, widths=narrow)
    assert output.read_text() == "mine"
    import_protenix(path, output, widths=narrow, force=True)
    assert part(load_checkpoint(output)[0], "ema")


def test_outputs_that_cannot_be_are_refused(saved, narrow) -> None:
    path, _, output = saved
    before = listing(path.parent)
    with pytest.raises(ValueError, match="is the checkpoint itself"):
        import_protenix(path, path, widths=narrow, force=True)
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        import_protenix(path, path.parent, widths=narrow, force=True)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        import_protenix(path, path.parent / "none" / "w.safetensors", widths=narrow)
    assert listing(path.parent) == before


def test_a_full_disk_leaves_nothing(saved, narrow, monkeypatch) -> None:
    path, _, output = saved
    before = listing(path.parent)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, 0))
    with pytest.raises(OSError, match="0 MB free"):
        import_protenix(path, output, widths=narrow)
    assert listing(path.parent) == before


def test_the_command_lists_what_does_not_fit_line_by_line(tmp_path, capsys) -> None:
    path, output = tmp_path / "p.pt", tmp_path / "w.safetensors"
    torch.save({"model": {"layernorm_s.weight": torch.ones(5), "x.y": torch.ones(1)}}, path)
    assert cli.main(["import-protenix", str(path), "--output", str(output)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "  x.y [1]" in lines and "  layernorm_s.weight [5], expected [384]" in lines
    assert f"  pairformer_stack.blocks.0.{QKV} [384, 384]" in lines
    assert [p.name for p in tmp_path.iterdir()] == ["p.pt"]


# --- what comes after ---------------------------------------------------------------------------


@pytest.fixture
def imported(saved, narrow):
    path, _, output = saved
    import_protenix(path, output, widths=narrow)
    return output


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """Jittered frames of alanine dipeptide, as dynamics of four runs."""
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    rng = np.random.default_rng(0)
    system = openmm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    runs = []
    for number in range(4):
        frames = positions_nm + 0.003 * rng.standard_normal((10, *positions_nm.shape))
        runs.append(TrajectoryData(frames, np.arange(1.0, 11.0), "dynamics", 300.0, "beta", number))
    path = tmp_path_factory.mktemp("data") / "ala.h5"
    write_trajectory_file(
        path, "ACE-ALA-NME", topology, openmm.XmlSerializer.serialize(system), {}, runs
    )
    return path


def train(data: Path, folder: Path, weights: Path) -> int:
    settings = (
        "steps=2 draws=1 rollouts=1 levels=1 jumps=[[0,1]] lag_range_ps=[1,4] learning_rate=1e-9 "
        "warmup_steps=0 shares.dynamics=1 freeze=[]"
    )
    changes = [f"--set=stages.all.{setting}" for setting in settings.split()]
    # One stage: the configuration's first, for structures, finds none here.
    text = bundled_path("full").read_text(encoding="utf-8")
    stages = text.split("[[stages]]")
    config = data.with_name("full.toml")
    config.write_text("[[stages]]".join([stages[0], stages[2]]))
    arguments = ["train", str(data), "--output", str(folder), "--config", str(config)]
    return cli.main([*arguments, "--workers=0", *changes, "--initial-weights", str(weights)])


def test_training_goes_on_from_the_weights_at_their_depths(
    imported, data_file, tmp_path, capsys
) -> None:
    assert train(data_file, tmp_path / "run", imported) == 0
    assert "fresh" not in capsys.readouterr().out
    before = part(load_checkpoint(imported)[0], "ema")
    tensors, state = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert state["step"] == 2 and "imported" not in state
    after = part(tensors, "model")
    assert after.keys() == before.keys()
    # Two steps of AdamW move a parameter by 2e-9 at most, and by its rounding.
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-6, atol=4e-9)


def test_imported_weights_are_no_run_to_continue(imported, data_file, tmp_path, capsys) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(imported, folder / "checkpoint.safetensors")
    assert train(data_file, folder, imported) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "holds imported weights and no run that could be continued" in message


def test_imported_weights_are_not_exported(imported, tmp_path) -> None:
    with pytest.raises(ValueError, match="beside parts that were never trained. Train first"):
        export_checkpoint(imported, tmp_path / "m.atmos", name="m", trained_on="nothing")
    assert not (tmp_path / "m.atmos").exists()
