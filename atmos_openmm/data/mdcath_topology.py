"""mdCATH's embedded PDB (CHARMM names, caps inside terminal residues) to an OpenMM Topology."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..systems.openmm_names import OpenMMNames

__all__ = ["EmbeddedAtom", "embedded_atoms", "psf_bonds", "unfold"]

N_CAP = {"CAY": "CH3", "HY1": "H1", "HY2": "H2", "HY3": "H3", "CY": "C", "OY": "O"}
"""Atoms of an acetyl that CHARMM counts to the first residue (patch ACE), with their names in ACE
"""
C_CAP = {"NT": "N", "HNT": "H", "CAT": "C", "HT1": "H1", "HT2": "H2", "HT3": "H3"}
"""Atoms of a methylamide that CHARMM counts to the last residue (patch CT3), with their names in
NME."""
RESIDUES = {"HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "CYX": "CYS", "CYM": "CYS"}
"""Names that mdCATH has from CHARMM and moleculekit; the hydrogens tell the protonation."""
ATOMS = {
    ("ILE", "CD"): "CD1",
    ("ILE", "HD1"): "HD11",
    ("ILE", "HD2"): "HD12",
    ("ILE", "HD3"): "HD13",
}
TERMINAL = {"OT1": "O", "OT2": "OXT"}

BROKEN_PEPTIDE_NM = 0.2
"""Between 0.133 nm and the distance of atoms that are not bonded; see systems.inputs."""
LONGEST_HYDROGEN_BOND_NM = 0.15
"""S-H, the longest, is 0.134 nm."""


class EmbeddedAtom(NamedTuple):
    """An atom line: names, residue number with insertion code, segment, position in nm."""

    name: str
    resname: str
    resid: str
    segment: str
    position_nm: tuple[float, float, float]

    @property
    def element(self) -> str:
        """Amino acids and caps hold one-letter elements; hydrogens' names may begin with digits."""
        return self.name.lstrip("0123456789")[:1]

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return f"{self.name} of {self.resname} {self.resid}"


def embedded_atoms(pdb: str) -> list[EmbeddedAtom]:
    """Read the atom lines of mdCATH's PDB text.

    Raises
    ------
    ValueError
        A line without coordinates.
    """
    atoms = []
    for line in pdb.splitlines():
        if not line.startswith(("ATOM", "HETATM")):
            continue
        try:
            x, y, z = (float(line[k : k + 8]) * 0.1 for k in (30, 38, 46))
        except ValueError as error:
            raise ValueError(f"the line {line.rstrip()!r} has no coordinates") from error
        atoms.append(
            EmbeddedAtom(
                line[12:16].strip(),
                line[17:21].strip(),
                line[22:27].strip(),
                line[21] + line[72:76].strip(),
                (x, y, z),
            )
        )
    return atoms


def unfold(
    atoms: Sequence[EmbeddedAtom],
    positions_nm: NDArray[np.float64],
    bonds: Sequence[tuple[int, int]] | None = None,
) -> tuple[Any, list[str]]:
    """Make the Topology of a domain, its caps as residues of their own.

    A chain ends where the segment changes, at a cap, and where the backbone's C and the next N are
    not within reach of each other (or not bonded, where bonds are given).

    Parameters
    ----------
    atoms : sequence of EmbeddedAtom
    positions_nm : array, shape (A, 3)
        A real frame: the embedded PDB has hydrogens and caps at guessed places.
    bonds : sequence of (int, int), optional
        Bonds of the PSF.

    Returns
    -------
    topology : openmm.app.Topology
        Atoms in the file's order, wwPDB names, with bonds.
    doubts : list of str
        What is wrong with it, for messages.

    Raises
    ------
    ValueError
        Atoms of a residue that do not stand together, or two of one name in it.
    """
    from openmm import unit

    residues = _residue_numbers(atoms)
    parts = _cap_parts(atoms, residues)
    breaks = _chain_breaks(atoms, residues, parts, positions_nm, bonds)
    topology = _named_topology(atoms, residues, parts, breaks)
    topology.createStandardBonds()
    topology.createDisulfideBonds(positions_nm * unit.nanometer)
    return topology, _complete_bonds(topology, positions_nm, bonds)


def _residue_numbers(atoms: Sequence[EmbeddedAtom]) -> NDArray[np.int64]:
    numbers: list[int] = []
    seen: set[tuple[str, ...]] = set()
    last: tuple[str, ...] | None = None
    for atom in atoms:
        key = (atom.segment, atom.resid, atom.resname)
        if key != last:
            if key in seen:
                raise ValueError(f"the atoms of {atom.resname} {atom.resid} do not stand together")
            seen.add(key)
            numbers.append(numbers[-1] + 1 if numbers else 0)
        else:
            numbers.append(numbers[-1])
        last = key
    return np.array(numbers, np.int64)


