"""Options that several commands have, and naming them where a library's message needs that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

#: Names of each option, and what is the same in all commands unless one says otherwise.
_SHARED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "forcefield": (("--forcefield",), {"multiple": True}),
    "lag": (("--lag",), {"type": float}),
    "ligand": (
        ("--ligand", "ligands"),
        {
            "multiple": True,
            "metavar": "FILE[:TITLE]|NAME=SMILES",
            "help": "Bond orders, charges and stereochemistry of a ligand: an SDF file (its record "
            "TITLE, where it has several), or SMILES for the residue NAME; repeat for several.",
        },
    ),
    "model": (
        ("--model",),
        {
            "default": "capped-amino-acids",
            "help": "Name of a bundled model or path of an .atmos file.",
        },
    ),
    "native": (("--native",), {"type": FILE}),
    "output": (
        ("--output", "-o"),
        {"required": True, "type": click.Path(path_type=Path, file_okay=False)},
    ),
    "platform": (("--platform",), {"default": "CPU", "help": "OpenMM platform for energies."}),
    "seed": (("--seed",), {"type": click.IntRange(0)}),
    "spacing": (("--spacing", "spacing_ps"), {"type": float}),
    "system": (("--system", "system_xml"), {"type": FILE}),
    "temperature": (("--temperature",), {"type": float}),
    "threads": (("--threads",), {"type": click.IntRange(1), "default": 1}),
    "timestep": (("--timestep-fs",), {"type": float, "default": 4.0}),
    "topology": (("--topology",), {"type": FILE}),
    "trials": (
        ("--trials",),
        {
            "type": click.IntRange(1),
            "help": "Trials in an exact move, tested with a fast approximation of the energy "
            "before the end is tested with the energy itself. By default 100 where that "
            "approximation knows every force of the System, else 1: none.",
        },
    ),
    "window": (("--window",), {"type": float, "default": 6.0}),
}


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """`click.option()` with its default in the help text."""
    return click.option(*names, **{"show_default": True, **settings})


def shared_option(name: str, *own_name: str, **changes: Any) -> Callable[[Command], Command]:
    """An option that several commands have, with what is its own in this one."""
    names, settings = _SHARED[name]
    return option(*names, *own_name, **{**settings, **changes})


def options(*decorators: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """Several options as one decorator, in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


@contextmanager
def naming_options(**options: str) -> Iterator[None]:
    """Add to an error about what files do not say the option of the command that gives it.

    Parameters
    ----------
    options : str
        The option by what is needed (`MissingInformationError.needed`).
    """
    from ..trajectories.errors import MissingInformationError

    try:
        yield
    except MissingInformationError as error:
        raise click.ClickException(f"{error} Option: {options[error.needed]}.") from error
