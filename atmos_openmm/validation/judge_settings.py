"""All that a judge of frames is made of, as worker processes get it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import openmm
from openmm import unit

from ..core.settings import digest
from ..core.units import plain
from .contexts import check_positions
from .groups import GroupPair, default_pairs, named_pairs
from .second_potential import SecondPotential

__all__ = ["RELAX_CHOICES", "FrameJudgeSettings", "checked_settings"]

RELAX_CHOICES = ("all", "needed")


@dataclass(frozen=True)
class FrameJudgeSettings:
    """What frames are judged by; it can be pickled.

    Attributes
    ----------
    topology : openmm.app.Topology
    system : openmm.System
        Of the same atoms.
    temperature_K : float
    window_sds : float
        Width of the energy window in standard deviations.
    iterations : int
        Of the minimiser; 0 leaves the relaxation out.
    relax : str
        Which frames are minimised: "all", or those that "needed" it, which have a soft defect and
        no hard one.
    outlier_sigmas, strain_sigmas : float
        Thermal widths beyond which bonds and angles are counted, and are a defect.
    platform : openmm.Platform, str or None
        A Platform cannot be pickled; `portable` gives its name.
    threads : int or None
        Of the CPU platform.
    native_nm : array [P,3] or None
    features : MoleculeFeatures or None
    molecules : mapping from residue name to RDKit Mol
    pairs : tuple of GroupPair
        Groups between which interaction energies are computed.
    solvation : bool
        Whether these get the part of a continuum solvent.
    second : SecondPotential or None
    """

    topology: Any
    system: openmm.System
    temperature_K: float
    window_sds: float = 6.0
    iterations: int = 100
    relax: str = "all"
    outlier_sigmas: float = 6.0
    strain_sigmas: float = 10.0
    platform: Any = None
    threads: int | None = None
    native_nm: np.ndarray | None = None
    features: Any = None
    molecules: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[GroupPair, ...] = ()
    solvation: bool = False
    second: SecondPotential | None = None

    def digests(self) -> dict[str, Any]:
        """What decides a verdict besides the reference, in plain values for a record."""
        xml = openmm.XmlSerializer.serialize(self.system)
        native = b"" if self.native_nm is None else np.ascontiguousarray(self.native_nm).tobytes()
        return {
            "system_sha256": digest(xml.encode()),
            "native_sha256": digest(native) if native else None,
            "validation_temperature_K": self.temperature_K,
            "energy_window": self.window_sds,
            "relaxation_iterations": self.iterations,
            "outlier_sigmas": self.outlier_sigmas,
            "strain_sigmas": self.strain_sigmas,
        }


def checked_settings(
    topology: Any,
    system: openmm.System,
    *,
    temperature: Any,
    energyWindow: float,
    relaxationIterations: int,
    relax: str,
    has_reference: bool,
    platform: Any,
    nativePositions: Any,
    features: Any,
    outlierSigmas: float,
    strainSigmas: float,
    ligands: Mapping[str, Any] | None,
    groups: Mapping[str, Sequence[int]] | None,
    interactionSolvation: bool,
    second: Any,
) -> FrameJudgeSettings:
    """Check the arguments of `EnergyValidator`, which says what they mean.

    Raises
    ------
    ValueError
        One makes no sense, or Topology and System do not fit.
    """
    particles = system.getNumParticles()
    if topology.getNumAtoms() != particles:
        raise ValueError(
            f"the Topology has {topology.getNumAtoms()} atoms and the System "
            f"{particles} particles; make the System from this Topology"
        )
    temperature_K = plain(temperature, unit.kelvin)
    if not temperature_K > 0 or not np.isfinite(temperature_K):
        raise ValueError(f"the temperature should be positive (K), not {temperature_K}")
    if not energyWindow > 0 or not 0 < outlierSigmas <= strainSigmas:
        raise ValueError(
            "energyWindow and outlierSigmas should be positive and strainSigmas not smaller "
            f"than outlierSigmas; found {energyWindow}, {outlierSigmas}, {strainSigmas}"
        )
    if relaxationIterations < 0:
        raise ValueError(
            f"relaxationIterations should be 0 (none) or more, not {relaxationIterations}"
        )
    if relax not in RELAX_CHOICES:
        raise ValueError(f"relax should be one of {', '.join(RELAX_CHOICES)}, not {relax!r}")
    if relax == "needed" and not has_reference:
        raise ValueError(
            "relax='needed' needs a reference: without one the energy window is counted from the "
            "relaxed frame, and every frame has to be relaxed"
        )
    native = None
    if nativePositions is not None:
        native = check_positions(nativePositions, particles, "the native structure's positions")
    pairs = default_pairs(topology) if groups is None else named_pairs(groups, particles)
    return FrameJudgeSettings(
        topology,
        copy.deepcopy(system),
        temperature_K=temperature_K,
        window_sds=float(energyWindow),
        iterations=int(relaxationIterations),
        relax=relax,
        outlier_sigmas=float(outlierSigmas),
        strain_sigmas=float(strainSigmas),
        platform=platform,
        # One thread each: the threads of a platform add in an order that changes.
        threads=1,
        native_nm=native,
        features=features,
        molecules=dict(ligands or {}),
        pairs=tuple(pairs),
        solvation=interactionSolvation,
        second=SecondPotential.of(second),
    )
