"""A 3-D view of a few frames of one molecule, for a page: data and markup around 3Dmol.js.

The library is another project's (`third_party/`). It and the frames lie in the page compressed, and
a browser unpacks them when the reader opens the view.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..systems.selection import is_left_out
from ..trajectories.topology import SoluteTopology
from ..validation.names import atom_labels
from .page import Embedded

__all__ = ["MoleculeView", "ViewedFrame", "view_frames"]

_FOLDER = Path(__file__).parent
LIBRARY = _FOLDER / "third_party" / "3Dmol-min.js"

#: Strain in thermal standard deviations and its colour: what MD shows is pale, a broken term dark.
STRAIN_COLORS = ((3.0, "#c3ced8"), (6.0, "#e69f00"), (10.0, "#9c2f6d"))

#: Coordinates are whole numbers of this, which is finer than anything that can be seen.
UNIT_NM = 0.001

#: Atoms further outside than this are drawn there: one lost atom would make all others a dot.
MARGIN_NM = 2.0

#: Molecules of fewer residues show all their atoms from the start.
SMALL_RESIDUES = 40


@dataclass(frozen=True)
class ViewedFrame:
    """One frame to be seen.

    Attributes
    ----------
    title : str
        Such as "Frame 17".
    note : str
        In a few words, such as "invalid: bonds".
    text : str
        The reason in full, with names and numbers.
    positions_nm : array [A, 3]
        Of the shown atoms.
    kind : str
        "good", "bad" or "" for its colour.
    named : tuple of int
        Shown atoms that the reason names.
    strain : array [R] or None
        Of the shown residues, in thermal standard deviations.
    """

    title: str
    note: str
    text: str
    positions_nm: NDArray[Any]
    kind: str = ""
    named: tuple[int, ...] = ()
    strain: NDArray[Any] | None = None


class MoleculeView:
    """What of a Topology is shown, and how atoms are found by the names that verdicts use.

    Parameters
    ----------
    topology : openmm.app.Topology
    named : sequence of str
        Details of verdicts; water and ions that they name are shown, all others are not.

    Attributes
    ----------
    shown : SoluteTopology
        Of the A atoms and R residues that are shown.
    labels : list of str
        Of the residues, as in ``A/ALA2``.
    """

    def __init__(self, topology: Any, named: Sequence[str] = ()) -> None:
        self._numbers = {label: k for k, label in enumerate(atom_labels(topology))}
        wanted = {k for text in named for k in self.named_atoms(text)}
        also = [
            atom.index
            for residue in topology.residues()
            if is_left_out(residue) and any(a.index in wanted for a in residue.atoms())
            for atom in residue.atoms()
            if atom.element is not None
        ]
        self.shown = SoluteTopology.of(topology, also)
        self._places = {int(atom): place for place, atom in enumerate(self.shown.atoms)}
        firsts = [next(r.atoms()).index for r in self.shown.topology.residues()]
        every = atom_labels(self.shown.topology)
        self.labels = [every[first].rsplit("/", 1)[0] for first in firsts]

    def named_atoms(self, text: str) -> list[int]:
        """Atoms of the Topology that a verdict's detail names, as `validation.names` does."""
        found = []
        for word in text.split():
            parts, start, residue = word.strip(".,:;()").split("-"), 0, ""
            while start < len(parts):
                # A name may have dashes of its own: the shortest run of parts that is one.
                for end in range(start + 1, len(parts) + 1):
                    name = "-".join(parts[start:end])
                    label = name if "/" in name else f"{residue}/{name}"
                    if label in self._numbers:
                        found.append(self._numbers[label])
                        residue, start = label.rsplit("/", 1)[0], end
                        break
                else:
                    start += 1
        return list(dict.fromkeys(found))

    def places(self, text: str) -> tuple[int, ...]:
        """Places among the shown atoms of those that a verdict's detail names."""
        return tuple(self._places[k] for k in self.named_atoms(text) if k in self._places)

    def scene(self) -> dict[str, Any]:
        """Names, elements, residues and bonds of the shown atoms, ready for JSON."""
        atoms = list(self.shown.topology.atoms())
        return {
            "names": [a.name for a in atoms],
            "elements": [a.element.symbol for a in atoms],
            "residues": self._residues(),
            "bonds": self.shown.bonds.ravel().tolist(),
            "small": len(self.labels) <= SMALL_RESIDUES,
        }

    def _residues(self) -> list[dict[str, Any]]:
        residues = list(self.shown.topology.residues())
        linked = {(a.residue.index, b.residue.index) for a, b in self.shown.topology.bonds()}
        polymers = [_is_polymer(residue) for residue in residues]
        owner = [a.residue.index for a in self.shown.topology.atoms()]
        chained = {
            owner[atom]
            for molecule in self.shown.molecules
            if any(polymers[owner[atom]] for atom in molecule)
            for atom in molecule
        }
        rows, first, place = [], 0, 0
        for number, residue in enumerate(residues):
            # The ribbon runs on where numbers are consecutive: through bonds, not across gaps.
            joined = (number - 1, number) in linked or (number, number - 1) in linked
            place += 1 if joined else 2
            rows.append(
                {
                    "name": residue.name,
                    "label": self.labels[number],
                    "chain": residue.chain.index,
                    "place": place,
                    "first": first,
                    "count": sum(1 for _ in residue.atoms()),
                    "polymer": polymers[number],
                    "ligand": number not in chained,
                }
            )
            first += rows[-1]["count"]
        return rows

    def structure(self, positions_nm: NDArray[Any]) -> str:
        """Helix, strand or coil (h, s, c) of each shown residue in positions [A, 3]."""
        import mdtraj

        topology = mdtraj.Topology.from_openmm(self.shown.topology)
        frame = mdtraj.Trajectory(positions_nm[None].astype(np.float32), topology)
        letters = {"H": "h", "E": "s"}
        try:
            found = mdtraj.compute_dssp(frame)[0]
        except (ValueError, IndexError):  # no protein, or none that DSSP can read
            return "c" * len(self.labels)
        return "".join(letters.get(str(code), "c") for code in found)


