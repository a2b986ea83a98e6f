"""Topologies of simulation programs' files by this package's names, chains and residues.

AMBER, CHARMM and GROMACS keep what force fields need. Their readers give one chain for everything
or one for each water, residues by the programs' names, and caps inside CHARMM's terminal residues.
Here all of it becomes what a PDB file of the same molecule would give; atoms keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .openmm_names import OpenMMNames
from .residues import ANIONIC_NAMES, SOLVENT, find_template

__all__ = ["C_CAP", "IONS", "N_CAP", "make_whole", "tidy_topology"]

N_CAP = {"CAY": "CH3", "HY1": "H1", "HY2": "H2", "HY3": "H3", "CY": "C", "OY": "O"}
"""Atoms of an acetyl that CHARMM counts to the first residue (patch ACE), with their names in ACE
"""
C_CAP = {"NT": "N", "HNT": "H", "CAT": "C", "HT1": "H1", "HT2": "H2", "HT3": "H3"}
"""Atoms of a methylamide that CHARMM counts to the last residue (patch CT3), with their names in
NME."""
AMIDE_CAP = {"NT": "N", "HT1": "HN1", "HT2": "HN2"}
"""The same of an amide (patch CT2), with their names in NH2."""
TERMINAL = {"OT1": "O", "OT2": "OXT", "OC1": "O", "OC2": "OXT"}

IONS = {
    "SOD": "NA", "NA+": "NA", "CLA": "CL", "CL-": "CL", "POT": "K", "K+": "K", "CAL": "CA",
    "CA2+": "CA", "C0": "CA", "LIT": "LI", "LI+": "LI", "RUB": "RB", "RB+": "RB", "CES": "CS",
    "CS+": "CS", "MG2": "MG", "MG2+": "MG", "ZN2": "ZN", "ZN2+": "ZN", "BAR": "BA", "CAD": "CD",
    "IOD": "I", "I-": "I", "F-": "F", "BR-": "BR",
}  # fmt: skip
"""Names of ions in AMBER, CHARMM and GROMACS, to the wwPDB's."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass
class _Part:
    """A residue to be: the reader's, or a cap that was inside it."""

    atoms: list[Any]
    name: str
    names: list[str]
    number: str
    code: str
    chain: str


def tidy_topology(topology: Any, box_nm: Any = None, labels: Any = None) -> Any:
    """Make the Topology that a PDB file of the same molecule would give.

    Parameters
    ----------
    topology : openmm.app.Topology
        A reader's, with bonds.
    box_nm : array [3, 3], optional
        Box vectors; the Topology's own where they are not given.
    labels : openmm.app.Topology, optional
        Of the same atoms, whose residue numbers and chain names are taken where its residues are
        those of `topology`.

    Returns
    -------
    openmm.app.Topology
        A chain for each polymer and ligand, and one for each run of water and ions; caps as
        residues of their own; no bonds between hydrogens or of virtual sites.
    """
    from openmm import app, unit

    made: Any = app.Topology()
    parts = list(_parts(topology, labels))
    owner = {atom.index: k for k, part in enumerate(parts) for atom in part.atoms}
    linked = {
        (min(pair), max(pair))
        for bond in topology.bonds()
        if len(pair := {owner[bond[0].index], owner[bond[1].index]}) == 2
    }
    atoms: list[Any] = []
    chain: Any = None
    for k, part in enumerate(parts):
        together = (k - 1, k) in linked or (
            k > 0 and _is_filling(part) and _is_filling(parts[k - 1])
        )
        if not together or (part.chain and part.chain != parts[k - 1].chain):
            letter = _LETTERS[made.getNumChains() % len(_LETTERS)]
            chain = made.addChain(part.chain or letter)
        residue = made.addResidue(part.name, chain, part.number, part.code)
        for name, atom in zip(part.names, part.atoms, strict=True):
            atoms.append(made.addAtom(name, atom.element, residue))
    for bond in topology.bonds():
        numbers = [_number(end.element) for end in (bond[0], bond[1])]
        if 0 not in numbers and numbers != [1, 1]:
            made.addBond(atoms[bond[0].index], atoms[bond[1].index], bond.type, bond.order)
    made.setPeriodicBoxVectors(
        topology.getPeriodicBoxVectors() if box_nm is None else box_nm * unit.nanometer
    )
    return made


