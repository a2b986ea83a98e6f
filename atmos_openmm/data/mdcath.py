"""mdCATH files: a domain at several temperatures, several replicas each.

Mirarchi, Giorgino, De Fabritiis, Scientific Data 11, 1299 (2024). One HDF5 file a domain,
``mdcath_dataset_<domain>.h5``; the layout is in ``docs/data.md``. CHARMM22*, TIP3P, NVT; a frame is
1 ns. Coordinates are in angstrom there, all that leaves this module is in nm.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.constants import NM_PER_ANGSTROM
from ..core.read_errors import first_line
from ..trajectories.scale import scale_fault
from .entries import Entry, guarded, hdf5_entries, opened
from .faults import DataFileError, Fault
from .frames import HDF5Frames
from .hands import mirrored_fault
from .mdcath_topology import EmbeddedAtom, embedded_atoms, psf_bonds, unfold
from .sample import Provenance, Sample

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = ["LAYOUT", "MdcathMolecule", "inspect", "is_mdcath"]

LAYOUT = "mdcath-only-protein-v1.0"
SPACING_PS = 1000.0
FORCE_FIELD = "CHARMM22*, TIP3P, NVT"
ATOM_ARRAYS = ("chain", "element", "resname", "resid", "z")
FRAME_ARRAYS = ("forces", "rmsd", "gyrationRadius", "dssp")
MOST_DOUBTS = 5


def is_mdcath(file: Any) -> bool:
    """Whether an open HDF5 file calls itself mdCATH's."""
    return _decoded(file.attrs.get("layout", "")).startswith("mdcath")


def inspect(path: str | os.PathLike[str]) -> list[Entry]:
    """Find the trajectories of a file without reading frames.

    Parameters
    ----------
    path : path
        An mdCATH file with any number of domains, temperatures and replicas.

    Returns
    -------
    list of Entry
        Samples by domain, temperature and replica, each with what is wrong with it. They are named
        ``<domain>/<temperature>/<replica>``.
    """
    return hdf5_entries(path, _entries)


def _entries(path: str, file: Any) -> Iterator[Entry]:
    layout = _decoded(file.attrs.get("layout", ""))
    if layout != LAYOUT:
        message = f"its layout is {layout!r}; this package reads {LAYOUT!r}."
        yield Entry.failed(path, "", "layout", message)
        return
    domains = list(file)
    if not domains:
        yield Entry.failed(path, "", "missing", "it holds no domain.")
    for domain in domains:
        told = guarded(path, domain, partial(_domain, path, domain, file)).faults
        if any(fault.fatal for fault in told):
            yield Entry(None, told)
            continue
        group = file[domain]
        runs = list(_runs(group))
        for temperature, replica in runs:
            key = (domain, temperature, replica)
            yield guarded(path, "/".join(key), partial(_trajectory, path, group, key, told))
            told = ()  # once
        if not runs:
            yield Entry.failed(path, domain, "missing", "it holds no trajectory.")


def _runs(group: Any) -> Iterator[tuple[str, str]]:
    """Temperature and replica of each run of a domain, the coldest first."""
    for temperature in sorted((k for k in group if k.replace(".", "", 1).isdigit()), key=float):
        for replica in sorted(group[temperature], key=lambda r: (len(r), r)):
            yield temperature, replica


def _domain(path: str, domain: str, file: Any) -> Entry:
    return Entry(None, tuple(_domain_faults(partial(Fault, path, domain), file[domain])))


def _domain_faults(fault: partial[Fault], group: Any) -> Iterator[Fault]:
    """What is wrong with the arrays that all trajectories of a domain share."""
    missing = [n for n in (*ATOM_ARRAYS, "pdbProteinAtoms") if n not in group]
    if missing:
        yield fault("missing", f"it has no {', '.join(missing)}. Get the file again.")
        return
    counts = {n: len(group[n]) for n in ATOM_ARRAYS}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{n} {k}" for n, k in counts.items())
        yield fault("shape", f"its arrays differ in their number of atoms ({listed}).")
        return
    number = counts["z"]
    try:
        atoms = embedded_atoms(_text(group["pdbProteinAtoms"]))
    except ValueError as error:
        yield fault("inconsistent", f"pdbProteinAtoms: {first_line(error)}.")
        return
    if len(atoms) != number:
        message = (
            f"pdbProteinAtoms has {len(atoms)} atoms, the arrays have {number}. Without atom names "
            "it cannot be used."
        )
        yield fault("inconsistent", message)
        return
    yield from _name_faults(fault, group, atoms)
    residues = len({(a.segment, a.resid, a.resname) for a in atoms})
    for name, count in (("numProteinAtoms", number), ("numResidues", residues)):
        told = group.attrs.get(name)
        if told is not None and int(told) != count:
            yield fault("inconsistent", f"{name} is {int(told)}, found {count}.", fatal=False)


_ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "S": 16}