def _is_polymer(residue: Any) -> bool:
    """Whether a ribbon can be drawn through a residue."""
    names = {atom.name for atom in residue.atoms()}
    return {"N", "CA", "C"} <= names or {"C3'", "C4'"} <= names


def view_frames(
    view: MoleculeView, frames: Sequence[ViewedFrame], native_nm: NDArray[Any] | None, limit: float
) -> Embedded:
    """The view of some frames, the first one chosen.

    Parameters
    ----------
    view : MoleculeView
    frames : sequence of ViewedFrame
        At least one; superposed on the native by the caller.
    native_nm : array [A, 3] or None
        Of the shown atoms.
    limit : float
        Residues of more strain show their side chains.

    Returns
    -------
    Embedded
    """
    scene = view.scene()
    target = np.median([f.positions_nm for f in frames], axis=0) if native_nm is None else native_nm
    origin = np.mean(target, axis=0)
    reach = np.abs(target - origin).max() + MARGIN_NM
    scene["limit"] = limit
    scene["colors"] = [[value, _rgb(color)] for value, color in STRAIN_COLORS]
    scene["frames"] = [
        {
            "title": frame.title,
            "text": frame.text,
            "positions": _whole_numbers(np.clip(frame.positions_nm - origin, -reach, reach)),
            "structure": view.structure(frame.positions_nm),
            "strain": None if frame.strain is None else np.round(frame.strain, 2).tolist(),
            "named": list(frame.named),
        }
        for frame in frames
    ]
    if native_nm is not None:
        scene["native"] = _whole_numbers(native_nm - origin)
        scene["nativeStructure"] = view.structure(native_nm)
    has_strain = any(frame.strain is not None for frame in frames)
    return Embedded(
        _markup(scene, frames, native_nm is not None, has_strain),
        (_FOLDER / "assets" / "structure_viewer.css").read_text(encoding="utf-8"),
        (_FOLDER / "assets" / "structure_viewer.js").read_text(encoding="utf-8"),
    )


