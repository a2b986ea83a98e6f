"""Somebody's ensemble as material: its frames, which basins they are in, and where to start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..jump.context_state import minimized_energy, state_positions
from ..trajectories.boxes import make_whole, reduced_box, spanning_tree
from ..trajectories.reader import open_frames
from .basins import Basins
from .exact_starts import Stereochemistry
from .start import START_ITERATIONS

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

#: Frames that are minimised for a start of one walker, at most.
_TRIED = 20

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleFrames:
    """Frames of any generator.

    Attributes
    ----------
    name : str
        What messages call them.
    positions_nm : float32 array [F, P, 3]
        Molecules whole.
    remarks : tuple of str
        What differs from the topology without being an error.
    not_finite : int
        Frames that were left out because numbers in them are not finite.
    """

    name: str
    positions_nm: NDArray[np.float32]
    remarks: tuple[str, ...] = ()
    not_finite: int = 0


def read_ensemble(frames: Any, topology: Topology, stride: int = 1) -> EnsembleFrames:
    """Read frames of any source that `open_frames` knows.

    Raises
    ------
    ValueError
        There is no usable frame, or the source is of another molecule or damaged.
    """
    reader = open_frames(frames, topology)
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]
    tree = spanning_tree(topology.getNumAtoms(), bonds)
    found, refused = [], 0
    for frame in reader.frames(stride=stride):
        x = frame.positions_nm
        if not np.isfinite(x).all():
            refused += 1
            continue
        if frame.box_nm is not None:
            x = make_whole(x, tree, reduced_box(frame.box_nm))
        found.append(x.astype(np.float32))
    if not found:
        raise ValueError(f"{reader.name} has no frame with finite positions of all atoms.")
    return EnsembleFrames(reader.name, np.stack(found), tuple(reader.remarks), refused)


def order_by_basins(
    angles: FloatArray, divisions: tuple[Basins, ...], taken: list[int], covered: set[Any]
) -> list[int]:
    """Frames in the order in which they should be tried as the next walker's start.

    A frame comes first that lies in most basins where nobody starts yet, rare ones included; of
    those that are equal there, the one that is farthest from all starts.

    Parameters
    ----------
    angles : array [F, T]
        Radians.
    divisions : tuple of Basins
    taken : list of int
        Frames where walkers start already.
    covered : set of (int, int)
        Basins where they do: numbers of division and basin.
    """
    gains = np.zeros(len(angles))
    for number, division in enumerate(divisions):
        labels = division.assign(angles)
        fresh = [code for code in range(len(division.names)) if (number, code) not in covered]
        gains += np.isin(labels, fresh)
    if taken:
        # Angles are compared by the mean of 1 - cos of their differences.
        apart = [(1 - np.cos(angles - angles[frame])).mean(axis=1) for frame in taken]
        distance = np.min(apart, axis=0)
    else:
        # The first start is the frame that is like most of the others.
        centre = np.exp(1j * angles).mean(axis=0)
        distance, gains = (np.exp(-1j * angles) * centre).real.mean(axis=1), np.zeros(len(angles))
    order = np.lexsort((-distance, -gains))
    return [int(frame) for frame in order if frame not in taken][:_TRIED]


@dataclass(frozen=True)
class Starts:
    """Where walkers start.

    Attributes
    ----------
    positions_nm : float64 array [W, P, 3]
        Minimised.
    frames : tuple of int
        The frames they are from.
    notes : tuple of str
        How many frames could not be used, and why.
    """

    positions_nm: FloatArray
    frames: tuple[int, ...]
    notes: tuple[str, ...]


def choose_starts(
    frames: NDArray[np.floating[Any]],
    angles: FloatArray,
    divisions: tuple[Basins, ...],
    walkers: int,
    context: openmm.Context,
    same: Stereochemistry | Callable[[FloatArray], Stereochemistry],
) -> Starts:
    """Choose frames that cover the basins, and minimise them.

    A frame is refused where minimisation does not give it a finite energy, or where its bonds,
    hands, cis and trans forms are not those of the molecule.

    Parameters
    ----------
    frames : array [F, P, 3]
        Nm.
    angles : array [F, T]
    divisions : tuple of Basins
    walkers : int
    context : openmm.Context
        To minimise in.
    same : Stereochemistry, or function from positions [P, 3] to one
        What has to be kept; a function is called with the first start, which then sets it.

    Raises
    ------
    ValueError
        There are no usable frames.
    """
    chosen: list[int] = []
    minimised: list[FloatArray] = []
    covered: set[tuple[int, int]] = set()
    refused: set[int] = set()
    for _ in range(walkers):
        for frame in order_by_basins(angles, divisions, [*chosen, *refused], covered):
            x = _minimised(context, frames[frame])
            if x is not None and not isinstance(same, Stereochemistry):
                same = same(x)
            if x is not None and same.is_kept(x):  # type: ignore[union-attr]
                chosen.append(frame)
                minimised.append(x)
                here = [(n, int(d.assign(angles[frame]))) for n, d in enumerate(divisions)]
                covered.update(here)
                break
            refused.add(frame)
    if not chosen:
        raise ValueError(
            f"None of the {len(refused)} frames that were tried can be started from: their energy "
            "stays without bound, or their bonds, hands, cis and trans forms are not those of the "
            "molecule. Check that the frames are of this molecule, with its atoms in this order."
        )
    notes = []
    if refused:
        notes.append(
            f"{len(refused)} frames were no starts: minimisation does not bring them to the "
            "molecule's bonds, hands, cis and trans forms."
        )
    # With fewer usable frames than walkers some start together.
    again = np.arange(walkers) % len(chosen)
    return Starts(np.array(minimised)[again], tuple(chosen[k] for k in again), tuple(notes))


def _minimised(context: openmm.Context, frame: NDArray[np.floating[Any]]) -> FloatArray | None:
    """A frame [P, 3] after constraints and minimisation; None without a finite energy."""
    context.setPositions(np.asarray(frame, dtype=np.float64))
    context.computeVirtualSites()
    context.applyConstraints(context.getIntegrator().getConstraintTolerance())
    energy = minimized_energy(context, -1, START_ITERATIONS)
    x = state_positions(context.getState(positions=True))
    return x if np.isfinite(energy) and np.isfinite(x).all() else None
