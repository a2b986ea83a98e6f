"""Padding a molecule into a batch changes nothing, whatever the padding holds.

Each entry point of the network is given a batch of molecules of different size, with large numbers
in the padding of every input, and each molecule by itself. In double precision a leak is told
from rounding; in single precision, which is what runs, masks are numbers of other size.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from model_support import TINY, peptide
from padding_support import joined, outer, part, polluted, polluted_context, polluted_features
from parity_support import DOUBLE, SINGLE, Draw
from protenix_features import draw_molecule, to_model_features
from protenix_reference import randomise

from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.model_features import ModelFeatures, batch_features
from atmos_openmm.model.pairformer import PairformerStack
from atmos_openmm.model.sampler import SamplerSettings

# Of the largest number that comes out, and never less than of 1.
TOLERANCE = {SINGLE: 1e-5, DOUBLE: 1e-9}
CARTESIAN = dataclasses.replace(
    TINY, coordinates="cartesian", msa_blocks=2, cycles=2, n_queries=8, n_keys=32
)


@dataclasses.dataclass
class Case:
    """A network, molecules one by one, and the same molecules in one batch."""

    model: AtmosModel
    alone: list[ModelFeatures]
    batch: ModelFeatures
    draw: Draw

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Tokens and atoms of each molecule."""
        return [(one.token_mask.shape[1], one.atom_mask.shape[1]) for one in self.alone]


def case(coordinates: str, dtype: torch.dtype) -> Case:
    draw = Draw(21, dtype)
    if coordinates == "cartesian":
        config = CARTESIAN
        # Between them: one window and many, other numbers of tokens, and of rows of the alignment.
        molecules = [
            draw_molecule(10, 21, 1, msa_rows=2, dtype=dtype),
            draw_molecule(14, 75, 2, msa_rows=5, dtype=dtype),
            draw_molecule(20, 60, 3, dtype=dtype),
        ]
        alone = [to_model_features(molecule, config) for molecule in molecules]
        batch = to_model_features(molecules, config)
    else:
        config = dataclasses.replace(TINY, n_queries=16, n_keys=32)
        sequences = ("ACE-ALA-NME", "ACE-THR-LEU-ASN-NME")
        plain = [peptide(sequence)[0].tensors() for sequence in sequences]
        alone = [batch_features([one], config) for one in plain]
        batch = batch_features(plain, config)
        *alone, batch = [
            ModelFeatures(*(t.to(dtype) if t.is_floating_point() else t for t in one))
            for one in (*alone, batch)
        ]
    settings = SamplerSettings(steps=3, augment=coordinates == "cartesian")
    model = randomise(AtmosModel(config, settings), 3).to(dtype).eval()
    return Case(model, alone, polluted_features(batch, draw), draw)


@pytest.fixture(
    scope="module",
    params=[(kind, dtype) for kind in ("cartesian", "invariant") for dtype in (DOUBLE, SINGLE)],
    ids=["cartesian-double", "cartesian-single", "invariant-double", "invariant-single"],
)
def setup(request) -> Case:
    return case(*request.param)


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    if expected.numel():
        scale = max(1.0, float(expected.abs().max()))
        assert float((found - expected).abs().max()) <= scale * TOLERANCE[expected.dtype]


def state(setup: Case):
    """A latent of each molecule, and the batch's."""
    c_s, c_z = setup.model.c_s, setup.model.c_z
    s = [setup.draw(1, n, c_s) for n, _ in setup.sizes]
    z = [setup.draw(1, n, n, c_z) for n, _ in setup.sizes]
    return s, z, joined(s, 1, setup.draw), joined(z, 2, setup.draw)


def frames(setup: Case):
    """Coordinates of each molecule, and the batch's."""
    x = [5.0 * setup.draw(1, atoms, 3) for _, atoms in setup.sizes]
    return x, joined(x, 1, setup.draw)


def contexts(setup: Case):
    """The context of each molecule and the batch's, the latter polluted."""
    with torch.no_grad():
        alone = [setup.model.context(one) for one in setup.alone]
        together = setup.model.context(setup.batch)
    return alone, polluted_context(together, setup.batch, setup.draw)


