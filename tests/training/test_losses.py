"""The terms of the loss, each on cases whose value is known."""

from __future__ import annotations

import math

import pytest
import torch
from model_support import peptide, rotation
from torch import Tensor

from atmos_openmm.model.distogram import distogram_target
from atmos_openmm.training.losses.bond_loss import bond_loss
from atmos_openmm.training.losses.distogram_loss import distogram_loss
from atmos_openmm.training.losses.rigid_alignment import weighted_align
from atmos_openmm.training.losses.smooth_lddt import THRESHOLDS_ANGSTROM, smooth_lddt_loss

MIRROR = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def molecule() -> Tensor:
    """A chiral molecule [1, A, 3] in angstrom."""
    return peptide("ACE-ALA-NME")[1].double()


def near_score(error: float) -> float:
    """Smooth LDDT of one pair whose distance is off by so much."""
    return sum(1.0 / (1.0 + math.exp(error - t)) for t in THRESHOLDS_ANGSTROM) / 4.0


# Alignment


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_alignment_recovers_a_rigid_motion(dtype: torch.dtype, tolerance: float) -> None:
    target = torch.cat([molecule(), 3.0 * molecule() + 1.0]).to(dtype)
    turns = torch.stack([rotation(1), rotation(2)])
    estimate = (target.double() @ turns + normal(2, 1, 3)).to(dtype)
    weight = 0.1 + normal(1, target.shape[1]).abs()
    found = weighted_align(target, estimate, weight)
    # Coordinates of up to 30 angstrom, rounded when they come and when they go.
    assert found.dtype == dtype
    torch.testing.assert_close(found, estimate, atol=tolerance, rtol=0)


