"""Small files of all four sources, for the tests of what feeds training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from data_cases import write_mdcath, write_misato
from model_support import TINY
from openmm import app, unit

from atmos_openmm.data.frames import ArrayFrames
from atmos_openmm.data.sample import Kind, Provenance, Sample
from atmos_openmm.data.trajectories import TrajectoryMolecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.training.training_settings import StageSettings, TrainingSettings
from atmos_openmm.trajectories.layout import TrajectoryData, write_trajectory_file

JITTER_NM = 0.003
"""Of each coordinate about the built peptide: no two frames are alike, no bond breaks."""

Run = tuple[str, float, int]
"""Kind, temperature in K, frames."""


def own_file(
    path: Path,
    runs: Sequence[Run],
    sequence: str = "ACE-ALA-NME",
    *,
    name: str | None = None,
    spacing_ps: float = 1.0,
    seed: int = 0,
    swap: Sequence[tuple[str, str]] = (),
    swapped_runs: Sequence[int] | None = None,
) -> Path:
    """A trajectory file of this package with jittered frames.

    `swap` exchanges the coordinates of pairs of atoms named so in every residue, in all runs or in
    those of `swapped_runs`: the same molecule with other labels.
    """
    topology, built = build_peptide(sequence)
    rng = np.random.default_rng(seed)
    order = np.arange(len(built))
    for residue in topology.residues():
        index = {a.name: a.index for a in residue.atoms()}
        for one, two in swap:
            if one in index and two in index:
                order[[index[one], index[two]]] = index[two], index[one]
    made = []
    for number, (kind, kelvin, frames) in enumerate(runs):
        x = built + JITTER_NM * rng.standard_normal((frames, *built.shape))
        if swapped_runs is None or number in swapped_runs:
            x = x[:, order]
        time = spacing_ps * np.arange(1.0, frames + 1.0)
        made.append(TrajectoryData(x, time, kind, kelvin, "built", number))
    system = openmm.XmlSerializer.serialize(openmm.System())
    write_trajectory_file(path, name or sequence, topology, system, {}, made)
    return path


def structure_file(
    path: Path,
    gone: Sequence[tuple[str, int]] = (),
    residues: Sequence[int] = (),
    sequence: str = "ALA-SER-LYS-ILE-VAL-THR-GLY",
) -> Path:
    """A PDB file of heavy atoms of a peptide, less some atoms (name, number) and residues."""
    topology, x = build_peptide(sequence)
    modeller = app.Modeller(topology, x * unit.nanometer)
    modeller.delete([a for a in topology.atoms() if a.element.symbol == "H"])
    buffer = io.StringIO()
    app.PDBFile.writeFile(modeller.topology, modeller.positions, buffer, keepIds=True)
    names = [r.name for r in modeller.topology.residues()]
    missing = [f"REMARK 465     {names[k - 1]} A  {k:4d}\n" for k in residues]
    atoms = [line for line in buffer.getvalue().splitlines(keepends=True) if "CONECT" not in line]
    kept = [
        line
        for line in atoms
        if not line.startswith(("ATOM", "HETATM"))
        or (line[12:16].strip(), int(line[22:26])) not in set(gone)
        and int(line[22:26]) not in set(residues)
    ]
    path.write_text("".join(missing + kept))
    return path


MISSING = [("CG1", 4), ("CG2", 4), ("CD1", 4), ("NZ", 3), ("CE", 3)]
"""Atoms that the structure of `four_sources` has not."""


def four_sources(folder: Path) -> list[Path]:
    """Files of mdCATH, MISATO, the PDB and this package."""
    return [
        write_mdcath(folder / "mdcath_dataset_1abcA00.h5"),
        write_misato(folder / "MD.hdf5"),
        structure_file(folder / "2xyz.pdb", MISSING),
        own_file(
            folder / "ser.h5",
            [("dynamics", 300.0, 30)] * 4 + [("exchange", 300.0, 20), ("exchange", 400.0, 20)],
            "ACE-SER-NME",
        ),
    ]


def memory_sample(
    name: str,
    frames: int = 2,
    kind: Kind = "dynamics",
    kelvin: float | None = 300.0,
    spacing_ps: float | None = 1.0,
    dataset: str = "atmos-openmm",
    path: str | None = None,
) -> Sample:
    """A sample of one atom in memory, whose x coordinate is the frame's number."""
    x = np.zeros((frames, 1, 3), np.float32)
    x[:, 0, 0] = np.arange(frames)
    path = path or f"{name.split('/')[0]}.h5"
    return Sample(
        name,
        kind,
        ArrayFrames(x),
        TrajectoryMolecule(path),
        kelvin if kind != "static" else None,
        spacing_ps if kind == "dynamics" else None,
        Provenance(dataset, path, name),
    )


def settings(atoms: Any = "heavy", seed: int = 1, **stage: Any) -> TrainingSettings:
    """Settings of one stage for a tiny network."""
    values = {"steps": 10, "rollouts": 2, "lag_range_ps": (1.0, 8.0), **stage}
    return TrainingSettings((StageSettings("only", **values),), model=TINY, atoms=atoms, seed=seed)