def test_the_padding_is_full_of_large_numbers(setup) -> None:
    # The zeros that batches are padded with would hide what this file is about.
    batch = setup.batch
    padding = batch.atom_mask == 0
    assert bool(padding.any()) and float(batch.ref_pos[padding].abs().max()) > 1e4
    assert float(batch.token_bonds[~outer(batch.token_mask, batch.token_mask)].abs().max()) > 1e4
    s, z, s_batch, z_batch = state(setup)
    assert float(s_batch.abs().max()) > 1e4 and float(z_batch.abs().max()) > 1e4
    for row, (tokens, _) in enumerate(setup.sizes):
        assert torch.equal(part(s_batch, row, tokens), s[row])
        assert torch.equal(part(z_batch, row, tokens, 2), z[row])


def test_context(setup) -> None:
    alone, together = contexts(setup)
    for row, (tokens, atoms) in enumerate(setup.sizes):
        assert_same(part(together.s_inputs, row, tokens), alone[row].s_inputs)
        assert_same(part(together.s, row, tokens), alone[row].s)
        assert_same(part(together.z, row, tokens, 2), alone[row].z)
        assert_same(part(together.c, row, atoms), alone[row].c)


def test_frame_encoder_and_state(setup) -> None:
    alone, together = contexts(setup)
    s, z, s_batch, z_batch = state(setup)
    x, x_batch = frames(setup)
    with torch.no_grad():
        found = setup.model.encode(x_batch, s_batch, z_batch, together, setup.batch)
        for row, (tokens, _) in enumerate(setup.sizes):
            expected = setup.model.encode(x[row], s[row], z[row], alone[row], setup.alone[row])
            assert_same(part(found[0], row, tokens), expected[0])
            assert_same(part(found[1], row, tokens, 2), expected[1])


def test_transition(setup) -> None:
    alone, together = contexts(setup)
    s, z, s_batch, z_batch = state(setup)
    lag = torch.tensor([3.0, 20.0, 500.0], dtype=setup.draw.dtype)[: len(s)]
    kelvin = torch.tensor([300.0, 350.0, 400.0], dtype=setup.draw.dtype)[: len(s)]
    with torch.no_grad():
        found = setup.model.advance(s_batch, z_batch, lag, kelvin, together, setup.batch)
        for row, (tokens, _) in enumerate(setup.sizes):
            at = slice(row, row + 1)
            expected = setup.model.advance(
                s[row], z[row], lag[at], kelvin[at], alone[row], setup.alone[row]
            )
            assert_same(part(found[0], row, tokens), expected[0])
            assert_same(part(found[1], row, tokens, 2), expected[1])


def prepared(setup: Case):
    """What the decoder keeps, of each molecule and of the batch, polluted where it is atoms'."""
    alone, together = contexts(setup)
    s, z, s_batch, z_batch = state(setup)
    model, draw, batch = setup.model, setup.draw, setup.batch
    with torch.no_grad():
        kept = [
            model.prepare(s[i], z[i], alone[i], setup.alone[i]) for i in range(len(setup.alone))
        ]
        all_kept = model.prepare(s_batch, z_batch, together, batch)
    atoms = batch.atom_mask > 0
    return kept, all_kept._replace(
        s=polluted(all_kept.s, batch.token_mask > 0, draw),
        c=polluted(all_kept.c, atoms, draw),
        atom_conditions=[polluted(value, atoms, draw) for value in all_kept.atom_conditions],
    )


def test_denoiser(setup) -> None:
    kept, all_kept = prepared(setup)
    x, x_batch = frames(setup)
    sigma = torch.tensor([0.05, 4.0, 900.0], dtype=setup.draw.dtype)[: len(x)]
    with torch.no_grad():
        found = setup.model.denoise(x_batch, sigma, all_kept, setup.batch)
        for row, (_, atoms) in enumerate(setup.sizes):
            expected = setup.model.denoise(
                x[row], sigma[row : row + 1], kept[row], setup.alone[row]
            )
            assert_same(part(found, row, atoms), expected)


def test_sampler(setup) -> None:
    kept, all_kept = prepared(setup)
    model, longest = setup.model, setup.batch.atom_mask.shape[1]
    steps = model.steps
    noise = setup.draw(len(kept), model.noise_size(longest))
    rest = noise[:, 3 * longest * (1 + steps) :]
    draws = noise[:, : 3 * longest * (1 + steps)].reshape(-1, 1 + steps, longest, 3)
    with torch.no_grad():
        found = model.sample(noise, all_kept, setup.batch)
        for row, (_, atoms) in enumerate(setup.sizes):
            own = draws[row, :, :atoms].reshape(1, -1)
            own = torch.cat([own, rest[row : row + 1]], dim=1)
            assert_same(part(found, row, atoms), model.sample(own, kept[row], setup.alone[row]))


