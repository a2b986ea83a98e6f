"""Conversion of arrays of frames made elsewhere into trajectory files.

``python -m atmos_openmm.data.convert FOLDER OUT`` converts a folder of capped amino acids:
``ace_<res>_nme.pdb`` (topology), ``ace_<res>_nme_<k>.npz`` (dynamics from start k) and
``remd_ace_<res>_nme.npz`` (replica exchange).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..trajectories.layout import TrajectoryData, write_trajectory_file
from .packing import create_single_system

__all__ = ["import_folder", "import_npz"]

#: Start basins of the numbered files.
START_NAMES = ("beta", "alphaR", "alphaL", "ppII")


def import_npz(
    pdb: Path,
    out: Path,
    dynamics: Mapping[str, Path],
    exchange: Sequence[Path] = (),
    forcefield: Sequence[str] = ("amber14-all.xml", "implicit/gbn2.xml"),
    temperature_kelvin: float = 300.0,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Convert npz files of one molecule into one trajectory file.

    Substituents that differ only in handedness (HB2, HB3, ...) change places where their names do
    not follow the IUPAC rule, so that all molecules of a training set agree
    (`systems.peptides.fix_names`).

    Parameters
    ----------
    pdb : Path
        Topology with the bonds and all hydrogens, atoms in the order of the frames.
    out : Path
        File to write.
    dynamics : mapping of str to Path
        Start basin -> npz with ``positions_nm`` [F, A, 3] and ``time_ps`` [F].
    exchange : sequence of Path
        npz with ``positions_nm`` [T, F, A, 3], ``temperatures_K`` [T] and ``spacing_ps``.
    forcefield : sequence of str
        The force field that made the frames; the stored System is built with it.
    temperature_kelvin : float
        Of the dynamics.
    settings : mapping, optional
        How the frames were made; stored.

    Raises
    ------
    FileNotFoundError
    ValueError
        An array is missing, or its shape does not fit the topology.
    """
    from openmm import XmlSerializer
    from openmm.app import ForceField, PDBFile

    from ..systems.peptides import fix_names

    topology = PDBFile(str(pdb)).topology
    num_atoms = topology.getNumAtoms()
    trajectories = []
    for start, path in dynamics.items():
        arrays = _load(path, ("positions_nm", "time_ps"))
        positions = _fitting(arrays["positions_nm"], (num_atoms, 3), 3, path)
        trajectories.append(
            TrajectoryData(
                fix_names(topology, positions),
                arrays["time_ps"].astype(float),
                "dynamics",
                temperature_kelvin,
                start,
                0,
                {"source": path.name},
            )
        )
    statistics: dict[str, Any] = {}
    for path in exchange:
        arrays = _load(path, ("positions_nm", "temperatures_K", "spacing_ps"))
        positions = _fitting(arrays["positions_nm"], (num_atoms, 3), 4, path)
        if len(positions) != len(arrays["temperatures_K"]):
            raise ValueError(
                f"{path} has {len(positions)} replicas and {len(arrays['temperatures_K'])} "
                "temperatures."
            )
        time_ps = (np.arange(positions.shape[1]) + 1.0) * float(arrays["spacing_ps"])
        for frames, temperature in zip(positions, arrays["temperatures_K"], strict=True):
            trajectories.append(
                TrajectoryData(
                    fix_names(topology, frames),
                    time_ps,
                    "exchange",
                    float(temperature),
                    "unknown",
                    0,
                    {"source": path.name, "ladder": 0},
                )
            )
        statistics = {"temperatures_K": arrays["temperatures_K"]}
        if "exchange_acceptance" in arrays:
            statistics["acceptance"] = arrays["exchange_acceptance"]
    if not trajectories:
        raise ValueError(f"No npz file was given for {pdb}; nothing to convert.")
    system = create_single_system(topology, ForceField(*forcefield))
    described = {
        "converted_from": [t.extra["source"] for t in trajectories if t.extra],
        "forcefield": list(forcefield),
        **(settings or {}),
    }
    write_trajectory_file(
        out,
        _name(topology),
        topology,
        XmlSerializer.serialize(system),
        described,
        trajectories,
        statistics,
    )


def import_folder(folder: Path, out: Path) -> list[Path]:
    """Convert every capped amino acid of a folder (see the module's docstring).

    Parameters
    ----------
    folder, out : Path
        Where the npz and PDB files are, and where the trajectory files go.

    Returns
    -------
    list of Path
        The files written, ``ace_<res>_nme.h5``.

    Raises
    ------
    FileNotFoundError
        The folder holds no such file.
    """
    made = {
        "integrator": "LangevinMiddleIntegrator",
        "friction_per_ps": 1.0,
        "timestep_fs": {"dynamics": 4.0, "exchange": 3.0},
        "temperature_K": 300.0,
        "hydrogen_mass_dalton": 1.5,
        "constraints": "HBonds",
        "nonbonded_method": "NoCutoff",
        "versions": {"openmm": "8.6.1"},
        "seed": "not recorded",
    }
    pdbs = sorted(p for p in folder.glob("*.pdb") if re.fullmatch(r"ace_\w+_nme", p.stem))
    if not pdbs:
        raise FileNotFoundError(f"{folder} holds no ace_<res>_nme.pdb.")
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for pdb in pdbs:
        dynamics = {
            start: path
            for k, start in enumerate(START_NAMES)
            if (path := folder / f"{pdb.stem}_{k}.npz").exists()
        }
        remd = folder / f"remd_{pdb.stem}.npz"
        target = out / f"{pdb.stem}.h5"
        import_npz(pdb, target, dynamics, [remd] if remd.exists() else [], settings=made)
        written.append(target)
    return written


def _load(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    with np.load(path, allow_pickle=False) as archive:
        missing = [name for name in names if name not in archive.files]
        if missing:
            raise ValueError(
                f"{path} has no {', '.join(missing)}; it holds {', '.join(archive.files)}."
            )
        return {name: archive[name] for name in archive.files}


def _fitting(positions: NDArray[Any], tail: tuple[int, ...], ndim: int, path: Path) -> NDArray[Any]:
    if positions.ndim != ndim or positions.shape[-2:] != tail:
        raise ValueError(
            f"{path} holds positions of shape {positions.shape}; the topology has {tail[0]} atoms."
        )
    return positions


def _name(topology: Any) -> str:
    return "-".join(r.name for r in topology.residues())


def main() -> None:
    """Command line: ``python -m atmos_openmm.data.convert FOLDER OUT``."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="npz and PDB files")
    parser.add_argument("out", type=Path, help="folder for the trajectory files")
    arguments = parser.parse_args()
    for path in import_folder(arguments.folder, arguments.out):
        print(path)


if __name__ == "__main__":
    main()
