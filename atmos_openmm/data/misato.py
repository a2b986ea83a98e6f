"""MISATO's MD files: protein-ligand complexes, 100 frames each.

Siebenmorgen et al., Nature Computational Science 4, 367 (2024). One HDF5 file with a group for each
PDB id; the layout is in ``docs/data.md``. ff14SB, GAFF2, TIP3P, 300 K, 8 ns after equilibration:
frames are nominally 80 ps apart, the file has no times. Coordinates are in angstrom there, all that
leaves this module is in nm.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import NM_PER_ANGSTROM
from ..core.read_errors import READ_ERRORS
from ..systems.ligand_perception import PerceptionError, molecule_from_smiles
from ..trajectories.scale import scale_fault
from .entries import Entry, guarded, hdf5_entries, opened
from .faults import DataFileError, Fault
from .frames import HDF5Frames
from .hands import mirrored_fault
from .misato_topology import LIGAND, MoleculeFault, build_complex
from .sample import Provenance, Sample

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = [
    "MisatoMolecule",
    "inspect",
    "is_misato",
    "ligand_atoms",
    "read_charges",
]

SPACING_PS = 80.0
TEMPERATURE_KELVIN = 300.0
FORCE_FIELD = "ff14SB, GAFF2, TIP3P"
STATIC_KEYS = (
    "atoms_coordinates_ref",
    "atoms_number",
    "atoms_residue",
    "molecules_begin_atom_index",
)
TRAJECTORY = "trajectory_coordinates"
FRAME_KEYS = (
    "frames_rmsd_ligand",
    "frames_distance",
    "frames_interaction_energy",
    "frames_bSASA",
)


def is_misato(file: Any) -> bool:
    """Whether an open HDF5 file has a group of MISATO's MD layout."""
    for key in file:
        try:
            if "molecules_begin_atom_index" in file[key]:
                return True
        except READ_ERRORS:
            continue  # damaged, or no group; another entry may tell
        if "atoms_number" not in file[key]:
            return False  # a layout of many groups, but another one
    return False


def inspect(
    path: str | os.PathLike[str],
    entries: Iterable[str] | None = None,
    *,
    charges: Mapping[str, int] | None = None,
    smiles: Mapping[str, str] | None = None,
    require_ligand: bool = True,
) -> list[Entry]:
    """Find the complexes of a file without reading frames.

    Parameters
    ----------
    path : path
        MISATO's MD.hdf5, or a file of the same layout without trajectories, whose entries are then
        single structures.
    entries : iterable of str, optional
        PDB ids, in any case; all by default. Ids that the file has not are faults.
    charges : mapping from PDB id to int, optional
        Total charges of ligands (`read_charges` has them from MISATO's QM file).
    smiles : mapping from PDB id to SMILES, optional
        Chemistry of ligands; it overrules what the coordinates show.
    require_ligand : bool
        Whether a complex without its ligand is left out, or read as the protein that is left.

    Returns
    -------
    list of Entry
        Named by PDB id, each with what is wrong with it. The chemistry is looked at when the
        molecule is loaded.
    """
    known = {k.upper(): v for k, v in (charges or {}).items()}
    drawn = {k.upper(): v for k, v in (smiles or {}).items()}

    def find(path: str, file: Any) -> Iterator[Entry]:
        there = {key.upper(): key for key in file}
        for name in list(there.values()) if entries is None else entries:
            key = there.get(name.upper())
            if key is None:
                yield Entry.failed(path, name, "missing", "the file has no such entry.")
                continue
            source = MisatoMolecule(path, key, known.get(key.upper()), drawn.get(key.upper()))
            yield guarded(path, key, partial(_entry, file, source, require_ligand))

    return hdf5_entries(path, find)


def _entry(file: Any, source: MisatoMolecule, require_ligand: bool) -> Entry:
    fault = partial(Fault, source.path, source.entry)
    group = file[source.entry]
    faults = list(_layout_faults(fault, group)) or list(
        _ligand_faults(fault, group, require_ligand)
    )
    if not any(f.fatal for f in faults):
        faults += _trajectory_faults(fault, group)
    if any(f.fatal for f in faults):
        return Entry(None, tuple(faults))
    return Entry(_sample(group, source), tuple(faults))


def _layout_faults(fault: partial[Fault], group: Any) -> Iterator[Fault]:
    """Arrays that are not there or do not go together; all of them fatal."""
    if not hasattr(group, "keys"):
        yield fault("layout", "it is no group; MISATO has a group for each PDB id.")
        return
    missing = [k for k in STATIC_KEYS if k not in group]
    if missing:
        yield fault("missing", f"it has no {', '.join(missing)}.")
        return
    shapes = {k: group[k].shape for k in STATIC_KEYS}
    number = shapes["atoms_number"][0]
    if shapes["atoms_residue"] != (number,) or shapes["atoms_coordinates_ref"] != (number, 3):
        listed = ", ".join(f"{k} {v}" for k, v in shapes.items())
        yield fault("shape", f"its arrays differ in their number of atoms ({listed}).")
        return
    begins = group["molecules_begin_atom_index"][...].astype(np.int64)
    if not len(begins) or np.any(np.diff(begins) < 0) or begins[0] < 0 or begins[-1] > number:
        message = (
            f"molecules_begin_atom_index is {begins.tolist()}; expected increasing numbers up to "
            f"{number}."
        )
        yield fault("inconsistent", message)
        return
    outside = int(np.count_nonzero(group["atoms_residue"][: begins[-1]] == 0))
    if outside:
        message = (
            f"{outside} atoms of MOL stand before atom {begins[-1]}, where the ligand starts by "
            "molecules_begin_atom_index."
        )
        yield fault("order", message)