def test_alignment_never_reflects() -> None:
    target = molecule()
    mirrored = target * MIRROR
    found = weighted_align(target, mirrored, torch.ones(1, target.shape[1]))
    turn = torch.linalg.lstsq(target[0] - target[0].mean(0), found[0] - found[0].mean(0)).solution
    torch.testing.assert_close(turn @ turn.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    assert float(torch.linalg.det(turn)) == pytest.approx(1.0, abs=1e-12)
    assert float((found - mirrored).abs().max()) > 0.5


def test_alignment_weighs_atoms() -> None:
    # On a line, only the centre is to be found: 3/4 and 1/4 of the shifts by 0 and 2.
    target = torch.tensor([[[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]).double()
    estimate = torch.tensor([[[-1.0, 0.0, 0.0], [3.0, 0.0, 0.0]]]).double()
    found = weighted_align(target, estimate, torch.tensor([[3.0, 1.0]]))
    torch.testing.assert_close(found, target + torch.tensor([0.5, 0.0, 0.0]).double())
    # A cross in the plane, one arm turned by a, the other by b: the angle with the largest
    # u cos(t - a) + v cos(t - b) for the weights u and v.
    a, b, u, v = 0.3, -0.2, 5.0, 2.0
    axes = torch.eye(3).double()
    cross = torch.cat([axes, -axes]).unsqueeze(0)

    def turned(angle: float) -> Tensor:
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

    estimate = cross.clone()
    estimate[:, [0, 3]] = cross[:, [0, 3]] @ turned(a)
    estimate[:, [1, 4]] = cross[:, [1, 4]] @ turned(b)
    weight = torch.tensor([[u, v, 1.0, u, v, 1.0]])
    angle = math.atan2(u * math.sin(a) + v * math.sin(b), u * math.cos(a) + v * math.cos(b))
    found = weighted_align(cross, estimate, weight)
    torch.testing.assert_close(found, cross @ turned(angle), atol=1e-12, rtol=0)


@pytest.mark.parametrize("atoms", [1, 2, 5], ids=["one", "two", "line"])
def test_alignment_of_what_does_not_determine_a_rotation(atoms: int) -> None:
    line = torch.linspace(-2.0, 3.0, atoms).double().unsqueeze(1) * normal(1, 3, seed=3)
    target = torch.cat([line, normal(1, 3)]).unsqueeze(0)
    estimate = target @ rotation(4) + 2.0
    weight = torch.ones(1, atoms + 1)
    weight[:, -1] = 0.0
    target[:, -1] = torch.nan
    found = weighted_align(target, estimate, weight)[:, :-1]
    torch.testing.assert_close(found, estimate[:, :-1], atol=1e-12, rtol=0)


def test_alignment_without_weights_or_numbers() -> None:
    target, estimate = molecule(), molecule() @ rotation(4)
    nothing = weighted_align(target, estimate, torch.zeros(1, target.shape[1]))
    torch.testing.assert_close(nothing, target, atol=1e-12, rtol=0)
    estimate[0, 3] = torch.inf
    found = weighted_align(target, estimate, torch.ones(1, target.shape[1]))
    assert not bool(torch.isfinite(found).all())


def test_alignment_has_no_gradient() -> None:
    target = molecule().requires_grad_()
    estimate = (molecule() @ rotation(1)).requires_grad_()
    assert not weighted_align(target, estimate, torch.ones(1, target.shape[1])).requires_grad


# Smooth LDDT


def test_lddt_of_a_perfect_frame() -> None:
    x = molecule()
    loss = smooth_lddt_loss(x, x, torch.ones(x.shape[1]))
    assert float(loss) == pytest.approx(1.0 - near_score(0.0), abs=1e-12)


def test_lddt_of_a_stretched_pair_and_of_far_atoms() -> None:
    line = torch.tensor([[0.0, 3.0, 20.0]]).double().unsqueeze(-1) * torch.ones(1, 1, 3) / 3**0.5
    mask = torch.ones(3)
    stretched = line.clone()
    stretched[:, :2] *= 1.5
    # The third atom is 17 and 20 angstrom away in the target, wherever it is in the estimate.
    expected = 1.0 - near_score(1.5)
    assert float(smooth_lddt_loss(stretched, line, mask)) == pytest.approx(expected, abs=1e-12)
    stretched[:, 2] = 4.0
    assert float(smooth_lddt_loss(stretched, line, mask)) == pytest.approx(expected, abs=1e-12)
    # With a wider radius the pair of the second and third counts.
    moved = line.clone()
    moved[:, 2] += 2.0 / 3**0.5
    wider = smooth_lddt_loss(moved, line, mask, radius_angstrom=18.0)
    expected = 1.0 - (near_score(0.0) + near_score(2.0)) / 2.0
    assert float(wider) == pytest.approx(expected, abs=1e-12)


def test_lddt_does_not_know_rigid_motions_nor_mirrors() -> None:
    target = molecule()
    estimate = target + 0.3 * normal(2, target.shape[1], 3)
    mask = torch.ones(target.shape[1])
    loss = smooth_lddt_loss(estimate, target.expand(2, -1, -1), mask)
    moved = smooth_lddt_loss(
        estimate @ rotation(1) + 4.0, (target * MIRROR).expand(2, -1, -1), mask
    )
    torch.testing.assert_close(loss, moved, atol=1e-12, rtol=0)
    assert abs(float(loss[0] - loss[1])) > 1e-4


def test_lddt_in_chunks_is_lddt() -> None:
    target = 4.0 * normal(2, 23, 3)
    mask = (normal(2, 23, seed=5) > -0.8).double()
    results = []
    for chunk in (1, 7, 23, 1000):
        estimate = (target + 0.5 * normal(2, 23, 3, seed=1)).requires_grad_()
        loss = smooth_lddt_loss(estimate, target, mask, chunk_atoms=chunk)
        gradient = torch.autograd.grad((loss * torch.tensor([1.0, 2.0])).sum(), estimate)[0]
        results.append((loss, gradient))
    # The dense sum over all ordered pairs.
    d, d_target = (torch.cdist(x, x) for x in (estimate, target))
    near = ((d_target < 15.0) * mask.unsqueeze(1) * mask.unsqueeze(2)).double()
    near = near * (1.0 - torch.eye(23).double())
    score = sum(torch.sigmoid(t - (d - d_target).abs()) for t in THRESHOLDS_ANGSTROM) / 4.0
    dense = 1.0 - (near * score).sum((1, 2)) / near.sum((1, 2))
    results.append((dense, torch.autograd.grad(dense[0] + 2.0 * dense[1], estimate)[0]))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0], atol=1e-12, rtol=0)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-12, rtol=0)


def test_lddt_keeps_no_distance_matrix() -> None:
    atoms, kept = 300, []
    target = 8.0 * normal(1, atoms, 3)
    estimate = (target + 0.5 * normal(1, atoms, 3, seed=1)).requires_grad_()

    def keep(value: Tensor) -> Tensor:
        kept.append(value.untyped_storage().nbytes())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        smooth_lddt_loss(estimate, target, torch.ones(atoms), chunk_atoms=50)
    # Coordinates and the like, 3 A numbers of 8 bytes: a row of chunks would be 50 A.
    assert kept and max(kept) <= 8 * 3 * atoms


def test_lddt_of_frames_without_pairs() -> None:
    x = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    loss = smooth_lddt_loss(x, x.detach(), mask)
    # One atom; two at one place, whose distance is right.
    assert loss.tolist() == pytest.approx([0.0, 1.0 - near_score(0.0)], abs=1e-12)
    loss.sum().backward()
    assert x.grad is not None and bool((x.grad == 0.0).all())


def test_lddt_refuses_empty_chunks() -> None:
    with pytest.raises(ValueError, match="chunk_atoms is 0"):
        smooth_lddt_loss(molecule(), molecule(), torch.ones(22), chunk_atoms=0)


# Bonds


