"""The integrator's parameters: from this package's objects to the compiled ones and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._registration import load_wrapper
from .jump.proposal import Proposal

if TYPE_CHECKING:
    from .systems.screening import ScreenSpec

_atmos = load_wrapper()

FloatArray = npt.NDArray[np.float64]


def integers(values: Any) -> list[int]:
    """Numbers of any shape as SWIG takes a vector of int."""
    return [int(value) for value in np.asarray(values).reshape(-1)]


def doubles(values: Any) -> list[float]:
    """Numbers of any shape as SWIG takes a vector of double."""
    return [float(value) for value in np.asarray(values, dtype=np.float64).reshape(-1)]


def _concatenated(arrays: Iterable[Any]) -> list[float]:
    return [number for array in arrays for number in doubles(array)]


def _parts(numbers: Sequence[int], sizes: Sequence[int]) -> list[npt.NDArray[np.int64]]:
    """A flat list cut into parts of these sizes."""
    ends = np.cumsum(sizes, dtype=np.int64)
    array = np.array(numbers, dtype=np.int64)
    return [array[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _points(numbers: Sequence[float]) -> FloatArray | None:
    return np.array(numbers, dtype=np.float64).reshape(-1, 3) if numbers else None


def proposal_from(native: Any) -> Proposal:
    """The proposal of a compiled form."""
    return Proposal(
        attempt=native.attempt,
        step=native.step,
        reason=native.reason,
        stage=native.stage,
        log_ratio=native.logRatio,
        energy_before_kj_per_mol=native.energyBefore,
        energy_raw_kj_per_mol=native.energyRaw,
        energy_after_kj_per_mol=native.energyAfter,
        energy_limit_kj_per_mol=native.energyLimit,
        positions_before_nm=_points(native.positionsBefore),
        positions_raw_nm=_points(native.positionsRaw),
        positions_after_nm=_points(native.positionsAfter),
    )


def native_screen(screen: ScreenSpec) -> Any:
    """The compiled form of a screen."""
    native = _atmos.ScreenParameters()
    native.bonds = integers(screen.bonds)
    native.bondLengths = doubles(screen.bond_lengths_nm)
    native.bondTolerance = float(screen.bond_tolerance_nm)
    native.chiralCenters = integers(screen.chiral_centers)
    native.chiralSigns = doubles(screen.chiral_signs)
    native.cisTrans = integers(screen.cis_trans)
    native.ringSizes = [len(ring) for ring in screen.rings]
    native.ringAtoms = [int(atom) for ring in screen.rings for atom in ring]
    native.radii = doubles(screen.radii_nm)
    native.clashFactor = float(screen.clash_factor)
    native.maxDisplacement = float(screen.max_displacement_nm)
    native.environmentDistance = float(screen.environment_distance_nm)
    native.constraintTolerance = float(screen.constraint_tolerance_nm)
    native.fragmentSizes = [len(fragment.atoms) for fragment in screen.fragments]
    native.fragmentAtoms = [int(atom) for fragment in screen.fragments for atom in fragment.atoms]
    native.anchorSizes = [len(fragment.anchors) for fragment in screen.fragments]
    native.anchorAtoms = [int(atom) for fragment in screen.fragments for atom in fragment.anchors]
    return native


def screen_from(native: Any) -> ScreenSpec:
    """The screen of a compiled form."""
    from .systems.fragments import Fragment
    from .systems.screening import ScreenSpec

    atoms = _parts(native.fragmentAtoms, native.fragmentSizes)
    anchors = _parts(native.anchorAtoms, native.anchorSizes)
    return ScreenSpec(
        bonds=np.array(native.bonds, dtype=np.int64).reshape(-1, 2),
        bond_lengths_nm=np.array(native.bondLengths, dtype=np.float64),
        chiral_centers=np.array(native.chiralCenters, dtype=np.int64).reshape(-1, 4),
        chiral_signs=np.array(native.chiralSigns, dtype=np.float64),
        cis_trans=np.array(native.cisTrans, dtype=np.int64).reshape(-1, 4),
        rings=tuple(tuple(ring.tolist()) for ring in _parts(native.ringAtoms, native.ringSizes)),
        radii_nm=np.array(native.radii, dtype=np.float64),
        bond_tolerance_nm=native.bondTolerance,
        clash_factor=native.clashFactor,
        max_displacement_nm=native.maxDisplacement,
        environment_distance_nm=native.environmentDistance,
        constraint_tolerance_nm=native.constraintTolerance,
        fragments=tuple(Fragment(*pair) for pair in zip(atoms, anchors, strict=True)),
    )


def native_groups(torsions: Any) -> Any:
    """The compiled form of what turns with torsions (`Torsions`), without a density."""
    native = _atmos.TorsionParameters()
    native.torsionAtoms = integers(torsions.atoms)
    native.groupSizes = [len(group) for group in torsions.groups]
    native.groupAtoms = [int(atom) for group in torsions.groups for atom in group]
    return native


def native_torsions(torsions: Any, density: Any) -> Any:
    """The compiled form of torsions (`Torsions`) and their density (`TorsionDensity`)."""
    native = native_groups(torsions)
    native.torsionBackbone = integers(torsions.backbone)
    native.blockSizes = integers(torsions.block_sizes)
    native.blockPrevious = integers(torsions.previous)
    native.uniformWeight = float(density.uniform_weight)
    blocks = density.blocks
    native.componentCounts = [len(block.means) for block in blocks]
    native.hasLocal = [int(block.local_covariance is not None) for block in blocks]
    native.means = _concatenated(block.means for block in blocks)
    native.covariances = _concatenated(block.covariances for block in blocks)
    native.localCovariances = _concatenated(
        block.local_covariance for block in blocks if block.local_covariance is not None
    )
    native.gateCounts = [len(block.gate_torsions) for block in blocks]
    native.gateTorsions = [int(gate) for block in blocks for gate in block.gate_torsions]
    native.sequentialGates = _concatenated(block.sequential for block in blocks)
    native.conditionalGates = _concatenated(block.conditional for block in blocks)
    return native
