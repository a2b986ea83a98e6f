"""Periodic boxes: molecules made whole and brought together, contacts across the boundary."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

__all__ = [
    "MoleculeTree",
    "bring_together",
    "close_pairs",
    "make_whole",
    "reduced_box",
    "spanning_tree",
]

#: Parent and child of every bond of a spanning forest, parents before their children.
MoleculeTree = np.ndarray

#: Molecules whose nearest atoms are no further apart than this touch, and are left where they are.
CONTACT_NM = 0.35

#: Box vectors that may lead from a point of a reduced box to the nearest image of another one.
_IMAGES = np.array(list(product(range(-3, 4), range(-2, 3), range(-2, 3))), dtype=np.float64)


def reduced_box(box_nm: np.ndarray) -> np.ndarray:
    """Rotate and reduce box vectors to the form that OpenMM asks for.

    The first vector lies along x, the second in the xy plane, and the off-diagonal elements are
    at most half of the diagonal ones. Trajectory formats that store lengths and angles already
    give this orientation; the reduction chooses other vectors of the same lattice.

    Parameters
    ----------
    box_nm : array [3,3]
        one box vector a row (nm).

    Returns
    -------
    array [3,3], nm

    Raises
    ------
    ValueError
        when the vectors are not finite, do not span a volume, or are not oriented as above.
    """
    box = np.array(box_nm, dtype=np.float64)
    if box.shape != (3, 3) or not np.isfinite(box).all():
        raise ValueError(f"periodic box vectors should be 3 x 3 finite numbers (nm), not {box}")
    scale = np.abs(box).max()
    if np.any(np.abs(np.triu(box, 1)) > 1e-5 * scale) or np.any(np.diag(box) <= 0):
        raise ValueError(
            "the first box vector should lie along x and the second in the xy plane, with "
            f"positive diagonal elements; found {box.tolist()} (nm)"
        )
    box = np.tril(box)
    box[2] -= box[1] * np.round(box[2, 1] / box[1, 1])
    box[2] -= box[0] * np.round(box[2, 0] / box[0, 0])
    box[1] -= box[0] * np.round(box[1, 0] / box[0, 0])
    return box


def spanning_tree(num_atoms: int, bonds: Iterable[tuple[int, int]]) -> MoleculeTree:
    """Walk every molecule along its bonds.

    Parameters
    ----------
    num_atoms : int
    bonds : pairs of atom numbers

    Returns
    -------
    array [E,2], int64
        parent and child; walking down the rows, a parent has its final place before its children.
    """
    neighbours: list[list[int]] = [[] for _ in range(num_atoms)]
    for a, b in bonds:
        neighbours[a].append(b)
        neighbours[b].append(a)
    seen = [False] * num_atoms
    edges = []
    for root in range(num_atoms):
        if seen[root]:
            continue
        seen[root] = True
        queue = deque([root])
        while queue:
            parent = queue.popleft()
            for child in neighbours[parent]:
                if not seen[child]:
                    seen[child] = True
                    edges.append((parent, child))
                    queue.append(child)
    return np.array(edges, dtype=np.int64).reshape(-1, 2)


def _nearest(difference: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Whole numbers of box vectors to take off a difference, [...,3], for the nearest image."""
    c = np.round(difference[..., 2] / box[2, 2])
    difference = difference - c[..., None] * box[2]
    b = np.round(difference[..., 1] / box[1, 1])
    difference = difference - b[..., None] * box[1]
    a = np.round(difference[..., 0] / box[0, 0])
    return np.stack([a, b, c], axis=-1)


def make_whole(positions_nm: np.ndarray, tree: MoleculeTree, box_nm: np.ndarray) -> np.ndarray:
    """Put every atom next to the atom it is bonded to.

    Parameters
    ----------
    positions_nm : array [P,3]
        atoms may be wrapped into the box one by one.
    tree : array [E,2]
        from `spanning_tree`.
    box_nm : array [3,3]
        reduced (`reduced_box`).

    Returns
    -------
    array [P,3]
        each atom moved by whole box vectors; the first atom of each molecule stays.
    """
    if len(tree) == 0:
        return positions_nm.copy()
    steps = _nearest(positions_nm[tree[:, 1]] - positions_nm[tree[:, 0]], box_nm)
    shifts = np.zeros_like(positions_nm)
    if np.any(steps):
        for (parent, child), step in zip(tree, steps, strict=True):
            shifts[child] = shifts[parent] + step
    return positions_nm - shifts @ box_nm


