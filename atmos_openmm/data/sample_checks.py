"""What is wrong with a sample: its molecule, every frame, and what the file says of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.geometry import bond_lengths
from ..core.read_errors import READ_ERRORS, first_line
from ..trajectories.repeats import FramePrints
from . import mdcath_checks, misato_checks
from .faults import DataFileError, Fault
from .hands import other_hands, stereocentres
from .images import MoleculeJumps
from .sample import Sample

if TYPE_CHECKING:
    from ..systems.features import MoleculeFeatures

__all__ = ["LONGEST_BOND_NM", "SHORTEST_BOND_NM", "SampleChecks"]

BLOCK_BYTES = 2**25
LONGEST_BOND_NM = 0.3
SHORTEST_BOND_NM = 0.06
"""Beyond these no covalent bond is, in MD at 450 K either: the frame is broken."""
MOST_LISTED = 5


class SampleChecks:
    """Checks samples one after the other; the molecule of several is looked at once.

    Samples of one molecule are compared with each other, too.

    Parameters
    ----------
    pdb_folder : path, optional
        See `check.check_file`.
    needs_chemistry : bool
        Whether a molecule that no features can be made of is a fatal fault. Otherwise its frames
        are looked at all the same.
    """

    def __init__(
        self,
        pdb_folder: str | os.PathLike[str] | None = None,
        *,
        needs_chemistry: bool = True,
    ) -> None:
        self._pdb_folder = pdb_folder
        self._needs_chemistry = needs_chemistry
        self._molecules: dict[Any, list[Fault] | MoleculeFeatures] = {}
        self._prints: dict[Any, list[tuple[str, FramePrints]]] = {}

    def __call__(self, sample: Sample) -> list[Fault]:
        """What is wrong with a sample."""
        at = sample.provenance
        found: list[Fault] = []
        if sample.source in self._molecules:
            made = self._molecules[sample.source]
            if isinstance(made, list):
                message = "its molecule cannot be used, see above."
                made = [Fault(at.path, at.entry, made[0].kind, message)]
        else:
            made, found = _features(sample)
            self._molecules[sample.source] = made
        features = None if isinstance(made, list) else made
        if isinstance(made, list):
            if self._needs_chemistry or made[0].kind != "chemistry":
                return made
            found += [replace(fault, fatal=False) for fault in made]
        try:
            found += self._frames(sample, features)
            if not any(f.fatal for f in found):
                found += _own_checks(sample, self._pdb_folder)
        except DataFileError as error:
            found.append(error.fault)
        except READ_ERRORS as error:
            message = f"it cannot be read whole ({first_line(error)}): the file is damaged."
            found.append(Fault(at.path, at.entry, "unreadable", message))
        return found

    def _frames(self, sample: Sample, features: MoleculeFeatures | None) -> list[Fault]:
        checked = _Frames(sample, features)
        found = list(checked.faults())
        if sample.kind == "dynamics" and not any(f.fatal for f in found):
            before = self._prints.setdefault(sample.source, [])
            prints = FramePrints(np.concatenate(checked.prints), sample.frames.read)
            found += _copies(sample, prints, before)
            before.append((sample.name, prints))
        return found


def _features(sample: Sample) -> tuple[list[Fault] | MoleculeFeatures, list[Fault]]:
    """The molecule's features, of heavy atoms where hydrogens are missing, and what was said.

    Faults where there are none.
    """
    at = sample.provenance
    try:
        elements = {a.element.atomic_number for a in sample.molecule().topology.atoms()}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            features = sample.features("all" if 1 in elements else "heavy")
    except DataFileError as error:
        return [error.fault], []
    except ValueError as error:  # FeatureError: its message says what to do
        return [Fault(at.path, at.entry, "chemistry", " ".join(str(error).split()))], []
    notes = dict.fromkeys(str(warning.message) for warning in said)
    return features, [Fault(at.path, at.entry, "chemistry", n, fatal=False) for n in notes]


@dataclass(frozen=True)
class _SampleBonds:
    """Bonds [M, 2] between atoms of a sample, and the atoms' names."""

    pairs: NDArray[np.int64]
    labels: list[str]

    @staticmethod
    def of(sample: Sample, features: MoleculeFeatures | None) -> _SampleBonds:
        """Of the features, else of the Topology; between atoms that were seen."""
        count = sample.num_atoms
        if features is None:
            topology = sample.molecule().topology
            labels = [f"{a.name} of {a.residue.name} {a.residue.id}" for a in topology.atoms()]
            found = [(a.index, b.index) for a, b in topology.bonds()]
            pairs = np.array(found, np.int64).reshape(-1, 2)
        else:
            labels, pairs = [""] * count, features.atom_indices[features.bonds]
            for k, atom in enumerate(features.atom_indices.tolist()):
                labels[atom] = features.atom_label(k)
        seen = sample.resolved()
        return _SampleBonds(pairs[seen[pairs].all(axis=1)], labels)


