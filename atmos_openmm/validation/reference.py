"""The energies that molecular dynamics gives, and how far a set of frames is from them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..core.read_errors import READ_ERRORS, first_line
from .findings import EnergyFindings
from .spreads import Spreads, quantities

__all__ = ["EnergyComparison", "EnergyReference", "compare_energies", "read_reference"]

#: Fewer energies than this give no usable mean and standard deviation.
MIN_REFERENCE_ENERGIES = 20

#: At most so many frames of a reference trajectory are evaluated, evenly spread.
MAX_REFERENCE_FRAMES = 2000

#: Column headings of an energy in a CSV file, best first: ours, StateDataReporter's, others.
_COLUMNS = (
    "energy_constrained_kj_per_mol",
    "energy_kj_per_mol",
    "Potential Energy (kJ/mole)",
    "potential_energy_kj_per_mol",
    "potential_energy",
    "energy",
)


FrameOfReference = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class EnergyReference:
    """Potential energies of frames that molecular dynamics visited.

    Attributes
    ----------
    energies_kj_per_mol : array [F], float64
        in the order of the simulation.
    source : str
        where they come from.
    spreads : Spreads or None
        of the energies in depth, where the reference is frames.
    """

    energies_kj_per_mol: np.ndarray
    source: str
    spreads: Spreads | None = None

    def __post_init__(self) -> None:
        energies = np.asarray(self.energies_kj_per_mol, dtype=np.float64).ravel()
        bad = int(np.sum(~np.isfinite(energies)))
        if bad:
            raise ValueError(
                f"{bad} of the {len(energies)} reference energies from {self.source} are not "
                "finite; a reference has to be a run of molecular dynamics that went well"
            )
        if len(energies) < MIN_REFERENCE_ENERGIES:
            raise ValueError(
                f"{len(energies)} reference energies came from {self.source}; at least "
                f"{MIN_REFERENCE_ENERGIES} are needed for a mean and a standard deviation"
            )
        if not np.std(energies) > 0:
            raise ValueError(f"all reference energies from {self.source} are the same number")
        object.__setattr__(self, "energies_kj_per_mol", energies)

    @property
    def mean_kj_per_mol(self) -> float:
        """Mean energy (kJ/mol)."""
        return float(np.mean(self.energies_kj_per_mol))

    @property
    def sd_kj_per_mol(self) -> float:
        """Standard deviation of the energy (kJ/mol), with n - 1 in the denominator."""
        return float(np.std(self.energies_kj_per_mol, ddof=1))

    def window_limit(self, width: float) -> float:
        """The mean and `width` standard deviations (kJ/mol): the top of the energy window."""
        return self.mean_kj_per_mol + width * self.sd_kj_per_mol

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the second half: how much the reference differs from itself."""
        middle = len(self.energies_kj_per_mol) // 2
        return self.energies_kj_per_mol[:middle], self.energies_kj_per_mol[middle:]


@dataclass(frozen=True)
class EnergyComparison:
    """How far the energies of some frames are from those of the reference.

    Attributes
    ----------
    wasserstein_kj_per_mol : float
        Wasserstein-1 distance of the finite energies: the mean shift that turns one distribution
        into the other.
    wasserstein_kt : float
        the same, divided by kT.
    jensen_shannon_bits : float
        Jensen-Shannon divergence of the histograms in bits: 0 the same, 1 nothing in common.
    fraction_in_window : float
        frames at or below the reference's mean and the window's width, of all frames.
    """

    wasserstein_kj_per_mol: float
    wasserstein_kt: float
    jensen_shannon_bits: float
    fraction_in_window: float


def histogram_edges(reference: np.ndarray) -> np.ndarray:
    """Bin edges that resolve the reference: Freedman and Diaconis' width, open at both ends.

    Energies of generated frames can be many powers of ten above the reference; all those beyond
    the ends of the reference fall into the two outer bins.
    """
    low, high = float(reference.min()), float(reference.max())
    q75, q25 = np.percentile(reference, [75, 25])
    width = 2 * (q75 - q25) / len(reference) ** (1 / 3)
    count = int(np.clip(np.ceil((high - low) / width), 1, 200)) if width > 0 else 1
    inner = np.linspace(low, high, count + 1)
    # The largest reference energy itself belongs to the last inner bin.
    inner[-1] = np.nextafter(high, np.inf)
    return np.concatenate([[-np.inf], inner, [np.inf]])


def jensen_shannon_bits(first: np.ndarray, second: np.ndarray, edges: np.ndarray) -> float:
    """Jensen-Shannon divergence of two histograms over the same bins, in bits (0 to 1)."""
    from scipy.spatial.distance import jensenshannon

    def counts(values: np.ndarray) -> np.ndarray:
        bins = np.searchsorted(edges, values, side="right") - 1
        return np.bincount(bins, minlength=len(edges) - 1)

    return float(jensenshannon(counts(first), counts(second), base=2) ** 2)


