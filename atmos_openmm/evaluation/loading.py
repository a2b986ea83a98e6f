"""Ensembles from files: trajectories, this package's runs and data files, mdCATH."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.settings import read_settings
from ..data.check import require_sound
from ..data.mdtraj_formats import data_layout
from ..data.sources import inspect_file
from ..systems.openmm_bridge import box_vectors_in_nm
from ..trajectories.boxes import make_whole, reduced_box
from ..trajectories.clock import Stretch, read_clock
from ..trajectories.errors import MissingInformationError
from ..trajectories.layout import TrajectoryFile
from ..trajectories.reader import SoluteFrames, gather, read_folder
from ..trajectories.topology import SoluteTopology, read_structure, structure_of
from .atoms import AtomTable
from .ensemble import Ensemble
from .overlap import copied_trajectories

__all__ = ["Loaded", "read_ensemble"]


@dataclass(frozen=True)
class Loaded:
    """Frames from files, and the structure that came with them.

    Attributes
    ----------
    ensemble : Ensemble
        Without solvent.
    native_nm : float64 array [A, 3]
        The structure of the topology file; the first frame where that has none.
    system : openmm.System or None
        Where the files hold one of exactly these atoms.
    notes : tuple of str
        What was chosen.
    lacks_spacing : bool
        Whether it has no dynamics only because no time between frames was given.
    """

    ensemble: Ensemble
    native_nm: NDArray[np.float64]
    system: Any = None
    notes: tuple[str, ...] = ()
    lacks_spacing: bool = False


@dataclass(frozen=True)
class _Pieces:
    """The trajectories of one file or folder, without solvent."""

    solute: SoluteTopology
    trajectories: Sequence[SoluteFrames]
    native_nm: NDArray[np.float64] | None = None
    system: Any = None
    notes: tuple[str, ...] = ()


def read_ensemble(
    paths: Sequence[str | os.PathLike[str]],
    *,
    name: str,
    topology: str | os.PathLike[str] | None = None,
    spacing_ps: float | None = None,
    temperature: float | None = None,
) -> Loaded:
    """Read trajectories of one molecule as one ensemble, each file a replica.

    A trajectory whose clock jumps is cut there into segments.

    Parameters
    ----------
    paths : sequence of path
        Files in any format that mdtraj reads, this package's trajectory files, mdCATH and MISATO
        files (``FILE:ENTRY`` for one of several molecules or replicas), or folders of hybrid runs
        and rollouts.
    name : str
        Of the ensemble.
    topology : path, optional
        PDB or mmCIF file with the same atoms in the same order, for formats that need it.
    spacing_ps : float, optional
        Time between frames, instead of what the files say.
    temperature : float, optional
        Kelvin; which trajectories to take from a file that has several temperatures.

    Returns
    -------
    Loaded

    Raises
    ------
    FileNotFoundError
    MissingInformationError
        A file needs a topology or a choice of temperature.
    ValueError
        If a file cannot be read, or the files do not belong together.
    """
    if not paths:
        raise ValueError(f"{name}: no file was given")
    if spacing_ps is not None and not 0 < spacing_ps < np.inf:
        raise ValueError(f"{name}: the time between frames is {spacing_ps:g} ps; expected above 0")
    place = None if topology is None else Path(topology)
    found = [_read(Path(path), place, spacing_ps, temperature) for path in paths]
    first = found[0]
    count = len(first.solute.atoms)
    for path, other in zip(paths[1:], found[1:], strict=True):
        if len(other.solute.atoms) != count:
            raise ValueError(
                f"{path} has {len(other.solute.atoms)} atoms and {paths[0]} {count} without "
                "solvent; files of one ensemble are of one molecule"
            )
    trajectories = [t for piece in found for t in piece.trajectories]
    notes = [note for t in trajectories for note in t.notes]
    notes += [note for piece in found for note in piece.notes]
    notes += [
        f"{name}: {shared} of the {len(trajectories[k].positions_nm)} frames of "
        f"{trajectories[k].name} are frames of {trajectories[j].name}, too; they count twice."
        for k, j, shared in copied_trajectories([t.positions_nm for t in trajectories])
    ]
    spacings = {s.spacing_ps for t in trajectories for s in t.stretches if len(s) > 1}
    spacing = spacings.pop() if len(spacings) == 1 else spacing_ps
    if spacings:
        notes.append(f"{name}: there are different times between frames; none is used.")
    ends = np.cumsum([0, *(len(t.positions_nm) for t in trajectories)])
    ensemble = Ensemble(
        name,
        AtomTable.from_openmm(first.solute.topology),
        np.concatenate([t.positions_nm for t in trajectories]),
        tuple(
            (int(end + s.start), int(end + s.stop))
            for end, t in zip(ends, trajectories, strict=False)
            for s in t.stretches
        ),
        spacing,
        first.solute.topology,
        np.concatenate([_clock(t.stretches, spacing) for t in trajectories]),
    )
    native = first.native_nm if first.native_nm is not None else ensemble.positions_nm[0]
    system = first.system
    if system is not None and system.getNumParticles() != count:
        system = None
    return Loaded(
        ensemble,
        np.asarray(native, np.float64),
        system,
        tuple(dict.fromkeys(notes)),
        any(t.lacks_spacing for t in trajectories),
    )


def _clock(stretches: Sequence[Stretch], spacing_ps: float | None) -> NDArray[np.int64]:
    """Frames since the start of the trajectory.

    Another one starts where time goes back to that, or on by far more than all frames last.
    """
    counted = np.arange(sum(len(s) for s in stretches))
    if spacing_ps is None or len(stretches) == 1:
        return counted
    for s in stretches:
        since = round((s.first_ps - stretches[0].first_ps) / spacing_ps)
        counted[s.start : s.stop] = np.arange(len(s))
        if 0 < since < 10 * len(counted):
            counted[s.start : s.stop] += since
    return counted


def _read(
    path: Path, topology: Path | None, spacing_ps: float | None, temperature: float | None
) -> _Pieces:
    path, entry = _split_entry(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no trajectory {path}.")
    if path.is_dir():
        return _read_folder(path, spacing_ps)
    layout = data_layout(path)
    if layout == "atmos-openmm" and not entry:
        return _read_own(path, spacing_ps, temperature)
    if layout is not None:
        return _read_samples(path, entry, spacing_ps, temperature)
    file = structure_of(path, topology)
    solute = SoluteTopology.of(file.topology)
    frames = gather(path, file.topology, solute, spacing_ps=spacing_ps)
    native = file.positions_nm[solute.atoms] if len(file.positions_nm) else None
    box = box_vectors_in_nm(file.topology.getPeriodicBoxVectors())
    if native is not None and box is not None and np.isfinite(native).all():
        native = make_whole(native, solute.tree, reduced_box(box))
    return _Pieces(solute, [frames], native)


def _split_entry(path: Path) -> tuple[Path, str]:
    """File and entry of FILE:ENTRY, where no file has the whole name."""
    if path.exists() or ":" not in str(path):
        return path, ""
    file, _, entry = str(path).rpartition(":")
    return (Path(file), entry) if Path(file).exists() else (path, "")


def _choose(temperatures: Sequence[float], wanted: float | None, path: Path) -> float:
    """The temperature to take of those that a file has."""
    there = sorted(set(temperatures))
    listed = ", ".join(f"{t:g}" for t in there)
    if wanted is None:
        if len(there) > 1:
            raise MissingInformationError(
                "temperature", f"{path} has trajectories at {listed} K; say which to take."
            )
        return there[0]
    nearest = min(there, key=lambda t: abs(t - wanted))
    if abs(nearest - wanted) > 0.5:
        raise ValueError(f"{path} has no trajectory at {wanted:g} K, only at {listed} K")
    return nearest


def _read_own(path: Path, spacing_ps: float | None, temperature: float | None) -> _Pieces:
    with TrajectoryFile(path) as file:
        if not file.trajectories:
            raise ValueError(f"{path} holds no trajectory")
        chosen = _choose([t.temperature_kelvin for t in file.trajectories], temperature, path)
        taken = [t for t in file.trajectories if t.temperature_kelvin == chosen]
        solute = SoluteTopology.of(file.topology)
        found = []
        for t in taken:
            x, label = t.positions()[:, solute.atoms], f"{path.name}/{t.name}"
            if spacing_ps is not None or t.kind != "dynamics":
                found.append(SoluteFrames(label, x, (Stretch(0, len(x), spacing_ps),)))
                continue
            clock = read_clock(t.time_ps)
            notes = tuple(f"{label} {note}." for note in clock.notes)
            found.append(SoluteFrames(label, x[clock.kept], clock.stretches, notes))
        words = f"{path.name}: {len(taken)} trajectories at {chosen:g} K."
        return _Pieces(solute, found, None, file.system if file.system_xml else None, (words,))


def _read_samples(
    path: Path, entry: str, spacing_ps: float | None, temperature: float | None
) -> _Pieces:
    """Samples of one molecule in an mdCATH, MISATO or other data file."""
    entries = inspect_file(path)
    left_out = [str(fault) for e in entries if e.sample is None for fault in e.faults]
    samples = [
        e.sample
        for e in entries
        if e.sample is not None
        and e.sample.kind != "static"
        and (not entry or e.sample.name == entry or e.sample.name.startswith(entry + "/"))
    ]
    if not samples:
        which = f" of {entry}" if entry else ""
        raise ValueError(f"{path} holds no trajectory{which}. {' '.join(left_out)}".strip())
    known = [s.temperature_kelvin for s in samples if s.temperature_kelvin is not None]
    chosen = _choose(known, temperature, path)
    taken = [s for s in samples if s.temperature_kelvin == chosen]
    if any(s.source != taken[0].source for s in taken):
        names = ", ".join(s.name for s in taken[:4])
        raise ValueError(
            f"{path} holds several molecules ({names}{', ...' if len(taken) > 4 else ''}); name "
            f"one: {path}:{taken[0].name}"
        )
    left_out += require_sound(taken)
    molecule = taken[0].molecule()
    solute = SoluteTopology.of(molecule.topology)
    found = []
    for sample in taken:
        x = sample.positions_nm()[:, solute.atoms]
        stretch = Stretch(0, len(x), spacing_ps or sample.spacing_ps)
        found.append(SoluteFrames(sample.name, x, (stretch,)))
    notes = (f"{path.name}: {', '.join(s.name for s in taken)}.", *left_out)
    native = np.asarray(molecule.positions_nm, np.float64)[solute.atoms]
    return _Pieces(solute, found, native, None, notes)


def _read_folder(path: Path, spacing_ps: float | None) -> _Pieces:
    """A hybrid run or a rollout; a walker is a replica."""
    read_settings(path)  # tells a folder of anything else
    file = read_structure(path)
    solute = SoluteTopology.of(file.topology)
    found, words = read_folder(path, file.topology, solute, spacing_ps=spacing_ps)
    return _Pieces(solute, found, file.positions_nm[solute.atoms], None, (words,))
