"""`atmos-openmm import-protenix`: start the full network from a Protenix checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..training.weights.protenix_import import ImportSummary


@click.command("import-protenix")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Checkpoint to write (.safetensors), for `train --initial-weights`.",
)
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Of the parameters that Protenix does not have.",
)
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def command(checkpoint: Path, output: Path, seed: int, force: bool) -> None:
    """Turn CHECKPOINT, a Protenix v0.5.0 or v1.0.0 base model (.pt), into a checkpoint of the
    full network.

    Only tensors are read; nothing in the file is run. Every tensor of the modules that ATMOS
    shares with Protenix must be there, finite and of the right shape.
    """
    from ..model.protenix import CheckpointMismatch
    from ..training.weights.protenix_import import import_protenix

    try:
        summary = import_protenix(
            checkpoint, output, seed=seed, force=force, report=click.echo, progress=_percentage()
        )
    except CheckpointMismatch as error:
        # A list, one tensor a line: not to be wrapped into a paragraph.
        raise click.ClickException(f"{checkpoint}: {error}") from error
    except FileExistsError as error:
        raise FileExistsError(f"{error} The option --force replaces it.") from error
    for line in describe(summary):
        click.echo(line)


def _percentage() -> Callable[[int, int], None]:
    """Return what rewrites one line of a terminal; a log gets none."""
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if sys.stdout.isatty() and percent > shown:
            shown = percent
            click.echo(f"\r  {percent} %", nl=done == total)

    return show


def describe(summary: ImportSummary) -> list[str]:
    """Return the closing summary, line by line."""
    from ..model.config import full
    from ..model.protenix import DEPTHS, LEFT_OUT, Count

    def row(name: str, count: Count, note: str = "") -> str:
        text = f"  {name:28}{count.tensors:6d} tensors {count.parameters:12,d} parameters"
        return f"{text}  {note}".rstrip()

    def total(counts: dict[str, Count]) -> Count:
        return Count(
            sum(c.tensors for c in counts.values()), sum(c.parameters for c in counts.values())
        )

    lines = ["taken from Protenix"]
    lines += [row(name, count) for name, count in summary.mapped.items()]
    lines.append(row("total", total(summary.mapped)))
    other = {name: number for name, number in summary.dtypes.items() if name != "float32"}
    if other:
        kinds = ", ".join(f"{number} {name}" for name, number in other.items())
        lines.append(f"  converted to float32: {kinds} tensors")
    lines.append("left out" if summary.left_out else "left out: nothing")
    lines += [row(name, count, LEFT_OUT[name]) for name, count in summary.left_out.items()]
    lines.append("new, to be trained")
    lines += [row(name, count) for name, count in summary.fresh.items()]
    lines.append(row("total", total(summary.fresh)))
    depths = {name: getattr(summary.config, name) for name in DEPTHS}
    base = full()
    lines.append("blocks: " + ", ".join(f"{name} {number}" for name, number in depths.items()))
    if any(getattr(base, name) != number for name, number in depths.items()):
        wanted = ", ".join(f"{name} {getattr(base, name)}" for name in depths)
        lines.append(f"  not those of the base models ({wanted}): a mini, tiny or test model")
    lines.append(f"wrote {summary.output} ({summary.size_bytes / 1e6:.1f} MB)")
    lines.append(f"next: atmos-openmm train ... --config full --initial-weights {summary.output}")
    return lines
