"""From a structure file or a sequence to a Topology and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from openmm.app import Topology


@dataclass(frozen=True)
class Structure:
    """A molecule as it was read or built.

    Topology, positions [P, 3] in nm, a name, what was chosen while reading, and the chemistry of
    ligands (RDKit molecules by residue name).
    """

    topology: Topology
    positions_nm: NDArray[np.float64]
    name: str
    notes: tuple[str, ...] = ()
    molecules: dict[str, Any] = field(default_factory=dict)


def read_structure(path: Path, ligands: Sequence[Path] = ()) -> Structure:
    """Read the first model of a PDB or mmCIF file, see `systems.structure_files`.

    Parameters
    ----------
    path: Path
        the structure
    ligands: sequence of Path
        SDF files of its ligands, see `systems.read_molecule`

    Raises
    ------
    ValueError
        if there is no such file, it is not what its suffix says, a chain is broken, or a ligand
        fits no residue
    """
    if ligands:
        from ..systems.inputs import read_molecule

        read = read_molecule([path, *ligands])
        return Structure(
            read.topology, read.positions_nm, path.stem, read.notes, dict(read.molecules)
        )
    from ..systems.broken_bonds import bond_faults
    from ..systems.errors import MissingAtomsError, raise_all
    from ..systems.structure_files import read_structure_file

    file = read_structure_file(path)
    faults = bond_faults(file.topology, file.positions_nm)
    # Whatever else is wrong shows in the energy; missing residues may not.
    raise_all([fault for fault in faults if isinstance(fault, MissingAtomsError)])
    return Structure(file.topology, file.positions_nm, path.stem, file.notes)


def build_sequence(sequence: str) -> Structure:
    """Build a peptide, e.g. ACE-ALA-NME.

    Raises
    ------
    ValueError
        if the sequence names residues that cannot be built
    """
    from ..systems.peptides import build_peptide, parse_sequence

    topology, positions = build_peptide(sequence)
    return Structure(topology, positions, "-".join(parse_sequence(sequence)))
