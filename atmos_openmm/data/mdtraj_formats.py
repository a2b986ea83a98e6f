"""To and from the trajectory formats that MDTraj knows (XTC, DCD, NetCDF, TRR, ...).

MDTraj's lengths are nm and its times ps, as here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..trajectories.layout import TrajectoryData, write_trajectory_file
from .sample import Sample

if TYPE_CHECKING:
    from mdtraj import Trajectory
    from openmm.app import Topology

__all__ = ["export_sample", "import_trajectories", "to_mdtraj", "write_samples"]

LONGEST_BOND_NM = 0.3


def to_mdtraj(sample: Sample, frames: Any = slice(None)) -> Trajectory:
    """Return frames of a sample as an MDTraj trajectory.

    Parameters
    ----------
    sample: Sample
    frames: int, slice or array of int

    Returns
    -------
    mdtraj.Trajectory
        Times are frame numbers times the spacing, for frames of `dynamics`; else frame numbers.
    """
    import mdtraj

    numbers = sample.frames.numbers(frames)
    topology = mdtraj.Topology.from_openmm(sample.molecule().topology)
    return mdtraj.Trajectory(
        sample.frames.read(numbers), topology, time=numbers * (sample.spacing_ps or 1.0)
    )


def export_sample(
    sample: Sample, path: str | os.PathLike[str], frames: Any = slice(None)
) -> tuple[Path, Path]:
    """Write frames in the format of the path's suffix, and a PDB file with the Topology.

    Parameters
    ----------
    sample: Sample
    path: path
        Any suffix that `mdtraj.Trajectory.save` knows: .xtc, .dcd, .nc, .trr, ...
    frames: int, slice or array of int

    Returns
    -------
    (path, path)
        The trajectory and the PDB file, which has the same stem and the first of the frames.

    Raises
    ------
    ValueError
        A suffix that MDTraj does not write, or .pdb, which holds the Topology.
    OSError
        The folder cannot be written.
    """
    from openmm import unit
    from openmm.app import PDBFile

    path = Path(path)
    if path.suffix.lower() == ".pdb":
        raise ValueError(
            f"{path} would hold the Topology; give the trajectory another suffix, .xtc for one."
        )
    trajectory = to_mdtraj(sample, frames)
    try:
        trajectory.save(os.fspath(path))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and path.parent.is_dir():
            raise ValueError(
                f"MDTraj writes no {path.suffix or 'files without suffix'}."
            ) from error
        raise
    pdb = path.with_suffix(".pdb")
    with open(pdb, "w") as file:
        positions = trajectory.xyz[0].astype(float) * unit.nanometer
        PDBFile.writeFile(sample.molecule().topology, positions, file, keepIds=True)
    return path, pdb


def write_samples(
    path: str | os.PathLike[str],
    samples: Sequence[Sample],
    system_xml: str = "",
    stride: int = 1,
) -> None:
    """Write samples of one molecule as a trajectory file of the project's layout.

    Parameters
    ----------
    path: path
        HDF5 file to write.
    samples: sequence of Sample
        Of one molecule; ``dynamics`` or ``exchange``.
    system_xml: str
        The serialized System, where there is one.
    stride: int
        Take every `stride`-th frame.

    Raises
    ------
    ValueError
        No samples, single structures, or samples of several molecules.
    """
    if not samples:
        raise ValueError("There are no samples to write.")
    first = samples[0]
    still = [s.name for s in samples if s.kind == "static"]
    if still:
        raise ValueError(f"{still[0]} is a single structure; trajectory files hold trajectories.")
    others = [s.name for s in samples if s.source != first.source]
    if others:
        raise ValueError(
            f"{others[0]} is another molecule than {first.name}; write one file for each."
        )
    data = []
    for sample in samples:
        numbers = np.arange(0, sample.num_frames, stride)
        details = {
            k: v for k, v in sample.provenance.details.items() if isinstance(v, (int, float, str))
        }
        data.append(
            TrajectoryData(
                sample.frames.read(numbers),
                numbers * (sample.spacing_ps or 1.0),
                sample.kind,
                float(sample.temperature_kelvin or 0.0),
                str(details.pop("start", "not recorded")),
                int(details.pop("seed", 0)),
                {**details, "source": f"{Path(sample.provenance.path).name}:{sample.name}"},
            )
        )
    molecule = first.molecule()
    settings = {
        "converted_from": [s.name for s in samples],
        "dataset": first.provenance.dataset,
        "forcefield": first.provenance.details.get("force_field", "not recorded"),
        "stride": stride,
    }
    write_trajectory_file(path, molecule.name, molecule.topology, system_xml, settings, data)


def import_trajectories(
    out: str | os.PathLike[str],
    trajectories: Sequence[str | os.PathLike[str]],
    structure: str | os.PathLike[str],
    *,
    temperature_kelvin: float,
    spacing_ps: float | None = None,
    stride: int = 1,
    forcefield: Sequence[str] = (),
    name: str | None = None,
) -> list[str]:
    """Convert trajectories made elsewhere into one trajectory file.

    Water and ions are left out, molecules that a periodic box splits are made whole, and
    substituents that differ only in their place get the IUPAC names' places.

    Parameters
    ----------
    out: path
        HDF5 file to write.
    trajectories: sequence of paths
        Of one system, in any format that MDTraj reads; each becomes a trajectory of its own.
    structure: path
        Topology, atoms in the order of the frames: a PDB or mmCIF file with CONECT records or
        standard residues.
    temperature_kelvin: float
    spacing_ps: float, optional
        Time between frames; by default the files' own. Give it where the files lie (many XTC files
        say 1 ps whatever the spacing), or have no times.
    stride: int
        Take every `stride`-th frame.
    forcefield: sequence of str, optional
        OpenMM force field files that describe the solute, to store its System.
    name: str, optional
        The molecule; the stem of the structure by default.

    Returns
    -------
    list of str
        Choices that were made.

    Raises
    ------
    ValueError
        Frames and structure that differ in their atoms, a molecule that stays broken, times that
        make no sense, temperatures that are none.
    FileNotFoundError
    """
    import mdtraj
    from openmm import XmlSerializer, unit
    from openmm.app import ForceField, Modeller

    from ..simulate.packing import create_single_system
    from ..systems.naming import fix_names
    from ..systems.selection import describe_left_out, select_solute
    from ..systems.structure_files import read_structure_file

    if not temperature_kelvin > 0.0 or (spacing_ps is not None and not spacing_ps > 0.0):
        raise ValueError(
            f"The temperature is {temperature_kelvin} K and the spacing {spacing_ps} ps; both have "
            "to be above 0."
        )
    if not trajectories:
        raise ValueError("No trajectories were given; nothing to convert.")
    file = read_structure_file(Path(structure))
    notes = list(file.notes)
    whole = file.topology
    solute = np.array(sorted(select_solute(whole, None)), np.int64)
    modeller = Modeller(whole, file.positions_nm * unit.nanometer)
    gone = set(range(whole.getNumAtoms())) - set(solute.tolist())
    modeller.delete([a for a in whole.atoms() if a.index in gone])
    topology = modeller.topology
    if gone:
        notes.append(f"Left out: {describe_left_out(whole) or f'{len(gone)} atoms'}.")
    data = []
    for path in map(Path, trajectories):
        if not path.exists():
            raise FileNotFoundError(f"There is no trajectory {path}.")
        loaded = _load(mdtraj, path, whole, stride)
        positions = _whole(loaded, topology, solute, path)
        time = _times(loaded.time, spacing_ps, stride, path)
        data.append(
            TrajectoryData(
                fix_names(topology, positions),
                time,
                "dynamics",
                temperature_kelvin,
                "not recorded",
                0,
                {"source": path.name},
            )
        )
    system_xml = ""
    if forcefield:
        system_xml = XmlSerializer.serialize(
            create_single_system(topology, ForceField(*forcefield))
        )
    settings: dict[str, Any] = {
        "converted_from": [Path(p).name for p in trajectories],
        "structure": Path(structure).name,
        "forcefield": list(forcefield) or "not recorded",
        "stride": stride,
    }
    write_trajectory_file(out, name or Path(structure).stem, topology, system_xml, settings, data)
    return notes


def _load(mdtraj: Any, path: Path, topology: Topology, stride: int) -> Trajectory:
    known = mdtraj.Topology.from_openmm(topology)
    try:
        if path.suffix.lower() in (".pdb", ".h5", ".hdf5"):
            loaded = mdtraj.load(os.fspath(path), stride=stride)
        else:
            loaded = mdtraj.load(os.fspath(path), top=known, stride=stride)
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be read with {topology.getNumAtoms()} atoms ({error})."
        ) from error
    if loaded.n_atoms != topology.getNumAtoms():
        raise ValueError(
            f"{path} has {loaded.n_atoms} atoms; the structure has {topology.getNumAtoms()}."
        )
    return loaded


def _whole(
    loaded: Trajectory, topology: Topology, solute: NDArray[np.int64], path: Path
) -> NDArray[np.float64]:
    """Positions of the solute, with molecules whole."""
    bonds = np.array([(b[0].index, b[1].index) for b in topology.bonds()], np.int64).reshape(-1, 2)

    def lengths(x: NDArray[Any]) -> NDArray[Any]:
        """The longest of each bond."""
        gaps = np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=-1)
        return gaps.max(axis=0) if gaps.size else np.zeros(1)

    positions = loaded.xyz[:, solute]
    if lengths(positions).max() > LONGEST_BOND_NM and loaded.unitcell_lengths is not None:
        part = loaded.atom_slice(solute)
        positions = part.make_molecules_whole(inplace=False).xyz
    found = lengths(positions)
    if found.max() > LONGEST_BOND_NM:
        atoms = list(topology.atoms())
        first, second = (atoms[k] for k in bonds[int(found.argmax())])
        raise ValueError(
            f"{path} has bonds of {found.max():.2f} nm ({_named(first)} to {_named(second)} the "
            f"longest, {int((found > LONGEST_BOND_NM).sum())} in all): its atoms are in another "
            "order than the structure's, or have other names there, or a periodic box splits the "
            "molecule and the file has no box."
        )
    return positions.astype(np.float64)


def _named(atom: Any) -> str:
    return f"{atom.residue.name}{atom.residue.id} {atom.name}"


def _times(
    stored: NDArray[Any], spacing_ps: float | None, stride: int, path: Path
) -> NDArray[np.float64]:
    if spacing_ps is not None:
        return np.arange(len(stored)).astype(np.float64) * (spacing_ps * stride)
    time: NDArray[np.float64] = np.asarray(stored).astype(np.float64)
    if len(time) > 1 and np.any(np.diff(time) <= 0.0):
        raise ValueError(
            f"{path} has times that do not increase; give the time between frames (spacing_ps, "
            "--spacing-ps)."
        )
    return time
