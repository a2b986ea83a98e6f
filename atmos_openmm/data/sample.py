"""One description of a training sample, whatever file it comes from.

A sample is a molecule, frames of it (nm, read when asked for), and what the frames are: one
structure, dynamics in real time, or draws from one temperature of a replica exchange. Length in nm,
time in ps, temperature in K throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .frames import FrameSource, file_stamp

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures
    from ..systems.inputs import Molecule

__all__ = ["Kind", "MoleculeSource", "Provenance", "Sample"]

Kind = Literal["static", "dynamics", "exchange"]
KINDS = ("static", "dynamics", "exchange")


class MoleculeSource(Protocol):
    """Where a molecule's Topology and chemistry come from; hashable and picklable."""

    def load(self) -> Molecule:
        """Read the molecule (`systems.inputs.Molecule`), atoms in the order of the frames.

        Raises
        ------
        DataFileError
        """

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Provenance:
    """Where a sample comes from.

    Attributes
    ----------
    dataset : str
        ``mdcath``, ``misato``, ``structure`` or ``atmos-openmm``.
    path : str
        The file.
    entry : str
        Place in the file; '' for the whole of it.
    details : mapping
        What else the file says: force field, replica, assembly, start. JSON values.
    """

    dataset: str
    path: str
    entry: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", MappingProxyType(dict(self.details)))

    def __reduce__(self) -> tuple[type[Provenance], tuple[str, str, str, dict[str, Any]]]:
        return type(self), (self.dataset, self.path, self.entry, dict(self.details))


@dataclass(frozen=True)
class Sample:
    """Frames of one molecule under one condition.

    Attributes
    ----------
    name : str
        Unique in a data set, e.g. ``2hbaA00/320/0``.
    kind : str
        ``static`` (a structure; no temperature), ``dynamics`` (`spacing_ps` of real time between
        frames), ``exchange`` (frames at one temperature of a replica exchange, in no order).
    frames : FrameSource
        [F, A, 3] in nm. Neither centred nor superposed.
    source : MoleculeSource
        Topology and chemistry; A atoms in the order of the frames.
    temperature_kelvin : float or None
        None for ``static``.
    spacing_ps : float or None
        Time between neighbouring frames; None unless ``dynamics``.
    provenance : Provenance

    Raises
    ------
    ValueError
        Values that do not go together.
    """

    name: str
    kind: Kind
    frames: FrameSource
    source: MoleculeSource
    temperature_kelvin: float | None
    spacing_ps: float | None
    provenance: Provenance

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(KINDS)}.")
        timed, warm = self.kind == "dynamics", self.kind != "static"
        if timed != (self.spacing_ps is not None) or warm != (self.temperature_kelvin is not None):
            raise ValueError(
                f"{self.name}: a sample of kind {self.kind} has spacing_ps "
                f"{'> 0' if timed else 'None'} and temperature_kelvin {'> 0' if warm else 'None'}; "
                f"got {self.spacing_ps} and {self.temperature_kelvin}."
            )
        for value in (self.spacing_ps, self.temperature_kelvin):
            if value is not None and not (np.isfinite(value) and value > 0.0):
                raise ValueError(f"{self.name}: {value} is no time between frames or temperature.")

    @property
    def num_frames(self) -> int:
        """Number of frames, F."""
        return self.frames.num_frames

    @property
    def num_atoms(self) -> int:
        """Number of atoms, A."""
        return self.frames.num_atoms

    def molecule(self) -> Molecule:
        """Topology, chemistry and reference positions; samples of one molecule share it.

        Raises
        ------
        DataFileError
            The file does not tell the molecule, or its chemistry makes no sense.
        """
        return _load(self.source, file_stamp(self.provenance.path))

    def features(self, atoms: Literal["all", "heavy"] = "all") -> MoleculeFeatures:
        """The features of the solute, with handedness from the reference positions.

        Raises
        ------
        FeatureError
            See `systems.features.features_from_topology`.
        """
        return self.molecule().features(atoms)

    def positions_nm(
        self, frames: Any = slice(None), features: MoleculeFeatures | None = None
    ) -> NDArray[np.float32]:
        """Frames, of the model's atoms alone where `features` are given.

        Returns
        -------
        ndarray, shape (F, A, 3), or (A, 3) for an int, float32
        """
        positions = self.frames.read(frames)
        return positions if features is None else positions[..., features.atom_indices, :]

    def resolved(self, features: MoleculeFeatures | None = None) -> NDArray[np.bool_]:
        """Which atoms were seen, [A]: the coordinates of the others are placeholders."""
        mask = self.frames.resolved()
        return mask if features is None else mask[features.atom_indices]


@lru_cache(maxsize=16)
def _load(source: MoleculeSource, stamp: tuple[int, ...]) -> Molecule:
    """Kept by the file's stamp: a file that is written anew is read anew."""
    return source.load()
