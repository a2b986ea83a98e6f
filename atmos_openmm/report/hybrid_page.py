"""The report of a hybrid run beside plain MD of the same wall-clock time: a page and PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import write_atomically
from ..evaluation.divergence import jensen_shannon_divergence, torsion_histogram
from ..evaluation.transitions import count_transitions, event_rate, rate_ratio
from . import plots, style
from .ensembles_page import PICTURES, BesideReference
from .page import Fact, Picture, Section, Table, Text, render_page

# Coarser than the 50 bins of an evaluation: a run of minutes has some hundred frames.
SHORT_RUN_BINS = 18


@dataclass(frozen=True)
class Comparison:
    """What the page shows.

    Attributes
    ----------
    title, lead : str
        Of the page.
    residue : str
        Name of the residue whose torsions are shown.
    hybrid, md : plots.TorsionSeries
        Frames in the order of wall-clock time. Hybrid frames are those at the end of MD segments
        and within them, never raw proposals.
    hybrid_seconds, md_seconds : float
        Wall-clock time of each run.
    md_energies : array [F]
        Potential energies of the plain MD's frames, kJ/mol.
    raw_energies, relaxed_energies : array [P]
        Of each proposal, after constraints alone and at the end of its relaxation, kJ/mol; NaN
        where a proposal did not come so far.
    window : float or None
        Upper edge of the energy window, kJ/mol.
    reasons : mapping of str to int
        Proposals by outcome.
    rmsd_nm : array
        RMSD between raw and relaxed, of the validated frames.
    verdicts : Table
        One row a validated frame.
    verdict_note : str
        Which frames were validated, and how.
    jump_cost_steps : float
        Wall-clock time of one proposal, from network to verdict, in MD steps of the same System.
    beside : BesideReference, optional
        These runs and an exact one beside a reference.
    settings, versions : mapping of str to str
        Shown as tables.
    """

    title: str
    lead: str
    residue: str
    hybrid: plots.TorsionSeries
    md: plots.TorsionSeries
    hybrid_seconds: float
    md_seconds: float
    md_energies: NDArray[Any]
    raw_energies: NDArray[Any]
    relaxed_energies: NDArray[Any]
    window: float | None
    reasons: Mapping[str, int]
    rmsd_nm: NDArray[Any]
    verdicts: Table
    verdict_note: str
    settings: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    jump_cost_steps: float = float("nan")
    beside: BesideReference | None = None

    def facts(self) -> list[Fact]:
        """The numbers at the top of the page."""
        if self.beside is None:
            return [*self._facts_of_jumps(), *self._facts_of_maps()]
        return [*self.beside.facts(), *self._facts_of_jumps()]

    def _facts_of_maps(self) -> list[Fact]:
        """How the two runs differ, where no reference is at hand."""
        divergence = jensen_shannon_divergence(
            torsion_histogram(self.hybrid.phi, self.hybrid.psi, SHORT_RUN_BINS),
            torsion_histogram(self.md.phi, self.md.psi, SHORT_RUN_BINS),
        )
        shares = [count_transitions([run.phi]).fractions[1] for run in (self.hybrid, self.md)]
        return [
            Fact(
                "Frames with φ > 0, hybrid and MD",
                f"{_percent(shares[0])} and {_percent(shares[1])}",
                "populations of a filtered run are biased; see below",
            ),
            Fact(
                "Divergence of the two maps",
                f"{divergence:.3f} nats",
                f"Jensen-Shannon, {SHORT_RUN_BINS} × {SHORT_RUN_BINS} bins; 0 equal, 0.693 "
                "disjoint. MD of this length is no reference",
            ),
        ]

    def _facts_of_jumps(self) -> list[Fact]:
        """What the jumps of the hybrid run were like."""
        hybrid = count_transitions([self.hybrid.phi])
        md = count_transitions([self.md.phi])
        hybrid_rate = event_rate(hybrid.total, self.hybrid_seconds)
        md_rate = event_rate(md.total, self.md_seconds)
        proposed = sum(self.reasons.values())
        accepted = self.reasons.get("accepted", 0)
        valid = sum(flag == "good" for flag in self.verdicts.flags)
        ratio = f"ratio of the rates {rate_ratio(hybrid_rate, md_rate)} (95 %)"
        if hybrid.total == md.total == 0:
            ratio = "no crossing in either"
        return [
            Fact(
                "Crossings between φ < 0 and φ > 0",
                f"{hybrid.total:,} {self.hybrid.name.lower()}, {md.total:,} MD",
                f"in {self.hybrid_seconds:.0f} s and {self.md_seconds:.0f} s of wall clock; "
                f"{ratio}",
            ),
            Fact(
                "Proposals accepted",
                f"{accepted:,} of {proposed:,}" if proposed else "none",
                f"{_percent(accepted / proposed)}; {accepted / self.hybrid_seconds:.2f} accepted "
                "jumps a second"
                if proposed
                else "nothing was proposed",
            ),
            Fact(
                "Generated frames valid",
                f"{valid:,} of {len(self.verdicts.rows):,}",
                "of those validated; the table below says why",
            ),
            Fact(
                "Cost of one proposal",
                f"{self.jump_cost_steps:.0f} MD steps",
                "network, screening, relaxation and energies, accepted or not",
            ),
        ]

    def pictures(self) -> dict[str, tuple[bytes, str, str]]:
        """File name -> (PNG, alternative text, caption)."""
        runs = (self.hybrid, self.md)
        drawn = {
            "ramachandran.png": (
                plots.ramachandran_maps(runs, self.residue),
                "Two maps of phi and psi side by side, hybrid run and plain MD.",
                "φ and ψ of every saved frame. Left the hybrid run, right plain MD of the same "
                "wall-clock time. The dashed line is φ = 0, the ridge that MD seldom crosses.",
            ),
            "phi_series.png": (
                plots.torsion_series(runs, self.residue),
                "phi against wall-clock time for both runs.",
                "φ against wall-clock time. Green ticks at the top: accepted jumps. Grey "
                "band: the core of the basin φ > 0; a crossing counts when a run goes from one "
                "core to the other, not when it only touches the ridge between them.",
            ),
            "energies.png": (
                plots.proposal_energies(
                    self.md_energies, self.raw_energies, self.relaxed_energies, self.window
                ),
                "Histograms of the potential energies of MD frames and of proposals.",
                "Potential energy of proposals after constraints alone (raw) and at the end of "
                "their relaxation, over the energies of plain MD at the same temperature. "
                "Proposals above the window after the last relaxation stage are rejected. "
                "Relaxation removes thermal energy. Proposals below MD, raw or relaxed, are colder "
                "than the ensemble: the window is one-sided and takes them, and the MD that "
                "follows warms them.",
            ),
            "outcomes.png": (
                plots.outcome_bars(self.reasons),
                "Bars of the number of proposals by outcome.",
                "Every proposal ends in one of these outcomes; the first test that fails names it.",
            ),
            "relaxation_rmsd.png": (
                plots.relaxation_rmsd(self.rmsd_nm),
                "Histogram of the RMSD between raw and relaxed frames.",
                "How far the validator's relaxation moved the generated frames. Small values mean "
                "that the model, not the minimiser, placed the atoms.",
            ),
        }
        made = {
            name: (style.png_bytes(figure), alternative, caption)
            for name, (figure, alternative, caption) in drawn.items()
        }
        if self.beside is not None:
            for name, picture in self.beside.pictures().items():
                made[name] = (picture.png, picture.alternative, picture.caption)
        return made

    def page(self, pictures: Mapping[str, tuple[bytes, str, str]]) -> str:
        """The HTML page with the pictures of `pictures()` embedded."""

        def picture(name: str) -> Picture:
            return Picture(*pictures[name])

        maps = ["ramachandran.png", "phi_series.png"]
        explained = []
        sections = []
        if self.beside is not None:
            maps = ["phi_series.png"]
            explained = [self.beside.explanation]
            sections = [self.beside.section({name: picture(name) for name in PICTURES})]
        sections += [
            Section("Where the runs went", [picture(name) for name in maps]),
            Section(
                "How good the proposals are", [picture("energies.png"), picture("outcomes.png")]
            ),
            Section(
                "Validation of generated frames",
                [Text((self.verdict_note,)), picture("relaxation_rmsd.png"), self.verdicts],
            ),
            Section(
                "How to read this page",
                [
                    *explained,
                    Text(
                        (
                            "The hybrid run alternates short molecular dynamics with jumps "
                            "proposed by a neural network. Each proposal is screened (bonds, "
                            "chirality, cis/trans, rings, clashes), its constraints are applied, "
                            "it is relaxed by a few minimiser steps where the settings say so, "
                            "and its energy is compared with a window learned from the run's own "
                            "MD. A rejected proposal leaves the simulation as it was, bit for bit.",
                        )
                    ),
                    Text(
                        (
                            "The wall clock of the hybrid run holds everything: network, "
                            "screening, relaxation, rejected proposals, MD and the writing of its "
                            "files. All runs used one thread and one System, and took turns of a "
                            "few seconds, each on its own clock. Training the network is not in "
                            "it.",
                        ),
                        strong="What is timed.",
                    ),
                    Text(
                        (
                            "The energy window is a filter, not a Metropolis test: the hybrid "
                            "run's populations are the model's, bent by the window and by the MD "
                            "that follows each jump. Free energies must not be read off its map. "
                            "The run shows which states exist and gives starting points for "
                            "unbiased MD. Plain MD is unbiased but, at this length, far from "
                            "converged: that it misses a basin does not mean that the basin is "
                            "empty.",
                        ),
                        strong="What is biased.",
                    ),
                ],
            ),
            Section("Settings", [_pairs(self.settings)]),
            Section("Versions", [_pairs(self.versions)]),
        ]
        return render_page(
            self.title,
            self.lead,
            self.facts(),
            sections,
            "Made by atmos-openmm. This file holds everything it shows and loads "
            "nothing from the network.",
        )


def write_comparison(folder: str | os.PathLike[str], comparison: Comparison) -> Path:
    """Write `report.html` and the PNG files into `folder`; returns the path of the page.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = comparison.pictures()
    for name, (png, _, _) in pictures.items():
        write_atomically(folder / name, png)
    page = folder / "report.html"
    write_atomically(page, comparison.page(pictures).encode())
    return page


def _percent(share: float) -> str:
    return f"{100 * float(np.asarray(share)):.1f} %"


def _pairs(pairs: Mapping[str, str]) -> Table:
    return Table(("name", "value"), tuple((name, str(value)) for name, value in pairs.items()))
