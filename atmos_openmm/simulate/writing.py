"""The chunks of a complete run into its trajectory file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.constants import HYDROGEN_MASS_DALTON
from ..trajectories.layout import TrajectoryData, write_trajectory_file
from .chunks import ChunkStore
from .plan import RunPlan
from .replicas import FRICTION_PER_PS
from .simulation_settings import SimulationSettings

if TYPE_CHECKING:
    from openmm import System
    from openmm.app import Topology

__all__ = ["write_run"]


def write_run(
    out: Path,
    store: ChunkStore,
    plan: RunPlan,
    settings: SimulationSettings,
    deciding: Mapping[str, Any],
    topology: Topology,
    single: System,
    command_line: str,
) -> None:
    """Write the file of a complete run, and remove its chunks.

    Parameters
    ----------
    out : Path
    store : ChunkStore
        Every chunk of `plan`.
    plan : RunPlan
    settings : SimulationSettings
    deciding : mapping
        The settings that decide the run, as JSON values; ``name`` is the molecule's.
    topology : openmm.app.Topology
    single : openmm.System
        Of one molecule.
    command_line : str

    Raises
    ------
    OSError
        The file cannot be written. The chunks stay.
    """
    from openmm import XmlSerializer

    trajectories, statistics = _gathered(store, plan, settings)
    described = _description(settings, deciding, command_line)
    system_xml = XmlSerializer.serialize(single)
    try:
        write_trajectory_file(
            out, deciding["name"], topology, system_xml, described, trajectories, statistics
        )
    except (OSError, RuntimeError) as error:  # h5py reports a full disk as either
        raise OSError(
            f"{out} could not be written ({error}). All frames are safe in {store.folder}: make "
            "room, then run the same command again."
        ) from error
    store.remove()


def _gathered(
    store: ChunkStore, plan: RunPlan, settings: SimulationSettings
) -> tuple[list[TrajectoryData], dict[str, Any]]:
    """The trajectories of all copies, and the statistics of the exchange."""
    pieces: dict[str, list[tuple[Any, Any]]] = {}
    statistics: dict[str, Any] = {}
    for number, chunk in enumerate(plan.chunks):
        arrays = store.load(number)
        if "frames" in arrays:
            pieces.setdefault(chunk.mode, []).append((arrays["frames"], arrays["time_ps"]))
        if chunk.mode == "exchange":
            statistics = {
                "temperatures_K": np.array(settings.temperatures),
                "attempted": arrays["state_attempted"],
                "accepted": arrays["state_accepted"],
                "round_trips": arrays["state_round_trips"],
            }
    trajectories = []
    for mode, parts in pieces.items():
        positions, time_ps = (np.concatenate(part) for part in zip(*parts, strict=True))
        for t, temperature in enumerate(settings.temperatures):
            for m, start in enumerate(settings.starts_of(mode, t)):
                trajectories.append(
                    TrajectoryData(
                        positions[:, t, m],
                        time_ps[:, t],
                        mode,
                        temperature,
                        start,
                        settings.seed,
                        {"ladder" if mode == "exchange" else "copy": m},
                    )
                )
    return trajectories, statistics


def _description(
    settings: SimulationSettings, deciding: Mapping[str, Any], command_line: str
) -> dict[str, Any]:
    """How the file was made."""
    from openmm import Platform

    return {
        "simulation": dict(deciding),
        "integrator": "LangevinMiddleIntegrator",
        "friction_per_ps": FRICTION_PER_PS,
        "timestep_fs": [settings.timestep_for(t) for t in settings.temperatures],
        "hydrogen_mass_dalton": HYDROGEN_MASS_DALTON,
        "constraints": "HBonds",
        "nonbonded_method": "NoCutoff",
        "forcefield": list(settings.forcefield),
        "seed": settings.seed,
        "command_line": command_line,
        "versions": {"openmm": Platform.getOpenMMVersion(), "python": sys.version.split()[0]},
    }
