"""`atmos-openmm train`: train a model on mdCATH, MISATO, PDB entries and own trajectories."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from ..training.loop import Trainer
    from ..training.ranks import Ranks
    from ..training.training_settings import TrainingSettings

SHOWN_FAULTS = 10
WITHOUT_WEIGHTS = ("cycles", "n_queries", "n_keys", "dropout", "sigma_data")
"""Entries of the network's configuration that no shape of a weight depends on."""


class Devices(click.ParamType):
    """A number of devices, or all there are."""

    name = "N|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        if value == "auto":
            return "auto"
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a number above 0 nor 'auto'.", param, ctx)
        return number


@click.command(
    "train",
    epilog="Common settings: --set stages.all.steps=5000, --set stages.all.learning_rate=5e-4, "
    "--set stages.all.draws=4, --set seed=7, --set atoms=heavy, "
    "--set \"validation.molecules=['2hba*']\", --set validation.share=0.05. "
    "docs/training.md has them all.",
)
@click.argument("data", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of checkpoints and logs; a run found there goes on at its step.",
)
@click.option(
    "--config",
    default="small",
    show_default=True,
    help="Configuration: small, full, or a TOML file.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the configuration; stages.NAME.KEY for one stage, stages.all.KEY "
    "for all. Repeatable.",
)
@click.option("--show-config", is_flag=True, help="Print the configuration as TOML, and leave.")
@click.option(
    "--estimate",
    is_flag=True,
    help="Count what a step takes on each of so many GPUs, memory and operations, and leave.",
)
@click.option(
    "--devices",
    type=Devices(),
    help="Devices of each node. [1; under torchrun and srun, what they started]",
)
@click.option("--nodes", type=click.IntRange(min=1), help="Nodes. [likewise]")
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes GPUs where torch finds any.",
)
@click.option(
    "--precision",
    type=click.Choice(["32-true", "bf16-mixed"]),
    default="32-true",
    show_default=True,
    help="bf16-mixed: bfloat16 but for weights and coordinates.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that read data ahead, for each device; 0: none.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of torch, for each device.",
)
@click.option(
    "--initial-weights",
    type=click.Path(exists=True, path_type=Path),
    help="Training folder, checkpoint or model file whose weights a new run starts from.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At data that cannot be used: stop, or leave them out and say so.",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0.0),
    default=300.0,
    show_default=True,
    help="Time between checkpoints.",
)
def command(
    data: tuple[Path, ...],
    output: Path | None,
    config: str,
    overrides: tuple[str, ...],
    show_config: bool,
    estimate: bool,
    devices: int | str | None,
    nodes: int | None,
    accelerator: Literal["auto", "cpu", "cuda"],
    precision: Literal["32-true", "bf16-mixed"],
    workers: int,
    threads: int,
    initial_weights: Path | None,
    on_error: Literal["stop", "skip"],
    checkpoint_seconds: float,
) -> None:
    """Train a model on DATA: files, folders of files, and manifests.

    mdCATH and MISATO files, PDB and mmCIF entries, and trajectories made by `atmos-openmm
    simulate` or brought in by `atmos-openmm data import`, in any mixture. Run the same command
    again to continue: a run that was stopped or killed goes on with the losses of an unbroken one.
    """
    from ..training.training_settings import read_settings

    settings = read_settings(config, overrides)
    if show_config:
        click.echo(settings.to_toml(), nl=False)
        return
    if estimate:
        _estimate(_with_sizes_of(initial_weights, settings), devices, nodes, precision)
        return
    if not data:
        raise click.UsageError("Missing argument 'DATA...': files, folders or manifests.")
    if output is None:
        raise click.UsageError("Missing option '--output': the folder of checkpoints and logs.")
    settings = _with_sizes_of(initial_weights, settings)

    import torch

    from ..training.feed.open_data import open_data
    from ..training.loop import Trainer
    from ..training.ranks import Ranks, make_fabric

    fabric = make_fabric(accelerator, devices, nodes, precision)
    fabric.launch()
    torch.set_num_threads(threads)
    ranks = Ranks(fabric)
    with _plain_warnings():
        found = open_data(data, ranks, on_error=on_error, hydrogens=settings.atoms == "all")
        if ranks.is_first:
            _tell(found.faults)
        trainer = Trainer(
            found,
            output,
            settings,
            fabric=fabric,
            initial_weights=initial_weights,
            workers=workers,
            on_error=on_error,
        )
        _train(trainer, ranks, checkpoint_seconds)


def _estimate(
    settings: TrainingSettings, devices: int | str | None, nodes: int | None, precision: str
) -> None:
    from ..training.budget.budget import estimate

    if devices == "auto":
        raise click.UsageError("--estimate needs a number of --devices of each node, not 'auto'.")
    number = int(devices or 1) * (nodes or 1)
    click.echo("The network runs without data now: some minutes at full width.", err=True)
    click.echo(estimate(settings, devices=number, precision=precision))


def _train(trainer: Trainer, ranks: Ranks, checkpoint_seconds: float) -> None:
    from ._terminal import stopping_on_signals

    with stopping_on_signals(trainer, "the present step", quiet=not ranks.is_first):
        ended = trainer.run(click.echo, checkpoint_seconds)
    # The first process speaks for all: launchers kill it where another's status is not 0.
    if not ended and ranks.is_first:
        click.get_current_context().exit(130)


def _with_sizes_of(source: Path | None, settings: TrainingSettings) -> TrainingSettings:
    """Give the full network the sizes of imported weights: Protenix's mini and tiny models have
    fewer blocks than its base models. What leaves the weights' shapes alone stays as set."""
    import dataclasses

    if source is None or not source.is_file() or source.suffix == ".atmos":
        return settings
    if settings.model.coordinates != "cartesian":
        return settings
    from ..model.config import ModelConfig
    from ..training.weights.checkpoint import load_state

    state = load_state(source)
    if "imported" not in state:
        return settings
    imported = ModelConfig.from_dict(state["settings"]["model"])
    kept = {name: getattr(settings.model, name) for name in WITHOUT_WEIGHTS}
    return dataclasses.replace(settings, model=dataclasses.replace(imported, **kept))


def _tell(faults: tuple[Any, ...]) -> None:
    for fault in faults[:SHOWN_FAULTS]:
        click.echo(f"{'left out' if fault.fatal else 'note'}: {fault}", err=True)
    if len(faults) > SHOWN_FAULTS:
        fatal = sum(fault.fatal for fault in faults)
        click.echo(
            f"and {len(faults) - SHOWN_FAULTS} more ({fatal} in all left out); "
            "`atmos-openmm data check` lists them",
            err=True,
        )


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Tell what is left out of the data in a line, without Python's line of source code."""
    from ..data.faults import DataFileWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataFileWarning)
        shown = warnings.showwarning

        def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
            if issubclass(category, DataFileWarning):
                click.echo(str(message), err=True)
            else:
                shown(message, category, *where, **more)

        warnings.showwarning = show  # type: ignore[assignment]
        yield
