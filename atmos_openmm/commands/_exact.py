"""What `atmos-openmm run` does with `--acceptance metropolis`: options, density, averages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..jump.domain import OutOfDomainWarning
from ..model.bundled import TORSION_MODEL
from ._molecule import bind
from ._options import option, options, shared_option
from ._terminal import TemperatureList

if TYPE_CHECKING:
    from ..propagator import AtmosPropagator
    from ..sampling.exact_progress import ExactSummary
    from ..systems.inputs import Molecule

#: A page that takes longer is not made unless it is asked for.
_PAGE_FRAMES = 200_000
_ADAPT_CYCLES = 1000


class Share(click.ParamType):
    """A kind of move and its share: residue=2."""

    name = "share"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        kind, _, share = str(value).partition("=")
        try:
            return kind, float(share)
        except ValueError:
            self.fail(f"{value!r} is not a kind of move and its share, such as residue=2.")


#: Options that only --acceptance metropolis has.
exact_options = options(
    option(
        "--density",
        metavar="FILE|uniform|model",
        help="metropolis: what torsions are drawn from. By default the model's, where the model "
        "fits the molecule (that of a torsion head, or fitted to frames that it draws), else "
        "uniform. It decides how fast the run is, not what it finds.",
    ),
    option(
        "--moves",
        type=click.IntRange(1),
        help="metropolis: moves in a jump; by default 1 of several trials, or 10.",
    ),
    shared_option("trials"),
    option(
        "--move-share",
        "move_shares",
        type=Share(),
        multiple=True,
        metavar="KIND=X",
        help="metropolis: how often a kind of move is tried; give the option again for each. "
        "Kinds: all, residue, neighbours, backbone, sidechain, torsion, small. Those that are not "
        "named are not tried.",
    ),
    option(
        "--dynamics",
        type=click.Choice(["langevin", "hmc"]),
        help="metropolis: what happens between jumps; hmc tests each stretch as well. langevin by "
        "default.",
    ),
    option(
        "--temperatures",
        type=TemperatureList(),
        metavar="K,K,...",
        help="metropolis: a ladder of replicas, from the run's own temperature up (300,360,430,"
        "520). Each walker is the coldest of one; they exchange configurations after each cycle.",
    ),
    option(
        "--adapt",
        type=click.IntRange(0),
        metavar="CYCLES",
        help="metropolis: cycles of each walker before the run that counts, to whose frames the "
        "density is fitted; by default 0 (none) with a torsion head's density, else "
        f"{_ADAPT_CYCLES}.",
    ),
    option("--methyls", is_flag=True, help="metropolis: turn methyls and their like as well."),
    option(
        "--starts",
        type=click.Choice(["given", "density"]),
        help="metropolis: where walkers start: all where the structure is, or all but the first "
        "where the density says, which is the default for several walkers.",
    ),
    option(
        "--page/--no-page",
        "page",
        default=None,
        help="metropolis: whether to write report.html (default: unless the run is very long).",
    ),
)


def refuse_exact_options(given: dict[str, Any]) -> None:
    """Refuse options of exact runs for runs of another kind."""
    names = {
        "density": "--density",
        "moves": "--moves",
        "trials": "--trials",
        "move_shares": "--move-share",
        "dynamics": "--dynamics",
        "temperatures": "--temperatures",
        "adapt": "--adapt",
        "methyls": "--methyls",
        "starts": "--starts",
    }
    found = [flag for name, flag in names.items() if given[name]]
    if found:
        raise click.UsageError(f"{', '.join(found)}: only with --acceptance metropolis.")


def exact_arguments(
    molecule: Molecule, given: dict[str, Any], show: Callable[[Any], None]
) -> tuple[AtmosPropagator | None, dict[str, Any]]:
    """The model, where one is used, and what HybridSampler needs for an exact run."""
    propagator, density = _model(molecule, given)
    shares = dict(given["move_shares"])
    # A torsion head needs no set-up.
    ready = density == "model" and propagator is not None and propagator.hasTorsionHead()
    arguments: dict[str, Any] = {
        "density": density,
        "moves": given["moves"],
        "trials": given["trials"],
        "moveShares": shares or None,
        "dynamics": given["dynamics"] or "langevin",
        "adapt": (0 if ready else _ADAPT_CYCLES) if given["adapt"] is None else given["adapt"],
        "methyls": given["methyls"],
        "temperatures": given["temperatures"],
        "starts": given["starts"],
        "solute": given["solute"] or None,
        "molecules": molecule.molecules or None,
        "preparing": show,
    }
    return propagator, arguments


def _model(
    molecule: Molecule, given: dict[str, Any]
) -> tuple[AtmosPropagator | None, str | Path | None]:
    """The model and the density that are used; say which on stderr."""
    density = given["density"]
    if density == "model":
        return bind(molecule, given), density
    if density is not None:
        path = Path(density)
        if density != "uniform" and not path.exists():
            raise click.UsageError(f"--density: there is no file {path}; or use uniform or model.")
        return None, density if density == "uniform" else path
    source = click.get_current_context().get_parameter_source("model")
    if source is click.core.ParameterSource.COMMANDLINE:
        propagator = bind(molecule, given)
    else:
        given = {**given, "model": TORSION_MODEL}
        try:
            propagator = _bind_default(molecule, given)
        except (ValueError, OutOfDomainWarning) as error:
            click.echo(
                f"The density is uniform: the model {given['model']} does not fit ({error})",
                err=True,
            )
            return None, "uniform"
    click.echo(f"The density is that of the model {propagator.modelName}.", err=True)
    return propagator, "model"


def _bind_default(molecule: Molecule, given: dict[str, Any]) -> AtmosPropagator:
    """Bind the model that nobody chose.

    Raises
    ------
    ValueError, OutOfDomainWarning
        It cannot work on the molecule, or was trained on smaller ones or other elements, lags or
        temperatures.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutOfDomainWarning)
        propagator = bind(molecule, given)
    for each in caught:
        message = each.message
        if isinstance(message, OutOfDomainWarning) and set(message.kinds) - {"residues", "ends"}:
            raise message
        warnings.warn_explicit(message, each.category, each.filename, each.lineno)
    return propagator


def write_averages(summary: ExactSummary, folder: Path, page: bool | None) -> None:
    """Write averages.json and averages.csv, and the page where it is wanted."""
    from ..core.files import explained

    with explained(folder, "The run itself is safe."):
        summary.averages.write(folder)
        if page or (page is None and summary.frames <= _PAGE_FRAMES):
            from ..report.exact_page import write_exact_page

            try:
                path = write_exact_page(folder, summary.averages)
            except ImportError as error:
                if page:
                    raise
                click.echo(f"No report: {error}", err=True)
            else:
                click.echo(f"Report: {path}", err=True)
