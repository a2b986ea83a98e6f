"""Noisy frames and what is asked of the denoised ones."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from loss_cases import ALL_TERMS, BOTH, batch_of, generator
from model_support import TINY, network, peptide, rotation
from torch import Tensor

from atmos_openmm.model.atmos import AtmosModel, hand
from atmos_openmm.model.config import ModelConfig
from atmos_openmm.training.batch import Batch
from atmos_openmm.training.latent_rollout import encode_context, no_history
from atmos_openmm.training.losses.decoder_noise import (
    DecoderNoise,
    draw_decoder_noise,
    edm_weight,
    nearest_seen,
    noise_levels,
    noisy_frames,
)
from atmos_openmm.training.losses.denoising import losses_of_noise
from atmos_openmm.training.training_settings import LossSettings

PLAIN = LossSettings(first_estimate=0.0, distogram=0.0)


def frames(count: int, sequence: str = "ACE-ALA-NME") -> Tensor:
    """Frames [1, count, A, 3] in angstrom, centred, in double precision."""
    _, x = peptide(sequence)
    jitter = torch.randn(1, count, x.shape[1], 3, generator=generator(7))
    frames = x.unsqueeze(0).double() + 0.2 * jitter.double()
    return frames - frames.mean(2, keepdim=True)


def denoising_losses(model, target: Tensor, prepared, batch: Batch, levels: int, weights, draw):
    """Losses of frames that are denoised from several drawn noise levels each."""
    noise = draw_decoder_noise(len(target) * levels, target.shape[1], target, draw)
    return losses_of_noise(model, target, noise, prepared, batch, weights)


def static_batch(config: ModelConfig, positions: Tensor, sequence="ACE-ALA-NME", **more) -> Batch:
    return batch_of(peptide(sequence)[0], config, positions, history=False, **more)


def prepared_for(model: AtmosModel, batch: Batch):
    h = no_history(model, batch)
    return model.prepare(h.s, h.z, encode_context(model, batch, False), batch.features)


class Answers:
    """A decoder whose answers are a known function of the noise levels."""

    sigma_data = 2.0

    def __init__(self, answer) -> None:
        self.answer = answer

    def estimates(self, noisy: Tensor, sigma: Tensor, prepared, features) -> list[Tensor]:
        return [self.answer(noisy, sigma)]


def losses_with(answer, batch: Batch, weights: LossSettings, mirrors: bool, levels: int = 3):
    """Losses of one draw of a decoder that answers so."""
    target = batch.positions[0]
    empty = prepared_for(network(TINY).double(), batch)
    decoder = SimpleNamespace(mirrors=mirrors, diffusion=Answers(answer))
    return denoising_losses(decoder, target, empty, batch, levels, weights, generator(1))


# Noise


def test_noise_levels_are_those_of_af3() -> None:
    n = torch.tensor([0.0, 1.0, -2.0]).double()
    expected = [16.0 * math.exp(-1.2 + 1.5 * k) for k in (0, 1, -2)]
    assert noise_levels(n, 16.0).tolist() == pytest.approx(expected, rel=1e-12)
    # At sigma = sigma_data: 2 sd^2 / sd^4.
    assert float(edm_weight(torch.tensor(4.0), 4.0)) == pytest.approx(2.0 / 16.0)


def test_nearest_seen_atom() -> None:
    seen = torch.tensor([0, 0, 1, 0, 0, 0, 1, 1, 0]).float()
    assert nearest_seen(seen).tolist() == [2, 2, 2, 2, 2, 6, 6, 7, 7]
    assert nearest_seen(torch.ones(3)).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="No atom of the frame was seen"):
        nearest_seen(torch.zeros(3))


def test_atoms_that_were_not_seen_stand_by_a_noisy_neighbour() -> None:
    x, noise = (torch.randn(2, 5, 3, generator=generator(k)).double() for k in (0, 1))
    x[:, 3:] = torch.nan
    sigma = torch.tensor([0.1, 2.0]).double()
    found = noisy_frames(x, sigma, noise, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    level = sigma.reshape(-1, 1, 1)
    assert torch.equal(found[:, :3], (x + level * noise)[:, :3])
    for gap, atom in ((1, 3), (2, 4)):
        # Steps of 1.5 angstrom in any direction: a third of their square on each axis.
        spread = torch.sqrt(level[:, 0] ** 2 + 1.5**2 / 3.0 * gap)
        expected = found[:, 2] + spread * noise[:, atom]
        torch.testing.assert_close(found[:, atom], expected, atol=1e-12, rtol=0)


# The error


def test_error_of_a_network_that_answers_zero_is_one() -> None:
    """EDM's weights make the target of the preconditioned network of unit variance.

    With F = 0 the denoised frame is c_skip x, and the weighted error of data of variance
    sigma_data^2 is 1 at every noise level; the first estimate is the same then.
    """
    features, _ = peptide()
    model = AtmosModel(TINY).eval()  # fresh: the last layers are zero, so F = 0
    rollouts, atoms = 64, features.num_atoms
    target = TINY.sigma_data * torch.randn(1, rollouts, atoms, 3, generator=generator())
    batch = static_batch(TINY, target - target.mean(2, keepdim=True))
    with torch.no_grad():
        losses = denoising_losses(
            model,
            batch.positions[0],
            prepared_for(model, batch),
            batch,
            4,
            LossSettings(),
            generator(),
        )
    # Centring takes one of 22 degrees of freedom; the error of a mean square over
    # 256 x 63 numbers is sqrt(2 / 16000) = 1.1 %, and five of those are allowed.
    assert float(losses["denoising"]) == pytest.approx((atoms - 1) / atoms, abs=0.056)
    assert float(losses["first_estimate"]) == pytest.approx(float(losses["denoising"]), rel=1e-6)
    assert float(losses["loss"]) == pytest.approx(1.25 * float(losses["denoising"]), rel=1e-6)


@torch.no_grad()
def test_the_centre_is_that_of_the_frame_which_the_invariant_decoder_sees() -> None:
    """A fresh network answers with the noisy frame about the mean of all its atoms.

    At a level far below a bond, the error is the noise, of unit size in units of the level, if the
    target is seen from there too; stand-ins for unseen atoms move that mean by some tenths of an
    angstrom, a hundred times the level.
    """
    model = AtmosModel(TINY).double().eval()
    resolved = torch.ones(22)
    resolved[[5, 6, 7]] = 0.0
    positions = frames(4)
    batch = static_batch(TINY, positions, resolved=resolved)
    target = batch.positions[0]
    noise = draw_decoder_noise(32, 22, target, generator())
    level = (math.log(1e-3 / TINY.sigma_data) + 1.2) / 1.5
    noise = noise._replace(level=torch.full_like(noise.level, level))
    prepared = prepared_for(model, batch)
    found = float(losses_of_noise(model, target, noise, prepared, batch, PLAIN)["denoising"])
    # Of 19 atoms seen one is centring's; 32 x 54 squares: sqrt(2 / 1728) = 3.4 %, five of those.
    assert found == pytest.approx(18 / 19, abs=0.17)


def test_ligand_atoms_weigh_more() -> None:
    """A known error, of unit size in the network's output, of two groups of atoms."""
    ligand = torch.zeros(22)
    ligand[:5] = 1.0
    # Glycine: without a stereocentre, no frame is mirrored.
    sequence = "ACE-GLY-NME"
    positions = frames(2, sequence)
    atoms = positions.shape[2]
    batch = static_batch(TINY, positions, sequence, ligand=ligand[:atoms])
    target = positions[0].repeat_interleave(3, 0)
    shift = torch.randn(atoms, 3, generator=generator(3)).double()

    def answer(noisy: Tensor, sigma: Tensor) -> Tensor:
        return target + shift / edm_weight(sigma, 2.0).sqrt().reshape(-1, 1, 1)

    for weight in (1.0, 11.0):
        found = losses_with(answer, batch, LossSettings(ligand=weight), True)["denoising"]
        square = (shift**2).mean(1)
        expected = (weight * square[:5].sum() + square[5:].sum()) / atoms
        assert float(found) == pytest.approx(float(expected), rel=1e-9)