def _whole_numbers(positions_nm: NDArray[Any]) -> list[int]:
    return [int(v) for v in np.round(positions_nm / UNIT_NM).ravel()]


def _rgb(color: str) -> list[int]:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


@lru_cache(maxsize=1)
def _library() -> str:
    return _packed(LIBRARY.read_bytes())


def _markup(
    scene: dict[str, Any], frames: Sequence[ViewedFrame], has_native: bool, has_strain: bool
) -> str:
    choices = "\n".join(
        f'<li><button type="button" aria-pressed="false" class="{frame.kind}">{escape(frame.title)}'
        f"<small>{escape(frame.note)}</small></button></li>"
        for frame in frames
    )
    native = (
        '<label><input type="checkbox" name="native" checked> native structure</label>'
        if has_native
        else ""
    )
    sides = " checked" if scene["small"] else ""
    data = json.dumps(scene, separators=(",", ":")).encode()
    return f"""<div class="viewer">
<ul class="choices" aria-label="Frames">
{choices}
</ul>
<p class="reason" role="status">Choose a frame: its reason is told here.</p>
<div class="stage" tabindex="0" role="group" aria-label="3-D view, not opened yet">
<div class="opener"><button type="button">Open the 3-D view</button>
<span>Everything it needs is in this file; nothing is loaded from the network.</span>
<noscript>The 3-D view needs JavaScript; the table says the same in text.</noscript></div>
</div>
<div class="panel" hidden>
{_legend(scene, has_native, has_strain)}
<div class="controls">
<button type="button" data-do="fault">Show the fault</button>
<button type="button" data-do="whole">Show all</button>
<button type="button" data-do="left" aria-label="Turn left">◀</button>
<button type="button" data-do="right" aria-label="Turn right">▶</button>
<button type="button" data-do="nearer" aria-label="Nearer">+</button>
<button type="button" data-do="farther" aria-label="Farther">\N{MINUS SIGN}</button>
<label>colour by <select name="color">{_color_options(has_strain)}</select></label>
{native}
<label><input type="checkbox" name="sides"{sides}> all side chains</label>
<label><input type="checkbox" name="hydrogens"> hydrogens</label>
</div>
<p class="hint">Drag to turn, pinch or scroll to zoom (after a click into the view); with the
keyboard the arrow keys turn it, + and \N{MINUS SIGN} zoom.</p>
</div>
<script type="application/octet-stream" data-part="library">{_library()}</script>
<script type="application/octet-stream" data-part="scene">{_packed(data)}</script>
</div>"""


def _color_options(has_strain: bool) -> str:
    strain = '<option value="strain">strain of the residue</option>' if has_strain else ""
    return f'{strain}<option value="chain">chain</option>'


def _legend(scene: dict[str, Any], has_native: bool, has_strain: bool) -> str:
    parts = []
    if has_strain:
        stops = ", ".join(color for _, color in STRAIN_COLORS)
        low, high = STRAIN_COLORS[0][0], STRAIN_COLORS[-1][0]
        parts.append(
            f"<span>strain {low:g} σ"
            f'<i class="scale" style="background: linear-gradient(90deg, {stops})"></i>'
            f"{high:g} σ and more</span>"
        )
    dots = {"#d55e00": "named by the reason"}
    if any(row["ligand"] for row in scene["residues"]):
        dots["#269874"] = "ligand"
    if has_native:
        dots["#7d8b99"] = "native structure"
    parts += [
        f'<span><i class="dot" style="background: {color}"></i>{text}</span>'
        for color, text in dots.items()
    ]
    return f'<div class="legend">{"".join(parts)}</div>'
