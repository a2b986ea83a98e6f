"""Make what the small configuration needs to be trained on one protein of mdCATH.

Half of a trajectory is for training, the other half is never read: it is what the generated
frames are measured against (docs/evaluation.md). The first three quarters of the first half are
trained on, its last quarter is held out for early stopping. Then:

    source=mdcath_dataset_2hbaA00.h5
    python benchmarks/protein_model.py $source --output ntl9
    atmos-openmm train ntl9/first_half.h5 --config ntl9/protein.toml --output ntl9/training \\
        --initial-weights ntl9/initial.safetensors
    atmos-openmm export ntl9/training ntl9.atmos --sigma-max 60 \\
        --trained-on "mdCATH 2hbaA00, 320 K, replica 0, the first 250 ns"
    atmos-openmm rollout ntl9/last_frame.pdb -o rollout --model ntl9.atmos --lag 1000 \\
        --temperature 320 --frames 250 --on-invalid keep --seed 1
    python benchmarks/protein_evaluation.py $source --rollout rollout --model ntl9.atmos \\
        --out evaluation

With glibc, ``MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000 MALLOC_TOP_PAD_=200000000`` in
the environment halve the time of a step of the whole protein on a CPU (17 to 9 s): its pair arrays
of 20 MB are then not given back to the system and faulted in again at every use.

Crops of 24 residues, by sequence and by space, come first: a step costs an eighth of one of the
whole protein, and the weights of peptides of three residues have much to learn from both.

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
from openmm import app, unit

from atmos_openmm.data.sources import open_samples
from atmos_openmm.model import config
from atmos_openmm.model.model_file import load_model
from atmos_openmm.systems.features import features_from_topology
from atmos_openmm.training.training_settings import (
    OptimizerSettings,
    StageSettings,
    TrainingSettings,
    ValidationSettings,
)
from atmos_openmm.training.weights.weights_file import write_weights
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

DATA = "first_half.h5"
STRETCHES = 4
SIGMA_DATA_ANGSTROM = 6.0
BUNDLED = Path(config.__file__).parents[1] / "models" / "capped-amino-acids.atmos"


def write_first_half(source: Path, folder: Path) -> int:
    """Write the first half of the only trajectory of an mdCATH file in four stretches.

    Its last frame, from which a rollout can start, goes into ``last_frame.pdb``.

    Returns
    -------
    int
        Number of its heavy atoms.
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
    features = features_from_topology(topology, "heavy", positions=stretches[0].positions_nm[0])
    return features.num_atoms


def write_initial_weights(network: config.ModelConfig, out: Path) -> None:
    """Write the bundled model's weights for a network with another ``sigma_data``."""
    weights = {k: v.clone() for k, v in load_model(BUNDLED).module.state_dict().items()}
    # The embedding is cos(2 pi (w log(sigma / sigma_data) / 4 + b)).
    shift = math.log(network.sigma_data / config.small().sigma_data) / 4.0
    weights["diffusion.fourier_embedding.b"] += shift * weights["diffusion.fourier_embedding.w"]
    write_weights(out, weights, {"settings": {"model": network.to_dict()}})


def settings_of(network: config.ModelConfig) -> TrainingSettings:
    """Crops first, then the whole protein."""
    crops = StageSettings(
        name="crops",
        steps=400,
        rollouts=1,
        levels=2,
        shares={"dynamics": 1.0},
        lag_range_ps=(1000.0, 5000.0),
        crop_tokens=24,
        learning_rate=5e-4,
        warmup_steps=20,
    )
    return TrainingSettings(
        stages=(crops, replace(crops, name="whole", steps=120, crop_tokens=None)),
        model=network,
        atoms="heavy",
        log_every=10,
        optimizer=OptimizerSettings(ema_decay=0.98),
        validation=ValidationSettings(runs=(STRETCHES - 1,), every=60, draws=4),
    )


def main() -> None:
    """Write the data, the initial weights and the configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="mdCATH file with one trajectory")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    atoms = write_first_half(arguments.source, folder)
    network = replace(config.small(), n_queries=atoms, n_keys=atoms, sigma_data=SIGMA_DATA_ANGSTROM)
    write_initial_weights(network, folder / "initial.safetensors")
    (folder / "protein.toml").write_text(settings_of(network).to_toml(), encoding="utf-8")
    print(f"{folder}: {DATA}, last_frame.pdb, initial.safetensors, protein.toml")


if __name__ == "__main__":
    main()
