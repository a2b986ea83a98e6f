"""The command line: maps subcommand names to the modules in ``atmos_openmm.commands``.

A subcommand's module is imported only when that subcommand is used, so that ``--help`` and
``--version`` do not load torch.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import click

# name -> one line of help. Each name (- as _) is a module of atmos_openmm.commands with an object
# `command`.
# The lines stand here, not in the modules, so that --help imports none of them.
COMMANDS = {
    "demo": "Alanine dipeptide by an exact run, an exploring one and plain MD; make a report.",
    "run": "Hybrid sampling of a PDB file or a sequence: learned jumps and short MD in turn.",
    "rollout": "A trajectory by the model alone, frame after frame, without MD between.",
    "generate": "As many valid frames by the model alone as you ask for, judged by energies.",
    "reweight": "Say what the populations of anyone's ensemble should be, by a short exact run.",
    "validate": "Check every frame of a trajectory against its force field and geometry.",
    "data": "Check, list and convert data: mdCATH, MISATO, PDB entries, trajectories.",
    "evaluate": "Measure generated ensembles beside molecular dynamics by the field's metrics.",
    "simulate": "Make training trajectories of peptides with OpenMM.",
    "train": "Train a propagator from trajectory files.",
    "adapt": "Fine-tune a model on your own short MD, and say whether it helped.",
    "export": "Turn a training checkpoint into a model file (.atmos).",
    "import-protenix": "Turn a Protenix checkpoint into weights that training starts from.",
    "info": "Show versions, platforms and what a model file can do.",
}

INTERRUPTED_EXIT_CODE = 130


class LazyGroup(click.Group):
    """A click group whose subcommands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"atmos_openmm.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            # click takes it for the end of the terminal's input, which is an interruption.
            raise OSError(
                f"A file is empty or ends too early ({error}). Put it back from a copy; "
                "--traceback shows which one."
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, param, value: _print_version(ctx, value),
    help="Show the version and exit.",
)
@click.option(
    "--traceback",
    is_flag=True,
    help="On an error, print Python's traceback. Can also follow the command's name.",
)
def group(traceback: bool) -> None:
    """Sample an OpenMM System by learned long jumps that alternate with short molecular dynamics.

    `atmos-openmm COMMAND --help` describes a command.
    """


def _print_version(ctx: click.Context, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    try:
        version = metadata.version("atmos-openmm")
    except metadata.PackageNotFoundError:
        version = "(not installed; running from a source tree)"
    click.echo(f"atmos-openmm {version}")
    ctx.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; `sys.argv[1:]` by default.

    Returns
    -------
    int
        0; 1 after an error that was explained on stderr; 2 after wrong usage; 130 after Ctrl-C.
        Errors other than ValueError, OSError, ImportError and OpenMMException are faults of the
        program and are raised.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Hoisted, so that the switch works wherever it stands on the line.
    show_traceback = "--traceback" in arguments
    arguments = [argument for argument in arguments if argument != "--traceback"]
    try:
        with _warnings_as_lines():
            result = group.main(args=arguments, prog_name="atmos-openmm", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nInterrupted.", err=True)
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader of our output (head, less) went away; nothing is left to be told.
        sys.stderr.close()
        return 1
    except Exception as error:
        if not _is_explained(error):
            raise
        if show_traceback:
            traceback.print_exception(error)
        else:
            click.echo(_paragraph(error), err=True)
        return 1
    return result if isinstance(result, int) else 0


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print the package's warnings as lines on stderr, without the source that Python adds."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if category.__module__.startswith("atmos_openmm."):
                click.echo(f"Warning: {message}", err=True)
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show
        yield


def _is_explained(error: Exception) -> bool:
    """Whether the error's message is written for the user and says what to do."""
    if isinstance(error, (ValueError, OSError, ImportError)):
        return True
    openmm = sys.modules.get("openmm")  # not imported here: --help must stay fast
    return openmm is not None and isinstance(error, openmm.OpenMMException)


def _paragraph(error: Exception) -> str:
    """The error as one paragraph, wrapped to the terminal."""
    message = " ".join(str(error).split()) or type(error).__name__
    width = min(max(shutil.get_terminal_size().columns, 40), 100)
    return textwrap.fill(f"Error: {message}", width, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
