"""`atmos-openmm train`: train a model from trajectory files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of checkpoints and the log; a run found there goes on at its step.",
)
@click.option("--steps", default=20000, show_default=True, help="Optimizer steps in all.")
@click.option(
    "--size",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="Configuration of the network.",
)
@click.option(
    "--atoms",
    type=click.Choice(["all", "heavy"]),
    default="all",
    show_default=True,
    help="Atoms the model carries; hydrogens are placed on the frames of a heavy-atom model.",
)
@click.option("--learning-rate", default=1e-3, show_default=True, help="Peak of AdamW's rate.")
@click.option(
    "--molecules-per-step", default=1, show_default=True, help="Draws of a molecule a step."
)
@click.option("--rollouts", default=12, show_default=True, help="Rollouts a draw.")
@click.option("--jumps", default=2, show_default=True, help="Jumps a rollout.")
@click.option("--levels", default=4, show_default=True, help="Noise levels a frame.")
@click.option(
    "--lag-ps",
    nargs=2,
    type=float,
    default=(1.0, 400.0),
    show_default=True,
    help="Shortest and longest lag of real dynamics.",
)
@click.option(
    "--exchange-fraction",
    default=0.6,
    show_default=True,
    help="Share of draws from replica-exchange frames.",
)
@click.option(
    "--held-out",
    multiple=True,
    type=click.IntRange(0, 3),
    default=(3,),
    show_default=True,
    help="Held-out trajectories: their number modulo 4.",
)
@click.option("--validate-every", default=500, show_default=True, help="Steps between checks.")
@click.option(
    "--patience",
    default=10,
    show_default=True,
    help="Checks without a better held-out loss before stopping.",
)
@click.option("--ema-decay", default=0.999, show_default=True, help="Of the averaged weights.")
@click.option(
    "--initial-weights",
    type=click.Path(exists=True, path_type=Path),
    default=None,
    help="Training folder or checkpoint whose weights a new run starts from.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", default=1, show_default=True, help="CPU threads of torch.")
def command(
    files: tuple[Path, ...],
    output: Path,
    steps: int,
    size: str,
    atoms: Literal["all", "heavy"],
    learning_rate: float,
    molecules_per_step: int,
    rollouts: int,
    jumps: int,
    levels: int,
    lag_ps: tuple[float, float],
    exchange_fraction: float,
    held_out: tuple[int, ...],
    validate_every: int,
    patience: int,
    ema_decay: float,
    initial_weights: Path | None,
    seed: int,
    device: str,
    threads: int,
) -> None:
    """Train a model from trajectory FILES (HDF5, made by `atmos-openmm simulate`).

    A folder among FILES stands for all its .h5 files. Run the same command again to continue.
    """
    import torch

    from ..model import config
    from ..training.checkpoint import load_state
    from ..training.loop import Trainer, TrainingSettings

    paths = [
        path for name in files for path in (sorted(name.glob("*.h5")) if name.is_dir() else [name])
    ]
    if not paths:
        raise ValueError(f"No .h5 files in {', '.join(str(f) for f in files)}.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("No CUDA device is available to torch; use --device cpu.")
    network = config.small() if size == "small" else config.full()
    if initial_weights is not None and initial_weights.is_file() and size == "full":
        state = load_state(initial_weights)
        if "imported" in state:
            # The depths of the checkpoint that was imported: Protenix's mini and tiny models have
            # fewer blocks than its base models.
            network = config.ModelConfig.from_dict(state["settings"]["model"])
    torch.set_num_threads(threads)
    settings = TrainingSettings(
        steps=steps,
        molecules_per_step=molecules_per_step,
        rollouts=rollouts,
        jumps=jumps,
        levels=levels,
        learning_rate=learning_rate,
        lag_range_ps=lag_ps,
        exchange_fraction=exchange_fraction,
        held_out=tuple(held_out),
        validate_every=validate_every,
        patience=patience,
        ema_decay=ema_decay,
        seed=seed,
        atoms=atoms,
        model=network.to_dict(),
    )
    trainer = Trainer(paths, output, settings, device, initial_weights)
    trainer.run(lambda line: click.echo(line))