def _ligand_faults(fault: partial[Fault], group: Any, require_ligand: bool) -> Iterator[Fault]:
    """Whether the last molecule is a ligand, by its residue codes."""
    begins = group["molecules_begin_atom_index"][...]
    codes = group["atoms_residue"][int(begins[-1]) :]
    named, number = int(np.count_nonzero(codes == 0)), len(codes)
    if number == 0:
        message = "molecules_begin_atom_index ends at the number of atoms: the ligand is gone."
        yield fault("ligand-gone", message, require_ligand)
    elif named == 0 and len(begins) == 1:
        message = "its only molecule is no MOL: the ligand is gone."
        yield fault("ligand-gone", message, require_ligand)
    elif named == 0:
        message = (
            f"none of the {number} atoms of the last molecule is called MOL: the ligand is a "
            "peptide, or it is gone and this is a chain of the protein."
        )
        yield fault("no-mol", message, fatal=False)
    elif named < number:
        message = (
            f"only {named} of the {number} atoms of the last molecule are called MOL; all of them "
            "are read as one ligand."
        )
        yield fault("no-mol", message, fatal=False)


def _trajectory_faults(fault: partial[Fault], group: Any) -> Iterator[Fault]:
    if TRAJECTORY not in group:
        return
    shape, number = group[TRAJECTORY].shape, len(group["atoms_number"])
    if len(shape) != 3 or shape[1:] != (number, 3) or shape[0] < 2:
        message = f"{TRAJECTORY} has the shape {shape}; expected (frames, {number}, 3)."
        yield fault("shape", message)
        return
    for name in FRAME_KEYS:
        if name in group and group[name].shape[0] != shape[0]:
            message = f"{name} has {group[name].shape[0]} frames, {TRAJECTORY} {shape[0]}."
            yield fault("inconsistent", message, fatal=False)


def _sample(group: Any, source: MisatoMolecule) -> Sample:
    moving = TRAJECTORY in group
    dataset = f"/{source.entry}/{TRAJECTORY if moving else 'atoms_coordinates_ref'}"
    frames, number = group[TRAJECTORY].shape[0] if moving else 1, len(group["atoms_number"])
    details = {"force_field": FORCE_FIELD, "times": "nominal, the file has none"}
    return Sample(
        name=source.entry.upper(),
        kind="dynamics" if moving else "static",
        frames=HDF5Frames(source.path, dataset, frames, number, NM_PER_ANGSTROM),
        source=source,
        temperature_kelvin=TEMPERATURE_KELVIN if moving else None,
        spacing_ps=SPACING_PS if moving else None,
        provenance=Provenance("misato", source.path, source.entry, details),
    )


@dataclass(frozen=True)
class MisatoMolecule:
    """Names, bonds and chemistry of a complex.

    Attributes
    ----------
    path, entry : str
    charge : int, optional
        Total charge of the ligand.
    smiles : str, optional
        Chemistry of the ligand.
    """

    path: str
    entry: str
    charge: int | None = None
    smiles: str | None = None

    def load(self) -> Molecule:
        """Read the molecule; reference positions are the first frame, or atoms_coordinates_ref.

        Raises
        ------
        DataFileError
            ``order``: atoms that are not in the order of their residues, or coordinates in another
            order than the elements. ``chemistry``: a ligand that makes no sense. ``layout``,
            ``mirrored``: coordinates in another unit, or mirrored.
        """
        from ..systems.inputs import Molecule

        with opened(self.path, self.entry) as group:
            elements = group["atoms_number"][...].astype(np.int64)
            codes = group["atoms_residue"][...].astype(np.int64)
            begins = group["molecules_begin_atom_index"][...].astype(int).tolist()
            first = group[TRAJECTORY][0] if TRAJECTORY in group else group[STATIC_KEYS[0]][...]
            positions = np.asarray(first, np.float64) * NM_PER_ANGSTROM
        scale = scale_fault(positions)
        if scale:
            raise DataFileError(Fault(self.path, self.entry, "layout", f"{scale}."))
        try:
            template = None
            if self.smiles is not None:
                template = molecule_from_smiles(self.smiles, "the ligand")
            made = build_complex(elements, codes, begins, positions, self.charge, template)
        except (MoleculeFault, PerceptionError) as error:
            kind = getattr(error, "kind", "chemistry")
            raise DataFileError(Fault(self.path, self.entry, kind, f"{error}.")) from error
        mirrored = mirrored_fault(self.path, self.entry, made.topology, positions)
        if mirrored is not None:
            raise DataFileError(mirrored)
        return Molecule(made.topology, positions, made.molecules, self.entry.upper(), made.notes)


def read_charges(
    path: str | os.PathLike[str], entries: Iterable[str] | None = None
) -> dict[str, int]:
    """Total charges of ligands by PDB id (upper case), from MISATO's QM.hdf5.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    import h5py

    with h5py.File(path, "r") as file:
        keys = {k.upper(): k for k in file}
        wanted = keys if entries is None else {e.upper() for e in entries} & keys.keys()
        return {
            name: round(float(file[keys[name]]["mol_properties/total_charge"][()]))
            for name in wanted
            if "mol_properties/total_charge" in file[keys[name]]
        }


def ligand_atoms(sample: Sample) -> NDArray[np.int64]:
    """Numbers of the ligand's atoms; empty where there is none."""
    atoms = sample.molecule().topology.atoms()
    return np.array([a.index for a in atoms if a.residue.name == LIGAND], np.int64)
