"""The terms of the loss give Protenix's numbers."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from parity_support import DOUBLE, SINGLE, Draw, largest_difference
from protenix_reference import needs_protenix, reference

from atmos_openmm.training.losses.bond_loss import bond_loss
from atmos_openmm.training.losses.decoder_noise import edm_weight
from atmos_openmm.training.losses.distogram_loss import distogram_loss
from atmos_openmm.training.losses.rigid_alignment import weighted_align
from atmos_openmm.training.losses.smooth_lddt import smooth_lddt_loss

pytestmark = needs_protenix

FRAMES, ATOMS = 5, 61


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    reference()  # Puts the package where it can be imported from.
    return importlib.import_module("protenix.model.loss")


def frames(draw: Draw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Estimates [S, A, 3], the one frame [A, 3] they are of, and which atoms were seen [A]."""
    target = 8.0 * draw(ATOMS, 3)
    estimate = target + draw(FRAMES, 1, 1).abs() * draw(FRAMES, ATOMS, 3)
    return estimate, target, (draw(ATOMS) > -0.8).to(draw.dtype)


def test_aligned_error(theirs) -> None:
    """Ligand atoms with 1 + 10 times the weight; errors weighted by noise levels."""
    draw = Draw(0, SINGLE)
    estimate, target, seen = frames(draw)
    ligand = (draw(ATOMS) > 0.8).to(SINGLE)
    scale = edm_weight(draw(FRAMES).exp(), 16.0)
    zero = torch.zeros_like(seen)
    loss = theirs.MSELoss()
    aligned, weight = loss.weighted_rigid_align(estimate, target, seen, zero, zero, ligand)
    ours_weight = seen * (1.0 + 10.0 * ligand)
    assert torch.equal(weight, ours_weight)
    ours = weighted_align(target.expand_as(estimate), estimate, ours_weight.unsqueeze(0))
    kept = seen > 0.0
    # Coordinates of some ten angstrom, and their decomposition in single precision.
    assert largest_difference(ours[:, kept], aligned[:, kept]) < 5e-5
    square = (ours_weight * ((estimate - ours) ** 2).mean(-1)).sum(1) / seen.sum()
    found = (scale * square).mean()
    expected = loss(estimate, target, seen, zero, zero, ligand, scale)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(SINGLE, 1e-6), (DOUBLE, 1e-11)])
def test_smooth_lddt(theirs, dtype: torch.dtype, tolerance: float) -> None:
    estimate, target, seen = frames(Draw(1, dtype))
    distances = torch.linalg.vector_norm(target.unsqueeze(0) - target.unsqueeze(1), dim=-1)
    pairs = seen.unsqueeze(0) * seen.unsqueeze(1)
    near = theirs.compute_lddt_mask(distances, pairs, torch.zeros(ATOMS))
    expected = theirs.SmoothLDDTLoss()(torch.cdist(estimate, estimate), distances, None, near)
    found = smooth_lddt_loss(estimate, target.expand_as(estimate), seen, chunk_atoms=16).mean()
    assert 0.2 < float(expected) < 0.9
    assert float(found) == pytest.approx(float(expected), abs=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(SINGLE, 1e-6), (DOUBLE, 1e-12)])
def test_bonds(theirs, dtype: torch.dtype, tolerance: float) -> None:
    draw = Draw(2, dtype)
    estimate, target, seen = frames(draw)
    bonds = torch.stack([torch.arange(0, ATOMS - 1, 2), torch.arange(1, ATOMS, 2)], dim=1)
    table = torch.zeros(ATOMS, ATOMS, dtype=dtype)
    table[bonds[:, 0], bonds[:, 1]] = 1.0
    scale = edm_weight(draw(FRAMES).exp(), 16.0)
    pairs = seen.unsqueeze(0) * seen.unsqueeze(1)
    expected = theirs.BondLoss().sparse_forward(estimate, target, pairs, table, scale)
    found = (scale * bond_loss(estimate, target.expand_as(estimate), bonds, seen)).mean()
    assert float(found) == pytest.approx(float(expected), rel=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(SINGLE, 1e-5), (DOUBLE, 1e-6)])
def test_distogram(theirs, dtype: torch.dtype, tolerance: float) -> None:
    # Their sum of weights has 1e-6 added; it is some thousand here.
    draw = Draw(3, dtype)
    _, target, seen = frames(draw)
    logits = draw(1, ATOMS, ATOMS, 64)
    expected = theirs.DistogramLoss()(logits[0], target, seen, torch.ones(ATOMS))
    found = distogram_loss(logits, target.unsqueeze(0), seen)
    assert float(found) == pytest.approx(float(expected), rel=tolerance)
