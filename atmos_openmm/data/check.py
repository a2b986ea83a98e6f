"""What is wrong with data files, found by reading them whole."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from .faults import DataFileError, Fault
from .sample import Sample
from .sample_checks import SampleChecks
from .sources import inspect_file

__all__ = ["FileReport", "check_file", "check_files", "require_sound"]


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
    check = SampleChecks(pdb_folder)
    for entry in inspect_file(path):
        faults += entry.faults
        if entry.sample is None or any(f.fatal for f in entry.faults):
            continue
        found = [] if quick else check(entry.sample)
        faults += found
        if not any(f.fatal for f in found):
            samples.append(entry.sample)
    return FileReport(str(path), tuple(samples), tuple(faults))


def require_sound(samples: Sequence[Sample]) -> list[str]:
    """Check samples whole before they are used for anything else than training.

    Chemistry that features cannot be made of is told like what is no fatal fault.

    Returns
    -------
    list of str
        What is worth knowing.

    Raises
    ------
    DataFileError
        The first fatal fault.
    """
    check = SampleChecks(needs_chemistry=False)
    faults = [fault for sample in samples for fault in check(sample)]
    for fault in faults:
        if fault.fatal:
            raise DataFileError(fault)
    return [str(fault) for fault in faults]