def bring_together(
    positions_nm: np.ndarray, molecules: Sequence[np.ndarray], box_nm: np.ndarray
) -> np.ndarray:
    """Move molecules by box vectors so that those that touch across the boundary touch directly.

    The first molecule stays. Of the others, always the one that has an atom nearest to an atom
    of those in place, in any image, comes next, and takes the image in which it is that near; it
    stays where it is if it touches one of them there. Distances are those of atoms: centres of
    long molecules tell nothing about contacts.

    Parameters
    ----------
    positions_nm : array [P, 3]
        Finite, each molecule whole.
    molecules : sequence of int arrays
        Atoms of each molecule, all P of them.
    box_nm : array [3, 3]
        Reduced (`reduced_box`).

    Returns
    -------
    array [P, 3]
    """
    result = np.array(positions_nm, dtype=np.float64)
    cell = _wrapped(result, box_nm)
    count = len(molecules)
    distance = np.full(count, np.inf)
    target = np.zeros((count, 3))  # where the atom below has to be
    touching = np.zeros(count, dtype=np.int64)
    waiting = list(range(1, count))
    newest = 0
    while waiting:
        atoms = np.concatenate([molecules[k] for k in waiting])
        owner = np.repeat(waiting, [len(molecules[k]) for k in waiting])
        placed = molecules[newest]
        near, partner, step = _nearest_images(
            cell[atoms], cell[placed], box_nm, owner, distance.copy()
        )
        # The nearest atom of each molecule comes first.
        order = np.lexsort((near, owner))
        for k in order[np.unique(owner[order], return_index=True)[1]]:
            molecule = owner[k]
            if near[k] < distance[molecule]:
                distance[molecule] = near[k]
                touching[molecule] = atoms[k]
                contact = placed[partner[k]]
                target[molecule] = result[contact] + cell[atoms[k]] + step[k] - cell[contact]
        newest = waiting.pop(int(np.argmin(distance[waiting])))
        shift = target[newest] - result[touching[newest]]
        steps = np.round(shift @ np.linalg.inv(box_nm))
        if np.any(steps):
            settled = np.ones(count, dtype=bool)
            settled[[newest, *waiting]] = False
            placed = np.concatenate([molecules[k] for k in np.flatnonzero(settled).tolist()])
            if not _touch(result[placed], result[molecules[newest]]):
                result[molecules[newest]] += steps @ box_nm
    return result


def _touch(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether two sets of points have a pair within `CONTACT_NM`, as they are."""
    from scipy.spatial import cKDTree

    return bool(cKDTree(some).query(others, distance_upper_bound=CONTACT_NM)[0].min() < np.inf)


def _wrapped(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The images of points within the brick that the diagonal of a reduced box spans."""
    for row in (2, 1, 0):
        points = points - np.floor(points[:, row : row + 1] / box[row, row]) * box[row]
    return points


def _nearest_images(
    points: np.ndarray, others: np.ndarray, box: np.ndarray, owner: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest of other points to each point, in the image where it is nearest.

    Only what is nearer than `limit` [molecules] of a point's `owner` and than any other point of
    it is searched for in full.

    Returns
    -------
    distances [N], numbers of the other points [N], steps [N, 3] that lead to the images (nm)
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(others)
    distance, partner = tree.query(points)
    np.minimum.at(limit, owner, distance)
    step = np.zeros_like(points)
    steps = _IMAGES @ box
    widest = limit[owner].max()
    low, high = tree.mins - widest, tree.maxes + widest
    overlap = (points.max(axis=0) + steps >= low) & (points.min(axis=0) + steps <= high)
    for candidate in steps[overlap.all(axis=1)]:
        images = points + candidate
        reach = limit[owner][:, None]
        near = ((images >= tree.mins - reach) & (images <= tree.maxes + reach)).all(axis=1)
        inside = np.flatnonzero(near)
        if len(inside) == 0:
            continue
        found, which = tree.query(images[inside])
        better = found < distance[inside]
        chosen = inside[better]
        distance[chosen], partner[chosen], step[chosen] = found[better], which[better], candidate
    return distance, partner, step


def close_pairs(
    positions_nm: np.ndarray, cutoff_nm: float, box_nm: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find all pairs of points nearer than a cutoff.

    In a periodic box of any shape each point is wrapped into the box and those near a face are
    repeated beyond the opposite one, so that one search of plain distances finds the nearest
    images. The cutoff has to be smaller than half of the box's smallest height.

    Parameters
    ----------
    positions_nm : array [P,3]
    cutoff_nm : float
    box_nm : array [3,3] or None
        reduced box vectors, or None without periodicity.

    Returns
    -------
    pairs : array [K,2], int64
        i < j, each pair once, sorted.
    distances : array [K]
        nm.
    """
    from scipy.spatial import cKDTree

    count = len(positions_nm)
    index = np.arange(count)
    points = positions_nm
    if box_nm is not None:
        fractional = positions_nm @ np.linalg.inv(box_nm)
        fractional = fractional - np.floor(fractional)
        # The height over a face is the length of the reciprocal vector, inverted.
        heights = 1.0 / np.linalg.norm(np.linalg.inv(box_nm), axis=0)
        if cutoff_nm >= heights.min() / 2:
            raise ValueError(
                f"the box is {heights.min():.3f} nm high at its thinnest; contacts up to "
                f"{cutoff_nm:.3f} nm need more than twice that"
            )
        margin = cutoff_nm / heights
        for axis in range(3):
            low = np.flatnonzero(fractional[:, axis] < margin[axis])
            high = np.flatnonzero(fractional[:, axis] > 1 - margin[axis])
            step = np.eye(3)[axis]
            fractional = np.concatenate(
                [fractional, fractional[low] + step, fractional[high] - step]
            )
            index = np.concatenate([index, index[low], index[high]])
        points = fractional @ box_nm
    found = cKDTree(points).query_pairs(cutoff_nm, output_type="ndarray")
    # Two repeated points lie outside; the pair they stand for is found inside as well.
    found = found[(found[:, 0] < count) | (found[:, 1] < count)]
    distances = np.linalg.norm(points[found[:, 0]] - points[found[:, 1]], axis=1)
    pairs = np.sort(index[found], axis=1).astype(np.int64)
    apart = pairs[:, 0] != pairs[:, 1]
    pairs, first = np.unique(pairs[apart], axis=0, return_index=True)
    return pairs.reshape(-1, 2), distances[apart][first]
