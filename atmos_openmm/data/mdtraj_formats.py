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

from ..core.geometry import bond_lengths
from ..systems.labels import residue_number
from ..trajectories.layout import TrajectoryData, write_trajectory_file
from ..trajectories.reader import gather
from ..trajectories.topology import SoluteTopology, structure_of
from . import trajectories as own_files
from .faults import DataFileError
from .sample import Sample
from .sample_checks import LONGEST_BOND_NM
from .sources import detect

if TYPE_CHECKING:
    from mdtraj import Trajectory

__all__ = ["data_layout", "export_sample", "import_trajectories", "to_mdtraj", "write_samples"]


def data_layout(path: Path) -> str | None:
    """Which of `sources.DATASETS` an HDF5 file is of; None for a trajectory in MDTraj's formats.

    Raises
    ------
    DataFileError
        It is damaged.
    """
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return None
    try:
        return detect(path)
    except DataFileError as error:
        if error.fault.kind == "layout":  # HDF5, and perhaps MDTraj's
            return None
        raise


def to_mdtraj(sample: Sample, frames: Any = slice(None)) -> Trajectory:
    """Return frames of a sample as an MDTraj trajectory.

    Parameters
    ----------
    sample : Sample
    frames : int, slice or array of int

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
    sample : Sample
    path : path
        Any suffix that `mdtraj.Trajectory.save` knows: .xtc, .dcd, .nc, .trr, ...
    frames : int, slice or array of int

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
    stride: int = 1,
) -> None:
    """Write samples of one molecule as a trajectory file of the project's layout.

    Parameters
    ----------
    path : path
        HDF5 file to write.
    samples : sequence of Sample
        Of one molecule; ``dynamics`` or ``exchange``.
    stride : int
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
    write_trajectory_file(path, molecule.name, molecule.topology, "", settings, data)
    _check_written(Path(path))


def import_trajectories(
    out: str | os.PathLike[str],
    trajectories: Sequence[str | os.PathLike[str]],
    structure: str | os.PathLike[str] | None = None,
    *,
    temperature_kelvin: float,
    spacing_ps: float | None = None,
    stride: int = 1,
    forcefield: Sequence[str] = (),
    name: str | None = None,
) -> list[str]:
    """Convert trajectories made elsewhere into one trajectory file.

    Water and ions are left out, molecules that a periodic box splits are made whole and brought
    together, and substituents that differ only in their place get the IUPAC names' places. Where
    the clock of a file jumps, another trajectory begins.

    Parameters
    ----------
    out : path
        HDF5 file to write.
    trajectories : sequence of paths
        Of one system, in any format that MDTraj reads; each becomes a trajectory of its own.
    structure : path, optional
        Topology, atoms in the order of the frames: a PDB or mmCIF file with CONECT records or
        standard residues. By default the first trajectory, where that is such a file.
    temperature_kelvin : float
    spacing_ps : float, optional
        Time between frames; by default the files' own. Give it where the files lie (many XTC files
        say 1 ps whatever the spacing), or have no times (DCD, XYZ, PDB, AMBER's text format).
    stride : int
        Take every `stride`-th frame.
    forcefield : sequence of str, optional
        OpenMM force field files that describe the solute, to store its System.
    name : str, optional
        The molecule; the stem of the structure by default.

    Returns
    -------
    list of str
        Choices that were made.

    Raises
    ------
    MissingInformationError
        A topology or the time between frames is needed.
    ValueError
        Frames and structure that differ in their atoms, a molecule that stays broken,
        temperatures that are none, a single frame, a Topology that the file cannot hold.
    FileNotFoundError
    """
    from openmm import XmlSerializer

    from ..systems.forcefield import create_system
    from ..systems.naming import fix_names

    if not temperature_kelvin > 0.0 or (spacing_ps is not None and not spacing_ps > 0.0):
        raise ValueError(
            f"The temperature is {temperature_kelvin} K and the spacing {spacing_ps} ps; both have "
            "to be above 0."
        )
    if not trajectories:
        raise ValueError("No trajectories were given; nothing to convert.")
    paths = [Path(p) for p in trajectories]
    file = structure_of(paths[0], None if structure is None else Path(structure))
    structure = paths[0] if structure is None else Path(structure)
    notes = list(file.notes)
    solute = SoluteTopology.of(file.topology)
    if solute.left_out:
        notes.append(f"Left out: {solute.left_out}.")
    _check_residues(solute.topology, structure)
    data = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no trajectory {path}.")
        found = gather(
            path, file.topology, solute, spacing_ps=spacing_ps, stride=stride, needs_time=True
        )
        _check_bonds(found.positions_nm, solute, path)
        notes += found.notes
        if all(len(s) == 1 for s in found.stretches):
            raise ValueError(
                f"{path} holds no two frames that follow each other in time"
                + (f", every {stride}th taken" if stride > 1 else "")
                + "; a trajectory needs them."
            )
        alone = sum(len(s) == 1 for s in found.stretches)
        if alone and len(found.stretches) > 1:
            notes.append(
                f"{path}: {alone} frame(s) stand alone between jumps of the clock and are left out."
            )
        for stretch in found.stretches:
            if len(stretch) == 1 and len(found.stretches) > 1:
                continue
            positions = found.positions_nm[stretch.start : stretch.stop].astype(np.float64)
            data.append(
                TrajectoryData(
                    fix_names(solute.topology, positions),
                    stretch.times_ps(),
                    "dynamics",
                    temperature_kelvin,
                    "not recorded",
                    0,
                    {"source": path.name},
                )
            )
    system_xml = ""
    if forcefield:
        system = create_system(
            solute.topology, forcefield, nonbonded="NoCutoff", remove_com_motion=False
        )
        system_xml = XmlSerializer.serialize(system)
    settings: dict[str, Any] = {
        "converted_from": [p.name for p in paths],
        "structure": structure.name,
        "forcefield": list(forcefield) or "not recorded",
        "stride": stride,
    }
    write_trajectory_file(out, name or structure.stem, solute.topology, system_xml, settings, data)
    _check_written(Path(out))
    return notes


