"""Options named where a library's message says that something has to be given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


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
