"""Bond orders and formal charges of a molecule whose atoms and connections are known.

With all hydrogens there, the unsaturation of each atom is its valence less its number of bonds,
and the multiple bonds must use it up. This is a small integer programme: of all ways to do so, the
one with the fewest formal charges, in the usual places, is the molecule that chemists draw. It
tells the total charge, too, and does not depend on the order of the atoms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["BondOrderError", "distribute", "usual_valences"]


class BondOrderError(ValueError):
    """No orders and charges fit, or there is an element that is not covered."""


@dataclass(frozen=True)
class _Element:
    """Valence when neutral, and costs of a positive and a negative charge (None: never)."""

    valence: int
    positive: float | None
    negative: float | None
    expansions: int = 0  # by two bonds each: S 2, 4, 6; P 3, 5


# A positive charge adds a bond where there are lone pairs, and takes one from boron's side: B- 4.
_ELEMENTS = {
    1: _Element(1, None, None),
    5: _Element(3, None, 1.0),
    6: _Element(4, None, 3.0),  # with one neighbour: isocyanides
    7: _Element(3, 1.0, 0.95),
    8: _Element(2, 2.0, 1.0),
    9: _Element(1, None, 1.0),
    14: _Element(4, None, None),
    15: _Element(3, 1.0, 2.0, 1),
    16: _Element(2, 1.2, 1.0, 2),
    17: _Element(1, None, 1.0),
    34: _Element(2, 1.2, 1.0, 2),
    35: _Element(1, None, 1.0),
    53: _Element(1, None, 1.0),
}
_CUMULATED = 0.3
"""More for N+ with two neighbours of which none is an end: a tetrazolide has N-, an azide N+."""
_EXPANSION = 0.9
"""For two bonds beyond the usual: less than the two charges of S+-O-, more than nothing."""
_MULTIPLE_BOND = -0.1
"""Nitro is written N+(=O)O-, not N(O-)O-."""


def usual_valences(element: int) -> range:
    """Numbers of bonds that the neutral atom makes, e.g. 2, 4 and 6 of sulphur.

    Raises
    ------
    KeyError
        An element that is not covered.
    """
    rule = _ELEMENTS[element]
    return range(rule.valence, rule.valence + 2 * rule.expansions + 1, 2)


def distribute(
    elements: Sequence[int], bonds: Sequence[tuple[int, int]], charge: int | None = None
) -> tuple[list[int], list[int]]:
    """Find the order of each bond and the formal charge of each atom.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers, hydrogens included.
    bonds : sequence of (int, int)
    charge : int, optional
        Total charge; found where it is not given.

    Returns
    -------
    (orders, charges) : (list of int, list of int)
        1, 2 or 3 for each bond; -1, 0 or 1 for each atom.

    Raises
    ------
    BondOrderError
        Nothing fits, or an element (a metal, say) is not covered.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import lil_matrix

    strange = sorted({e for e in elements if e not in _ELEMENTS})
    if strange:
        raise BondOrderError(f"the element {strange[0]} is not one of organic molecules")
    number, count = len(elements), len(bonds)
    degree = np.zeros(number, int)
    for i, j in bonds:
        degree[i] += 1
        degree[j] += 1
    by_end = {k for i, j in bonds for k in (i, j) if min(degree[i], degree[j]) == 1}
    # Unknowns: extra bonds, positive charges, negative charges, expansions.
    plus, minus, more = count, count + number, count + 2 * number
    cost = np.full(count + 3 * number, 0.0)
    upper = np.zeros(count + 3 * number)
    cost[:count] = _MULTIPLE_BOND
    rows = lil_matrix((2 * number + 1, count + 3 * number))
    wanted = np.zeros(2 * number + 1)
    for k, (i, j) in enumerate(bonds):
        upper[k] = 0 if 1 in (elements[i], elements[j]) else 2
        rows[i, k] = rows[j, k] = 1.0
    for i, symbol in enumerate(elements):
        rule = _ELEMENTS[symbol]
        # degree + extra = valence + positive - negative + 2 expansions (boron: + negative)
        wanted[i] = rule.valence - degree[i]
        rows[i, plus + i] = -1.0
        rows[i, minus + i] = -1.0 if symbol == 5 else 1.0
        rows[i, more + i] = -2.0
        rows[number, plus + i], rows[number, minus + i] = 1.0, -1.0
        # Sulphur of six bonds and phosphorus of five have no lone pair left to share.
        rows[number + 1 + i, plus + i] = rows[number + 1 + i, more + i] = 1.0
        upper[plus + i] = rule.positive is not None
        upper[minus + i] = rule.negative is not None and (symbol != 6 or degree[i] == 1)
        upper[more + i] = rule.expansions
        cost[plus + i] = rule.positive or 0.0
        if symbol == 7 and degree[i] == 2 and i not in by_end:
            cost[plus + i] += _CUMULATED
        cost[minus + i] = rule.negative or 0.0
        cost[more + i] = _EXPANSION
    low, high = wanted.copy(), wanted.copy()
    low[number], high[number] = (-np.inf, np.inf) if charge is None else (charge, charge)
    low[number + 1 :] = -np.inf
    high[number + 1 :] = [max(_ELEMENTS[e].expansions, 1) for e in elements]
    solved = milp(
        cost,
        integrality=np.ones(len(cost)),
        bounds=Bounds(np.zeros(len(cost)), upper),
        constraints=LinearConstraint(rows.tocsr(), low, high),
    )
    if solved.x is None:
        what = "" if charge is None else f" and the total charge {charge:+d}"
        raise BondOrderError(f"no bond orders fit its atoms, their connections{what}")
    values = np.rint(solved.x).astype(int)
    charges = values[plus:minus] - values[minus:more]
    return (1 + values[:count]).tolist(), charges.tolist()