def _name_faults(fault: partial[Fault], group: Any, atoms: list[EmbeddedAtom]) -> Iterator[Fault]:
    """Where the embedded PDB and the arrays tell of different residues and elements."""
    names = [_decoded(n) for n in group["resname"][...]]
    odd = [a for a, n in zip(atoms, names, strict=True) if a.resname != n]
    if odd:
        message = (
            f"{len(odd)} atoms have another residue name in pdbProteinAtoms than in resname, the "
            f"first is {odd[0].label}."
        )
        yield fault("inconsistent", message)
    # A name starts with its element, digits aside.
    numbers = group["z"][...].tolist()
    wrong = [a for a, z in zip(atoms, numbers, strict=True) if _ELEMENTS.get(a.element) != z]
    if wrong:
        message = (
            f"pdbProteinAtoms and z disagree about the element of {wrong[0].label} and "
            f"{len(wrong) - 1} other atoms: the order of the atoms differs."
        )
        yield fault("inconsistent", message)


def _trajectory(path: str, group: Any, key: tuple[str, str, str], told: tuple[Fault, ...]) -> Entry:
    domain, temperature, replica = key
    entry, run, number = "/".join(key), group[f"{temperature}/{replica}"], len(group["z"])
    faults = (*told, *_run_faults(partial(Fault, path, entry), run, number))
    if any(f.fatal for f in faults):
        return Entry(None, faults)
    details = {"domain": domain, "replica": replica, "force_field": FORCE_FIELD, "layout": LAYOUT}
    frames = len(run["coords"])
    sample = Sample(
        name=entry,
        kind="dynamics",
        frames=HDF5Frames(path, f"/{entry}/coords", frames, number, NM_PER_ANGSTROM),
        source=MdcathMolecule(path, domain),
        temperature_kelvin=float(temperature),
        spacing_ps=SPACING_PS,
        provenance=Provenance("mdcath", path, entry, details),
    )
    return Entry(sample, faults)


def _run_faults(fault: partial[Fault], run: Any, number: int) -> Iterator[Fault]:
    """What is wrong with the arrays of one run of a domain of `number` atoms."""
    if "coords" not in run and "ca_coords" in run:
        message = (
            "it has alpha carbons alone (ca_coords) and no coords of all atoms, which this package "
            "needs. Get the file of all atoms."
        )
        yield fault("missing", message)
        return
    if "coords" not in run:
        message = "it has no coords: the run failed when the set was made. Leave it out."
        yield fault("missing", message)
        return
    shape = run["coords"].shape
    if len(shape) != 3 or shape[1:] != (number, 3) or shape[0] == 0:
        yield fault("shape", f"coords has the shape {shape}; expected (frames, {number}, 3).")
        return
    told = run.attrs.get("numFrames")
    if told is not None and int(told) != shape[0]:
        message = f"numFrames is {int(told)}, coords has {shape[0]} frames."
        yield fault("inconsistent", message, fatal=False)
    unit = _decoded(run["coords"].attrs.get("unit", "Angstrom"))
    if unit.lower() not in ("angstrom", "a", "å"):
        yield fault("layout", f"coords are in {unit!r}; mdCATH's are in angstrom.")
    for name in FRAME_ARRAYS:
        if name in run and run[name].shape[0] != shape[0]:
            message = f"{name} has {run[name].shape[0]} frames, coords {shape[0]}."
            yield fault("inconsistent", message, fatal=False)
    if shape[0] < 2:
        yield fault("shape", "it has a single frame; dynamics need at least 2.")


@dataclass(frozen=True)
class MdcathMolecule:
    """The Topology of a domain, from the embedded PDB.

    The caps, which mdCATH counts to the terminal residues, are the residues ACE and NME of the
    Topology. Reference positions are the first frame of the coldest run, since the embedded PDB has
    guessed hydrogens and caps.

    Attributes
    ----------
    path, domain : str
    """

    path: str
    domain: str

    def load(self) -> Molecule:
        """Read Topology and reference positions.

        Raises
        ------
        DataFileError
            No such domain, names and bonds that make no molecule, or coordinates that are mirrored
            or in another unit.
        """
        from ..systems.inputs import Molecule

        with opened(self.path, self.domain) as group:
            atoms = embedded_atoms(_text(group["pdbProteinAtoms"]))
            positions = _first_frame(group, atoms)
            scale = scale_fault(positions)
            if scale:
                raise DataFileError(Fault(self.path, self.domain, "layout", f"{scale}."))
            bonds = psf_bonds(_text(group["psf"]), atoms) if "psf" in group else None
            topology, doubts = unfold(atoms, positions, bonds)
        if doubts:
            told = doubts[:MOST_DOUBTS]
            if len(doubts) > len(told):
                told = [*told, f"and {len(doubts) - len(told)} more"]
            message = f"{'; '.join(told)}. The embedded PDB and the frames do not belong together."
            raise DataFileError(Fault(self.path, self.domain, "chemistry", message))
        mirrored = mirrored_fault(self.path, self.domain, topology, positions)
        if mirrored is not None:
            raise DataFileError(mirrored)
        return Molecule(topology, positions, {}, self.domain)


def _first_frame(group: Any, atoms: list[EmbeddedAtom]) -> NDArray[np.float64]:
    for temperature, replica in _runs(group):
        run = group[temperature][replica]
        if "coords" in run and len(run["coords"]):
            return np.asarray(run["coords"][0], np.float64) * NM_PER_ANGSTROM
    return np.array([a.position_nm for a in atoms])


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _text(dataset: Any) -> str:
    return _decoded(dataset[()])
