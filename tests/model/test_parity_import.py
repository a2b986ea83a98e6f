"""Checkpoints that Protenix's own classes write: all of it arrives, and computes what it did."""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings

import pytest
import torch
from parity_support import DOUBLE, Draw, largest_difference
from protenix_features import random_molecule, to_model_features
from protenix_reference import arithmetic, build, needs_protenix, protenix_model, reference, trunk

from atmos_openmm import cli
from atmos_openmm.model import protenix
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.config import ModelConfig, full
from atmos_openmm.model.protenix import Count
from atmos_openmm.training.weights.checkpoint import load_checkpoint, part

pytestmark = needs_protenix

TOKENS, ATOMS = 12, 70


@pytest.fixture
def on_meta(monkeypatch):
    """Builds modules of the reference at any size in no memory."""
    ref = reference()
    # Constructors read numbers off a tensor, and draw with a generator of the CPU.
    linspace, randn = torch.linspace, torch.randn
    monkeypatch.setattr(torch, "linspace", lambda *a, **k: linspace(*a, **k | {"device": "cpu"}))
    monkeypatch.setattr(torch, "randn", lambda *a, **k: randn(*a, **k | {"device": "cpu"}))
    monkeypatch.setattr(ref.layers, "trunc_normal_init_", lambda *_, **__: None)
    monkeypatch.setattr(ref.primitives, "trunc_normal_init_", lambda *_, **__: None)

    def make(**depths: int) -> dict[str, tuple[int, ...]]:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.device("meta"),
        ):
            warnings.simplefilter("ignore")
            model = protenix_model(**depths)
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}

    return make


@pytest.mark.parametrize(
    ("template_blocks", "parameters", "left_out"),
    [
        # The sizes that Protenix's documentation gives are 368.48 M (v1.0.0) and 368.09 M (v0.5.0).
        (2, 368_484_735, {"template_embedder": Count(89, 420_224)}),
        (0, 368_088_191, {"template_embedder": Count(7, 23_680)}),
    ],
    ids=["v1.0.0", "v0.5.0"],
)
def test_the_base_models_are_taken_whole(on_meta, template_blocks, parameters, left_out) -> None:
    shapes = on_meta(template_blocks=template_blocks)
    assert sum(map(math.prod, shapes.values())) == parameters
    assert protenix.configuration_of(shapes) == full()
    counts = protenix.count(shapes)
    assert {name: counts.pop(name) for name in protenix.LEFT_OUT if name in counts} == (
        left_out | {"confidence_head": Count(248, 12_901_966)}
    )
    assert counts.keys() == protenix.PREFIXES.keys()
    assert sum(count.parameters for count in counts.values()) == 355_162_545
    assert sum(count.tensors for count in counts.values()) == 3837


@pytest.fixture(scope="module")
def reference_model():
    """The whole `Protenix`, shallow, in double precision with numbers that float32 holds."""
    depths = {
        "pairformer_blocks": 2,
        "msa_blocks": 2,
        "diffusion_blocks": 2,
        "template_blocks": 1,
        "confidence_blocks": 1,
    }
    return build(lambda: protenix_model(**depths), seed=11, dtype=DOUBLE)


@pytest.fixture(scope="module")
def imported(reference_model, tmp_path_factory):
    """Our network from its checkpoint through the command line, in double precision."""
    folder = tmp_path_factory.mktemp("import")
    path, output = folder / "protenix.pt", folder / "weights.safetensors"
    weights = {f"module.{k}": v.float() for k, v in reference_model.state_dict().items()}
    torch.save({"model": weights, "optimizer": None, "step": 100}, path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["import-protenix", str(path), "--output", str(output)]) == 0
    path.unlink()
    tensors, state = load_checkpoint(output)
    output.unlink()
    model = AtmosModel(ModelConfig.from_dict(state["settings"]["model"]))
    model.load_state_dict(part(tensors, "ema"))
    return model.to(DOUBLE).eval(), said.getvalue()


def test_every_tensor_of_the_reference_is_where_its_name_says(reference_model, imported) -> None:
    model, _ = imported
    ours = model.state_dict()
    taken = set()
    for name, value in reference_model.state_dict().items():
        key = protenix.atmos_key(name)
        if key is None:
            assert name.split(".")[0] in ("template_embedder", "confidence_head")
        else:
            assert torch.equal(ours[key], value), name
            taken.add(key)
    assert {key.split(".")[0] for key in ours.keys() - taken} == set(protenix.FRESH)


def test_the_trunk_computes_what_the_reference_does(reference_model, imported) -> None:
    model, _ = imported
    molecule = random_molecule(TOKENS, ATOMS, seed=2, msa_rows=5, dtype=DOUBLE)
    with torch.no_grad():
        ours = model.context_encoder(to_model_features(molecule))
        with arithmetic(DOUBLE):
            theirs = trunk(reference_model, molecule, model.context_encoder.cycles)
            logits = reference_model.distogram_head(theirs[2])
        # The bound of the parity tests in double precision.
        for mine, other in zip(ours, theirs, strict=True):
            assert largest_difference(mine[0], other) < 1e-11
        assert largest_difference(model.distogram(ours[2])[0], logits) < 1e-11


def test_the_decoder_computes_what_the_reference_does(reference_model, imported) -> None:
    model, _ = imported
    molecule = random_molecule(TOKENS, ATOMS, seed=3, dtype=DOUBLE)
    features = to_model_features(molecule)
    draw = Draw(4, DOUBLE)
    h_s, h_z = draw(1, TOKENS, 384), draw(1, TOKENS, TOKENS, 128)
    x, sigma = 20.0 * draw(1, ATOMS, 3), torch.tensor([3.0], dtype=DOUBLE)
    with torch.no_grad():
        context = model.context(features)
        prepared = model.diffusion.prepare(h_s, h_z, context, features)
        ours = model.diffusion.denoise(x, sigma, prepared, features)
        with arithmetic(DOUBLE):
            theirs = reference_model.diffusion_module(
                x, sigma, molecule, context.s_inputs[0], h_s[0], h_z[0], None, None, None
            )
    assert largest_difference(ours, theirs) < 1e-11


def test_the_summary_accounts_for_every_parameter(reference_model, imported) -> None:
    model, said = imported
    numbers = {
        match[1]: (int(match[2]), int(match[3].replace(",", "")))
        for match in re.finditer(
            r"^  (\w+) +(\d+) tensors +([\d,]+) parameters", said, re.MULTILINE
        )
        if match[1] != "total"
    }
    theirs, ours = reference_model.state_dict(), model.state_dict()
    for name, (tensors, parameters) in numbers.items():
        state = ours if name in protenix.FRESH else theirs
        mine = [v.numel() for k, v in state.items() if k.split(".")[0] == name]
        assert (len(mine), sum(mine)) == (tensors, parameters), name
    named = {key.split(".")[0] for key in theirs} | set(protenix.FRESH)
    assert numbers.keys() == named
    totals = re.findall(r"^  total +(\d+) tensors +([\d,]+) parameters", said, re.MULTILINE)
    assert sum(int(tensors) for tensors, _ in totals) == len(ours)
    assert sum(int(n.replace(",", "")) for _, n in totals) == sum(v.numel() for v in ours.values())
    assert "context_blocks 2, encoder_blocks 3, token_blocks 2" in said
    assert "not those of the base models" in said
    assert protenix.LEFT_OUT["confidence_head"] in said