def compare_energies(
    energies_kj_per_mol: np.ndarray, reference: EnergyReference, *, width: float, kt: float
) -> EnergyComparison:
    """Measure how far the energies of frames are from those of a reference.

    Parameters
    ----------
    energies_kj_per_mol : array [F]
        NaN and infinite where a frame has no energy.
    reference : EnergyReference
    width : float
        width of the energy window in standard deviations of the reference.
    kt : float
        thermal energy (kJ/mol).

    Returns
    -------
    EnergyComparison
        with NaN where no frame has a finite energy.
    """
    from scipy.stats import wasserstein_distance

    energies = np.asarray(energies_kj_per_mol, dtype=np.float64)
    finite = energies[np.isfinite(energies)]
    inside = int(np.sum(finite <= reference.window_limit(width)))
    if len(finite) == 0:
        nan = float("nan")
        return EnergyComparison(nan, nan, nan, 0.0)
    distance = float(wasserstein_distance(finite, reference.energies_kj_per_mol))
    edges = histogram_edges(reference.energies_kj_per_mol)
    return EnergyComparison(
        wasserstein_kj_per_mol=distance,
        wasserstein_kt=distance / kt,
        jensen_shannon_bits=jensen_shannon_bits(finite, reference.energies_kj_per_mol, edges),
        fraction_in_window=inside / len(energies),
    )


def read_reference(
    source: Any,
    topology: Any,
    sample: Callable[[Iterator[FrameOfReference]], Iterable[EnergyFindings]],
    *,
    temperature_K: float,
) -> EnergyReference:
    """Get reference energies from wherever they are.

    Parameters
    ----------
    source : EnergyReference, array [F], path, mdtraj.Trajectory or array [F,P,3]
        Energies (kJ/mol) as an array, in an ``.npz``/``.npy`` file or in a column of a ``.csv``
        file; or frames, whose energies are then computed: any trajectory that `open_frames`
        reads. Of a trajectory file of this package the trajectories at `temperature_K` are taken.
    topology : openmm.app.Topology
    sample : callable
        gives the energies of frames, each positions (nm) and box vectors (nm) or None, in order.
    temperature_K : float
        the temperature of the reference, within 1 K.

    Returns
    -------
    EnergyReference

    Raises
    ------
    FileNotFoundError
    ValueError
        when the source holds no energies that can be used, with what was found.
    """
    if isinstance(source, EnergyReference):
        return source
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"there is no reference {path}")
        readers = {".npz": _read_numpy, ".npy": _read_numpy, ".csv": _read_csv}
        if path.suffix in readers:
            return EnergyReference(readers[path.suffix](path), str(path))
    else:
        values = np.asarray(source) if not hasattr(source, "xyz") else np.empty((0, 0, 0))
        if values.ndim == 1:
            return EnergyReference(values, "the array")
    frames, name = _reference_frames(source, topology, temperature_K)
    energies, spreads = [], Spreads()
    for found in sample(frames):
        energies.append(found.unrounded_kj_per_mol)
        spreads.add(quantities(found))
    return EnergyReference(np.array(energies), name, spreads)


def _reference_frames(
    source: Any, topology: Any, temperature_K: float
) -> tuple[Iterator[FrameOfReference], str]:
    from ..trajectories.layout import is_own_layout
    from ..trajectories.reader import open_frames

    if isinstance(source, (str, Path)) and is_own_layout(Path(source)):
        open_frames(source, topology)  # compares the atoms
        return _own_frames(Path(source), temperature_K), str(source)
    opened = open_frames(source, topology)
    count = opened.num_frames
    if count is None:
        # Count by reading once: cheap beside the energies.
        count = sum(1 for _ in open_frames(source, topology).frames())
    stride = max(1, -(-count // MAX_REFERENCE_FRAMES))
    told = f" ({'; '.join(opened.remarks)})" if opened.cut_short else ""
    return (
        ((frame.positions_nm, frame.box_nm) for frame in opened.frames(stride=stride)),
        opened.name + told,
    )


def _own_frames(path: Path, temperature_K: float) -> Iterator[FrameOfReference]:
    from ..trajectories.layout import TrajectoryFile

    with TrajectoryFile(path) as file:
        chosen = [t for t in file.trajectories if abs(t.temperature_kelvin - temperature_K) <= 1]
        if not chosen:
            found = sorted({t.temperature_kelvin for t in file.trajectories})
            raise ValueError(
                f"{path} has no trajectory at {temperature_K:g} K; it has {found} K. Give one of "
                "these as the temperature, or another reference"
            )
        stride = max(1, -(-sum(len(t) for t in chosen) // MAX_REFERENCE_FRAMES))
        for trajectory in chosen:
            for index in range(0, len(trajectory), stride):
                yield np.asarray(trajectory.positions(index), dtype=np.float64), None


def _read_numpy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            arrays = {"": found} if isinstance(found, np.ndarray) else dict(found)
    except (*READ_ERRORS, BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read ({first_line(error)}): it is truncated, damaged or no file of "
            "NumPy arrays"
        ) from error
    if "" in arrays:
        return np.asarray(arrays[""], dtype=np.float64)
    known = [c for c in ("energies_kj_per_mol", *_COLUMNS, "energies") if c in arrays]
    flat = [name for name, values in arrays.items() if values.ndim == 1]
    if not known and len(flat) == 1:
        known = flat
    if not known:
        raise ValueError(
            f"{path} holds the arrays {list(arrays)}; one called energies_kj_per_mol was expected"
        )
    return np.asarray(arrays[known[0]], dtype=np.float64)


def _read_csv(path: Path) -> np.ndarray:
    try:
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file: {error}") from error
    if not rows:
        raise ValueError(f"{path} is empty")
    heading = [name.strip().lstrip("#").strip().strip('"') for name in rows[0]]
    column = next((heading.index(name) for name in _COLUMNS if name in heading), None)
    if column is None:
        raise ValueError(f"{path} has the columns {heading}; one of {list(_COLUMNS)} was expected")
    try:
        return np.array([float(row[column]) for row in rows[1:] if row], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}, column {heading[column]!r}: {error}") from error