def _cap_parts(atoms: Sequence[EmbeddedAtom], residues: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return -1 for atoms of an N cap, 1 for those of a C cap, 0 for the residue's own.

    CHARMM calls hydrogens of a free N terminus HT1 to HT3, as those of the methylamide.
    """
    parts = np.zeros(len(atoms), np.int64)
    for number in range(int(residues[-1]) + 1 if len(residues) else 0):
        own = np.flatnonzero(residues == number).tolist()
        names = {atoms[i].name for i in own}
        for i in own:
            if "CAY" in names and atoms[i].name in N_CAP:
                parts[i] = -1
            elif "CAT" in names and atoms[i].name in C_CAP:
                parts[i] = 1
        if np.any(np.diff(parts[own]) < 0):
            atom = atoms[own[0]]
            raise ValueError(
                f"the cap atoms of {atom.resname} {atom.resid} do not stand before or after it"
            )
    return parts


def _chain_breaks(
    atoms: Sequence[EmbeddedAtom],
    residues: NDArray[np.int64],
    parts: NDArray[np.int64],
    positions_nm: NDArray[np.float64],
    bonds: Sequence[tuple[int, int]] | None,
) -> set[int]:
    """First atoms of chains."""
    bonded = None if bonds is None else {frozenset(b) for b in bonds}
    backbone = {
        (int(residues[i]), atom.name): i
        for i, atom in enumerate(atoms)
        if parts[i] == 0 and atom.name in ("C", "N")
    }
    breaks = {0}
    for first in (np.flatnonzero(np.diff(residues)) + 1).tolist():
        number = int(residues[first])
        pair = backbone.get((number - 1, "C")), backbone.get((number, "N"))
        if atoms[first].segment != atoms[first - 1].segment or parts[first] < 0:
            breaks.add(first)
        elif parts[first - 1] > 0:
            breaks.add(first)
        elif pair[0] is not None and pair[1] is not None:
            gap = float(np.linalg.norm(positions_nm[pair[0]] - positions_nm[pair[1]]))
            there = gap <= BROKEN_PEPTIDE_NM if bonded is None else frozenset(pair) in bonded
            if not there:
                breaks.add(first)
    return breaks


def _named_topology(
    atoms: Sequence[EmbeddedAtom],
    residues: NDArray[np.int64],
    parts: NDArray[np.int64],
    breaks: set[int],
) -> Any:
    """The domain's atoms by the names that OpenMM knows: caps apart, chains lettered."""
    from openmm.app import Element, Topology

    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    known = OpenMMNames()
    topology: Any = Topology()
    chain: Any = None
    last: tuple[int, int] | None = None
    for i, atom in enumerate(atoms):
        resname = RESIDUES.get(atom.resname, atom.resname)
        name = ATOMS.get((resname, atom.name), TERMINAL.get(atom.name, atom.name))
        if parts[i]:
            resname, table = ("ACE", N_CAP) if parts[i] < 0 else ("NME", C_CAP)
            name = table[atom.name]
        if i in breaks:
            chain = topology.addChain(letters[topology.getNumChains() % len(letters)])
        if i in breaks or (residues[i], parts[i]) != last:
            last = residues[i], parts[i]
            number = str(int(residues[i] + parts[i]) + 2)
            residue = topology.addResidue(known.residue(resname), chain, number)
            there: set[str] = set()
        name = known.atom(residue.name, name)
        if name in there:
            raise ValueError(f"the embedded PDB has two atoms {name} in {resname} {atom.resid}")
        there.add(name)
        topology.addAtom(name, Element.getBySymbol(atom.element), residue)
    return topology


def _complete_bonds(
    topology: Any,
    positions_nm: NDArray[np.float64],
    bonds: Sequence[tuple[int, int]] | None,
) -> list[str]:
    """Add the bonds that names do not tell; say what stays odd."""
    made = list(topology.atoms())
    doubts: list[str] = []
    there = {frozenset((b[0].index, b[1].index)) for b in topology.bonds()}
    if bonds is not None:
        extra = sorted(tuple(sorted(b)) for b in there - {frozenset(b) for b in bonds})
        doubts += [
            f"{_label(made[i])} and {_label(made[j])} are bonded by their names, and not in the PSF"
            for i, j in extra
        ]
        for i, j in bonds:
            if frozenset((i, j)) not in there:
                topology.addBond(made[i], made[j])
                there.add(frozenset((i, j)))
    bonded = {i for pair in there for i in pair}
    for atom in made:
        if atom.index in bonded or atom.element is None or atom.element.symbol != "H":
            continue
        heavy = [a for a in atom.residue.atoms() if a.element.symbol != "H"]
        gaps = [
            float(np.linalg.norm(positions_nm[a.index] - positions_nm[atom.index])) for a in heavy
        ]
        nearest = int(np.argmin(gaps)) if gaps else -1
        if nearest < 0 or gaps[nearest] > LONGEST_HYDROGEN_BOND_NM:
            doubts.append(f"{_label(atom)} is within reach of no atom of its residue")
            continue
        topology.addBond(heavy[nearest], atom)
    return doubts


def _label(atom: Any) -> str:
    return f"{atom.name} of {atom.residue.name} (atom {atom.index})"


def psf_bonds(psf: str, atoms: Sequence[EmbeddedAtom]) -> list[tuple[int, int]] | None:
    """Bonds among the domain's atoms from a PSF of the domain or of the whole system.

    Returns
    -------
    list of (int, int) or None
        None where the PSF's first atoms are not the domain's, by name.

    Raises
    ------
    ValueError
        The PSF is cut off.
    """
    sections = _psf_sections(psf)
    names = [line.split()[4] for line in sections.get("NATOM", [])[: len(atoms)]]
    if names != [a.name for a in atoms]:
        return None
    numbers = [int(n) - 1 for line in sections.get("NBOND", []) for n in line.split()]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [(i, j) for i, j in pairs if i < len(atoms) and j < len(atoms)]


def _psf_sections(psf: str) -> dict[str, list[str]]:
    """Lines of the PSF's atoms and bonds; each section tells how many entries follow."""
    lines = psf.splitlines()
    sections: dict[str, list[str]] = {}
    for k, line in enumerate(lines):
        for word, per_line in (("NATOM", 1), ("NBOND", 4)):
            if f"!{word}" in line:
                count = int(line.split()[0])
                body = lines[k + 1 : k + 1 + -(-count // per_line)]
                if len(body) * per_line < count:
                    raise ValueError(f"the PSF tells of {count} entries in {word} and has fewer")
                sections[word] = body
    return sections
