"""What a file's rounding of coordinates does to bonds, angles and energies.

XTC files keep three decimals of a nanometre (unless told otherwise), PDB files four. Rounding moves
every coordinate by up to half of that, which is no strain: of a frame written with full precision
and of the same frame rounded, the same has to be said. With coordinates off by at most h:

- a bond or angle x with the gradient g is off by at most h times the sum of all components of g in
  size. A deviation counts as what is left when that much is taken off it;
- the energy rises on average by h^2/6 times the trace of its second derivatives, since an error
  that is uniform in [-h, h] has the variance h^2/3. The trace is that of harmonic bonds and angles;
  all else is far softer, and Coulomb's law has none;
- around that average it scatters with the standard deviation h/sqrt(3) times the length of the
  force on all particles.
"""

from __future__ import annotations

import numpy as np

from .terms import HarmonicTerms

__all__ = ["SCATTER_SDS", "angle_errors", "bond_errors", "coordinate_spacing", "expected_rise"]

#: Spacings (nm) that formats have.
_SPACINGS_NM = (1e-2, 1e-3, 1e-4)

#: So many standard deviations of the scatter are allowed for in the energy window.
SCATTER_SDS = 3.0


def coordinate_spacing(positions_nm: np.ndarray) -> float:
    """Tell the spacing (nm) that the coordinates of a frame were rounded to; 0 for none.

    Parameters
    ----------
    positions_nm : array [P,3]
        as they were read; what is not finite is passed over.
    """
    values = positions_nm[np.isfinite(positions_nm)]
    if len(values) < 12:
        return 0.0  # so few numbers may be round by chance
    # Readers hold coordinates in single precision, some of them in angstrom.
    noise = 4 * float(np.finfo(np.float32).eps) * np.abs(values) + 1e-9
    for spacing in _SPACINGS_NM:
        if noise.max() < spacing / 20:
            off = np.abs(values - spacing * np.round(values / spacing))
            if np.all(off <= noise):
                return spacing
    return 0.0


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(vectors / lengths), lengths


def bond_errors(terms: HarmonicTerms, positions_nm: np.ndarray, half_nm: float) -> np.ndarray:
    """Largest errors (nm) of bond lengths [M] when coordinates are off by at most `half_nm`."""
    unit, _ = _unit(positions_nm[terms.atoms[:, 1]] - positions_nm[terms.atoms[:, 0]])
    return np.asarray(2 * half_nm * np.abs(unit).sum(axis=-1))


def _angle_gradients(terms: HarmonicTerms, positions_nm: np.ndarray) -> np.ndarray:
    """Gradients of angles, [M, 3 atoms, 3]; 0 for a straight angle, which has none."""
    first, vertex, last = (positions_nm[terms.atoms[:, k]] for k in range(3))
    a, a_length = _unit(first - vertex)
    c, c_length = _unit(last - vertex)
    cosine = np.sum(a * c, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        sine = np.sqrt(np.maximum(1 - cosine**2, 0))
        of_first = np.nan_to_num((cosine * a - c) / (a_length * sine), posinf=0, neginf=0)
        of_last = np.nan_to_num((cosine * c - a) / (c_length * sine), posinf=0, neginf=0)
    return np.stack([of_first, -of_first - of_last, of_last], axis=1)


def angle_errors(terms: HarmonicTerms, positions_nm: np.ndarray, half_nm: float) -> np.ndarray:
    """Largest errors (radians) of angles [M] when coordinates are off by at most `half_nm`."""
    return np.asarray(half_nm * np.abs(_angle_gradients(terms, positions_nm)).sum(axis=(1, 2)))


def expected_rise(
    bonds: HarmonicTerms,
    angles: HarmonicTerms,
    positions_nm: np.ndarray,
    half_nm: float,
    kt_kj_per_mol: float,
) -> float:
    """By how much rounding raises the energy on average (kJ/mol).

    Parameters
    ----------
    bonds, angles : HarmonicTerms
        those that are not constrained.
    positions_nm : array [P,3]
    half_nm : float
        half of the spacing.
    kt_kj_per_mol : float
        of the thermal widths of the terms, which give their force constants.
    """
    trace = float(np.sum(2 * kt_kj_per_mol / bonds.sigma**2))
    squares = (_angle_gradients(angles, positions_nm) ** 2).sum(axis=(1, 2))
    trace += float(np.sum(kt_kj_per_mol / angles.sigma**2 * squares))
    return half_nm**2 / 6 * trace
