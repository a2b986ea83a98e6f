"""What is wrong with data files, found by reading them whole."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_lengths
from ..core.read_errors import READ_ERRORS, first_line
from . import mdcath_checks, misato_checks
from .faults import DataFileError, Fault
from .sample import Sample
from .sources import inspect_file

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures

__all__ = ["FileReport", "check_file", "check_files", "check_sample"]

BLOCK_BYTES = 2**25
LONGEST_BOND_NM = 0.3
SHORTEST_BOND_NM = 0.06
"""Beyond these no covalent bond is, in MD at 450 K either: the frame is broken."""
MOST_LISTED = 5


@dataclass(frozen=True)
class FileReport:
    """The outcome for one file.

    Attributes
    ----------
    path : str
    samples : tuple of Sample
        That passed; of the others the faults tell.
    faults : tuple of Fault
    """

    path: str
    samples: tuple[Sample, ...]
    faults: tuple[Fault, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(f.fatal for f in self.faults)

    def summary(self) -> str:
        """One line: what the file holds."""
        if not self.samples:
            return "no usable sample"
        frames = sum(s.num_frames for s in self.samples)
        atoms = sorted({s.num_atoms for s in self.samples})
        span = f"{atoms[0]}" if len(atoms) == 1 else f"{atoms[0]} to {atoms[-1]}"
        kinds = "/".join(sorted({s.kind for s in self.samples}))
        name = self.samples[0].provenance.dataset
        return (
            f"{name}: {_count(len(self.samples), 'sample')} ({kinds}), "
            f"{_count(frames, 'frame')} of {span} atoms"
        )


def check_files(
    paths: Iterable[str | os.PathLike[str]],
    *,
    quick: bool = False,
    pdb_folder: str | os.PathLike[str] | None = None,
    workers: int = 1,
) -> Iterator[FileReport]:
    """Check files in processes of their own, in order.

    A damaged file can crash the HDF5 library and the process with it; here that is a fault of the
    file. Processes are started afresh, so that a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Parameters
    ----------
    paths : iterable of paths
    quick, pdb_folder
        See `check_file`.
    workers : int
        Files checked at a time; 0 checks them in this process, without that safety.

    Yields
    ------
    FileReport

    Raises
    ------
    ValueError
        A negative number of workers.
    """
    check = partial(check_file, quick=quick, pdb_folder=pdb_folder)
    if workers < 0:
        raise ValueError(f"workers is {workers}; expected at least 0.")
    names = [os.fspath(p) for p in paths]
    yield from in_processes(check, names, workers) if workers else map(check, names)


def in_processes(
    check: Callable[[str], FileReport], paths: Iterable[str], workers: int
) -> Iterator[FileReport]:
    """Check files in `workers` processes, in order; one that kills its process has a fault."""
    waiting = deque(paths)
    while waiting:
        with _pool(workers) as pool:
            running: deque[tuple[str, Future[FileReport]]] = deque()
            try:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        running.append((waiting[0], pool.submit(check, waiting[0])))
                        waiting.popleft()
                    yield running[0][1].result()
                    running.popleft()
                return
            except BrokenProcessPool:
                # One of those running is to blame: they are tried again, the first by itself.
                suspect, *rest = (path for path, _ in running)
                waiting.extendleft(reversed(rest))
            finally:
                for _, future in running:
                    future.cancel()
        yield _checked_alone(check, suspect)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _checked_alone(check: Callable[[str], FileReport], path: str) -> FileReport:
    with _pool(1) as pool:
        try:
            return pool.submit(check, path).result()
        except BrokenProcessPool:
            message = "reading it crashes the HDF5 library: it is damaged. Get it again."
            return FileReport(path, (), (Fault(path, "", "unreadable", message),))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def check_file(
    path: str | os.PathLike[str],
    *,
    quick: bool = False,
    pdb_folder: str | os.PathLike[str] | None = None,
) -> FileReport:
    """Check a file of any layout.

    Parameters
    ----------
    path : path
    quick : bool
        Look at the layout alone; neither chemistry nor frames are read.
    pdb_folder : path, optional
        PDB entries (``11gs.pdb`` or ``11gs.cif``, also ``.gz``) to compare MISATO's complexes with.

    Returns
    -------
    FileReport
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    molecules: dict[Any, list[Fault] | MoleculeFeatures] = {}
    for entry in inspect_file(path):
        faults += entry.faults
        if entry.sample is None or any(f.fatal for f in entry.faults):
            continue
        found = [] if quick else list(check_sample(entry.sample, molecules, pdb_folder))
        faults += found
        if not any(f.fatal for f in found):
            samples.append(entry.sample)
    return FileReport(str(path), tuple(samples), tuple(faults))


