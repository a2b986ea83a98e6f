"""`atmos-openmm simulate`: training trajectories of one molecule."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click


class TemperatureList(click.ParamType):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 300,360,432,520", param, ctx)


@click.command("simulate")
@click.option("--sequence", help="ACE-ALA-NME, or one-letter codes such as GYDPETGTWG.")
@click.option("--caps", is_flag=True, help="Add ACE and NME to the ends of --sequence.")
@click.option(
    "--pdb",
    type=click.Path(path_type=Path),
    help="Start from this structure instead: one molecule with all hydrogens.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HDF5 file to write.")
@click.option(
    "--mode",
    type=click.Choice(["dynamics", "exchange", "both"]),
    default="dynamics",
    show_default=True,
    help="Plain dynamics, temperature replica exchange, or both.",
)
@click.option(
    "--temperatures",
    type=TemperatureList(),
    default="300",
    show_default=True,
    help="In kelvin, increasing, separated by commas.",
)
@click.option(
    "--copies",
    type=int,
    default=16,
    show_default=True,
    help="Copies at each temperature; in replica exchange the number of ladders.",
)
@click.option(
    "--length-ps", type=float, default=100.0, show_default=True, help="Stored length of each copy."
)
@click.option(
    "--interval-ps", type=float, default=1.0, show_default=True, help="Time between frames."
)
@click.option(
    "--exchange-interval-ps",
    type=float,
    default=1.0,
    show_default=True,
    help="Time between attempts to exchange.",
)
@click.option(
    "--burn-in-ps",
    type=float,
    default=5.0,
    show_default=True,
    help="Run before the first frame is stored.",
)
@click.option(
    "--hot-ps",
    type=float,
    default=0.0,
    show_default=True,
    help="Exchange: run all replicas at the highest temperature before the burn-in.",
)
@click.option(
    "--starts",
    default="beta,alphaR,alphaL,ppII",
    show_default=True,
    help="Start basins, dealt out to the copies in turn; a name may come again to weigh "
    "more. as-given: the structure as it is.",
)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--forcefield",
    multiple=True,
    default=("amber14-all.xml", "implicit/gbn2.xml"),
    show_default=True,
    help="OpenMM force field file; repeat for several.",
)
@click.option("--timestep-fs", type=float, default=4.0, show_default=True)
@click.option(
    "--hot-timestep-fs", type=float, default=3.0, show_default=True, help="Time step above 400 K."
)
@click.option(
    "--chunk-ps",
    type=float,
    default=5.0,
    show_default=True,
    help="How often the work is secured; a kill loses at most this much.",
)
@click.option("--platform", default="CPU", show_default=True, help="OpenMM platform.")
@click.option("--threads", type=int, default=1, show_default=True, help="CPU threads.")
def command(
    sequence: str | None,
    caps: bool,
    pdb: Path | None,
    out: Path,
    starts: str,
    threads: int,
    **options: Any,
) -> None:
    """Make trajectories of one molecule with OpenMM, into one HDF5 file.

    Many copies of the molecule run at once in one Context. A run that was stopped, even by kill -9,
    goes on when the same command is given again.

    \b
    atmos-openmm simulate --sequence ACE-ALA-NME --out ala.h5 --length-ps 500
    atmos-openmm simulate --sequence ACE-ALA-NME --out ala.h5 --mode exchange \\
        --temperatures 300,360,432,520 --burn-in-ps 20 --length-ps 60
    """
    from ..simulate.simulation import simulate
    from ..simulate.simulation_settings import SimulationSettings

    if (sequence is None) == (pdb is None):
        raise click.UsageError("Give either --sequence or --pdb.")
    if pdb is not None and caps:
        raise click.UsageError("--caps goes with --sequence; a PDB file holds its own caps.")
    settings = SimulationSettings(starts=tuple(starts.split(",")), **options)
    if sequence is not None:
        from ..systems.peptides import build_peptide, parse_sequence

        name = "-".join(parse_sequence(sequence, caps))
        topology, positions = build_peptide(sequence, caps, seed=1)
    else:
        topology, positions, name = _read_pdb(pdb)

    simulate(
        topology,
        positions,
        out,
        settings,
        name,
        threads=threads,
        command_line="atmos-openmm " + shlex.join(sys.argv[1:]),
        progress=_show,
    )


def _read_pdb(path: Path | None) -> Any:
    """Topology, positions in nm and a name from a PDB file."""
    from openmm.app import PDBFile

    from ..core.units import positions_in_nm

    assert path is not None
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        file = PDBFile(str(path))
    except Exception as error:
        raise ValueError(f"{path} cannot be read as PDB ({error}).") from error
    return file.topology, positions_in_nm(file.getPositions(asNumpy=True)), path.stem


def _show(line: str, last: bool) -> None:
    """One line, rewritten in place on a terminal."""
    if sys.stderr.isatty() and not last:
        click.echo(f"\r\033[K{line}", nl=False, err=True)
    else:
        click.echo(("\r\033[K" if sys.stderr.isatty() else "") + line, err=True)
