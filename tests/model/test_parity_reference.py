"""The harness of the parity tests: what it makes of the reference is the reference still."""

from __future__ import annotations

import sys

import pytest
import torch
from protenix_features import random_molecule
from protenix_reference import (
    arithmetic,
    build,
    diffusion_module,
    needs_protenix,
    protenix_model,
    randomise,
    reference,
    sample,
    trunk,
)

pytestmark = needs_protenix

SINGLE, DOUBLE = torch.float32, torch.float64


def test_every_parameter_is_random() -> None:
    model = build(lambda: diffusion_module(blocks=1))
    constant = [
        name
        for name, value in model.named_parameters()
        if float(value.detach().std()) < 1e-3 or not bool(torch.isfinite(value).all())
    ]
    assert constant == []
    again = build(lambda: diffusion_module(blocks=1))
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    other = build(lambda: diffusion_module(blocks=1), seed=1)
    assert not any(map(torch.equal, model.parameters(), other.parameters()))


def test_a_parameter_without_a_rule_is_refused() -> None:
    module = torch.nn.Module()
    module.scale = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="No rule for Module.scale"):
        randomise(module, 0)


def denoise(dtype: torch.dtype, every_dtype: list[torch.dtype]) -> torch.Tensor:
    """One call of the reference's DiffusionModule; notes the precision of each module's output."""
    model = build(lambda: diffusion_module(blocks=1), dtype=dtype)
    for part in model.modules():
        part.register_forward_hook(
            lambda _, __, out: (
                every_dtype.append(out.dtype) if isinstance(out, torch.Tensor) else None
            )
        )
    features = random_molecule(12, 70, dtype=dtype)
    draw = torch.Generator().manual_seed(1)
    inputs = [torch.randn(s, generator=draw) for s in ((12, 449), (12, 384), (12, 12, 128))]
    x = 20.0 * torch.randn(2, 70, 3, generator=draw)
    sigma = torch.tensor([0.5, 40.0])
    with arithmetic(dtype), torch.no_grad():
        return model(
            x.to(dtype), sigma.to(dtype), features, *(t.to(dtype) for t in inputs), None, None, None
        )


def test_double_precision_is_double_throughout() -> None:
    single: list[torch.dtype] = []
    double: list[torch.dtype] = []
    coarse, fine = denoise(SINGLE, single), denoise(DOUBLE, double)
    assert set(single) == {SINGLE} and set(double) == {DOUBLE}
    # Rounding of single precision, which parity in single precision cannot be better than: a
    # coordinate of 100 A has a last place of 8e-6 A.
    difference = float((coarse.double() - fine).abs().max())
    assert 1e-7 < difference < 5e-5
    # Outside of the context the reference is as it was.
    ref = reference()
    assert all(m.torch is torch for m in (ref.primitives, ref.diffusion, ref.utils))


def test_the_random_molecule_has_what_the_encoders_tell_apart() -> None:
    features = random_molecule(40, 500, msa_rows=3)
    counts = features["atom_to_token_idx"].bincount()
    assert len(counts) == 40 and int(counts.sum()) == 500
    assert int(counts.min()) == 1 and int(counts.max()) <= 14
    assert len(features["asym_id"].unique()) == 6 and len(features["entity_id"].unique()) == 3
    # Each class of the relative positions but the token offsets of a residue of 66 tokens.
    relp = features["relp"]
    assert relp.shape == (40, 40, 139)
    assert bool(relp[..., 0].any()) and bool(relp[..., 64].any()) and bool(relp[..., 65].any())
    assert all(bool(relp[..., k].any()) for k in range(132, 139))
    mask = features["pad_info"]["mask_trunked"]
    assert mask.shape == (16, 32, 128)
    # Windows of 32 atoms see 128: the first 0 to 79, the last, which holds 20, 432 to 499.
    assert mask[0].sum(-1).tolist() == [80] * 32
    assert mask[-1].sum(-1).tolist() == [68] * 20 + [0] * 12
    assert bool(features["v_lm"].any()) and not bool(features["v_lm"].all())


def test_the_whole_model_is_the_documented_one() -> None:
    model = build(
        lambda: protenix_model(
            pairformer_blocks=1, msa_blocks=2, diffusion_blocks=1, confidence_blocks=1
        )
    )
    features = random_molecule(12, 70, msa_rows=5)
    with torch.no_grad():
        s_inputs, s, z = trunk(model, features, cycles=2)
        once = trunk(model, features, cycles=1)
    assert s_inputs.shape == (12, 449) and s.shape == (12, 384) and z.shape == (12, 12, 128)
    assert torch.equal(once[0], s_inputs) and not torch.equal(once[1], s)
    assert "ml_collections" not in sys.modules or hasattr(sys.modules["ml_collections"], "__file__")


def test_the_sampler_takes_the_random_numbers_it_is_given() -> None:
    model = build(lambda: diffusion_module(blocks=1, atom_blocks=1), dtype=DOUBLE)
    features = random_molecule(12, 70, dtype=DOUBLE)
    draw = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).double()

    conditions = normal(12, 449), normal(12, 384), normal(12, 12, 128)
    schedule = reference().generator.InferenceNoiseScheduler()(2, dtype=DOUBLE)
    turns = torch.linalg.qr(normal(2, 2, 3, 3))[0]
    numbers = [normal(2, 70, 3), normal(2, 2, 70, 3), turns, normal(2, 2, 3)]
    found = sample(model, features, conditions, schedule, *numbers)
    assert found.shape == (2, 70, 3) and found.dtype == DOUBLE
    assert torch.equal(found, sample(model, features, conditions, schedule, *numbers))
    for k in range(4):
        changed = [1.1 * n if i == k else n for i, n in enumerate(numbers)]
        assert not torch.equal(found, sample(model, features, conditions, schedule, *changed))
    with pytest.raises(ValueError, match=r"left \[1, 1, 1\]"):
        sample(model, features, conditions, schedule[1:], *numbers)