def check_sample(
    sample: Sample,
    molecules: dict[Any, list[Fault] | MoleculeFeatures] | None = None,
    pdb_folder: str | os.PathLike[str] | None = None,
) -> Iterator[Fault]:
    """Check one sample: its molecule, every frame, and what the file says of them.

    Parameters
    ----------
    sample : Sample
    molecules : dict, optional
        Kept between the samples of one molecule, which is then looked at once.
    pdb_folder : path, optional
        See `check_file`.

    Yields
    ------
    Fault
    """
    known = {} if molecules is None else molecules
    fault = partial(Fault, sample.provenance.path, sample.provenance.entry)
    told = sample.source in known
    features = known[sample.source] if told else known.setdefault(sample.source, _features(sample))
    if isinstance(features, list):
        if told:
            yield fault(features[0].kind, "its molecule cannot be used, see above.")
        else:
            yield from features
        return
    try:
        found = list(_frame_faults(sample, features))
        yield from found
        if not any(f.fatal for f in found):
            yield from _own_checks(sample, pdb_folder)
    except DataFileError as error:
        yield error.fault
    except READ_ERRORS as error:
        message = f"it cannot be read whole ({first_line(error)}): the file is damaged."
        yield fault("unreadable", message)


def _features(sample: Sample) -> list[Fault] | MoleculeFeatures:
    """The molecule's features, of heavy atoms where hydrogens are missing; faults where none."""
    at = sample.provenance
    try:
        elements = {a.element.atomic_number for a in sample.molecule().topology.atoms()}
        return sample.features("all" if 1 in elements else "heavy")
    except DataFileError as error:
        return [error.fault]
    except ValueError as error:  # FeatureError: its message says what to do
        return [Fault(at.path, at.entry, "chemistry", " ".join(str(error).split()))]


def _frame_faults(sample: Sample, features: MoleculeFeatures) -> Iterator[Fault]:
    """Frames that are not finite, broken or repeated."""
    fault = partial(Fault, sample.provenance.path, sample.provenance.entry)
    step = max(1, BLOCK_BYTES // (12 * sample.num_atoms))
    bad: list[int] = []
    broken: dict[int, tuple[int, float]] = {}
    same: list[int] = []
    last: NDArray[np.float32] | None = None
    seen = sample.resolved(features)
    bonds = features.bonds[seen[features.bonds].all(axis=1)]
    for start in range(0, sample.num_frames, step):
        frames = sample.frames.read(slice(start, start + step))
        finite = np.isfinite(frames).all(axis=(1, 2))
        bad += (start + np.flatnonzero(~finite)).tolist()
        joined = frames if last is None else np.concatenate([last[None], frames])
        repeated = (joined[1:] == joined[:-1]).all(axis=(1, 2))
        same += (start + (last is None) + np.flatnonzero(repeated)).tolist()
        last = frames[-1]
        if not len(bonds):
            continue
        gaps = bond_lengths(frames[:, features.atom_indices], bonds)
        odd = (gaps > LONGEST_BOND_NM) | (gaps < SHORTEST_BOND_NM)
        for k in np.flatnonzero(odd.any(axis=1) & finite).tolist():
            bond = int(np.argmax(odd[k]))
            broken[start + k] = bond, float(gaps[k, bond])
    if bad:
        yield fault("nonfinite", f"coordinates are not finite in {_frames(bad)}.")
    if broken:
        number, (bond, gap) = next(iter(broken.items()))
        ends = " and ".join(features.atom_label(int(a)) for a in bonds[bond])
        yield fault(
            "broken",
            f"bonds are broken in {_frames(broken)}: in frame {number} {ends} are {gap:.3f} nm "
            "apart. The box splits the molecule (make it whole first), the run blew up, or the "
            "coordinates are not in the unit of the layout.",
        )
    if same:
        many = len(same) > sample.num_frames // 2
        yield fault("inconsistent", f"the frame before is repeated in {_frames(same)}.", many)


def _frames(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    if len(listed) == 1:
        return f"frame {listed[0]}"
    shown = ", ".join(map(str, listed[:MOST_LISTED]))
    more = ", ..." if len(listed) > MOST_LISTED else ""
    return f"{len(listed)} frames ({shown}{more})"


def _own_checks(sample: Sample, pdb_folder: str | os.PathLike[str] | None) -> Iterator[Fault]:
    """What only one of the layouts has."""
    name = sample.provenance.dataset
    if name == "mdcath":
        yield from mdcath_checks.check_statistics(sample)
    elif name == "misato":
        if sample.kind == "dynamics":
            yield from misato_checks.check_ligand(sample)
        if pdb_folder is not None:
            yield from _compared(sample, Path(pdb_folder))


def _compared(sample: Sample, folder: Path) -> Iterator[Fault]:
    at = sample.provenance
    stems = {sample.name.lower(), sample.name.upper()}
    ends = [e + z for e in (".pdb", ".cif", ".ent") for z in ("", ".gz")]
    names = [stem + end for stem in sorted(stems, reverse=True) for end in ends]
    found = next((folder / n for n in names if (folder / n).exists()), None)
    if found is None:
        message = f"there is no {names[0]} or the like in {folder} to compare it with."
        yield Fault(at.path, at.entry, "missing", message, fatal=False)
        return
    try:
        yield from misato_checks.compare_with_pdb(sample, found)
    except (ValueError, OSError) as error:
        yield Fault(str(found), "", "unreadable", f"{first_line(error)}", fatal=False)