def test_bond_loss_is_the_square_of_the_stretch() -> None:
    target = normal(2, 4, 3)
    direction = torch.nn.functional.normalize(target[:, 1] - target[:, 0], dim=-1)
    estimate = target.clone()
    estimate[0, 1] += 0.2 * direction[0]
    estimate[1, 1] -= 0.1 * direction[1]
    bonds = torch.tensor([[0, 1], [2, 3]])
    mask = torch.ones(4)
    alone = bond_loss(estimate, target, bonds[:1], mask)
    torch.testing.assert_close(
        alone, torch.tensor([0.04, 0.01], dtype=torch.float64), atol=1e-12, rtol=0
    )
    # A second bond, which is as it should be, halves the mean where it was seen.
    both = bond_loss(estimate, target, bonds, mask)
    torch.testing.assert_close(both, 0.5 * alone, atol=1e-12, rtol=0)
    mask[3] = 0.0
    torch.testing.assert_close(bond_loss(estimate, target, bonds, mask), alone)
    per_frame = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 1.0]])
    found = bond_loss(estimate, target, bonds, per_frame)
    torch.testing.assert_close(
        found, torch.tensor([0.04, 0.0], dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_bond_loss_without_bonds_is_zero() -> None:
    x = normal(2, 4, 3).requires_grad_()
    none = bond_loss(
        x, normal(2, 4, 3, seed=1), torch.zeros(0, 2, dtype=torch.int64), torch.ones(4)
    )
    assert none.tolist() == [0.0, 0.0]


def test_gradients_are_finite_differences() -> None:
    target = molecule()[:, :9]
    estimate = (target + 0.2 * normal(1, 9, 3)).requires_grad_()
    bonds = torch.tensor([[0, 1], [1, 4], [4, 5]])
    mask = torch.ones(9)
    mask[2] = 0.0
    terms = (
        lambda x: smooth_lddt_loss(x, target, mask, chunk_atoms=4),
        lambda x: bond_loss(x, target, bonds, mask),
    )
    for term in terms:
        assert torch.autograd.gradcheck(term, (estimate,))
        gradient = torch.autograd.grad(term(estimate).sum(), estimate)[0]
        assert bool((gradient[:, 2] == 0.0).all()) and float(gradient.abs().max()) > 1e-3


# Distogram


def test_distogram_bins_are_those_of_the_inherited_head() -> None:
    # 63 edges from 2.3125 to 21.6875, 0.3125 apart, all of them exact in binary; a distance on an
    # edge is in the bin below.
    distances = [0.0, 2.3125, 2.32, 2.625, 2.63, 21.6875, 21.69, 300.0]
    line = torch.tensor(distances).double()
    centres = torch.stack([line, torch.zeros_like(line), torch.zeros_like(line)], dim=-1)
    assert distogram_target(centres.unsqueeze(0), 64)[0, 0].tolist() == [0, 0, 1, 1, 2, 62, 63, 63]
    assert distogram_target(centres.unsqueeze(0), 2)[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_distogram_of_uniform_and_of_perfect_logits() -> None:
    centres = 6.0 * normal(2, 7, 3)
    known = torch.ones(7)
    uniform = distogram_loss(torch.full((2, 7, 7, 64), 3.0), centres.float(), known)
    # float32's rounding of a logarithm of order one, 98 times.
    assert float(uniform) == pytest.approx(math.log(64.0), abs=1e-5)
    bins = distogram_target(centres, 64)
    perfect = 50.0 * torch.nn.functional.one_hot(bins, 64).double()
    assert 0.0 <= float(distogram_loss(perfect, centres, known)) <= 64 * math.exp(-50.0)


def test_distogram_counts_pairs_of_known_tokens() -> None:
    centres = torch.tensor([[[0.0, 0, 0], [10.0, 0, 0], [0, 3.0, 0]]]).double()
    logits = torch.zeros(1, 3, 3, 64).double()
    logits[..., 0] = 40.0  # All are sure of the first bin, which is right for 0 angstrom alone.
    two = distogram_loss(logits, centres, torch.tensor([1.0, 1.0, 0.0]))
    assert float(two) == pytest.approx(20.0, abs=1e-12)
    three = distogram_loss(logits, centres, torch.ones(3))
    assert float(three) == pytest.approx(40.0 * 6 / 9, abs=1e-12)
    moved = centres.clone()
    moved[:, 2] += 1e3
    again = distogram_loss(logits, moved, torch.tensor([1.0, 1.0, 0.0]))
    assert torch.equal(two, again)
    assert float(distogram_loss(logits, centres, torch.zeros(3))) == 0.0


def test_terms_do_not_hear_autocast() -> None:
    target = molecule().float()
    estimate = target + 0.05 * normal(1, target.shape[1], 3).float()
    mask, bonds = torch.ones(target.shape[1]), torch.tensor([[0, 1], [4, 5]])
    logits = normal(1, 22, 22, 32).float()

    def terms() -> list[Tensor]:
        return [
            weighted_align(target, estimate, mask.unsqueeze(0)),
            smooth_lddt_loss(estimate, target, mask),
            bond_loss(estimate, target, bonds, mask),
            distogram_loss(logits, target, mask),
        ]

    plain = terms()
    with torch.autocast("cpu", torch.bfloat16):
        under = terms()
    for one, two in zip(plain, under, strict=True):
        assert two.dtype == torch.float32 and torch.equal(one, two)
