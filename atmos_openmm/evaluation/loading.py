"""Ensembles from files: trajectories, this package's runs and data files, mdCATH."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atoms import AtomTable
from .ensemble import Ensemble, consecutive_segments

__all__ = ["Loaded", "read_ensemble"]

#: Formats whose time stamps are those of the simulation. DCD has a step, which other programs
#: than OpenMM fill as they like, and models of a PDB file have none.
_TIMED = frozenset({".xtc", ".trr", ".nc", ".netcdf", ".h5", ".hdf5", ".lh5"})


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
    """

    ensemble: Ensemble
    native_nm: NDArray[np.float64]
    system: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pieces:
    """One array a trajectory, nm, before solvent is taken off."""

    topology: Any
    positions_nm: list[NDArray[np.float32]]
    spacing_ps: float | None
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
    ValueError
        If a file cannot be read, needs a topology, or the files do not belong together.
    """
    if not paths:
        raise ValueError(f"{name}: no file was given")
    found = [_read(Path(path), topology, temperature) for path in paths]
    first = found[0]
    for path, other in zip(paths[1:], found[1:], strict=True):
        if other.topology.getNumAtoms() != first.topology.getNumAtoms():
            raise ValueError(
                f"{path} has {other.topology.getNumAtoms()} atoms and {paths[0]} "
                f"{first.topology.getNumAtoms()}; files of one ensemble are of one molecule"
            )
    notes = [note for piece in found for note in piece.notes]
    spacings = {piece.spacing_ps for piece in found}
    if spacing_ps is None:
        spacing_ps = spacings.pop() if len(spacings) == 1 else None
        if spacings:
            notes.append(f"{name}: the files have different times between frames; none is used.")
    kept, table, solute = _without_solvent(first.topology)
    positions = [x[:, kept] for piece in found for x in piece.positions_nm]
    segments = consecutive_segments([len(x) for x in positions])
    native = first.native_nm[kept] if first.native_nm is not None else positions[0][0]
    ensemble = Ensemble(name, table, np.concatenate(positions), segments, spacing_ps, solute)
    system = first.system
    if system is not None and system.getNumParticles() != len(table):
        system = None
    return Loaded(ensemble, np.asarray(native, np.float64), system, tuple(dict.fromkeys(notes)))


def _read(path: Path, topology: Any, temperature: float | None) -> _Pieces:
    path, entry = _split_entry(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no trajectory {path}.")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() in (".h5", ".hdf5"):
        from ..data.faults import DataFileError
        from ..data.sources import detect

        try:
            dataset = detect(path)
        except DataFileError as error:
            if error.fault.kind != "layout":
                raise
        else:
            if dataset == "atmos-openmm" and not entry:
                return _read_own(path, temperature)
            return _read_samples(path, entry, temperature)
    return _read_mdtraj(path, topology)


def _split_entry(path: Path) -> tuple[Path, str]:
    """File and entry of FILE:ENTRY, where no file has the whole name."""
    if path.exists() or ":" not in str(path):
        return path, ""
    file, _, entry = str(path).rpartition(":")
    return (Path(file), entry) if Path(file).exists() else (path, "")


def _choose(temperatures: Sequence[float], wanted: float | None, path: Path) -> float:
    """The temperature to take of those that a file has."""
    there = sorted(set(temperatures))
    if wanted is None:
        if len(there) > 1:
            raise ValueError(
                f"{path} has trajectories at {', '.join(f'{t:g}' for t in there)} K; say which "
                "with --temperature"
            )
        return there[0]
    nearest = min(there, key=lambda t: abs(t - wanted))
    if abs(nearest - wanted) > 0.5:
        raise ValueError(
            f"{path} has no trajectory at {wanted:g} K, only at "
            f"{', '.join(f'{t:g}' for t in there)} K"
        )
    return nearest


def _read_own(path: Path, temperature: float | None) -> _Pieces:
    from ..data.layout import TrajectoryFile

    with TrajectoryFile(path) as file:
        if not file.trajectories:
            raise ValueError(f"{path} holds no trajectory")
        chosen = _choose([t.temperature_kelvin for t in file.trajectories], temperature, path)
        taken = [t for t in file.trajectories if t.temperature_kelvin == chosen]
        spacings = {
            round(float(np.median(np.diff(t.time_ps))), 6)
            for t in taken
            if t.kind == "dynamics" and len(t) > 1
        }
        timed = all(t.kind == "dynamics" for t in taken) and len(spacings) == 1
        return _Pieces(
            file.topology,
            [t.positions() for t in taken],
            spacings.pop() if timed else None,
            None,
            file.system,
            (f"{path.name}: {len(taken)} trajectories at {chosen:g} K.",),
        )


def _read_samples(path: Path, entry: str, temperature: float | None) -> _Pieces:
    """Samples of one molecule in an mdCATH, MISATO or other data file."""
    from ..data.sources import inspect_file

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
    molecule = taken[0].molecule()
    timed = all(s.kind == "dynamics" for s in taken)
    notes = [f"{path.name}: {', '.join(s.name for s in taken)}.", *left_out]
    return _Pieces(
        molecule.topology,
        [s.positions_nm() for s in taken],
        taken[0].spacing_ps if timed else None,
        np.asarray(molecule.positions_nm, np.float64),
        None,
        tuple(notes),
    )


def _read_folder(path: Path) -> _Pieces:
    """A hybrid run or a rollout; a walker is a replica."""
    from ..core.settings import read_settings

    settings = read_settings(path)
    pieces = _read_structure(path / "topology.pdb")
    files = sorted(p for p in path.glob("trajectory_*.*") if p.suffix in (".dcd", ".xtc"))
    if not files:
        raise ValueError(f"{path} holds no trajectory_NNNN.dcd or .xtc; has the run made frames?")
    frames = [_frames(file, pieces.topology)[0] for file in files]
    if settings.get("kind") != "rollout":
        notes = (
            f"{path.name}: a hybrid run; its frames have no common time between them (jumps and "
            "dynamics alternate), so it has no dynamics here.",
        )
        return _Pieces(pieces.topology, frames, None, pieces.native_nm, None, notes)
    from ..sampling.rollout_folder import read_rollout

    rows = read_rollout(path)
    own = (rows["walker"] == rows["walker"].min()) & (np.asarray(rows["written"]) != 0)
    steps = np.diff(rows["learned_time_ps"][own])
    even = len(steps) and np.allclose(steps, steps[0])
    return _Pieces(
        pieces.topology,
        frames,
        float(steps[0]) if even else None,
        pieces.native_nm,
        None,
        (f"{path.name}: a rollout of {len(files)} walker(s).",),
    )


def _read_structure(path: Path) -> _Pieces:
    if not path.exists():
        raise FileNotFoundError(f"There is no structure {path}.")
    return _structure(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _structure(path: str, changed: int) -> _Pieces:
    """Many trajectories share one topology file; `changed` tells when it is another one."""
    from ..systems.structure_files import read_structure_file

    file = read_structure_file(path)
    return _Pieces(file.topology, [], None, np.asarray(file.positions_nm))


def _read_mdtraj(path: Path, topology: Any) -> _Pieces:
    suffixes = [s.lower() for s in path.suffixes]
    own = ".pdb" in suffixes[-2:] or ".cif" in suffixes[-2:]
    if topology is None and not own:
        raise ValueError(
            f"{path} does not say what its atoms are; give a PDB or mmCIF file of the same atoms "
            "in the same order (--topology, or --generator-topology for another generator's)"
        )
    structure = _read_structure(Path(path if topology is None else topology))
    frames, times, remarks = _frames(path, structure.topology)
    spacing = None
    if suffixes[-1] in _TIMED and len(times) > 1 and np.isfinite(times).all():
        steps = np.diff(times)
        if steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3):
            spacing = float(steps[0])
    return _Pieces(structure.topology, [frames], spacing, structure.native_nm, None, tuple(remarks))


def _frames(
    path: Path, topology: Any
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """All frames [F, A, 3] in nm, molecules whole, with times and remarks."""
    from ..validation.boxes import make_whole, reduced_box, spanning_tree
    from ..validation.frames import open_frames
    from .side_by_side import _quiet_stdout

    with _quiet_stdout():  # the DCD reader's C code remarks on every file
        source = open_frames(path, topology)
        frames = list(source.frames())
    bonds = [(a.index, b.index) for a, b in topology.bonds()]
    tree = None
    positions, times = [], []
    for frame in frames:
        x = frame.positions_nm
        if frame.box_nm is not None:
            if tree is None:
                tree = spanning_tree(topology.getNumAtoms(), bonds)
                molecules = _molecules(topology.getNumAtoms(), bonds)
            box = reduced_box(frame.box_nm)
            x = _gathered(make_whole(x, tree, box), molecules, box)
        positions.append(x.astype(np.float32))
        times.append(frame.time_ps)
    return np.stack(positions), np.array(times), list(source.remarks)


def _molecules(atoms: int, bonds: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Number of each atom's molecule, the largest molecule being 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(bonds, int).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(atoms, atoms))
    label = connected_components(graph, directed=False)[1]
    order = np.argsort(np.argsort(-np.bincount(label), kind="stable"))
    return order[label]


def _gathered(
    positions: NDArray[np.float64], molecule: NDArray[np.int64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Every molecule in the image whose centroid is nearest to that of the largest one."""
    counts = np.bincount(molecule)
    centres = np.stack([np.bincount(molecule, x) / counts for x in positions.T], axis=1)
    shift = np.round((centres - centres[0]) @ np.linalg.inv(box)) @ box
    return positions - shift[molecule]


def _without_solvent(topology: Any) -> tuple[NDArray[np.int64], AtomTable, Any]:
    """Atoms that are no water, ion or virtual site of water; their table and Topology."""
    from openmm.app import Modeller
    from openmm.unit import nanometer

    from ..systems.residues import SOLVENT

    unwanted = [
        residue
        for residue in topology.residues()
        if residue.name in SOLVENT or sum(1 for _ in residue.atoms()) == 1
    ]
    dropped = {atom.index for residue in unwanted for atom in residue.atoms()}
    kept = np.array([i for i in range(topology.getNumAtoms()) if i not in dropped], int)
    if not len(kept):
        raise ValueError("the topology holds nothing but solvent and ions")
    if not dropped:
        return kept, AtomTable.from_openmm(topology), topology
    modeller = Modeller(topology, np.zeros((topology.getNumAtoms(), 3)) * nanometer)
    modeller.delete(unwanted)
    table = AtomTable.from_openmm(modeller.topology)
    return kept, table, modeller.topology