def test_a_cartesian_decoder_is_not_asked_for_an_orientation_but_for_a_hand() -> None:
    positions = frames(2)
    batch = static_batch(TINY, positions)
    target = positions[0].repeat_interleave(3, 0)
    turned = losses_with(lambda noisy, sigma: target @ rotation(5) + 3.0, batch, PLAIN, False)
    assert float(turned["denoising"]) == pytest.approx(0.0, abs=1e-18)
    mirror = torch.tensor([-1.0, 1.0, 1.0]).double()
    mirrored = losses_with(lambda noisy, sigma: target * mirror, batch, PLAIN, False)
    assert float(mirrored["denoising"]) > 1e-3


def test_noisy_frames_are_turned_for_a_cartesian_decoder_and_right_handed_for_the_other() -> None:
    batch = static_batch(TINY, frames(40))
    seen = []

    def answer(noisy: Tensor, sigma: Tensor) -> Tensor:
        seen.append((noisy, sigma))
        return noisy

    losses_with(answer, batch, PLAIN, False, levels=1)
    losses_with(answer, batch, PLAIN, True, levels=1)
    (cartesian, _), (invariant, sigma) = seen
    # Where noise is as large as the molecule, half of the frames would be left-handed.
    assert float(sigma.max()) > 5.0
    assert bool((hand(invariant, batch.features) == 1.0).all())
    assert bool((hand(cartesian, batch.features) == -1.0).any())
    torch.testing.assert_close(invariant.mean(1), torch.zeros(40, 3).double(), atol=1e-12, rtol=0)
    small = sigma < 0.3
    # A frame with little noise is the target, turned: far from it as it stands.
    x = batch.positions[0]
    assert bool(((cartesian - x)[small].abs().amax((1, 2)) > 1.0).all()) and int(small.sum()) > 5
    either = torch.minimum((invariant - x).abs().amax((1, 2)), (invariant + x).abs().amax((1, 2)))
    # The largest of 66 normal numbers is below 5.
    assert bool((either < 5.0 * sigma).all())