def _check_residues(topology: Any, structure: Path) -> None:
    """Refuse residues whose atoms stand in several places, as where hydrogens were put last."""
    seen: dict[tuple[str, ...], set[str]] = {}
    for residue in topology.residues():
        key = (residue.chain.id, residue.id, residue.insertionCode, residue.name)
        names = {atom.name for atom in residue.atoms()}
        # The copy of a residue has its names; the rest of one has others.
        if not seen.setdefault(key, names) & names:
            raise ValueError(
                f"{structure}: the atoms of {residue.name}{residue.id} do not stand together "
                f"({', '.join(sorted(names)[:4])} come later than the others). Bring the atoms of "
                "each residue together, in the structure and in the trajectories alike."
            )


def _check_written(path: Path) -> None:
    """See that a file that was written can be read; remove it where not."""
    faults = [fault for entry in own_files.inspect(path) for fault in entry.faults]
    if faults:
        path.unlink()
        raise DataFileError(faults[0])


def _check_bonds(positions: NDArray[np.float32], solute: SoluteTopology, path: Path) -> None:
    """Refuse frames whose bonds are too long to be those of the structure."""
    bonds = solute.bonds
    if not len(bonds):
        return
    found = np.zeros(len(bonds))
    for x in positions:
        found = np.fmax(found, bond_lengths(x[None], bonds)[0])
    if found.max() > LONGEST_BOND_NM:
        atoms = list(solute.topology.atoms())
        first, second = (atoms[k] for k in bonds[int(found.argmax())])
        raise ValueError(
            f"{path} has bonds of {found.max():.2f} nm ({_named(first)} to {_named(second)} the "
            f"longest, {int((found > LONGEST_BOND_NM).sum())} in all): its atoms are in another "
            "order than the structure's, or have other names there, or a periodic box splits the "
            "molecule and the file has no box."
        )


def _named(atom: Any) -> str:
    return f"{atom.residue.name}{residue_number(atom.residue)} {atom.name}"