def _parts(topology: Any, labels: Any) -> Iterator[_Part]:
    """The residues to be, in the order of their atoms."""
    known = OpenMMNames()
    residues = list(topology.residues())
    others: list[Any] = [] if labels is None else list(labels.residues())
    same = [len(r) for r in residues] == [len(r) for r in others]
    for k, residue in enumerate(residues):
        label = others[k] if same else residue
        chain = label.chain.id if same or not residue.chain.id.isdigit() else ""
        for name, atoms in _without_caps(residue):
            part = _renamed(name, atoms, known)
            step = {"ACE": -1, "NME": 1, "NH2": 1}.get(part.name, 0) if name != residue.name else 0
            number = str(label.id)
            part.number = str(int(number) + step) if step and _is_whole(number) else number
            part.code, part.chain = label.insertionCode, chain.strip()
            yield part


def _without_caps(residue: Any) -> list[tuple[str, list[Any]]]:
    """A residue, and before and after it the caps that CHARMM counts to it."""
    atoms = list(residue.atoms())
    names = {a.name for a in atoms}
    first, last = set(), set()
    if "CAY" in names:
        first = names & N_CAP.keys()
    if "CAT" in names and "NT" in names:
        last = names & C_CAP.keys()
    elif "NT" in names and "C" in names:
        last = names & AMIDE_CAP.keys()
    groups = [
        ("ACE", [a for a in atoms if a.name in first]),
        (residue.name, [a for a in atoms if a.name not in first | last]),
        ("NME" if "CAT" in names else "NH2", [a for a in atoms if a.name in last]),
    ]
    groups = [group for group in groups if group[1]]
    # Atoms of a cap that stand among the residue's cannot be a residue without changing places.
    in_order = [a.index for _, members in groups for a in members]
    return groups if in_order == sorted(in_order) else [(residue.name, atoms)]


def _renamed(name: str, atoms: list[Any], known: OpenMMNames) -> _Part:
    """A residue and its atoms by the wwPDB's names."""
    name = name.strip()
    template = find_template(name)
    if len(atoms) == 1 and name.upper() in IONS:
        symbol = IONS[name.upper()]
        return _Part(atoms, symbol, [symbol], "", "", "")
    if template is not None and name not in (*ANIONIC_NAMES, "ARN"):
        name = template.name
    elif template is None:
        name = "HOH" if name.upper() in SOLVENT else known.residue(name)
    cap = {"ACE": N_CAP, "NME": C_CAP, "NH2": AMIDE_CAP}.get(name, {})
    given = [cap.get(a.name, TERMINAL.get(a.name, a.name) if template else a.name) for a in atoms]
    if name == "HOH":
        given = ["O" if n in ("OH2", "OW") else n for n in given]
    names = [known.atom(name if template is None else template.name, n) for n in given]
    if len(set(names)) < len(names):
        names = [a.name for a in atoms]
    return _Part(atoms, name, names, "", "", "")


def _is_filling(part: _Part) -> bool:
    """Water or an ion, which make a chain together."""
    return part.name == "HOH" or len(part.atoms) == 1


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _number(element: Any) -> int:
    return 0 if element is None else int(element.atomic_number)


def make_whole(
    positions_nm: npt.NDArray[np.float64],
    bonds: Sequence[tuple[int, int]],
    box_nm: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], int]:
    """Put the atoms of each molecule beside each other where the box has split it.

    Parameters
    ----------
    positions_nm : array [atoms, 3]
    bonds : sequence of (int, int)
    box_nm : array [3, 3]
        Vectors in OpenMM's reduced form.

    Returns
    -------
    (array [atoms, 3], int)
        Positions, the same array where nothing is split; how many atoms were moved.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    pairs = np.array(bonds, np.int64).reshape(-1, 2)
    steps = positions_nm[pairs[:, 1]] - positions_nm[pairs[:, 0]]
    if not np.any(_lattice(steps, box_nm)):
        return positions_nm, 0
    count = len(positions_nm)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count)).tocsr()
    graph = graph + graph.T
    split = np.unique(pairs[np.any(_lattice(steps, box_nm), axis=1)])
    _, molecule = connected_components(graph, directed=False)
    whole = positions_nm.copy()
    for number in np.unique(molecule[split]):
        order, parent = breadth_first_order(graph, int(np.argmax(molecule == number)), False)
        for atom in order[1:]:
            step = positions_nm[atom] - whole[parent[atom]]
            whole[atom] = positions_nm[atom] - _lattice(step[None], box_nm)[0] @ box_nm
    return whole, int(np.any(whole != positions_nm, axis=1).sum())


def _lattice(
    steps: npt.NDArray[np.float64], box_nm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How many box vectors each step is longer than the one to the nearest image."""
    left, shifts = steps.copy(), np.zeros(steps.shape)
    for k in (2, 1, 0):
        shifts[:, k] = np.round(left[:, k] / box_nm[k, k])
        left -= shifts[:, k : k + 1] * box_nm[k]
    return shifts