@BOTH
@torch.no_grad()
def test_the_sum_is_weighted_and_terms_of_weight_zero_are_left_out(config) -> None:
    model = network(config).double()
    batch = static_batch(config, frames(2), ligand=(torch.arange(22) < 6))
    target, prepared = batch.positions[0], prepared_for(model, batch)
    terms = denoising_losses(model, target, prepared, batch, 2, ALL_TERMS, generator())
    names = {"denoising", "smooth_lddt", "bond"}
    names |= {"first_estimate"} if config.coordinates == "invariant" else set()
    assert set(terms) == names | {"loss"}
    expected = sum(getattr(ALL_TERMS, name) * float(terms[name]) for name in names)
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-12)
    assert all(float(terms[name]) > 1e-3 for name in names)
    for name in names:
        zero = {n: 0.0 for n in ("denoising", "first_estimate", "smooth_lddt", "bond")}
        one = LossSettings(**(zero | {name: 2.0}), ligand=ALL_TERMS.ligand)
        alone = denoising_losses(model, target, prepared, batch, 2, one, generator())
        assert set(alone) == {name, "loss"}
        assert float(alone["loss"]) == pytest.approx(2.0 * float(terms[name]), rel=1e-12)


@BOTH
@torch.no_grad()
def test_bond_term_has_edm_weights_and_lddt_has_not(config) -> None:
    """Against sums over one level at a time."""
    model = network(config).double()
    batch = static_batch(config, frames(1))
    target, prepared = batch.positions[0], prepared_for(model, batch)
    noise = draw_decoder_noise(2, 22, target, generator(2))
    both = losses_of_noise(model, target, noise, prepared, batch, ALL_TERMS)
    single = [
        losses_of_noise(
            model,
            target,
            DecoderNoise(*(v[k : k + 1] for v in noise)),
            prepared,
            batch,
            ALL_TERMS,
        )
        for k in range(2)
    ]
    for name, value in both.items():
        mean = sum(float(one[name]) for one in single) / 2
        assert float(value) == pytest.approx(mean, rel=1e-10), name
    # A stretched bond at a known level.
    sequence = "ACE-GLY-NME"
    positions = frames(1, sequence)
    gly = static_batch(TINY, positions, sequence)
    gly = gly._replace(bonds=torch.tensor([[0, 1]]))
    x = positions[0]
    stretched = x.clone()
    stretched[:, 1] += 0.5 * torch.nn.functional.normalize(x[:, 1] - x[:, 0], dim=-1)
    levels = []

    def answer(noisy: Tensor, sigma: Tensor) -> Tensor:
        levels.append(sigma)
        return stretched

    found = losses_with(answer, gly, ALL_TERMS, True, levels=1)
    expected = 0.25 * float(edm_weight(levels[0], 2.0))
    assert float(found["bond"]) == pytest.approx(expected, rel=1e-9)