def test_distogram(setup) -> None:
    _, z, _, z_batch = state(setup)
    with torch.no_grad():
        found = setup.model.distogram(z_batch)
        for row, (tokens, _) in enumerate(setup.sizes):
            assert_same(part(found, row, tokens, 2), setup.model.distogram(z[row]))


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=["double", "single"])
def test_pairformer_of_many_tokens(dtype) -> None:
    # Enough tokens that without gradients the pairs are updated a few rows at a time.
    stack = randomise(PairformerStack(2, 16, 8, 2, 2, 0.0), 5).to(dtype).eval()
    draw = Draw(22, dtype)
    sizes = (45, 70, 38)
    s, z = [draw(1, n, 16) for n in sizes], [draw(1, n, n, 8) for n in sizes]
    mask = torch.zeros(len(sizes), max(sizes), dtype=dtype)
    for row, n in enumerate(sizes):
        mask[row, :n] = 1.0
    s_batch, z_batch = joined(s, 1, draw), joined(z, 2, draw)
    with_gradients = stack(s_batch, z_batch, mask)
    with torch.no_grad():
        without = stack(s_batch, z_batch, mask)
        for row, n in enumerate(sizes):
            expected = stack(s[row], z[row], torch.ones(1, n, dtype=dtype))
            for found in (without, [value.detach() for value in with_gradients]):
                assert_same(part(found[0], row, n), expected[0])
                assert_same(part(found[1], row, n, 2), expected[1])


def loss(setup: Case, x, s, z, sigma, features: ModelFeatures) -> torch.Tensor:
    """Squared displacement by the denoiser after one jump, over the atoms there are."""
    model = setup.model
    lag = torch.full_like(sigma, 20.0)
    context = model.context(features)
    s, z = model.encode(x, s, z, context, features)
    s, z = model.advance(s, z, lag, 15.0 * lag, context, features)
    out = model.denoise(x, sigma, model.prepare(s, z, context, features), features)
    return ((out - x) ** 2 * features.atom_mask.unsqueeze(-1)).sum()


@pytest.mark.parametrize("coordinates", ["cartesian", "invariant"])
def test_gradients_of_a_batch_are_the_sums_of_those_of_its_molecules(coordinates) -> None:
    setup = case(coordinates, DOUBLE)
    s, z, s_batch, z_batch = state(setup)
    x, x_batch = frames(setup)
    sigma = torch.tensor([0.5, 4.0, 30.0], dtype=setup.draw.dtype)[: len(x)]
    parameters = dict(setup.model.named_parameters())
    whole = loss(setup, x_batch, s_batch, z_batch, sigma, setup.batch)
    found = torch.autograd.grad(whole, list(parameters.values()), allow_unused=True)
    single = [
        loss(setup, x[i], s[i], z[i], sigma[i : i + 1], setup.alone[i]) for i in range(len(x))
    ]
    expected = torch.autograd.grad(
        torch.stack(single).sum(), list(parameters.values()), allow_unused=True
    )
    used = 0
    for name, mine, other in zip(parameters, found, expected, strict=True):
        assert (mine is None) == (other is None), name
        if mine is not None and other is not None:
            scale = max(1.0, float(other.abs().max()))
            assert float((mine - other).abs().max()) <= 1e-9 * scale, name
            used += float(other.abs().max()) > 0.0
    assert used > 0.9 * len([other for other in expected if other is not None])


def test_walkers_of_one_molecule_share_its_features(setup) -> None:
    one, atoms, tokens = setup.alone[1], setup.sizes[1][1], setup.sizes[1][0]
    model, draw = setup.model, setup.draw
    walkers = 3
    x = 5.0 * draw(walkers, atoms, 3)
    s, z = draw(walkers, tokens, model.c_s), draw(walkers, tokens, tokens, model.c_z)
    noise = draw(walkers, model.noise_size(atoms))
    lag = torch.tensor([3.0, 20.0, 500.0], dtype=draw.dtype)
    with torch.no_grad():
        context = model.context(one)
        found = model.propagate(x, s, z, noise, lag, 15.0 * lag + 300.0, context, one)
        for row in range(walkers):
            at = slice(row, row + 1)
            expected = model.propagate(
                x[at], s[at], z[at], noise[at], lag[at], 15.0 * lag[at] + 300.0, context, one
            )
            for mine, other in zip(found, expected, strict=True):
                assert_same(mine[at], other)
