"""Train the small configuration on one protein of mdCATH.

Half of a trajectory is for training, the other half is never read: it is what the generated
frames are measured against (docs/evaluation.md). The first three quarters of the first half are
trained on, its last quarter is held out for early stopping.

    source=mdcath_dataset_2hbaA00.h5
    python benchmarks/protein_model.py $source --output ntl9 --stage crops --steps 400
    python benchmarks/protein_model.py $source --output ntl9 --stage whole --steps 120
    atmos-openmm export ntl9/whole ntl9.atmos --sigma-max 60 \\
        --trained-on "mdCATH 2hbaA00, 320 K, replica 0, the first 250 ns"
    atmos-openmm rollout ntl9/last_frame.pdb -o rollout --model ntl9.atmos --lag 1000 \\
        --temperature 320 --frames 250 --on-invalid keep --seed 1
    python benchmarks/protein_evaluation.py $source --rollout rollout --model ntl9.atmos \\
        --out evaluation

Each command goes on where it was killed when it is run again. One thread is used. With glibc,
``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=200000000`` in the
environment halve the time of a step of the whole protein (17 to 9 s): its pair arrays of 20 MB
are then not given back to the system and faulted in again at every use.

Crops of 12 to 24 residues, by sequence and by space, come first: a step costs an eighth of one of
the whole protein, and the weights of peptides of three residues have much to learn from both.

The network is the small configuration with two changes that a protein needs:

- All heavy atoms are one attention window. In windows of 64 atoms neither the latent nor the
  denoiser sees a distance between residues that are far apart in the sequence.
- ``sigma_data`` is the standard deviation per coordinate of the training frames, 6 angstrom, not
  the 2 angstrom of a capped amino acid. With 2, noise of 10 angstrom would be the most that the
  network sees, a level at which the orientation of a protein is still plain to it (the singular
  values of its 403 atoms are 170, 115 and 87 angstrom); and the error of the strong levels would
  weigh nine times as much as EDM's preconditioning intends.

It starts from the weights of the bundled model, whose phases of the noise level's embedding are
shifted so that the same noise has the same embedding with the new ``sigma_data``.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from openmm import app, unit

from atmos_openmm.data.crop import choose_crop, crop_features
from atmos_openmm.data.layout import TrajectoryData, write_trajectory_file
from atmos_openmm.data.sources import open_samples
from atmos_openmm.model import config
from atmos_openmm.systems.features import MoleculeFeatures, features_from_topology
from atmos_openmm.training.dataset import Molecule
from atmos_openmm.training.loop import Trainer, TrainingSettings
from atmos_openmm.training.weights_file import write_weights

DATA = "first_half.h5"
STRETCHES = 4
SIGMA_DATA_ANGSTROM = 6.0
CROPS = 48
CROP_TOKENS = (12, 16, 20, 24)
CROP_WEIGHTS = {"contiguous": 0.4, "spatial": 0.6}
BUNDLED = Path(config.__file__).parents[1] / "models" / "capped-amino-acids.atmos"


def write_first_half(source: Path, folder: Path) -> MoleculeFeatures:
    """Write the first half of the only trajectory of an mdCATH file in four stretches.

    Its last frame, from which a rollout can start, goes into ``last_frame.pdb``.

    Returns
    -------
    MoleculeFeatures
        Of the heavy atoms.
    """
    (sample,) = open_samples([source]).samples
    if sample.spacing_ps is None or sample.temperature_kelvin is None:
        raise ValueError(f"{source} holds no trajectory with a spacing and a temperature.")
    edges = np.linspace(0, sample.num_frames // 2, STRETCHES + 1).astype(int)
    stretches = [
        TrajectoryData(
            sample.frames.read(np.arange(begin, end)),
            sample.spacing_ps * np.arange(begin, end),
            "dynamics",
            sample.temperature_kelvin,
            f"frames {begin} to {end - 1}",
            0,
        )
        for begin, end in zip(edges[:-1], edges[1:], strict=True)
    ]
    topology = sample.molecule().topology
    described = {"dataset": "mdcath"}
    write_trajectory_file(folder / DATA, sample.name, topology, "", described, stretches)
    with open(folder / "last_frame.pdb", "w") as file:
        last = np.asarray(stretches[-1].positions_nm, float)[-1] * unit.nanometer
        app.PDBFile.writeFile(topology, last, file, keepIds=True)
    return features_from_topology(topology, "heavy", positions=stretches[0].positions_nm[0])


def write_initial_weights(network: config.ModelConfig, out: Path) -> None:
    """Write the bundled model's weights for a network with another ``sigma_data``."""
    weights = {k: v.clone() for k, v in torch.jit.load(str(BUNDLED)).state_dict().items()}
    # The embedding is cos(2 pi (w log(sigma / sigma_data) / 4 + b)).
    shift = math.log(network.sigma_data / config.small().sigma_data) / 4.0
    weights["diffusion.fourier_embedding.b"] += shift * weights["diffusion.fourier_embedding.w"]
    write_weights(out, weights, {"settings": {"model": network.to_dict()}})


