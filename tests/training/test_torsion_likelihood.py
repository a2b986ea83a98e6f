"""Training the torsion head: the likelihood is the density's, and only the head learns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import training_cases
from head_cases import WITH_HEAD, head_network, mixture_of, molecule
from model_support import TINY, peptide

from atmos_openmm.model.head_density import to_density
from atmos_openmm.model.torsion_features import measure_torsions
from atmos_openmm.model.torsion_head import TorsionMixture
from atmos_openmm.training.losses.torsion_likelihood import (
    block_log_likelihoods,
    torsion_loss,
)
from atmos_openmm.training.optimization import freeze
from atmos_openmm.training.training_settings import LossSettings

HEAD_ONLY = LossSettings(denoising=0.0, first_estimate=0.0, distogram=0.0, torsions=1.0)


def repeated(mixture: TorsionMixture, count: int) -> TorsionMixture:
    return TorsionMixture(*(part.expand(count, *part.shape[1:]) for part in mixture))


def test_measured_torsions_are_those_of_moves():
    features, x = peptide("ACE-SER-ARG-NME")
    torsions, inputs = molecule("ACE-SER-ARG-NME")[1:]
    x = x + 0.3 * torch.randn(4, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    found = measure_torsions(x.double(), inputs.atoms[0])
    np.testing.assert_allclose(found, torsions.measure(0.1 * x.double().numpy()), atol=1e-9)


def test_likelihood_is_that_of_the_density():
    features, torsions, inputs = molecule("ACE-SER-LEU-ALA-NME")
    mixture = mixture_of(head_network(), features, inputs)
    density = to_density(mixture, inputs, torsions)
    rng = np.random.default_rng(4)
    target, present = rng.uniform(-np.pi, np.pi, (2, 12, len(torsions)))
    found = block_log_likelihoods(
        TorsionMixture(*(part.double() for part in repeated(mixture, 12))),
        inputs,
        torch.from_numpy(target),
        torch.from_numpy(present),
    )
    # All images count there, the nearest here; they share a hundred-thousandth of the weight.
    for row, gates in enumerate(("sequential", "conditional")):
        expected = density.log_blocks(target, gates)
        np.testing.assert_allclose(found[row], expected, atol=2e-3)
        for frame in range(4):
            for block, where in enumerate(density.block_slices):
                # Gates are those of the frame that is reached, the local centre is behind it.
                at = target[frame].copy()
                at[where] = present[frame, where]
                log = density.log_block(block, target[frame, where], at, gates)
                assert float(found[2 + row, frame, block]) == pytest.approx(log, abs=2e-3)


def test_gradients_are_those_of_differences():
    features, torsions, inputs = molecule("ACE-LEU-ALA-NME")
    mixture = TorsionMixture(*(p.double() for p in mixture_of(head_network(), features, inputs)))
    rng = np.random.default_rng(5)
    target, present = (
        torch.from_numpy(a) for a in rng.uniform(-np.pi, np.pi, (2, 3, len(torsions)))
    )
    mixture = repeated(mixture, 3)

    def loss(means, factors, sequential, conditional):
        given = TorsionMixture(means, torch.tril(factors), sequential, conditional)
        return torsion_loss(given, inputs, target, present, torch.ones(99))

    parts = [part.clone().requires_grad_() for part in mixture]
    torch.autograd.gradcheck(loss, parts, atol=1e-7, rtol=1e-5)


def test_blocks_that_were_not_seen_have_no_part():
    features, torsions, inputs = molecule("ACE-ALA-LEU-NME")
    mixture = mixture_of(head_network(), features, inputs)
    target = torch.rand(1, len(torsions), generator=torch.Generator().manual_seed(1))
    seen = torch.ones(features.atom_mask.shape[1])
    assert torsions.names[3] == "LEU3 psi"
    seen[inputs.atoms[0, 3, 3]] = 0.0  # beyond the second residue
    found = float(torsion_loss(mixture, inputs, target, None, seen))
    gates = inputs.gate_mask.clone()
    gates[0, 0, 3] = 0.0  # the first residue's on the second one's psi; that on its phi stays
    logs = block_log_likelihoods(mixture, inputs._replace(gate_mask=gates), target, target)
    assert found == pytest.approx(-float(logs[:2, :, 0].mean()) / 2.0, abs=1e-5)
    other = target.clone()
    other[:, torsions.block_sizes[0] + 1 :] += 1.0  # psi and the side chain
    assert float(torsion_loss(mixture, inputs, other, None, seen)) == found


def test_head_learns_alone_and_likelihood_rises(tmp_path):
    data = training_cases.write_data(tmp_path / "frames.h5")
    given = training_cases.settings(
        model=WITH_HEAD,
        steps=60,
        losses=HEAD_ONLY,
        train_only=("torsion_head",),
        learning_rate=1e-2,
        warmup_steps=5,
        every=30,
    )
    trainer = training_cases.trainer(data, tmp_path / "run", given)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    losses = [trainer.train_step() for _ in range(60)]
    changed = {
        k.split(".")[0] for k, v in trainer.model.state_dict().items() if (v != before[k]).any()
    }
    assert changed == {"torsion_head"}
    assert set(losses[0]) == {"loss", "torsions", "gradient_norm", "learning_rate"}
    first, last = (np.mean([n["torsions"] for n in part]) for part in (losses[:5], losses[-5:]))
    assert last < first - 1.0
    assert trainer.validate()["torsions"] < first - 1.0
    trainer.close()


def test_head_is_trained_beside_the_decoder(tmp_path):
    data = training_cases.write_data(tmp_path / "frames.h5")
    losses = dataclasses.replace(training_cases.STAGE.losses, torsions=0.5)
    given = training_cases.settings(model=WITH_HEAD, losses=losses)
    plain = training_cases.trainer(
        data, tmp_path / "plain", training_cases.settings(model=WITH_HEAD)
    )
    both = training_cases.trainer(data, tmp_path / "both", given)
    without, with_head = plain.train_step(), both.train_step()
    assert "torsions" not in without
    assert with_head["denoising"] == without["denoising"]
    assert with_head["loss"] == pytest.approx(
        without["loss"] + 0.5 * with_head["torsions"], rel=1e-6
    )
    for trainer in (plain, both):
        trainer.close()


def test_what_is_trained_only():
    model = head_network()
    try:
        trained = freeze(model, ("torsion_head.time",), ("torsion_head",))
        names = {n for n, p in model.named_parameters() if p.requires_grad}
        assert len(trained) == len(names) > 0
        assert all(n.startswith("torsion_head.") and ".time." not in n for n in names)
        with pytest.raises(ValueError, match="train_only names 'head'"):
            freeze(model, (), ("head",))
    finally:
        freeze(model, ())


@pytest.mark.parametrize("change", [{"model": TINY}, {"model": WITH_HEAD, "atoms": "heavy"}])
def test_loss_without_a_head_is_refused(change):
    with pytest.raises(ValueError, match="torsion_components"):
        training_cases.settings(losses=HEAD_ONLY, **change)
