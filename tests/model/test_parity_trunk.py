"""The trunk gives Protenix's numbers: alignment module, recycling, and the distogram head."""

from __future__ import annotations

import pytest
import torch
from parity_support import (
    C_S_INPUTS,
    C_Z,
    Draw,
    config,
    largest_difference,
    loaded,
    precisions,
)
from protenix_features import random_molecule, to_model_features
from protenix_reference import (
    arithmetic,
    build,
    msa_module,
    needs_protenix,
    protenix_model,
    reference,
    trunk,
)

from atmos_openmm.model.distogram import DistogramHead
from atmos_openmm.model.msa import MSAModule
from atmos_openmm.model.trunk import Trunk

pytestmark = needs_protenix

N, ATOMS = 16, 70


@precisions(5e-6, 1e-12)
def test_msa_module(dtype, tolerance) -> None:
    theirs = build(lambda: msa_module(blocks=2), dtype=dtype)
    ours = loaded(MSAModule(config(msa_blocks=2)), theirs)
    molecule = random_molecule(N, ATOMS, msa_rows=7, dtype=dtype)
    draw = Draw(12, dtype)
    z, s_inputs = draw(N, N, C_Z), draw(N, C_S_INPUTS)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(molecule, z, s_inputs, None)
        found = ours(z[None], s_inputs[None], to_model_features(molecule))
    assert largest_difference(expected, z) > 1.0
    assert largest_difference(found[0], expected) <= tolerance


def test_without_an_alignment_the_msa_module_does_nothing() -> None:
    theirs = build(lambda: msa_module(blocks=1))
    ours = loaded(MSAModule(config(msa_blocks=1)), theirs)
    molecule = random_molecule(N, ATOMS)
    draw = Draw(12)
    z, s_inputs = draw(N, N, C_Z), draw(N, C_S_INPUTS)
    with torch.no_grad():
        assert torch.equal(theirs(molecule, z, s_inputs, None), z)
        assert torch.equal(ours(z[None], s_inputs[None], to_model_features(molecule))[0], z)


@pytest.mark.parametrize("msa_rows", [0, 7])
@pytest.mark.parametrize("cycles", [1, 3])
@precisions(2e-5, 1e-12)
def test_trunk(dtype, tolerance, cycles, msa_rows) -> None:
    whole = build(
        lambda: protenix_model(
            pairformer_blocks=2, msa_blocks=2, diffusion_blocks=1, confidence_blocks=1
        ),
        dtype=dtype,
    )
    ours = Trunk(config(context_blocks=2, msa_blocks=2, cycles=cycles)).to(dtype).eval()
    names = {name.split(".")[0] for name in ours.state_dict()}
    state = whole.state_dict()
    ours.load_state_dict({k: v for k, v in state.items() if k.split(".")[0] in names}, strict=True)
    molecule = random_molecule(N, ATOMS, msa_rows=msa_rows, dtype=dtype)
    with torch.no_grad(), arithmetic(dtype):
        expected = trunk(whole, molecule, cycles)
        found = ours(to_model_features(molecule))
    for mine, other in zip(found, expected, strict=True):
        assert largest_difference(mine[0], other) <= tolerance


@precisions(5e-6, 1e-13)
def test_distogram_head(dtype, tolerance) -> None:
    theirs = build(lambda: reference().head.DistogramHead(), dtype=dtype)
    ours = loaded(DistogramHead(config()), theirs)
    z = Draw(13, dtype)(N, N, C_Z)
    with torch.no_grad():
        assert largest_difference(ours(z[None])[0], theirs(z)) <= tolerance