def crops_of(molecule: Molecule, features: MoleculeFeatures, seed: int) -> list[Molecule]:
    """Crop a molecule by sequence and by space, as AlphaFold 3 does, with all its frames."""
    atom_of = {int(index): k for k, index in enumerate(features.atom_indices)}
    first = molecule.dynamics[0].positions_angstrom[0] / 10.0
    crops = []
    for number in range(CROPS):
        tokens = CROP_TOKENS[number % len(CROP_TOKENS)]
        chosen = choose_crop(features, first, tokens, [seed, number], weights=CROP_WEIGHTS)
        cropped = crop_features(features, chosen)
        atoms = np.array([atom_of[int(index)] for index in cropped.atom_indices])
        frames = []
        for one in molecule.dynamics:
            x = one.positions_angstrom[:, atoms]
            frames.append(replace(one, positions_angstrom=x - x.mean(axis=1, keepdims=True)))
        crops.append(Molecule(molecule.name, cropped.arrays(), cropped.residue_names, frames, []))
    return crops


class ProteinTrainer(Trainer):
    """The trainer, on crops where it is told to.

    Four held-out draws are enough: one of a protein holds 16 times the atoms of a peptide's.
    """

    def use_crops(self, features: MoleculeFeatures) -> None:
        """Draw crops instead of the whole molecule; the held-out frames stay whole."""
        self.sampler.__init__(  # type: ignore[misc]
            crops_of(self.sampler.molecules[0], features, self.settings.seed),
            jumps=self.settings.jumps,
            rollouts=self.settings.rollouts,
            lag_range_ps=self.settings.lag_range_ps,
            exchange_fraction=0.0,
            seed=self.settings.seed,
        )

    def validate(self, draws: int = 4) -> float:
        return super().validate(draws)


def main() -> None:
    """Write the data and the initial weights where they are missing, and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="mdCATH file with one trajectory")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stage", choices=("crops", "whole"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--validate-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    features = write_first_half(arguments.source, folder)
    network = replace(
        config.small(),
        n_queries=features.num_atoms,
        n_keys=features.num_atoms,
        sigma_data=SIGMA_DATA_ANGSTROM,
    )
    if arguments.stage == "crops":
        initial = folder / "initial.safetensors"
        write_initial_weights(network, initial)
    else:
        initial = folder / "crops"
    settings = TrainingSettings(
        steps=arguments.steps,
        rollouts=1,
        jumps=2,
        levels=2,
        learning_rate=arguments.learning_rate,
        warmup_steps=20,
        ema_decay=0.98,
        lag_range_ps=(1000.0, 5000.0),
        exchange_fraction=0.0,
        held_out=(STRETCHES - 1,),
        validate_every=arguments.validate_every,
        patience=10,
        seed=arguments.seed,
        atoms="heavy",
        model=network.to_dict(),
    )
    trainer = ProteinTrainer([folder / DATA], folder / arguments.stage, settings, "cpu", initial)
    if arguments.stage == "crops":
        trainer.use_crops(features)
    trainer.run(lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
