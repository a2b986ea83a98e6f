"""TorsionDensity: an explicit density of all torsions of a molecule, and how it is made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from .adaptation import adapt_block, widened
from .block_density import BlockDensity
from .block_layout import check_layout, neighbours
from .cache import cache_folder, model_key
from .density_file import read_density, write_density
from .exact_density import DEFAULT_UNIFORM_WEIGHT, ExactDensity
from .fitting import DEFAULT_MAX_COMPONENTS, fit_blocks, prepare_frames
from .model_frames import MeasuredTorsions, Progress, Propagator, draw_frames, frames_in_nm

__all__ = ["TorsionDensity"]


class TorsionDensity(ExactDensity):
    """An explicit, normalised density on the torus of a molecule's torsions.

    Torsions of a block (a residue, a ligand) stand together. A block has a mixture of wrapped
    normals whose weights may depend on torsions of other blocks, and a uniform part. `log_density`
    is the product over the blocks in turn, each given the earlier ones; `log_block` and
    `draw_block` are what a Metropolis move of one block or of a part of it needs.

    Parameters
    ----------
    names : tuple of str
        One for each of the T torsions, as of `find_torsions`.
    block_sizes : tuple of int
        Torsions in each block; they sum to T.
    previous : tuple of int
        For each block the one before it in its chain, or -1.
    blocks : tuple of BlockDensity
    uniform_weight : float
        Share of the uniform part in each block, above 0, so that no place is out of reach.
    notes : tuple of str
        What it was made of.

    Raises
    ------
    ValueError
        If the parts do not fit each other; the message says which.
    """

    @classmethod
    def uniform(
        cls, names: Sequence[str], block_sizes: Sequence[int], previous: Sequence[int]
    ) -> TorsionDensity:
        """The uniform density, which needs no model and no frames."""
        blocks = tuple(BlockDensity.uniform(int(size)) for size in block_sizes)
        return cls(tuple(names), tuple(block_sizes), tuple(previous), blocks)

    @classmethod
    def from_angles(
        cls,
        angles: ArrayLike,
        names: Sequence[str],
        block_sizes: Sequence[int],
        previous: Sequence[int],
        *,
        weights: ArrayLike | None = None,
        trajectories: Sequence[int] | None = None,
        backbone: Sequence[bool] | None = None,
        seed: int = 0,
        max_components: int = DEFAULT_MAX_COMPONENTS,
        gates: bool = True,
    ) -> TorsionDensity:
        """Fit a density to torsions; held-out likelihood chooses its size and its gates.

        Parameters
        ----------
        angles : array [F, T]
            In radians, any period.
        names, block_sizes, previous
            As of the class.
        weights : array [F], optional
            Of the frames.
        trajectories : sequence of int, optional
            Frames of each trajectory, one after the other; all are of one by default. Pieces of
            time are held out, never single frames.
        backbone : sequence of bool, optional
            Which torsions other blocks may depend on; those named phi and psi by default.
        seed : int
        max_components : int
            Of a block.
        gates : bool
            Whether weights may depend on the backbone of neighbouring blocks.

        Raises
        ------
        ValueError
            If a shape or number is wrong.
        """
        check_layout(names, block_sizes, previous)
        frames = prepare_frames(angles, len(names), weights, trajectories)
        near = neighbours(names, block_sizes, previous, backbone, gates)
        blocks = fit_blocks(frames, block_sizes, near, DEFAULT_UNIFORM_WEIGHT, seed, max_components)
        note = f"fitted to {len(frames.angles)} frames"
        return cls(tuple(names), tuple(block_sizes), tuple(previous), blocks, notes=(note,))

    @classmethod
    def from_frames(
        cls, positions: Any, torsions: MeasuredTorsions, **options: Any
    ) -> TorsionDensity:
        """Fit a density to frames of any generator.

        Parameters
        ----------
        positions : Quantity or array [F, P, 3]
            In nm.
        torsions : MeasuredTorsions
            Of the molecule, such as `find_torsions` gives.
        **options
            As of `from_angles`: weights, trajectories, seed, max_components, gates.
        """
        angles = torsions.measure(frames_in_nm(positions))
        return cls.from_angles(
            angles,
            torsions.names,
            torsions.block_sizes,
            torsions.previous,
            backbone=torsions.backbone.tolist(),
            **options,
        )

    @classmethod
    def from_model(
        cls,
        propagator: Propagator,
        torsions: MeasuredTorsions,
        positions: Any,
        *,
        frames: int = 1000,
        lag: Any = None,
        temperature: Any = None,
        progress: Progress | None = None,
        cache: bool = True,
        **options: Any,
    ) -> TorsionDensity:
        """Fit a density to frames that a model proposes, or take it from the user's cache.

        Parameters
        ----------
        propagator : AtmosPropagator or the like
        torsions : MeasuredTorsions
        positions : Quantity or array [P, 3] or [F, P, 3]
            Where the model starts, in nm.
        frames : int
        lag, temperature : Quantity or float, optional
            Of the jumps, in ps and K; those of the propagator by default.
        progress : callable, optional
            Called with the frames that are there and their total.
        cache : bool
            Whether a density that was made before is taken, and a new one kept. The folder is
            ``ATMOS_CACHE``, or ``atmos_openmm`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
        **options
            As of `from_angles`: seed, max_components, gates.

        Raises
        ------
        RuntimeError
            If the model's proposals are of no use.
        """
        start = frames_in_nm(positions)
        lag_ps = propagator.checkedLag(lag)
        temperature_k = propagator.checkedTemperature(temperature)
        notes: list[str] = []
        place: Path | None = None
        if cache:
            key = model_key(propagator, torsions, start, lag_ps, temperature_k, frames, options)
            place = cache_folder() / "densities" / f"{key}.safetensors"
            if place.is_file():
                try:
                    return cls.load(place, torsions.names)
                except ValueError as error:
                    notes.append(f"made anew: {error}")
        drawn = draw_frames(propagator, torsions, start, lag_ps, temperature_k, frames, progress)
        fitted = cls.from_angles(
            drawn.angles,
            torsions.names,
            torsions.block_sizes,
            torsions.previous,
            trajectories=drawn.trajectories,
            backbone=torsions.backbone.tolist(),
            **options,
        )
        note = f"{len(drawn.angles)} frames of the model at {lag_ps:g} ps and {temperature_k:g} K"
        if drawn.refused:
            note += f"; {drawn.refused} not finite or of wrong handedness were left out"
        made = replace(fitted, notes=(note,))
        if place is not None:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.save(place)
            except OSError as error:
                notes.append(f"not kept in the cache: {error}")
        return replace(made, notes=(note, *notes))

    def adapt(
        self,
        angles: ArrayLike,
        *,
        floor: float = 0.1,
        widen: float = 1.2,
        seed: int = 0,
        **options: Any,
    ) -> TorsionDensity:
        """A density refitted to a chain's own frames, that loses no basin of this one.

        Do this before the run that counts, which needs one density throughout.

        Parameters
        ----------
        angles : array [F, T]
        floor : float
            Weight of this density's components together, of those that the new fit does not cover
            with as much: half in proportion to their weights, half the same for each.
        widen : float
            Factor of the new covariances.
        seed : int
        **options
            As of `from_angles`: weights, trajectories, backbone, max_components, gates.

        Raises
        ------
        ValueError
            If `floor` or `widen` is out of range, or as of `from_angles`.
        """
        if not 0.0 <= floor < 1.0 or not widen > 0.0:
            raise ValueError(
                f"floor is {floor} and widen {widen}; expected 0 <= floor < 1 and widen > 0."
            )
        fitted = self.from_angles(
            angles, self.names, self.block_sizes, self.previous, seed=seed, **options
        )
        frames = prepare_frames(angles, len(self.names), options.get("weights"))
        blocks = tuple(
            adapt_block(old, widened(new, widen), frames.angles, frames.counts, floor, seed)
            for old, new in zip(self.blocks, fitted.blocks, strict=True)
        )
        note = f"adapted to {len(frames.angles)} frames"
        return replace(self, blocks=blocks, notes=(*self.notes, note))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the density to a safetensors file, whole or not at all."""
        fields = {
            "names": self.names,
            "block_sizes": self.block_sizes,
            "previous": self.previous,
            "uniform_weight": self.uniform_weight,
            "notes": self.notes,
        }
        write_density(path, fields, self.blocks)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], names: Sequence[str] | None = None
    ) -> TorsionDensity:
        """Read a density that was saved.

        Parameters
        ----------
        path : str or Path
        names : sequence of str, optional
            The torsions of the molecule that it must be for; see `check`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, or a density of another molecule.
        """
        fields, blocks = read_density(path)
        try:
            density = cls(blocks=blocks, **fields)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path} cannot be read as a density of torsions: {error} Make it anew."
            ) from error
        if names is not None:
            density.check(names)
        return density