@BOTH
def test_what_was_not_seen_changes_nothing(config) -> None:
    model = network(config).double()
    resolved = torch.ones(22)
    resolved[[3, 8, 9, 10, 21]] = 0.0
    positions = frames(2)
    results = []
    for shift in (0.0, 1e3, math.nan):
        moved = positions.clone()
        moved[:, :, resolved == 0.0] += shift
        batch = static_batch(config, moved, resolved=resolved)
        prepared = prepared_for(model, batch)
        model.zero_grad()
        losses = denoising_losses(
            model, batch.positions[0], prepared, batch, 2, ALL_TERMS, generator()
        )
        losses["loss"].backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append(({k: float(v.detach()) for k, v in losses.items()}, gradients))
    for losses, gradients in results[1:]:
        assert losses == results[0][0]
        assert all(map(torch.equal, gradients, results[0][1]))
    # A seen atom does change them.
    positions[:, :, 4] += 0.1
    batch = static_batch(config, positions, resolved=resolved)
    with torch.no_grad():
        other = denoising_losses(
            model, batch.positions[0], prepared, batch, 2, ALL_TERMS, generator()
        )
    assert all(abs(float(other[k]) - v) > 1e-9 for k, v in results[0][0].items())


@pytest.mark.parametrize("mirrors", [True, False])
def test_no_gradient_enters_by_atoms_that_were_not_seen(mirrors: bool) -> None:
    resolved = torch.ones(22)
    resolved[[3, 8, 9]] = 0.0
    batch = static_batch(TINY, frames(2), resolved=resolved)
    answer = torch.randn(6, 22, 3, generator=generator()).double().requires_grad_()
    loss = losses_with(lambda noisy, sigma: answer, batch, ALL_TERMS, mirrors)["loss"]
    gradient = torch.autograd.grad(loss, answer)[0]
    assert bool((gradient[:, resolved == 0.0] == 0.0).all())
    assert bool((gradient[:, resolved == 1.0].abs().amax((0, 2)) > 0.0).all())


@BOTH
@torch.no_grad()
def test_the_denoiser_does_not_hear_autocast(config) -> None:
    """In particular, frames are turned without losing digits.

    At a level of 1e-3 angstrom a coordinate of some angstrom in bfloat16, off by 0.01, would give
    an error of 100 in place of 1.
    """
    model = network(config)
    batch = static_batch(config, frames(4).float())
    target, prepared = batch.positions[0], prepared_for(model, batch)
    noise = draw_decoder_noise(16, 22, target, generator())
    low = (math.log(1e-3 / config.sigma_data) + 1.2) / 1.5
    for levels in (noise.level, torch.full_like(noise.level, low)):
        noise = noise._replace(level=levels)
        plain = losses_of_noise(model, target, noise, prepared, batch, ALL_TERMS)
        with torch.autocast("cpu", torch.bfloat16):
            under = losses_of_noise(model, target, noise, prepared, batch, ALL_TERMS)
        assert {k: float(v) for k, v in plain.items()} == {k: float(v) for k, v in under.items()}
    # What the random network adds to the noise that is there is of the order of the noise.
    assert 0.1 < float(plain["denoising"]) < 1e4
