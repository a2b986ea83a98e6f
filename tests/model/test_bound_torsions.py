"""The torsion head as a bound module: what it draws and turns, and its ratio."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch
from head_cases import WITH_HEAD, head_network, molecule
from model_support import declaration, peptide

from atmos_openmm import AtmosPropagator
from atmos_openmm.jump.noise import NoiseStream
from atmos_openmm.model.bound_torsions import bind_torsions
from atmos_openmm.model.head_density import head_density
from atmos_openmm.model.model_file import load_model, save_model
from atmos_openmm.systems.peptides import build_peptide

LAG_PS, TEMPERATURE_K = 1000.0, 300.0
SEQUENCE = "ACE-SER-LEU-NME"


@lru_cache
def bound(sequence=SEQUENCE, kind="all"):
    features, torsions, _ = molecule(sequence)
    atoms = peptide(sequence)[0].atom_indices
    return bind_torsions(
        head_network(), features, torsions, torsions.groups, atoms, LAG_PS, TEMPERATURE_K, kind
    )


def density(lag_ps=LAG_PS, sequence=SEQUENCE):
    features, torsions, _ = molecule(sequence)
    atoms = peptide(sequence)[0].atom_indices
    return head_density(head_network(), features, torsions, atoms, lag_ps, TEMPERATURE_K)


def propagated(module, frames, seed=0, lag_ps=LAG_PS):
    """Frames in nm after a jump [B, A, 3], and log_ratio [B]; those before are given."""
    count = len(frames)
    noise = torch.randn(count, module.noise_size(), generator=torch.Generator().manual_seed(seed))
    lag = torch.full((count,), lag_ps)
    x, state, ratio = module.propagate(
        frames, torch.zeros(count, 0), noise, lag, torch.full((count,), TEMPERATURE_K)
    )
    assert x.dtype == torch.float32 and state.shape == (count, 0)
    return x, ratio.numpy()


def start(count, sequence=SEQUENCE):
    """Frames of a peptide with torsions all over the place, nm."""
    x = 0.1 * peptide(sequence)[1][:1].expand(count, -1, -1)
    noise = torch.randn(
        count, bound(sequence).noise_size(), generator=torch.Generator().manual_seed(9)
    )
    full = torch.full((count,), LAG_PS), torch.full((count,), TEMPERATURE_K)
    return bound(sequence).propagate(x, torch.zeros(count, 0), noise, *full)[0]


@pytest.mark.parametrize("lag_ps", [LAG_PS, 20.0])
def test_the_ratio_is_that_of_the_density(lag_ps):
    # At another lag than the module was made for the network runs again.
    torsions, model = molecule(SEQUENCE)[1], density(lag_ps)
    before = start(6)
    after, ratios = propagated(bound(), before, lag_ps=lag_ps)
    old, new = (torsions.measure(x.double().numpy()) for x in (before, after))
    assert model.blocks[0].has_local and len(model.blocks) == 2

    def log_q(to, at):
        total, at, end = 0.0, at.copy(), 0
        for block, size in enumerate(torsions.block_sizes):
            where = slice(end, end + size)
            total += model.log_block(block, to[where], at, "sequential")
            at[where], end = to[where], where.stop
        return total

    expected = [log_q(a, b) - log_q(b, a) for a, b in zip(old, new, strict=True)]
    # Positions are of single precision: 6e-8 nm over 0.1 nm in an angle, over a deviation of 0.04
    # at the least, with differences of some deviations, and the ratio's own rounding.
    np.testing.assert_allclose(ratios, expected, atol=1e-3)


def test_one_residue_given_the_others():
    torsions, model = molecule(SEQUENCE)[1], density()
    before = start(40)
    after, ratios = propagated(bound(kind="residue"), before)
    old, new = (torsions.measure(x.double().numpy()) for x in (before, after))
    ends = np.cumsum(torsions.block_sizes)
    slices = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    moved = np.abs(np.angle(np.exp(1j * (new - old)))) > 1e-4
    blocks = [[row[where].any() for where in slices] for row in moved]
    assert all(sum(row) == 1 for row in blocks)
    chosen = [row.index(True) for row in blocks]
    # A fair coin, forty times: fewer than 5 of one side are seen once in 500,000.
    assert 5 <= sum(chosen) <= 35
    expected = [
        model.log_block(k, a[slices[k]], b, "conditional")
        - model.log_block(k, b[slices[k]], a, "conditional")
        for k, a, b in zip(chosen, old, new, strict=True)
    ]
    np.testing.assert_allclose(ratios, expected, atol=1e-3)


def test_only_torsions_change():
    before = start(5)
    after, _ = propagated(bound(), before)
    features = peptide(SEQUENCE)[0]
    bonds = torch.as_tensor(np.asarray(features.bonds), dtype=torch.int64)
    for x, y in zip(before.double(), after.double(), strict=True):
        lengths = [(f[bonds[:, 0]] - f[bonds[:, 1]]).norm(dim=1) for f in (x, y)]
        # Rounding to single precision of coordinates below 1 nm.
        torch.testing.assert_close(lengths[0], lengths[1], atol=3e-7, rtol=0)
        for a in range(bonds.shape[0]):
            for b in range(a):
                ends = set(bonds[a].tolist()) ^ set(bonds[b].tolist())
                if len(ends) == 2:
                    i, j = ends
                    apart = [(f[i] - f[j]).norm() for f in (x, y)]
                    torch.testing.assert_close(apart[0], apart[1], atol=3e-7, rtol=0)


def test_draws_follow_the_density():
    # Averages over what the module draws from one frame, against draws of the density itself.
    torsions, model = molecule(SEQUENCE)[1], density()
    count = 4000
    before = start(1)
    after, _ = propagated(bound(), before.expand(count, -1, -1), seed=3)
    drawn = torsions.measure(after.double().numpy())
    present = torsions.measure(before.double().numpy())[0]
    other = np.tile(present, (count, 1))
    for row, angles in enumerate(other):
        stream, end = NoiseStream(5, 1, row), 0
        for block, size in enumerate(torsions.block_sizes):
            where = slice(end, end + size)
            angles[where] = model.draw_block(block, range(size), angles, stream, "sequential")
            end = where.stop
    for function in (
        np.cos,
        np.sin,
        lambda t: np.cos(2 * t),
        lambda t: np.sin(t + np.roll(t, 1, 1)),
    ):
        mine, theirs = function(drawn), function(other)
        error = np.sqrt((mine.var(axis=0) + theirs.var(axis=0)) / count)
        # Normal deviates, 28 of them: 5.5 is passed once in a million.
        assert np.abs((mine.mean(axis=0) - theirs.mean(axis=0)) / error).max() < 5.5


def test_what_cannot_be_bound_is_refused():
    features, torsions, _ = molecule(SEQUENCE)
    atoms = peptide(SEQUENCE)[0].atom_indices
    with pytest.raises(ValueError, match="kind is 'sidechain'; expected one of all, residue"):
        bound(kind="sidechain")

    class Empty:
        names, atoms, block_sizes, previous = (), np.zeros((0, 4), np.int64), (), ()

    with pytest.raises(ValueError, match="no torsion to turn"):
        bind_torsions(head_network(), features, Empty(), (), atoms, LAG_PS, TEMPERATURE_K)


def test_a_propagator_gives_the_module(tmp_path):
    topology, positions = build_peptide("ACE-ALA-NME")
    path = tmp_path / "head.atmos"
    save_model(path, head_network(), declaration(config=WITH_HEAD.to_dict()))
    assert load_model(path).capabilities.has_torsion_head
    propagator = AtmosPropagator(path, topology, positions=positions)
    module = propagator.torsionModule(lag=50.0)
    assert (module.num_atoms(), module.state_size(), module.noise_size()) == (22, 0, 4)
    bundled = AtmosPropagator(topology=topology, positions=positions)
    with pytest.raises(ValueError, match="capped-amino-acids has no torsion head"):
        bundled.torsionModule()
