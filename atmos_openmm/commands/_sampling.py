"""What the commands that fill the folder of a run share: options, errors, and the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..core.progress import ProgressLine
from ._options import option, options, shared_option
from ._terminal import stopping_on_signals

if TYPE_CHECKING:
    from ..sampling.rollout import Rollout


def run_options(
    kind: str, seed_of: str, walkers: int | None = 1, more: str = ""
) -> Callable[[Any], Any]:
    """Give a command its --output, --walkers, --format, --seed and --commit.

    Parameters
    ----------
    kind : str
        What the folder holds: "run", "rollout".
    seed_of : str
        What the seed is of.
    walkers : int or None
        How many by default.
    more : str
        What else to say about walkers.
    """
    return options(
        shared_option(
            "output",
            help=f"Folder for everything that is written. If it holds a {kind} with the same "
            f"settings, that {kind} goes on.",
        ),
        option(
            "--walkers",
            type=click.IntRange(1),
            default=walkers,
            help=f"Trajectories, independent of each other.{more}",
        ),
        option("--format", "trajectory_format", type=click.Choice(["dcd", "xtc"]), default="dcd"),
        shared_option(
            "seed", default=0, help=f"Of {seed_of}; 0 draws one (it is kept in run.json)."
        ),
        option(
            "--commit",
            type=float,
            default=30.0,
            help="Seconds between commits; work since the last one is repeated after a kill.",
        ),
    )


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Refuse a folder that cannot be written at once, and name the option that names it."""
    from ..core.files import StorageError, check_writable

    try:
        # Before anything slow: an unwritable folder should not cost the user a minute.
        check_writable(path)
        yield
    except StorageError as error:
        if "another folder" not in str(error):
            raise
        raise StorageError(error.errno, f"{error} (--output names the folder.)") from error


class Summary(Protocol):
    """What a run has come to, for printing."""

    @property
    def complete(self) -> bool:
        """Whether it has what was asked for."""
        ...


class Stopped(Protocol):
    """A run that can be stopped."""

    @property
    def stopped(self) -> bool:
        """Whether it was."""
        ...


def conclude(summary: Summary, run: Stopped, output: Path, closing: str, options: str) -> None:
    """Print what a run has come to; end the command with 130 or 1 if that is not what was asked.

    Parameters
    ----------
    summary, run
        Of the library.
    output : Path
    closing : str
        A last sentence.
    options : str
        Which options help where the run failed.
    """
    click.echo(str(summary))
    if not (summary.complete or run.stopped):
        click.echo(f"Options that may help: {options}.")
    click.echo(f"Everything is in {output}. {closing}")
    if not summary.complete:
        click.get_current_context().exit(130 if run.stopped else 1)


@contextlib.contextmanager
def showing_frames(output: Path, rollout: Rollout) -> Iterator[ProgressLine]:
    """Say where a rollout goes on, show its progress, and stop it on signals after a frame."""
    if rollout.frame:
        click.echo(f"Going on in {output} after frame {rollout.frame}.", err=True)
    show = ProgressLine()
    with stopping_on_signals(rollout, "this frame"):
        try:
            yield show
        except RuntimeError as error:
            raise click.ClickException(
                f"{error} What was generated before is in {output}."
            ) from error
        finally:
            show.finish()
