"""`atmos-openmm simulate`: training trajectories of one molecule."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ..core.progress import say
from ._options import FILE, option, shared_option
from ._terminal import TemperatureList


@click.command("simulate")
@option("--sequence", help="ACE-ALA-NME, or one-letter codes such as GYDPETGTWG.")
@option("--caps", is_flag=True, help="Add ACE and NME to the ends of --sequence.")
@option(
    "--pdb", type=FILE, help="Start from this structure instead: one molecule with all hydrogens."
)
@option("--out", required=True, type=FILE, help="HDF5 file to write.")
@option(
    "--mode",
    type=click.Choice(["dynamics", "exchange", "both"]),
    default="dynamics",
    help="Plain dynamics, temperature replica exchange, or both.",
)
@option(
    "--temperatures",
    type=TemperatureList(),
    default="300",
    help="In kelvin, increasing, separated by commas.",
)
@option(
    "--copies",
    type=int,
    default=16,
    help="Copies at each temperature; in replica exchange the number of ladders.",
)
@option("--length-ps", type=float, default=100.0, help="Stored length of each copy.")
@option("--interval-ps", type=float, default=1.0, help="Time between frames.")
@option(
    "--exchange-interval-ps", type=float, default=1.0, help="Time between attempts to exchange."
)
@option("--burn-in-ps", type=float, default=5.0, help="Run before the first frame is stored.")
@option(
    "--hot-ps",
    type=float,
    default=0.0,
    help="Exchange: run all replicas at the highest temperature before the burn-in.",
)
@option(
    "--starts",
    default="beta,alphaR,alphaL,ppII",
    help="Start basins, dealt out to the copies in turn; a name may come again to weigh "
    "more. as-given: the structure as it is.",
)
@shared_option("seed", type=int, default=1)
@shared_option(
    "forcefield",
    default=("amber14-all.xml", "implicit/gbn2.xml"),
    help="OpenMM force field file; repeat for several.",
)
@shared_option("timestep")
@option("--hot-timestep-fs", type=float, default=3.0, help="Time step above 400 K.")
@option(
    "--chunk-ps",
    type=float,
    default=5.0,
    help="How often the work is secured; a kill loses at most this much.",
)
@shared_option("platform", help="OpenMM platform.")
@shared_option("threads", type=int, help="CPU threads.")
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
        progress=say,
    )


def _read_pdb(path: Path | None) -> Any:
    """Topology, positions in nm and a name from a structure file, read as `run` reads it."""
    from ..systems.errors import FeatureError
    from ..systems.inputs import read_structure

    assert path is not None
    molecule = read_structure(path)
    for note in molecule.notes:
        click.echo(note, err=True)
    # Hands that are not the usual ones are told as warnings; what the package does not know may
    # suit the force field.
    with contextlib.suppress(FeatureError):
        molecule.features()
    return molecule.topology, molecule.positions_nm, molecule.name