class _Frames:
    """All frames of a sample, looked through once.

    Attributes
    ----------
    prints : list of array [F, K]
        What frames are known again by (`FramePrints`), a block after the other.
    """

    def __init__(self, sample: Sample, features: MoleculeFeatures | None) -> None:
        self.prints: list[NDArray[np.float64]] = []
        self._sample, self._features = sample, features
        self._bonds = _SampleBonds.of(sample, features)
        self._bad: list[int] = []
        self._broken: dict[int, tuple[int, float]] = {}
        self._same: list[int] = []
        self._turned: dict[int, int] = {}
        self._jumps: MoleculeJumps | None = None
        if sample.kind == "dynamics" and sample.spacing_ps is not None:
            self._jumps = MoleculeJumps(sample.molecule().topology, sample.spacing_ps)

    def faults(self) -> Iterator[Fault]:
        """Frames that are not finite, broken, repeated, of another hand or in another image."""
        sample = self._sample
        step = max(1, BLOCK_BYTES // (12 * sample.num_atoms))
        last: NDArray[np.float32] | None = None
        for start in range(0, sample.num_frames, step):
            frames = sample.frames.read(slice(start, start + step))
            self.prints.append(FramePrints.measure(frames))
            self._read(frames, start, last)
            if self._jumps is not None:
                self._jumps.see(frames)
            last = frames[-1]
        fault = partial(Fault, sample.provenance.path, sample.provenance.entry)
        if self._bad:
            yield fault("nonfinite", f"coordinates are not finite in {_frames(self._bad)}.")
        if self._broken:
            number, (bond, gap) = next(iter(self._broken.items()))
            ends = " and ".join(self._bonds.labels[int(a)] for a in self._bonds.pairs[bond])
            yield fault(
                "broken",
                f"bonds are broken in {_frames(self._broken)}: in frame {number} {ends} are "
                f"{gap:.3f} nm apart. The box splits the molecule (make it whole first), the run "
                "blew up, or the coordinates are not in the unit of the layout.",
            )
        elif self._turned and self._features is not None:
            number, centre = next(iter(self._turned.items()))
            yield fault(
                "inconsistent",
                f"{self._features.atom_label(centre)} has another hand than in the molecule's "
                f"first frame in {_frames(self._turned)}: MD never changes it. The coordinates "
                "are mirrored, or the labels of its atoms are others.",
            )
        elif self._jumps is not None:
            yield from self._jumps.faults(fault)
        if self._same:
            many = len(self._same) > sample.num_frames // 2
            message = f"the frame before is repeated in {_frames(self._same)}."
            yield fault("inconsistent", message, many)

    def _read(
        self, frames: NDArray[np.float32], start: int, last: NDArray[np.float32] | None
    ) -> None:
        finite = np.isfinite(frames).all(axis=(1, 2))
        self._bad += (start + np.flatnonzero(~finite)).tolist()
        joined = frames if last is None else np.concatenate([last[None], frames])
        repeated = (joined[1:] == joined[:-1]).all(axis=(1, 2))
        self._same += (start + (last is None) + np.flatnonzero(repeated)).tolist()
        if len(self._bonds.pairs):
            gaps = bond_lengths(frames, self._bonds.pairs)
            odd = (gaps > LONGEST_BOND_NM) | (gaps < SHORTEST_BOND_NM)
            for k in np.flatnonzero(odd.any(axis=1) & finite).tolist():
                bond = int(np.argmax(odd[k]))
                self._broken[start + k] = bond, float(gaps[k, bond])
        if self._features is not None and self._sample.kind != "static":
            features = self._features
            centres, signs = stereocentres(features, self._sample.resolved(features))
            turned = other_hands(frames[:, features.atom_indices], centres, signs)
            for k in np.flatnonzero(turned.any(axis=1) & finite).tolist():
                self._turned[start + k] = int(centres[int(np.argmax(turned[k])), 0])


def _copies(
    sample: Sample, prints: FramePrints, before: list[tuple[str, FramePrints]]
) -> Iterator[Fault]:
    """Whether a sample repeats frames of one before it."""
    at = sample.provenance
    for name, other in before:
        count = prints.shared(other)
        if count:
            message = (
                f"{count} of its {sample.num_frames} frames are frames of {name}: it is no run of "
                "its own."
            )
            yield Fault(at.path, at.entry, "copy", message, 2 * count > sample.num_frames)
            return


def _frames(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    if len(listed) == 1:
        return f"frame {listed[0]}"
    shown = ", ".join(map(str, listed[:MOST_LISTED]))
    more = ", ..." if len(listed) > MOST_LISTED else ""
    return f"{len(listed)} frames ({shown}{more})"


def _own_checks(sample: Sample, pdb_folder: str | os.PathLike[str] | None) -> Iterator[Fault]:
    """What only one of the layouts has."""
    name = sample.provenance.dataset
    if name == "mdcath":
        yield from mdcath_checks.check_statistics(sample)
    elif name == "misato":
        yield from misato_checks.check_cuts(sample)
        if sample.kind == "dynamics":
            yield from misato_checks.check_ligand(sample)
        if pdb_folder is not None:
            yield from _compared(sample, Path(pdb_folder))


def _compared(sample: Sample, folder: Path) -> Iterator[Fault]:
    at = sample.provenance
    stems = {sample.name.lower(), sample.name.upper()}
    ends = [e + z for e in (".pdb", ".cif", ".ent") for z in ("", ".gz")]
    names = [stem + end for stem in sorted(stems, reverse=True) for end in ends]
    found = next((folder / n for n in names if (folder / n).exists()), None)
    if found is None:
        message = f"there is no {names[0]} or the like in {folder} to compare it with."
        yield Fault(at.path, at.entry, "missing", message, fatal=False)
        return
    try:
        yield from misato_checks.compare_with_pdb(sample, found)
    except (ValueError, OSError) as error:
        yield Fault(str(found), "", "unreadable", f"{first_line(error)}", fatal=False)
