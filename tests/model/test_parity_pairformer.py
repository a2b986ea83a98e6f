"""The Pairformer gives Protenix's numbers: values and gradients, with and without a pair mask."""

from __future__ import annotations

import pytest
import torch
from parity_support import (
    C_S,
    C_Z,
    Draw,
    gradients,
    largest_difference,
    loaded,
    precisions,
)
from protenix_reference import arithmetic, build, needs_protenix, reference

from atmos_openmm.model.pairformer import PairformerBlock, PairformerStack

pytestmark = needs_protenix

# More rows than are updated at a time without gradients, and no multiple of them.
N = 40
PRECISIONS = precisions(5e-6, 1e-12)
MASKS = pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])


def inputs(dtype: torch.dtype, masked: bool, seed: int = 3):
    """s [N, c_s], z [N, N, c_z], the reference's pair mask, ours, and our key bias."""
    draw = Draw(seed, dtype)
    s, z = draw(N, C_S), draw(N, N, C_Z)
    mask = draw.mask(N, N)
    assert not torch.equal(mask, mask.T)
    ours = mask if masked else torch.ones_like(mask)
    return s, z, mask if masked else None, ours.unsqueeze(0), torch.zeros(1, 1, 1, N, dtype=dtype)


@MASKS
@PRECISIONS
def test_block(dtype, tolerance, masked) -> None:
    theirs = build(lambda: reference().pairformer.PairformerBlock(), dtype=dtype)
    ours = loaded(PairformerBlock(C_S, C_Z, 16, 4, 0.25), theirs)
    s, z, mask, our_mask, key_bias = inputs(dtype, masked)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(s, z, mask)
        found = ours(s[None], z[None], our_mask, key_bias)
    for mine, other in zip(found, expected, strict=True):
        assert largest_difference(mine[0], other) <= tolerance


@MASKS
@PRECISIONS
def test_gradients_of_the_block(dtype, tolerance, masked) -> None:
    # The reference's evaluation mode computes in place, which has no gradient.
    theirs = build(lambda: reference().pairformer.PairformerBlock(dropout=0.0), dtype=dtype)
    theirs.train()
    ours = loaded(PairformerBlock(C_S, C_Z, 16, 4, 0.0), theirs)
    s, z, mask, our_mask, key_bias = inputs(dtype, masked)
    s.requires_grad_(), z.requires_grad_()
    names = [name for name, _ in theirs.named_parameters()]
    of_parameter = dict(ours.named_parameters())
    draw = Draw(4, dtype)
    # Cotangents of a mean over the positions: the gradients of the parameters are of order one.
    cotangents = [draw(N, C_S) / N, draw(N, N, C_Z) / N**2]
    with arithmetic(dtype):
        expected = gradients(theirs(s, z, mask), cotangents, [s, z, *theirs.parameters()])
    s_out, z_out = ours(s[None], z[None], our_mask, key_bias)
    wanted = [s, z, *(of_parameter[name] for name in names)]
    found = gradients([s_out[0], z_out[0]], cotangents, wanted)
    for name, mine, other in zip(["s", "z", *names], found, expected, strict=True):
        difference = float((mine - other).abs().max())
        assert difference <= tolerance, (name, difference)
        # An offset that all keys share moves no softmax.
        assert float(other.abs().max()) > 1e-2 or name == "attention_pair_bias.layernorm_z.bias"


@precisions(1e-5, 2e-12)  # two blocks, twice the bound of one
def test_stack(dtype, tolerance) -> None:
    theirs = build(lambda: reference().pairformer.PairformerStack(n_blocks=2), dtype=dtype)
    ours = loaded(PairformerStack(2, C_S, C_Z, 16, 4, 0.25), theirs)
    s, z, _, _, _ = inputs(dtype, masked=False)
    with torch.no_grad(), arithmetic(dtype):
        expected = theirs(s, z, None)
        found = ours(s[None], z[None], torch.ones(1, N, dtype=dtype))
    for mine, other in zip(found, expected, strict=True):
        assert largest_difference(mine[0], other) <= tolerance
