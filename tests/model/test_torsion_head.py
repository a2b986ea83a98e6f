"""The torsion head: what it emits is a density, and depends on the molecule alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from head_cases import WITH_HEAD, head_network, mixture_of, molecule
from model_support import TINY, declaration, network, peptide, permuted

from atmos_openmm import OutOfDomainWarning
from atmos_openmm.jump.choose_density import choose_density
from atmos_openmm.model.atmos import AtmosModel
from atmos_openmm.model.head_density import head_density, to_density
from atmos_openmm.model.model_features import batch_features, model_features
from atmos_openmm.model.model_file import load_model, save_model
from atmos_openmm.model.torsion_features import (
    TorsionFeatures,
    features_of_torsions,
    no_torsions,
)
from atmos_openmm.model.torsion_head import WIDEST, TorsionMixture
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.torsions import torsions_of


def test_scripted_head_is_the_eager_one():
    features, _, inputs = molecule("ACE-SER-LEU-NME")
    model = head_network()
    eager = mixture_of(model, features, inputs, (1.0, 50.0, 5000.0))
    scripted = mixture_of(torch.jit.script(model), features, inputs, (1.0, 50.0, 5000.0))
    for one, other in zip(eager, scripted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_density_integrates_to_one_with_any_gates():
    """Quadrature over a block; trapezoids of a smooth periodic function converge fast."""
    features, torsions, inputs = molecule("ACE-ALA-ALA-NME")
    density = to_density(mixture_of(head_network(), features, inputs), inputs, torsions)
    count = 240  # the narrowest component has a deviation of more than a step
    axis = np.linspace(-math.pi, math.pi, count, endpoint=False)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    cell = (2.0 * math.pi / count) ** 2
    for block in (0, 1):
        frames = np.tile(np.array([0.3, -2.0, 1.1, 2.9]), (len(grid), 1))
        frames[:, density.block_slices[block]] = grid
        for gates in ("sequential", "conditional"):
            total = np.exp(density.log_blocks(frames, gates)[:, block]).sum() * cell
            assert total == pytest.approx(1.0, abs=1e-5)


def test_deviations_are_bounded_whatever_the_network_says():
    model = network(WITH_HEAD, seed=3)
    with torch.no_grad():
        for parameter in model.torsion_head.parameters():
            parameter.mul_(8.0)
    features, torsions, inputs = molecule("ACE-ARG-SER-NME")
    mixture = mixture_of(model, features, inputs, (1.0, 9000.0))
    covariance = mixture.factors @ mixture.factors.mT
    held = inputs.member_mask[0] > 0.0
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt().movedim(2, -1)[:, held]
    assert deviation.max() <= WIDEST + 1e-6
    to_density(TorsionMixture(*(part[:1] for part in mixture)), inputs, torsions)


def test_sequential_weights_look_at_earlier_blocks_alone():
    features, torsions, inputs = molecule("ACE-ALA-PRO-ALA-NME")
    density = to_density(mixture_of(head_network(), features, inputs), inputs, torsions)
    assert torsions.names[2] == "PRO3 psi"
    assert [b.gate_torsions.tolist() for b in density.blocks] == [[2], [0, 1, 3, 4], [2]]
    middle = density.blocks[1]
    assert middle.sequential[:, 1:5].any()
    assert not middle.sequential[:, 5:].any()
    assert middle.conditional[:, 5:].any()
    # phi and psi of the neighbours have columns of their own, whichever of them there are.
    assert inputs.gate_mask[0].tolist() == [[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 0]]


def test_padding_and_company_change_nothing():
    model = head_network()
    one, two = molecule("ACE-ALA-NME"), molecule("ACE-THR-LEU-ASN-NME")
    both = batch_features(
        [peptide(s)[0].tensors() for s in ("ACE-ALA-NME", "ACE-THR-LEU-ASN-NME")], WITH_HEAD
    )
    joined = TorsionFeatures(
        *(padded(a, b) for a, b in zip(one[2], two[2], strict=True))  # ALA's, filled up with ones
    )
    joined.mask[0, one[2].mask.shape[1] :] = 0.0
    for name in ("member_mask", "gate_mask", "gate_earlier"):
        mask = getattr(joined, name)
        mask[0, getattr(one[2], name).shape[1] :] = 0.0
        mask[0, :, getattr(one[2], name).shape[2] :] = 0.0
    lag = (700.0, 700.0)
    together = mixture_of(model, both, joined, lag)
    for number, (features, _, inputs) in enumerate((one, two)):
        alone = mixture_of(model, features, inputs, (700.0,))
        sizes = inputs.members.shape[1:]
        density_of = [
            alone.means[0],
            alone.factors[0],
            alone.sequential[0],
            alone.conditional[0],
        ]
        found = [
            together.means[number, : sizes[0], :, : sizes[1]],
            together.factors[number, : sizes[0], :, : sizes[1], : sizes[1]],
            together.sequential[number, : sizes[0]],
            together.conditional[number, : sizes[0]],
        ]
        held = inputs.member_mask[0] > 0.0
        torch.testing.assert_close(
            found[0].movedim(1, -1)[held], density_of[0].movedim(1, -1)[held], rtol=1e-4, atol=1e-4
        )
        for a, b in zip(found[1:], density_of[1:], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def padded(small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    """Both in one batch, the first filled up with numbers that mean something elsewhere."""
    out = torch.cat([torch.ones_like(large), large])
    out[(0, *(slice(0, n) for n in small.shape[1:]))] = small[0]
    return out


def test_walkers_of_one_molecule_are_independent():
    features, _, inputs = molecule("ACE-SER-NME")
    model = head_network()
    many = mixture_of(model, features, inputs, (1.0, 30.0, 4000.0))
    for k, lag in enumerate((1.0, 30.0, 4000.0)):
        for one, of_many in zip(mixture_of(model, features, inputs, (lag,)), many, strict=True):
            torch.testing.assert_close(one[0], of_many[k], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(many.means[0], many.means[2], atol=1e-3)


def test_order_of_atoms_changes_nothing():
    features = peptide("ACE-THR-NME")[0]
    order = np.random.default_rng(2).permutation(features.num_atoms)
    other = permuted(features, order)
    torsions = torsions_of(features)
    found = []
    for which in (features, other):
        static = model_features(which.tensors(), WITH_HEAD)
        inputs = features_of_torsions(torsions, which.atom_indices)
        found.append(mixture_of(head_network(), static, inputs))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_file_keeps_the_head_and_declares_it(tmp_path):
    model = head_network()
    path = tmp_path / "head.atmos"
    save_model(path, model, declaration(config=WITH_HEAD.to_dict()))
    loaded = load_model(path)
    assert loaded.capabilities.has_torsion_head
    features, torsions, _ = molecule("ACE-ALA-NME")
    atoms = peptide("ACE-ALA-NME")[0].atom_indices
    frames = np.random.default_rng(1).uniform(-3.0, 3.0, (20, len(torsions)))
    logs = [
        head_density(m, features, torsions, atoms, 100.0, 310.0).log_density(frames)
        for m in (model, loaded.module)
    ]
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-5, atol=1e-5)


def test_network_without_head_has_none(tmp_path):
    path = tmp_path / "plain.atmos"
    save_model(path, network(TINY), declaration())
    loaded = load_model(path)
    assert not loaded.capabilities.has_torsion_head
    features, _, inputs = molecule("ACE-ALA-NME")
    plain = AtmosModel(TINY)
    with pytest.raises(RuntimeError, match="no torsion head"):
        mixture_of(plain, features, inputs)
    with pytest.raises((RuntimeError, torch.jit.Error), match="no torsion head"):
        mixture_of(loaded.module, features, inputs)
    assert not any(name.startswith("torsion_head") for name in plain.state_dict())


def test_torsions_of_another_molecule_are_refused():
    torsions = molecule("ACE-LEU-NME")[1]
    with pytest.raises(ValueError, match="LEU2 .* has an atom that the model does not carry"):
        features_of_torsions(torsions, np.arange(8))


def test_molecule_without_torsions():
    inputs = no_torsions()
    assert inputs.atoms.shape == (1, 0, 4)
    assert inputs.members.shape == (1, 0, 1)
    features, torsions, _ = molecule("ACE-ALA-NME")
    empty = dataclasses.replace(
        torsions,
        names=(),
        atoms=torsions.atoms[:0],
        groups=(),
        backbone=torsions.backbone[:0],
        block_sizes=(),
        block_names=(),
        previous=(),
    )
    atoms = peptide("ACE-ALA-NME")[0].atom_indices
    density = head_density(head_network(), features, empty, atoms, 100.0, 300.0)
    assert density.names == density.blocks == ()


def test_propagator_gives_the_density(tmp_path):
    topology, positions = build_peptide("ACE-ALA-NME")
    path = tmp_path / "head.atmos"
    save_model(path, head_network(), declaration(config=WITH_HEAD.to_dict()))
    propagator = AtmosPropagator(path, topology, positions=positions)
    density = propagator.torsionDensity(lag=50.0)
    assert density.names == ("ALA2 phi", "ALA2 psi")
    assert density.blocks[0].has_local
    # Without positions: no frame is drawn.
    chosen = choose_density(propagator, propagator.torsions(), lag=50.0)
    frames = np.random.default_rng(0).uniform(-3.0, 3.0, (9, 2))
    np.testing.assert_array_equal(chosen.log_density(frames), density.log_density(frames))
    with pytest.warns(OutOfDomainWarning, match="lag"):
        propagator.torsionDensity(lag=5000.0)
    bundled = AtmosPropagator(topology=topology, positions=positions)
    assert not bundled.hasTorsionHead()
    with pytest.raises(ValueError, match="capped-amino-acids has no torsion head"):
        bundled.torsionDensity()
