"""What the verdicts on all frames of a trajectory come to."""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from .csvfile import CsvWriter
from .defects import INVALID, RELAXED, VALID
from .reference import EnergyComparison, EnergyReference, compare_energies
from .residue_strain import ResidueStrain
from .spreads import Spreads, quantities
from .table import format_report
from .verdict import FrameVerdict

__all__ = ["ValidationReport"]

#: So many of the worst frames are kept and shown.
NUM_WORST = 10

#: Of `GeometryFindings`, what frames are counted with.
_FINDINGS = (
    "clashes",
    "bond outliers",
    "angle outliers",
    "broken bonds",
    "wrong chirality",
    "flipped torsions",
    "threaded rings",
    "bent groups",
    "puckered rings",
)


class ValidationReport:
    """Verdicts on the frames of one trajectory, and their summary.

    Made by `EnergyValidator.validateTrajectory`. Iterating gives the verdicts, where they were
    kept.

    Attributes
    ----------
    source : str
        the trajectory.
    num_frames : int
        frames judged.
    remarks : list of str
        differences between trajectory and topology that are not errors.
    """

    def __init__(
        self,
        *,
        source: str,
        force_names: tuple[str, ...],
        omega_labels: tuple[str, ...],
        reference: EnergyReference | None,
        energy_window: float,
        kt_kj_per_mol: float,
        relaxed: bool,
        keep_frames: bool = True,
        residue_labels: tuple[str, ...] = (),
        second: str | None = None,
    ) -> None:
        self.source = source
        self.force_names = force_names
        self.omega_labels = omega_labels
        self.reference = reference
        self.energy_window = energy_window
        self.kt_kj_per_mol = kt_kj_per_mol
        self.relaxed = relaxed
        self.remarks: list[str] = []
        self.num_frames = 0
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.second = second
        self._frames: list[FrameVerdict] | None = [] if keep_frames else None
        self._files: list[ValidationReport] = []
        self._notes: Counter[str] = Counter()
        self._spreads = Spreads()
        self._strain = ResidueStrain(residue_labels)
        self._second = array("d")
        self._constrained = array("d")
        self._relaxed = array("d")
        self._rmsd = array("d")
        self._num_in_window = 0
        self._force_sums = np.zeros(len(force_names))
        self._counts: Counter[str] = Counter()
        # Worst frames with the trajectory that they are of: the rank decides, then the number.
        self._worst: list[tuple[tuple[int, float, int], int, str, FrameVerdict]] = []

    def add(self, verdict: FrameVerdict) -> None:
        """Take the verdict on one more frame into account."""
        self.num_frames += 1
        self.verdicts[verdict.verdict] += 1
        self.reasons[verdict.verdict, verdict.reason] += 1
        if self._frames is not None:
            self._frames.append(verdict)
        self._notes.update(verdict.notes)
        self._spreads.add(quantities(verdict.energies))
        self._strain.add(verdict)
        second = verdict.energies.second_kj_per_mol
        self._second.append(float("nan") if second is None else second)
        self._constrained.append(verdict.energies.unrounded_kj_per_mol)
        self._relaxed.append(verdict.energies.relaxed_kj_per_mol)
        self._rmsd.append(verdict.relaxation.rmsd_heavy_nm)
        self._num_in_window += verdict.energies.in_window
        if verdict.verdict == VALID:
            self._force_sums += np.array(list(verdict.energies.by_force_kj_per_mol.values()))
        for name in _FINDINGS:
            self._counts[name] += bool(getattr(verdict.geometry, name.replace(" ", "_")))
        energy = verdict.energies.constrained_kj_per_mol
        rank = (VALID, RELAXED, INVALID).index(verdict.verdict)
        key = (rank, energy if np.isfinite(energy) else np.inf, -verdict.frame)
        self._keep_worst((key, len(self._files), self.source, verdict))

    def _keep_worst(self, entry: tuple[tuple[int, float, int], int, str, FrameVerdict]) -> None:
        heapq.heappush(self._worst, entry)
        if len(self._worst) > NUM_WORST:
            heapq.heappop(self._worst)

    def take(self, other: ValidationReport) -> None:
        """Take all frames of another report of the same System into account."""
        self.num_frames += other.num_frames
        self.verdicts.update(other.verdicts)
        self.reasons.update(other.reasons)
        self._counts.update(other._counts)
        self._notes.update(other._notes)
        if self._frames is not None:
            self._frames += other.frames
        for mine, theirs in (
            (self._constrained, other._constrained),
            (self._relaxed, other._relaxed),
            (self._rmsd, other._rmsd),
            (self._second, other._second),
        ):
            mine.extend(theirs)
        self._num_in_window += other._num_in_window
        self._force_sums += other._force_sums
        self._spreads.merge(other._spreads)
        self._strain.merge(other._strain)
        self._files.append(other)
        for key, _, source, verdict in other._worst:
            self._keep_worst((key, -len(self._files), source, verdict))
        self.remarks += [remark for remark in other.remarks if remark not in self.remarks]

    @property
    def frames(self) -> list[FrameVerdict]:
        """The verdicts, in the order of the trajectory.

        Raises
        ------
        ValueError
            when they were not kept.
        """
        if self._frames is None:
            raise ValueError(
                "the verdicts were not kept; use keepFrames=True, or csv=... to write them while "
                "they are made"
            )
        return self._frames

    def __iter__(self) -> Iterator[FrameVerdict]:
        return iter(self.frames)

    def __len__(self) -> int:
        return self.num_frames

    @property
    def worst(self) -> list[FrameVerdict]:
        """The worst frames, worst first: invalid ones before others, then by energy."""
        return [verdict for _, verdict in self._worst_with_source()]

    def _worst_with_source(self) -> list[tuple[str, FrameVerdict]]:
        ordered = sorted(self._worst, key=lambda entry: entry[:2], reverse=True)
        return [(source, verdict) for _, _, source, verdict in ordered]

    def openCsv(self, path: Any) -> CsvWriter:
        """Open a CSV file for the verdicts of this report."""
        return CsvWriter(path, self.omega_labels)

    def toCsv(self, path: Any) -> None:
        """Write all verdicts to a CSV file, one row a frame.

        Raises
        ------
        ValueError
            when the verdicts were not kept.
        OSError
            when the file cannot be written.
        """
        frames = self.frames
        with self.openCsv(path) as writer:
            for verdict in frames:
                writer.write(verdict)

    @property
    def constrained_energies_kj_per_mol(self) -> np.ndarray:
        """Energy of each frame after constraints, [F], less what rounded coordinates add on
        average; NaN where a frame has none."""
        return np.array(self._constrained)

    @property
    def relaxed_energies_kj_per_mol(self) -> np.ndarray:
        """Energy of each frame after relaxation, [F]; NaN where a frame has none."""
        return np.array(self._relaxed)

    def compare(self) -> EnergyComparison | None:
        """The energies after constraints against the reference; None without a reference."""
        if self.reference is None:
            return None
        return compare_energies(
            self.constrained_energies_kj_per_mol,
            self.reference,
            width=self.energy_window,
            kt=self.kt_kj_per_mol,
        )

    def control(self) -> EnergyComparison | None:
        """The first half of the reference against the second: how well the reference agrees with
        itself, below which no distance means anything. None without a reference."""
        if self.reference is None:
            return None
        first, second = self.reference.halves()
        try:
            half = EnergyReference(second, "the second half of the reference")
        except ValueError:
            return None
        return compare_energies(first, half, width=self.energy_window, kt=self.kt_kj_per_mol)

    def summary(self) -> dict[str, Any]:
        """Sum up in plain numbers (for JSON): counts, energies, distances to the reference.

        Returns
        -------
        dict
            ``num_frames``; ``verdicts`` and ``reasons`` (counts); ``fraction_valid`` (as they
            are), ``fraction_valid_or_relaxed``; ``frames_with`` (counts of findings);
            ``energy_kj_per_mol`` (median, least and largest, after constraints and relaxed);
            ``force_means_kj_per_mol`` over the frames that are valid as they are;
            ``median_rmsd_heavy_nm``; ``fraction_in_window``; and with a reference ``reference``
            (source, size, mean, sd, window limit), ``distance`` and ``control``.

            In depth, energies in kJ/mol, each "spread" a dict of ``mean``, ``sd``,
            ``reference_mean`` and ``reference_sd`` over the frames that have an energy (None where
            there are none): ``forces`` (force -> spread); ``interactions`` (pair of groups, such
            as "protein - A/LIG1" -> part, "coulomb", "lennard_jones", "total", and "custom" and
            "solvation" where there are such -> spread); ``residues`` (list, in the order of the
            Topology, of dicts with ``residue`` (label, as "A/ALA2"), the spread of its
            bonded energy, ``excess_sds`` (mean over the reference's
            mean, in the reference's standard deviations; None without a reference of frames),
            ``worst_sigma`` and ``worst_term`` (the bond or angle furthest from equilibrium in any
            frame, in thermal standard deviations; None where none is an outlier) and
            ``strained_frames``, with an outlier there); ``worst_frames``
            (list, worst first, of dicts with ``source``, ``frame``, ``verdict``, ``reason``,
            ``detail`` and ``energy_kj_per_mol``); ``second`` (None, or the second potential:
            ``name``, spread, ``correlation`` with the first one and ``difference_sd``); and of
            several trajectories ``files``, the summary of each.
        """
        valid = self.verdicts[VALID]
        result: dict[str, Any] = {
            "source": self.source,
            "num_frames": self.num_frames,
            "verdicts": {name: self.verdicts[name] for name in (VALID, RELAXED, INVALID)},
            "reasons": {
                f"{verdict}: {reason}": count
                for (verdict, reason), count in sorted(self.reasons.items())
            },
            "fraction_valid": valid / max(1, self.num_frames),
            "fraction_valid_or_relaxed": (valid + self.verdicts[RELAXED]) / max(1, self.num_frames),
            "fraction_in_window": self._num_in_window / max(1, self.num_frames),
            "frames_with": dict(self._counts),
            "energy_kj_per_mol": {
                "after constraints": _spread(self.constrained_energies_kj_per_mol),
                "after relaxation": _spread(self.relaxed_energies_kj_per_mol),
            },
            "force_means_kj_per_mol": {
                name: float(total / valid) if valid else None
                for name, total in zip(self.force_names, self._force_sums, strict=True)
            },
            "median_rmsd_heavy_nm": _spread(np.array(self._rmsd))["median"],
            "remarks": [*self.remarks, *self._frame_notes()],
            **self._in_depth(),
        }
        comparison, control = self.compare(), self.control()
        if self.reference is not None and comparison is not None:
            result["reference"] = {
                "source": self.reference.source,
                "num_energies": len(self.reference.energies_kj_per_mol),
                "mean_kj_per_mol": self.reference.mean_kj_per_mol,
                "sd_kj_per_mol": self.reference.sd_kj_per_mol,
                "window_limit_kj_per_mol": self.reference.window_limit(self.energy_window),
            }
            result["distance"] = asdict(comparison)
            result["control"] = None if control is None else asdict(control)
        return result

    def _frame_notes(self) -> list[str]:
        every = self.num_frames
        notes = [
            f"{'all' if count == every else count} frames {note}"
            for note, count in sorted(self._notes.items())
        ]
        if every and not self.verdicts[VALID] and not self.verdicts[RELAXED]:
            (_, reason), count = self.reasons.most_common(1)[0]
            notes.append(
                f"no frame is valid; the most frequent reason is {reason} ({count} of {every}). "
                "Where it is the same in every frame, see first that topology, System and "
                "temperature are those of the frames"
            )
        return notes

    def _in_depth(self) -> dict[str, Any]:
        spreads = self._spreads
        theirs = None if self.reference is None else self.reference.spreads
        interactions: dict[str, dict[str, Any]] = {}
        for key in spreads:
            if key[0] == "interaction":
                interactions.setdefault(key[1], {})[key[2]] = spreads.beside(theirs, *key)
        result: dict[str, Any] = {
            "forces": {name: spreads.beside(theirs, "force", name) for name in self.force_names},
            "interactions": interactions,
            "residues": self._strain.rows(spreads, theirs),
            "worst_frames": [
                {
                    "source": source,
                    "frame": v.frame,
                    "verdict": v.verdict,
                    "reason": v.reason,
                    "detail": v.detail,
                    "energy_kj_per_mol": _finite(v.energies.constrained_kj_per_mol),
                }
                for source, v in self._worst_with_source()
            ],
            "second": None,
        }
        if self.second is not None:
            result["second"] = {
                "name": self.second,
                **spreads.beside(theirs, "second"),
                **_agreement(np.array(self._constrained), np.array(self._second)),
            }
        if self._files:
            result["files"] = [report.summary() for report in self._files]
        return result

    def table(self) -> str:
        """The summary and the worst frames as text."""
        return format_report(
            self.summary(),
            self.worst,
            relaxed=self.relaxed,
            energy_window=self.energy_window,
            reference=self.reference,
        )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _agreement(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """Correlation of two energies of the same frames, and the spread of their difference."""
    both = np.isfinite(first) & np.isfinite(second)
    x, y = first[both], second[both]
    if len(x) < 3 or not np.std(x) > 0 or not np.std(y) > 0:
        return {"correlation": None, "difference_sd": None}
    return {
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "difference_sd": float(np.std(y - x, ddof=1)),
    }


def _spread(values: np.ndarray) -> dict[str, float | None]:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return {"median": None, "least": None, "largest": None}
    return {
        "median": float(np.median(finite)),
        "least": float(finite.min()),
        "largest": float(finite.max()),
    }
