"""Exposed side chains (AlphaFlow): solvent-accessible surface and its mutual information."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atoms import AtomTable

__all__ = ["EXPOSED_NM2", "mutual_information", "side_chain_surface"]

EXPOSED_NM2 = 0.02
PROBE_NM = 0.28
_MAIN_CHAIN = {"N", "CA", "C", "O", "OXT"}


def side_chain_surface(positions_nm: NDArray[Any], atoms: AtomTable) -> NDArray[np.float64]:
    """Surface of each residue's side chain in nm^2, [F, R], of heavy atoms [F, A, 3].

    Shrake and Rupley's method by mdtraj, 960 points an atom, probe of 0.28 nm.
    """
    import mdtraj

    trajectory = mdtraj.Trajectory(np.asarray(positions_nm, np.float32), atoms.to_mdtraj())
    surface = mdtraj.shrake_rupley(trajectory, probe_radius=PROBE_NM)
    side = np.array([name not in _MAIN_CHAIN for name in atoms.names])
    result = np.zeros((len(surface), len(atoms.residue_names)))
    for residue in range(result.shape[1]):
        result[:, residue] = surface[:, side & (atoms.residue == residue)].sum(axis=1)
    return result


def mutual_information(exposed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mutual information in nats of every two residues' exposure, [R, R] of [F, R]; 0 diagonal."""
    e = np.asarray(exposed, np.float64)
    frames = len(e)
    share = e.mean(axis=0)
    both = e.T @ e / frames
    joint = np.stack(
        [both, share[:, None] - both, share[None] - both, 1 - share[:, None] - share[None] + both]
    )
    alone = np.stack(
        [
            share[:, None] * share[None],
            share[:, None] * (1 - share[None]),
            (1 - share[:, None]) * share[None],
            (1 - share[:, None]) * (1 - share[None]),
        ]
    )
    # Rounding leaves 1e-17 where nothing was counted.
    seen = joint > 0.5 / frames
    terms = np.zeros_like(joint)
    terms[seen] = joint[seen] * np.log(joint[seen] / alone[seen])
    result = terms.sum(axis=0)
    np.fill_diagonal(result, 0)
    return result
