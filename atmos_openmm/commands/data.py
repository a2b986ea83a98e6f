"""`atmos-openmm data`: check, list and convert data for training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

FILES = click.Path(path_type=Path)


@click.group("data")
def command() -> None:
    """Check, list and convert data: mdCATH, MISATO, PDB and mmCIF files, own trajectories."""


@command.command("check")
@click.argument("files", nargs=-1, required=True, type=FILES)
@click.option(
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="skip",
    show_default=True,
    help="Go on after a file that cannot be used, or stop there.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Look at the layout alone: no chemistry, no frames, no hashes of manifests.",
)
@click.option(
    "--pdb-folder",
    type=FILES,
    help="PDB entries (11gs.pdb, 11gs.cif) to compare MISATO's complexes with.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Files checked at a time, in processes of their own; 0: all in this process, "
    "which a damaged file can crash.",
)
def check(
    files: tuple[Path, ...], on_error: str, quick: bool, pdb_folder: Path | None, workers: int
) -> int:
    """Say what is wrong with FILES, in plain words.

    Folders stand for the data files in them. A manifest (.json) stands for the files it lists,
    which are compared with their hashes, too. The exit status is 0 when every file can be used as
    a whole, and 1 when anything has to be left out.
    """
    from ..data.check import check_files
    from ..data.faults import DataFileError

    failed = checked = 0

    def tell(title: str, faults: Iterable[Any]) -> bool:
        """Print faults; whether to stop."""
        nonlocal failed
        click.echo(title)
        fatal = False
        for fault in faults:
            click.echo(f"  {'error' if fault.fatal else 'note'}: {_words(fault)}")
            fatal = fatal or fault.fatal
        failed += fatal
        if fatal and on_error == "stop":
            click.echo("Stopped at the first that cannot be used (--on-error stop).")
        return fatal and on_error == "stop"

    there = []
    for path in _expanded(files):
        if not isinstance(path, DataFileError):
            there.append(path)
        elif tell(path.fault.path, [path.fault]):
            return 1
    for report in check_files(there, quick=quick, pdb_folder=pdb_folder, workers=workers):
        checked += 1
        if tell(f"{report.path}: {report.summary()}", report.faults):
            return 1
    for manifest in (f for f in files if f.suffix.lower() == ".json"):
        for fault in _manifest_faults(manifest, quick):
            if tell(f"{fault.path} (of {manifest})", [fault]):
                return 1
    whole = "all can be used" if not failed else f"{failed} times something has to be left out"
    click.echo(f"{checked} {'file' if checked == 1 else 'files'} checked: {whole}.")
    return 1 if failed else 0


@command.command("manifest")
@click.argument("files", nargs=-1, required=True, type=FILES)
@click.option("--out", required=True, type=FILES, help="JSON file to write.")
@click.option(
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="stop",
    show_default=True,
    help="Leave out what cannot be used (it is listed with its faults), or stop.",
)
def manifest(files: tuple[Path, ...], out: Path, on_error: Any) -> None:
    """List FILES with their hashes, samples and faults in a manifest."""
    import warnings

    from ..data.faults import DataFileError, DataFileWarning, FaultLog
    from ..data.manifest import write_manifest
    from ..data.manifest_building import build_manifest

    log = FaultLog(on_error)
    paths = []
    for path in _expanded(files, manifests=False):
        if isinstance(path, DataFileError):
            raise path
        paths.append(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataFileWarning)  # told below
        made = build_manifest(paths, out.resolve().parent, log)
    write_manifest(made, out)
    for fault in log.faults:
        click.echo(f"{'Left out' if fault.fatal else 'Note'}: {fault}")
    samples = sum(len(f["samples"]) for f in made["files"])
    click.echo(f"Wrote {out}: {len(made['files'])} files, {samples} samples.")


@command.command("import")
@click.argument("trajectories", nargs=-1, required=True, type=FILES)
@click.option(
    "--structure",
    required=True,
    type=FILES,
    help="PDB or mmCIF file, atoms in the order of the frames.",
)
@click.option("--out", required=True, type=FILES, help="HDF5 file to write.")
@click.option("--temperature", required=True, type=float, help="In kelvin.")
@click.option(
    "--spacing-ps",
    type=float,
    help="Time between frames in ps: needed for DCD, XYZ, PDB and AMBER's text files, which have "
    "none that can be trusted, and where files say it wrong.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Take every so many frames.",
)
@click.option(
    "--forcefield",
    multiple=True,
    help="OpenMM force field file of the solute, to store its System; repeatable.",
)
def import_command(
    trajectories: tuple[Path, ...],
    structure: Path,
    out: Path,
    temperature: float,
    spacing_ps: float | None,
    stride: int,
    forcefield: tuple[str, ...],
) -> None:
    """Convert TRAJECTORIES of one molecule (XTC, DCD, NetCDF, ...) into a trajectory file."""
    from ..data.check import check_file
    from ..data.mdtraj_formats import import_trajectories
    from ._options import naming_options

    with naming_options(topology="--structure", spacing="--spacing-ps"):
        notes = import_trajectories(
            out,
            trajectories,
            structure,
            temperature_kelvin=temperature,
            spacing_ps=spacing_ps,
            stride=stride,
            forcefield=forcefield,
        )
    for note in notes:
        click.echo(note)
    click.echo(f"Wrote {out}.")
    for fault in check_file(out).faults:
        click.echo(f"{'Training leaves it out' if fault.fatal else 'Note'}: {_words(fault)}")


@command.command("export")
@click.argument("file", type=FILES)
@click.option("--out", required=True, type=FILES, help="Folder to write into.")
@click.option(
    "--format",
    "suffix",
    default="xtc",
    show_default=True,
    help="Suffix of a format that MDTraj writes; h5 for one trajectory file.",
)
@click.option(
    "--sample",
    "names",
    multiple=True,
    help="Name of a sample, e.g. 2hbaA00/320/0; repeatable. All by default.",
)
@click.option(
    "--stride",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Take every so many frames.",
)
def export(file: Path, out: Path, suffix: str, names: tuple[str, ...], stride: int) -> None:
    """Write the samples of FILE as trajectories with a PDB file each, or as one h5 file."""
    from ..data.check import require_sound
    from ..data.mdtraj_formats import export_sample, write_samples
    from ..data.sources import open_samples

    samples = list(open_samples([file]))
    if names:
        there = {s.name: s for s in samples}
        unknown = [n for n in names if n not in there]
        if unknown:
            listed = ", ".join(list(there)[:10])
            raise ValueError(f"{file} has no sample {unknown[0]!r}; there are {listed}.")
        samples = [there[n] for n in names]
    for note in require_sound(samples):
        click.echo(f"Note: {note}")
    out.mkdir(parents=True, exist_ok=True)
    if suffix.lstrip(".") == "h5":
        target = out / f"{samples[0].molecule().name}.h5"
        write_samples(target, samples, stride=stride)
        click.echo(f"Wrote {target}.")
        return
    for sample in samples:
        path = out / f"{sample.name.replace('/', '_')}.{suffix.lstrip('.')}"
        written = export_sample(sample, path, slice(None, None, stride))
        click.echo(f"Wrote {written[0]} and {written[1].name}.")


def _expanded(files: tuple[Path, ...], manifests: bool = True) -> Any:
    """Files, those in folders, and those of manifests; errors of these in their place."""
    from ..data.faults import DataFileError
    from ..data.manifest import files_in_folder, listed_files

    for path in files:
        try:
            if path.is_dir():
                yield from files_in_folder(path)
            elif manifests and path.suffix.lower() == ".json":
                # Files that are gone are told with the manifest's other faults.
                yield from (p for p in listed_files(path) if p.exists())
            else:
                yield path
        except DataFileError as error:
            yield error


def _manifest_faults(path: Path, quick: bool) -> list[Any]:
    from ..data.faults import DataFileError
    from ..data.manifest import verify_manifest

    try:
        return verify_manifest(path, hashes=not quick)
    except DataFileError:
        return []  # told where the manifest was expanded


def _words(fault: Any) -> str:
    return f"[{fault.entry}] {fault.message}" if fault.entry else fault.message
