"""Backbone torsions of peptides: measuring and turning them, and the hand of alpha carbons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.geometry import torsion_angles

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = [
    "BASINS",
    "alpha_handedness",
    "backbone_quads",
    "backbone_torsions",
    "bonded_neighbours",
    "handedness",
    "set_backbone",
]

#: Backbone basins by name: (phi, psi) in radians, the usual centres of the Ramachandran map.
BASINS: dict[str, tuple[float, float]] = {
    "beta": (np.deg2rad(-135.0), np.deg2rad(150.0)),
    "alphaR": (np.deg2rad(-65.0), np.deg2rad(-42.0)),
    "alphaL": (np.deg2rad(57.0), np.deg2rad(42.0)),
    "ppII": (np.deg2rad(-70.0), np.deg2rad(145.0)),
}


def bonded_neighbours(topology: Topology) -> dict[int, list[int]]:
    """Atom numbers bonded to each atom."""
    table: dict[int, list[int]] = {a.index: [] for a in topology.atoms()}
    for bond in topology.bonds():
        table[bond[0].index].append(bond[1].index)
        table[bond[1].index].append(bond[0].index)
    return table


def handedness(x: NDArray[Any], centre: int, a: int, b: int, c: int) -> float:
    """Triple product of three neighbours about a centre."""
    return float(np.dot(x[a] - x[centre], np.cross(x[b] - x[centre], x[c] - x[centre])))


def backbone_quads(topology: Topology) -> list[dict[str, tuple[int, int, int, int] | None]]:
    """Atom numbers of the backbone torsions of every residue with N, CA and C.

    Returns
    -------
    list of dict
        ``phi``, ``psi``, ``omega`` (of the peptide bond before the residue) and, before a cap,
        ``omega_after``; None where a terminal residue has no such torsion.
    """
    neighbours = bonded_neighbours(topology)
    residues = list(topology.residues())
    index = [{a.name: a.index for a in r.atoms()} for r in residues]
    quads: list[dict[str, tuple[int, int, int, int] | None]] = []
    owner = {a.index: a.residue.index for a in topology.atoms()}

    def beyond(atom: int, k: int, name: str) -> int | None:
        """The residue whose atom of this name is bonded to an atom of residue k."""
        around = (owner[other] for other in neighbours[atom])
        return next((j for j in around if j != k and index[j].get(name) in neighbours[atom]), None)

    for k, here in enumerate(index):
        if residues[k].name in ("ACE", "NME") or not {"N", "CA", "C"} <= set(here):
            continue
        n, ca, c = here["N"], here["CA"], here["C"]
        # Bonded neighbours: a gap or a chain's end has none, and a ring goes on at its beginning.
        last, following = beyond(n, k, "C"), beyond(c, k, "N")
        before = None if last is None else index[last]
        after = None if following is None else index[following]
        quad: dict[str, tuple[int, int, int, int] | None] = dict.fromkeys(("phi", "psi", "omega"))
        if before is not None:
            quad["phi"] = (before["C"], n, ca, c)
            quad["omega"] = (before["CA"] if "CA" in before else before["CH3"], before["C"], n, ca)
        if after is not None:
            quad["psi"] = (n, ca, c, after["N"])
            if following is not None and residues[following].name == "NME":
                quad["omega_after"] = (ca, c, after["N"], after["C"])
        quads.append(quad)
    return quads


def backbone_torsions(
    topology: Topology, positions_nm: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """phi and psi of every residue between caps or neighbours.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions_nm : array, shape (..., A, 3)

    Returns
    -------
    phi, psi : ndarray, shape (..., R)
        Radians in (-pi, pi]; nan where a terminal residue has no such angle.
    """
    x = np.asarray(positions_nm, dtype=float)
    columns: dict[str, list[NDArray[np.float64]]] = {"phi": [], "psi": []}
    for quad in backbone_quads(topology):
        for key, column in columns.items():
            indices = quad[key]
            missing = np.full(x.shape[:-2], np.nan)
            column.append(missing if indices is None else torsion_angles(x, [indices])[..., 0])
    return np.stack(columns["phi"], axis=-1), np.stack(columns["psi"], axis=-1)


def alpha_handedness(topology: Topology, positions_nm: ArrayLike) -> NDArray[np.float64]:
    """Handedness of every alpha carbon that has a CB.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions_nm : array, shape (A, 3)

    Returns
    -------
    ndarray, shape (C,)
        +1 for L, -1 for D: the sign of (N - CA) . ((C - CA) x (CB - CA)).
    """
    x = np.asarray(positions_nm, dtype=float)
    signs = []
    for residue in topology.residues():
        index = {a.name: a.index for a in residue.atoms()}
        if {"N", "CA", "C", "CB"} <= set(index):
            signs.append(handedness(x, index["CA"], index["N"], index["C"], index["CB"]))
    return np.sign(signs)


def set_backbone(
    topology: Topology,
    positions_nm: ArrayLike,
    phi: ArrayLike,
    psi: ArrayLike,
    omega: float | None = None,
) -> NDArray[np.float64]:
    """Turn the backbone of a peptide to given torsions; bond lengths and angles stay.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions_nm : array, shape (A, 3)
    phi, psi : float or array, shape (R,)
        Radians; one value for all residues or one a residue (caps not counted). nan leaves a
        torsion as it is. phi of proline lies in its ring and stays.
    omega : float, optional
        Radians; turns the peptide bonds too.

    Returns
    -------
    ndarray, shape (A, 3)
    """
    x = np.array(positions_nm, dtype=float)
    quads = backbone_quads(topology)
    neighbours = bonded_neighbours(topology)
    targets = {
        "phi": np.broadcast_to(np.asarray(phi, dtype=float), len(quads)),
        "psi": np.broadcast_to(np.asarray(psi, dtype=float), len(quads)),
    }
    for key in ("omega", "omega_after"):
        targets[key] = np.full(len(quads), np.nan if omega is None else omega)
    for number, quad in enumerate(quads):
        for key, indices in quad.items():
            target = targets[key][number]
            if indices is None or np.isnan(target):
                continue
            _, j, k, _ = indices
            moving = _side(neighbours, j, k)
            if j in moving:  # the bond is part of a ring
                continue
            axis = (x[k] - x[j]) / np.linalg.norm(x[k] - x[j])
            angle = target - torsion_angles(x, [indices])[..., 0]
            chosen = np.array(sorted(moving))
            v = x[chosen] - x[k]
            x[chosen] = (
                x[k]
                + v * np.cos(angle)
                + np.cross(axis, v) * np.sin(angle)
                + axis * (v @ axis)[:, None] * (1.0 - np.cos(angle))
            )
    return x


def _side(neighbours: dict[int, list[int]], j: int, k: int) -> set[int]:
    """Atoms on the k side of bond j-k; holds j itself when the bond is part of a ring."""
    seen = {k}
    stack = [n for n in neighbours[k] if n != j]
    while stack:
        atom = stack.pop()
        if atom in seen:
            continue
        seen.add(atom)
        stack.extend(neighbours[atom])
    return seen
