"""The Cartesian configuration: Protenix's modules as one network, and batches of molecules."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from loss_cases import batch_of, generator, stage_of
from model_support import TINY, TINY_CARTESIAN, declaration, jump_inputs, network, peptide, rotation
from openmm import unit

from atmos_openmm.model.atmos import AtmosModel, rotation_from_normals
from atmos_openmm.model.config import ModelConfig, full, small
from atmos_openmm.model.frame_encoder import FramePairs
from atmos_openmm.model.model_features import ModelFeatures, batch_features, model_features
from atmos_openmm.model.model_file import save_model
from atmos_openmm.model.sampler import SamplerSettings, default_sampler
from atmos_openmm.propagator import AtmosPropagator
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.latent_rollout import encode_context, no_history, segment_losses

LARGE, SMALL = "ACE-TRP-ALA-LYS-NME", "ACE-SER-NME"


def doubled(features: ModelFeatures) -> ModelFeatures:
    return ModelFeatures(*(t.double() if t.is_floating_point() else t for t in features))


def padded(x: torch.Tensor, atoms: int) -> torch.Tensor:
    """Coordinates [1, A, 3] continued by garbage."""
    garbage = torch.linspace(-40.0, 70.0, 3 * (atoms - x.shape[1])).reshape(1, -1, 3)
    return torch.cat([x, garbage.to(x)], dim=1)


@pytest.mark.parametrize("config", [TINY, TINY_CARTESIAN], ids=["invariant", "cartesian"])
def test_a_molecule_in_a_batch_jumps_as_it_does_alone(config: ModelConfig) -> None:
    model = network(config).double()
    molecules = [peptide(name) for name in (SMALL, LARGE)]
    plain = [features.tensors() for features, _ in molecules]
    atoms = [features.num_atoms for features, _ in molecules]
    tokens = [len(features.restype) for features, _ in molecules]
    # The larger one fills several windows, the smaller one alone is a dense one.
    assert atoms[1] > config.n_queries or config.coordinates == "invariant"
    batch = doubled(batch_features(plain, config))
    garbage = batch._replace(
        ref_pos=batch.ref_pos + 30.0 * (1.0 - batch.atom_mask).unsqueeze(-1),
        token_bonds=batch.token_bonds + 3.0 * (1.0 - batch.token_mask).unsqueeze(-1),
    )
    steps = model.steps
    h_s, h_z, noise, lag, temperature = jump_inputs(model, atoms[1], tokens[1], batch=2)
    x = torch.cat([padded(molecules[0][1], atoms[1]), molecules[1][1]]).double()
    h_s = 0.3 * torch.ones_like(h_s)
    with torch.no_grad():
        context = model.context(garbage)
        together = model.propagate(x, h_s, h_z, noise, lag, temperature, context, garbage)
        for row in range(2):
            a, n = atoms[row], tokens[row]
            static = doubled(model_features(plain[row], config))
            # The same random numbers: those of this molecule's atoms, then the rigid motions.
            split = 3 * atoms[1] * (1 + steps)
            own = noise[row : row + 1, :split].reshape(1 + steps, -1, 3)[:, :a].reshape(1, -1)
            own = torch.cat([own, noise[row : row + 1, split:]], dim=1)
            alone = model.propagate(
                molecules[row][1].double(),
                h_s[:1, :n],
                h_z[:1, :n, :n],
                own,
                lag[:1],
                temperature[:1],
                model.context(static),
                static,
            )
            # Sums over atoms are taken in another order: double precision's rounding, in frames
            # of some hundred angstrom out of a random network.
            scale = float(alone[0].abs().max())
            torch.testing.assert_close(together[0][row, :a], alone[0][0], atol=1e-9 * scale, rtol=0)
            torch.testing.assert_close(together[1][row, :n], alone[1][0], atol=1e-9, rtol=0)
            torch.testing.assert_close(together[2][row, :n, :n], alone[2][0], atol=1e-9, rtol=0)


def test_eager_and_scripted_jump_alike() -> None:
    features, x = peptide(LARGE)
    model = network(TINY_CARTESIAN)
    static = model_features(features.tensors(), TINY_CARTESIAN)
    h_s, h_z, noise, lag, temperature = jump_inputs(
        model, features.num_atoms, len(features.restype)
    )
    results = []
    for module in (model, torch.jit.script(model)):
        with torch.no_grad():
            context = module.context(static)
            results.append(module.propagate(x, h_s, h_z, noise, lag, temperature, context, static))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_an_alignment_changes_the_context_and_its_padding_does_not() -> None:
    features, _ = peptide(SMALL)
    plain = features.tensors()
    tokens = len(features.restype)
    generator = torch.Generator().manual_seed(4)
    rows = {
        "msa": torch.randint(0, 32, (3, tokens), generator=generator),
        "has_deletion": torch.randint(0, 2, (3, tokens), generator=generator).float(),
        "deletion_value": torch.rand(3, tokens, generator=generator),
    }
    more = {
        k: torch.cat([v, torch.randint(0, 2, (2, tokens), generator=generator).to(v)])
        for k, v in rows.items()
    }
    config = dataclasses.replace(TINY_CARTESIAN, msa_blocks=2)
    model = network(config).double()
    with torch.no_grad():
        without, aligned_ = (
            model.context(doubled(model_features(given, config))) for given in (plain, plain | rows)
        )
        batch = model.context(doubled(batch_features([plain | more, plain | rows], config)))
    assert (without.z - aligned_.z).abs().max() > 1e-3
    torch.testing.assert_close(batch.z[1], aligned_.z[0], atol=1e-10, rtol=0)
    assert (batch.z[0] - batch.z[1]).abs().max() > 1e-3


def test_recycling_starts_from_the_last_cycle() -> None:
    features, _ = peptide(SMALL)
    contexts = []
    for cycles in (1, 2):
        config = dataclasses.replace(TINY_CARTESIAN, cycles=cycles)
        model = network(config)
        with torch.no_grad():
            contexts.append(model.context(model_features(features.tensors(), config)))
    assert torch.equal(contexts[0].s_inputs, contexts[1].s_inputs)
    assert (contexts[0].z - contexts[1].z).abs().max() > 1e-3


def test_token_pairs_of_a_frame_do_not_depend_on_its_orientation() -> None:
    features, x = peptide(LARGE)
    static = doubled(model_features(features.tensors(), TINY_CARTESIAN))
    pairs = FramePairs(8).double()
    x = x.double()
    with torch.no_grad():
        z = pairs(x, static)
        moved = pairs(x @ rotation(3) + 12.0, static)
        mirrored = pairs(x * torch.tensor([-1.0, 1.0, 1.0]), static)
    torch.testing.assert_close(z, moved, atol=1e-10, rtol=0)
    assert (z - mirrored).abs().max() > 1e-2


def test_frames_are_those_of_the_backbone() -> None:
    features, _ = peptide(LARGE)
    static = model_features(features.tensors(), TINY_CARTESIAN)
    names = np.array(features.atom_names)
    for token, residue in enumerate(features.residue_names):
        expected = ["N", "CA", "C"] if residue not in ("ACE", "NME") else None
        atoms = static.frame_atoms[0, token].tolist()
        if static.frame_mask[0, token] == 1.0:
            assert all(features.atom_to_token[a] == token for a in atoms)
            assert all(features.ref_element[a] > 1 for a in atoms)
        if expected:
            assert names[atoms].tolist() == expected
    # NME has two heavy atoms and so no frame; ACE has three.
    assert static.frame_mask[0].tolist() == [1.0] * (len(features.restype) - 1) + [0.0]


def test_rotations_are_proper_and_have_no_preferred_direction() -> None:
    number = 20000
    normals = torch.randn(number, 4, generator=torch.Generator().manual_seed(0)).double()
    turns = rotation_from_normals(normals)
    unity = turns @ turns.mT
    torch.testing.assert_close(unity, torch.eye(3).double().expand_as(unity), atol=1e-12, rtol=0)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(number).double())
    # Entries of a uniform rotation have mean 0 and variance 1/3, and the mean square 1/3 has a
    # spread of sqrt((1/5 - 1/9) / number); five standard errors of each.
    assert float(turns.mean(0).abs().max()) < 5 * (1 / 3 / number) ** 0.5
    assert float(((turns**2).mean(0) - 1 / 3).abs().max()) < 5 * ((1 / 5 - 1 / 9) / number) ** 0.5


def test_default_noise_levels() -> None:
    """Protenix's 20 steps: 2560 to 0.0333 angstrom, then 0; noise is raised above 1."""
    sampler = default_sampler(full())
    levels = sampler.noise_levels()
    assert len(levels) == 21 and levels[0] == pytest.approx(2560.0) and levels[-1] == 0.0
    assert levels[-4:-1] == pytest.approx([0.387, 0.126, 0.0333], rel=5e-3)
    assert sum(churn == 0.8 for churn in sampler.churns()) == 16
    assert set(sampler.churns()) == {0.0, 0.8}
    own = default_sampler(small())
    assert own.noise_levels()[-2:] == [pytest.approx(0.03), 0.0]
    assert len(own.noise_levels()) == own.steps + 1 and set(own.churns()) == {0.8}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 0}, "at least one step"),
        ({"sigma_min": 20.0}, "0 < sigma_min < sigma_max"),
        ({"step_scale": 0.0}, "positive scales"),
        ({"temperature": 1}, "Unknown sampler settings"),
    ],
)
def test_sampler_settings_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplerSettings.from_dict(SamplerSettings().to_dict() | changes)


