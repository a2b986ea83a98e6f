"""Anyone's ensemble, corrected by a short exact run that starts from it and draws like it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from ..core.files import StorageError, check_writable, explained, replaced_atomically
from ..core.read_errors import READ_ERRORS, first_line
from ..core.units import positions_in_nm
from ..jump.acceptance import METROPOLIS
from ..jump.choose_density import uniform_density
from ..systems.torsions import Torsions, find_torsions
from .averages import LARGEST_R_HAT, Averages, compute_averages
from .basins import find_basins
from .ensemble_starts import EnsembleFrames, Starts, choose_starts, read_ensemble
from .exact_adaptation import FEWEST_FRAMES
from .exact_progress import ExactProgress, ExactSummary
from .exact_starts import Stereochemistry
from .exact_storage import given_density
from .hybrid import HybridSampler
from .platforms import choose_platform, platform_properties
from .reweighted import Reweighted, compare_basins
from .start import check_same_molecules

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from ..density import TorsionDensity

__all__ = ["Reweighting", "reweight"]

ENSEMBLE_FILE = "ensemble.npz"
RUN_FOLDER = "run"
#: More frames than this make the fit slower and the density no better.
MOST_FRAMES = 20_000


class Reweighting:
    """An ensemble of any generator, and the exact run that says what its populations should be.

    Weights of the frames would need the generator's own density of all positions, which most
    generators do not have, and would be carried by few frames. So nothing is weighted: frames of
    different basins are minimised and become the starts of walkers, the ensemble's torsions become
    the density that Metropolis moves are drawn from, and the walkers' frames have weight 1. What
    the generator got wrong costs time, and is put right; what it missed is found where moves and
    dynamics reach it, since no torsion is out of the density's reach.

    Give the same arguments and the same folder again to go on after a kill, or to make it longer.

    Parameters
    ----------
    frames : path, mdtraj.Trajectory, or array [F, P, 3]
        In any format that mdtraj reads, or the package's own; arrays in nm.
    topology : openmm.app.Topology
        Of all atoms of the frames.
    system : openmm.System
    folder : str or Path
        Where everything is written; made if it is missing.
    positions : Quantity or array [P, 3], optional
        A structure whose bonds, hands, cis and trans forms are right (in nm); without one, those
        of the first frame that is started from.
    stride : int
        Read every so many frames.
    temperature : float
        K.
    walkers : int
    adapt : int
        Cycles of each walker, before the run that counts, to whose frames the density is fitted.
    **run
        As of HybridSampler: stepSize, moves, moveShares, jumpInterval, dynamics, methyls, seed,
        platform, threads, solute, molecules, preparing, commitSeconds and so on.

    Raises
    ------
    ValueError
        The frames are not of this molecule, none can be started from, or nothing turns.
    StorageError
        The folder cannot be written, or holds something else.
    """

    def __init__(
        self,
        frames: Any,
        topology: Topology,
        system: openmm.System,
        folder: str | Path,
        *,
        positions: Any = None,
        stride: int = 1,
        temperature: float = 300.0,
        walkers: int = 4,
        adapt: int = 1000,
        **run: Any,
    ) -> None:
        check_same_molecules(topology, system)
        self.folder = Path(folder)
        check_writable(self.folder)
        self._temperature_k = float(temperature)
        ensemble = read_ensemble(frames, topology, stride)
        self._name = ensemble.name
        self._torsions = find_torsions(
            topology,
            solute=run.get("solute"),
            positions=ensemble.positions_nm[0] if positions is None else positions_in_nm(positions),
            molecules=run.get("molecules"),
            system=system,
            methyls=run.get("methyls", False),
        )
        self._angles = self._torsions.measure(ensemble.positions_nm)
        context = _context(system, run)
        reference = None if positions is None else positions_in_nm(positions)
        starts = self._starts(ensemble, topology, context, walkers, reference)
        del context
        density, made = self._density(self._angles)
        self.notes = (*_notes(ensemble), *starts.notes, made)
        settings = {"ensemble_sha256": self._digest(), "ensemble_frames": len(self._angles)}
        self.sampler = HybridSampler(
            topology,
            system,
            starts.positions_nm,
            None,
            self.folder / RUN_FOLDER,
            temperature=temperature,
            walkers=walkers,
            acceptance=METROPOLIS,
            density=density,
            adapt=adapt,
            settings={**run.pop("settings", {}), **settings},
            **run,
        )

    def run(
        self, cycles: int, progress: Callable[[ExactProgress], None] | None = None
    ) -> Reweighted:
        """Run until each walker has so many cycles in total; write and return what came out."""
        summary = self.sampler.run(cycles, progress=progress)
        assert isinstance(summary, ExactSummary)
        before, after = self.before(), summary.averages
        result = Reweighted(
            f"{self._name}, {len(self._angles):,} frames",
            before,
            after,
            compare_basins(before.basins, after.basins, len(self._angles), LARGEST_R_HAT),
            summary.complete,
            self.notes,
        )
        with explained(self.folder, "The run itself is safe."):
            result.write(self.folder)
            after.write(self.folder / RUN_FOLDER)
        return result

    def before(self) -> Averages:
        """Populations of the generator's frames, taken as one series of weight 1 each."""
        names = self._torsions.names
        return compute_averages(self._angles[None], names, self._temperature_k, 0.0, discard=0.0)

    @property
    def torsions(self) -> Torsions:
        """What was measured."""
        return self._torsions

    @property
    def angles(self) -> np.ndarray:
        """Torsions [F, T] of the generator's frames, radians."""
        return self._angles

    def close(self) -> None:
        """Let other processes use the folder."""
        self.sampler.close()

    def __enter__(self) -> Reweighting:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _starts(
        self,
        ensemble: EnsembleFrames,
        topology: Topology,
        context: openmm.Context,
        walkers: int,
        reference: Any,
    ) -> Starts:
        """Those that are in the folder; or chosen now, and kept there."""
        path = self.folder / ENSEMBLE_FILE
        if path.exists():
            with _reading(path) as file, np.load(file, allow_pickle=False) as kept:
                if str(kept["sha256"]) != self._digest() or len(kept["starts"]) != walkers:
                    raise StorageError(
                        f"{self.folder} holds the reweighting of other frames, or one with "
                        f"{len(kept['starts'])} walkers. Choose another folder."
                    )
                notes = tuple(str(note) for note in kept["notes"])
                return Starts(kept["starts"], tuple(kept["frames"].tolist()), notes)

        def stereochemistry(x: Any) -> Stereochemistry:
            return Stereochemistry(topology, self._torsions, x)

        starts = choose_starts(
            ensemble.positions_nm,
            self._angles,
            find_basins(self._torsions.names),
            walkers,
            context,
            stereochemistry if reference is None else stereochemistry(reference),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with explained(self.folder, "Nothing was committed."), replaced_atomically(path) as file:
            np.savez(
                file,
                sha256=self._digest(),
                starts=starts.positions_nm,
                frames=np.array(starts.frames),
                notes=np.array(starts.notes, dtype=str),
                angles=self._angles,
            )
        return starts

    def _density(self, angles: np.ndarray) -> tuple[TorsionDensity, str]:
        """What moves are drawn from, and words on it; that of the run, if there is one."""
        from ..density import TorsionDensity

        torsions = self._torsions
        there = given_density(self.folder / RUN_FOLDER)
        if there is not None:
            return there, "The density of moves is that of the run in the folder."
        if len(angles) < FEWEST_FRAMES:
            return uniform_density(torsions), (
                f"{len(angles)} frames are too few for a density (at least {FEWEST_FRAMES} are "
                "needed): torsions are drawn uniformly until the walkers' own frames teach more."
            )
        used = angles[:: -(-len(angles) // MOST_FRAMES)]
        density = TorsionDensity.from_angles(
            used,
            torsions.names,
            torsions.block_sizes,
            torsions.previous,
            backbone=torsions.backbone.tolist(),
        )
        return density, f"The density of moves was fitted to {len(used):,} frames."

    def _digest(self) -> str:
        names = "\n".join(self._torsions.names).encode()
        return hashlib.sha256(names + np.ascontiguousarray(self._angles).tobytes()).hexdigest()


def reweight(
    frames: Any,
    topology: Topology,
    system: openmm.System,
    folder: str | Path,
    *,
    cycles: int = 5000,
    progress: Callable[[ExactProgress], None] | None = None,
    **options: Any,
) -> Reweighted:
    """Say what the populations of somebody's ensemble should be, by a short exact run from it.

    Parameters
    ----------
    frames, topology, system, folder, **options
        As of `Reweighting`.
    cycles : int
        Of each walker, in total.
    progress : function, optional
        Called with an ExactProgress after each cycle.

    Returns
    -------
    Reweighted
        Populations before and after, with errors; what was missing, and what was invented.

    Raises
    ------
    ValueError, StorageError
        As of `Reweighting`.
    """
    with Reweighting(frames, topology, system, folder, **options) as work:
        return work.run(cycles, progress)


def _context(system: openmm.System, run: dict[str, Any]) -> openmm.Context:
    """Where frames are minimised."""
    import openmm

    name = choose_platform(run.get("platform"))
    properties = platform_properties(name, system.getNumParticles(), run.get("threads"))
    platform = openmm.Platform.getPlatformByName(name)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file of starts; name it where it is damaged, and say what to do."""
    try:
        with open(path, "rb") as file:
            yield file
    except StorageError:
        raise
    except (*READ_ERRORS, BadZipFile) as error:
        raise StorageError(
            f"{path} is damaged ({first_line(error)}). Take it away, and the starts are chosen "
            "anew from the same frames."
        ) from error


def _notes(ensemble: EnsembleFrames) -> tuple[str, ...]:
    notes = list(ensemble.remarks)
    if ensemble.not_finite:
        notes.append(f"{ensemble.not_finite} frames have numbers that are not finite; left out.")
    return tuple(notes)
