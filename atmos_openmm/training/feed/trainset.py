"""Samples of any source as molecules to train on; what is held out; the pools of a stage."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ...core.text import listed
from ...data.sample import Sample
from ..training_settings import StageSettings, ValidationSettings

if TYPE_CHECKING:
    from ...systems.features import MoleculeFeatures

__all__ = [
    "Pool",
    "TrainingMolecule",
    "TrainingSet",
    "molecule_name",
    "run_number",
    "split",
]

CONDITIONS = {"mdcath": 2, "atmos-openmm": 1}
"""Parts at the end of a sample's name that say which run it is, by data set."""
PDB_ID = re.compile(r"[0-9][a-z0-9]{3}")
RUNS = 4
"""`ValidationSettings.runs` are numbers of runs modulo this."""


@dataclass(frozen=True)
class TrainingMolecule:
    """A molecule and its samples; features are made and frames are read when they are asked for.

    Samples are of one molecule where they have one source, and that is of one file: labels of like
    hydrogens (HB2 and HB3) never exchange in a trajectory, but may differ between files that hold
    the same molecule.

    Attributes
    ----------
    name : str
    samples : tuple of Sample
        One at least; all have the same atoms.
    """

    name: str
    samples: tuple[Sample, ...]

    def of_kind(self, kind: str) -> tuple[Sample, ...]:
        """Samples of one kind: ``static``, ``dynamics``, ``exchange``."""
        return tuple(s for s in self.samples if s.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the samples, sorted."""
        return tuple(sorted({s.kind for s in self.samples}))

    @property
    def key(self) -> tuple[object, str]:
        """What tells this molecule from others."""
        return _key(self.samples[0])

    def features(
        self, atoms: Literal["all", "heavy"] = "all", caps: Literal["token", "atoms"] = "token"
    ) -> MoleculeFeatures:
        """Make the features, handedness as in the molecule's own frames. Costly; keep them.

        Raises
        ------
        FeatureError, DataFileError
            The molecule cannot be modelled, or its file not be read.
        """
        return self.samples[0].molecule().features(atoms, caps=caps)

    def only(self, samples: Iterable[Sample]) -> TrainingMolecule | None:
        """Return the molecule with some of its samples, None without any."""
        left = tuple(samples)
        return replace(self, samples=left) if left else None


@dataclass(frozen=True)
class Pool:
    """Molecules that one entry of `StageSettings.shares` stands for.

    Attributes
    ----------
    name : str
        A kind of samples or a data set.
    share : float
    molecules : tuple of TrainingMolecule
        Each with those of its samples that belong to the pool.
    """

    name: str
    share: float
    molecules: tuple[TrainingMolecule, ...]


@dataclass(frozen=True)
class TrainingSet:
    """Molecules to train on, or to validate with.

    Attributes
    ----------
    molecules : tuple of TrainingMolecule
    """

    molecules: tuple[TrainingMolecule, ...]

    def holds(self, stage: StageSettings) -> bool:
        """Whether there is anything that a stage wants."""
        return bool(self._found(stage))

    def pools(self, stage: StageSettings) -> list[Pool]:
        """Sort the samples that a stage wants into its pools; those without any are left out.

        Raises
        ------
        ValueError
            None is left; the message says what there is and what is wanted.
        """
        found = self._found(stage)
        if not found:
            wanted = ", ".join(name for name, share in stage.shares.items() if share > 0.0)
            raise ValueError(
                f"Stage {stage.name!r} wants {wanted}{_within(stage)}, and there is none of it: "
                f"the data are {self.summary()}. Give other files, or change the stage's shares."
            )
        return found

    def note(self, stage: StageSettings) -> str:
        """One line about the pools of a stage that the data lack; '' where they have all."""
        there = {pool.name for pool in self._found(stage)}
        lacking = [n for n, share in stage.shares.items() if share > 0.0 and n not in there]
        if not lacking or not there:
            return ""
        return (
            f"stage {stage.name!r}: the data have no {', '.join(lacking)}{_within(stage)}; all "
            f"draws are from {', '.join(n for n in stage.shares if n in there)}"
        )

    def summary(self) -> str:
        """What there is, in words."""
        kinds: dict[str, list[int]] = {}
        warm: list[float] = []
        for molecule in self.molecules:
            for kind in molecule.kinds:
                mine = molecule.of_kind(kind)
                count = kinds.setdefault(f"{kind} of {mine[0].provenance.dataset}", [0, 0])
                count[0] += 1
                count[1] += sum(s.num_frames for s in mine)
            warm += [s.temperature_kelvin for s in molecule.samples if s.temperature_kelvin]
        listed = ", ".join(
            f"{what} ({molecules} molecule{'s' * (molecules > 1)}, {frames} frames)"
            for what, (molecules, frames) in sorted(kinds.items())
        )
        at = f" at {min(warm):g} to {max(warm):g} K" if warm else ""
        return f"{listed or 'nothing'}{at}"

    def _found(self, stage: StageSettings) -> list[Pool]:
        pools = []
        for name, share in stage.shares.items():
            if share > 0.0:
                fits = _fits(name, stage)
                parts = (m.only(filter(fits, m.samples)) for m in self.molecules)
                if found := tuple(m for m in parts if m is not None):
                    pools.append(Pool(name, share, found))
        return pools


def _fits(name: str, stage: StageSettings) -> Callable[[Sample], bool]:
    bounds = stage.temperature_range_kelvin

    def fits(sample: Sample) -> bool:
        if name not in (sample.kind, sample.provenance.dataset):
            return False
        kelvin = sample.temperature_kelvin
        return bounds is None or kelvin is None or bounds[0] <= kelvin <= bounds[1]

    return fits


def _within(stage: StageSettings) -> str:
    bounds = stage.temperature_range_kelvin
    return "" if bounds is None else f" at {bounds[0]:g} to {bounds[1]:g} K"


def split(
    samples: Iterable[Sample], validation: ValidationSettings
) -> tuple[TrainingSet, TrainingSet | None]:
    """Group samples into molecules, and hold some of them out.

    A molecule is held out as a whole, where its name matches a pattern (upper and lower case are
    one) or its hash falls into the share; of the others, the runs of dynamics that are listed. The
    hash is that of the PDB id where the name has one, so that a complex of MISATO, the domains of
    mdCATH and the entry of the PDB that are of one structure are held out together.

    Parameters
    ----------
    samples : iterable of Sample
    validation : ValidationSettings

    Returns
    -------
    training : TrainingSet
    held_out : TrainingSet or None
        None where nothing is held out.

    Raises
    ------
    ValueError
        No samples; dynamics of a single frame; samples of one molecule whose numbers of atoms
        differ; a pattern that no molecule matches; nothing left to train on.
    """
    molecules = _grouped(samples)
    _check_patterns(validation.molecules, molecules)
    training: list[TrainingMolecule] = []
    held_out: list[TrainingMolecule] = []
    for molecule in molecules:
        if _held_out(molecule, validation):
            held_out.append(molecule)
            continue
        runs = molecule.of_kind("dynamics")
        out = {id(s) for k, s in enumerate(runs) if run_number(s, k) % RUNS in validation.runs}
        for part, wanted in ((training, False), (held_out, True)):
            chosen = molecule.only(s for s in molecule.samples if (id(s) in out) == wanted)
            if chosen is not None:
                part.append(chosen)
    if not training:
        raise ValueError(
            f"All of the data are held out: {TrainingSet(tuple(held_out)).summary()}. Give more "
            "files, or hold out less (validation.molecules, share, runs)."
        )
    return TrainingSet(tuple(training)), TrainingSet(tuple(held_out)) if held_out else None


def _grouped(samples: Iterable[Sample]) -> list[TrainingMolecule]:
    groups: dict[tuple[object, str], list[Sample]] = {}
    for sample in samples:
        at = sample.provenance
        if sample.kind == "dynamics" and sample.num_frames < 2:
            raise ValueError(
                f"Trajectory {at.entry or sample.name} of {at.path} is of kind 'dynamics' and has "
                f"{sample.num_frames} frame; a lag needs at least 2. Leave the file out, or make "
                "a longer trajectory."
            )
        if sample.num_frames < 1:
            raise ValueError(f"{sample.name} of {at.path} has no frames. Leave it out.")
        group = groups.setdefault(_key(sample), [])
        if group and group[0].num_atoms != sample.num_atoms:
            raise ValueError(
                f"{sample.name} of {at.path} has {sample.num_atoms} atoms and {group[0].name} "
                f"{group[0].num_atoms}; expected the same, since they are of one molecule."
            )
        group.append(sample)
    if not groups:
        raise ValueError("There are no samples to train on; name at least one file that has any.")
    return [TrainingMolecule(molecule_name(g[0]), tuple(g)) for g in groups.values()]


def _key(sample: Sample) -> tuple[object, str]:
    return sample.source, sample.provenance.path


def molecule_name(sample: Sample) -> str:
    """The name of a sample's molecule: ``2hbaA00`` of ``2hbaA00/320/0``."""
    parts = CONDITIONS.get(sample.provenance.dataset, 0)
    return sample.name.rsplit("/", parts)[0] if parts else sample.name


def run_number(sample: Sample, position: int) -> int:
    """The number of a run among those of its file.

    That of the trajectory in a file of this package and of the replica in mdCATH, whatever of the
    file could not be used; otherwise the sample's `position` among its molecule's dynamics.
    """
    last = sample.provenance.entry.rpartition("/")
    return int(last[2]) if last[1] and last[2].isdecimal() else position


def _check_patterns(patterns: Sequence[str], molecules: Sequence[TrainingMolecule]) -> None:
    """Nothing is trained on that was meant to be held out and is spelt differently."""
    for pattern in patterns:
        if not any(_matches(m.name, pattern) for m in molecules):
            raise ValueError(
                f"validation.molecules names {pattern!r}, which no molecule is called; there are "
                f"{listed(sorted({m.name for m in molecules}))}."
            )


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def _held_out(molecule: TrainingMolecule, validation: ValidationSettings) -> bool:
    if any(_matches(molecule.name, pattern) for pattern in validation.molecules):
        return True
    name = molecule.name
    if molecule.samples[0].provenance.dataset != "atmos-openmm":
        found = PDB_ID.match(name.lower())
        name = found.group() if found else name
    digest = hashlib.sha256(name.encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") < validation.share * 2**64