def test_unknown_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        ModelConfig(coordinates="polar")


def test_full_widths() -> None:
    """The parts that Protenix counts in its own model, in the full configuration."""
    with torch.device("meta"):
        model = AtmosModel(full())

    def count(module: torch.nn.Module) -> int:
        return sum(t.numel() for t in module.state_dict().values())

    assert count(model.diffusion) == 203_257_585
    assert count(model.context_encoder.input_embedder) == 1_041_472
    assert count(model.context_encoder.pairformer_stack) == 147_400_704
    assert count(model.context_encoder.msa_module) == 3_001_024
    assert count(model.transition.pairformer) == 4 * 3_070_848
    assert count(model.distogram) == 8_256


def test_every_parameter_of_the_cartesian_network_is_trained() -> None:
    features, x = peptide(SMALL)
    config = dataclasses.replace(TINY_CARTESIAN, msa_blocks=0)
    model = network(config).train()
    frames = torch.stack([x.expand(2, -1, -1) + 0.1 * k for k in range(3)])
    batch = batch_of(features, config, frames)
    context = encode_context(model, batch, False)
    start = no_history(model, batch)
    loss = segment_losses(model, context, batch, start, 0, 2, stage_of(), generator())[0]["loss"]
    loss.backward()
    # The alignment's layers have nothing to do without an alignment.
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None and "msa_module" not in name
    ]
    assert torch.isfinite(loss) and not without, f"parameters the loss does not reach: {without}"


def test_a_heavy_atom_model_of_this_kind_is_exported_bound_and_called(tmp_path) -> None:
    topology, positions_nm = build_peptide("ACE-ALA-NME")
    declared = declaration(
        atoms="heavy",
        elements=[6, 7, 8],
        max_tokens=8,
        max_atoms=100,
        denoising_steps=20,
        config=TINY_CARTESIAN.to_dict(),
    )
    save_model(tmp_path / "tiny.atmos", network(TINY_CARTESIAN), declared)
    propagator = AtmosPropagator(tmp_path / "tiny.atmos", topology, positions=positions_nm, seed=3)
    # Caps are tokenised by atoms, as in Protenix: three and two heavy ones, and the residue.
    assert propagator.info()["num_tokens"] == 6
    frames = [
        propagator.propagate(positions_nm, attempt=attempt).value_in_unit(unit.nanometer)
        for attempt in (0, 0, 1)
    ]
    heavy = [i for i, atom in enumerate(topology.atoms()) if atom.element.symbol != "H"]
    values = [np.asarray(frame)[heavy] for frame in frames]
    assert np.isfinite(values[0]).all()
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 1e-3
    assert np.abs(values[0] - positions_nm[heavy]).max() > 1e-3
