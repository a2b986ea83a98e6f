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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .faults import HDF5_ERRORS, DataFileError, Fault, first_line
from .fluctuations import gyration_radius, rmsf
from .frames import HDF5Frames
from .mdcath_topology import EmbeddedAtom, embedded_atoms, psf_bonds, unfold
from .sample import Entry, Provenance, Sample, guarded

if TYPE_CHECKING:
    from ..systems.inputs import Molecule

__all__ = ["LAYOUT", "MdcathMolecule", "check_statistics", "inspect", "is_mdcath"]

LAYOUT = "mdcath-only-protein-v1.0"
SPACING_PS = 1000.0
NM_PER_ANGSTROM = 0.1
FORCE_FIELD = "CHARMM22*, TIP3P, NVT"
ATOM_ARRAYS = ("chain", "element", "resname", "resid", "z")
MOST_DOUBTS = 5

STATISTICS_TOLERANCE_NM = 5e-4
"""Releases superpose in single precision and iterate differently; another molecule, another
selection or angstrom in place of nm are off by 1e-2 nm at least."""


def is_mdcath(file: Any) -> bool:
    """Whether an open HDF5 file calls itself mdCATH's."""
    return str(_decoded(file.attrs.get("layout", ""))).startswith("mdcath")


def inspect(path: str | os.PathLike[str]) -> list[Entry]:
    """Find the trajectories of a file without reading frames.

    Parameters
    ----------
    path: path
        An mdCATH file with any number of domains, temperatures and replicas.

    Returns
    -------
    list of Entry
        Samples by domain, temperature and replica, each with what is wrong with it. They are named
        ``<domain>/<temperature>/<replica>``.
    """
    import h5py

    path = str(Path(path))
    try:
        with h5py.File(path, "r") as file:
            return list(_entries(path, file))
    except FileNotFoundError:
        return [_failed(path, "", "unreadable", "there is no such file.")]
    except HDF5_ERRORS as error:
        return [
            _failed(
                path,
                "",
                "unreadable",
                f"HDF5 cannot read it ({first_line(error)}): it is truncated, damaged or "
                "another kind of file. Get it again.",
            )
        ]


def _failed(path: str, entry: str, kind: str, message: str) -> Entry:
    return Entry(None, (Fault(path, entry, kind, message),))


def _entries(path: str, file: Any) -> Iterator[Entry]:
    layout = _decoded(file.attrs.get("layout", ""))
    if layout != LAYOUT:
        yield _failed(
            path, "", "layout", f"its layout is {layout!r}; this package reads {LAYOUT!r}."
        )
        return
    domains = list(file)
    if not domains:
        yield _failed(path, "", "missing", "it holds no domain.")
    for domain in domains:
        read = partial(_domain_entry, path, domain, file)
        faults = list(guarded(path, domain, read).faults)
        if any(fault.fatal for fault in faults):
            yield Entry(None, tuple(faults))
            continue
        found, group = False, file[domain]
        for temperature in sorted(filter(_is_number, group), key=float):
            for replica in sorted(group[temperature], key=lambda r: (len(r), r)):
                found = True
                key = (domain, temperature, replica)
                yield guarded(
                    path, "/".join(key), partial(_trajectory, path, group, key, tuple(faults))
                )
                faults = []  # told once
        if not found:
            yield _failed(path, domain, "missing", "it holds no trajectory.")


def _domain_entry(path: str, domain: str, file: Any) -> Entry:
    return Entry(None, tuple(_domain_faults(path, domain, file[domain])))


def _domain_faults(path: str, domain: str, group: Any) -> list[Fault]:
    """What is wrong with the arrays that all trajectories of a domain share."""

    def fault(kind: str, message: str, fatal: bool = True) -> Fault:
        return Fault(path, domain, kind, message, fatal)

    missing = [n for n in (*ATOM_ARRAYS, "pdbProteinAtoms") if n not in group]
    if missing:
        return [fault("missing", f"it has no {', '.join(missing)}. Get the file again.")]
    faults = []
    counts = {n: len(group[n]) for n in ATOM_ARRAYS}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{n} {k}" for n, k in counts.items())
        return [fault("shape", f"its arrays differ in their number of atoms ({listed}).")]
    number = counts["z"]
    try:
        atoms = embedded_atoms(_text(group["pdbProteinAtoms"]))
    except ValueError as error:
        return [fault("inconsistent", f"pdbProteinAtoms: {first_line(error)}.")]
    if len(atoms) != number:
        return [
            fault(
                "inconsistent",
                f"pdbProteinAtoms has {len(atoms)} atoms, the arrays have {number}. Without "
                "atom names it cannot be used.",
            )
        ]
    names = [_decoded(n) for n in group["resname"][...]]
    odd = [a for a, n in zip(atoms, names, strict=True) if a.resname != n]
    if odd:
        faults.append(
            fault(
                "inconsistent",
                f"{len(odd)} atoms have another residue name in pdbProteinAtoms than "
                f"in resname, the first is {odd[0].name} of {odd[0].resname} "
                f"{odd[0].resid}.",
            )
        )
    wrong = _wrong_elements(atoms, group["z"][...])
    if wrong:
        faults.append(
            fault(
                "inconsistent",
                f"pdbProteinAtoms and z disagree about the element of {wrong[0].name} "
                f"of {wrong[0].resname} {wrong[0].resid} and {len(wrong) - 1} other "
                "atoms: the order of the atoms differs.",
            )
        )
    for name, count in (
        ("numProteinAtoms", number),
        ("numResidues", len({(a.segment, a.resid, a.resname) for a in atoms})),
    ):
        told = group.attrs.get(name)
        if told is not None and int(told) != count:
            faults.append(fault("inconsistent", f"{name} is {int(told)}, found {count}.", False))
    return faults


_ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "S": 16}


def _wrong_elements(atoms: list[EmbeddedAtom], z: NDArray[Any]) -> list[EmbeddedAtom]:
    """Atoms whose name does not start with their element, digits aside."""
    return [
        a
        for a, number in zip(atoms, z, strict=True)
        if _ELEMENTS.get(a.name.lstrip("0123456789")[:1]) != int(number)
    ]


def _trajectory(
    path: str, group: Any, key: tuple[str, str, str], faults: tuple[Fault, ...]
) -> Entry:
    domain, temperature, replica = key
    entry = "/".join(key)
    run = group[f"{temperature}/{replica}"]

    def fault(kind: str, message: str, fatal: bool = True) -> Fault:
        return Fault(path, entry, kind, message, fatal)

    if "coords" not in run:
        left = "it has no coords: the run failed when the set was made. Leave it out."
        return Entry(None, (*faults, fault("missing", left)))
    shape, number = run["coords"].shape, len(group["z"])
    if len(shape) != 3 or shape[1:] != (number, 3) or shape[0] == 0:
        return Entry(
            None,
            (
                *faults,
                fault("shape", f"coords has the shape {shape}; expected (frames, {number}, 3)."),
            ),
        )
    own = []
    told = run.attrs.get("numFrames")
    if told is not None and int(told) != shape[0]:
        own.append(
            fault("inconsistent", f"numFrames is {int(told)}, coords has {shape[0]} frames.", False)
        )
    unit = _decoded(run["coords"].attrs.get("unit", "Angstrom"))
    if unit.lower() not in ("angstrom", "a", "å"):
        own.append(fault("layout", f"coords are in {unit!r}; mdCATH's are in angstrom."))
    for name in ("forces", "rmsd", "gyrationRadius", "dssp"):
        if name in run and run[name].shape[0] != shape[0]:
            own.append(
                fault(
                    "inconsistent",
                    f"{name} has {run[name].shape[0]} frames, coords {shape[0]}.",
                    False,
                )
            )
    if shape[0] < 2:
        own.append(fault("shape", "it has a single frame; dynamics need at least 2."))
    if any(f.fatal for f in own):
        return Entry(None, (*faults, *own))
    sample = Sample(
        name=entry,
        kind="dynamics",
        frames=HDF5Frames(path, f"/{entry}/coords", shape[0], number, NM_PER_ANGSTROM),
        source=MdcathMolecule(path, domain),
        temperature_kelvin=float(temperature),
        spacing_ps=SPACING_PS,
        provenance=Provenance(
            "mdcath",
            path,
            entry,
            {"domain": domain, "replica": replica, "force_field": FORCE_FIELD, "layout": LAYOUT},
        ),
    )
    return Entry(sample, (*faults, *own))


@dataclass(frozen=True)
class MdcathMolecule:
    """The Topology of a domain, from the embedded PDB.

    The caps, which mdCATH counts to the terminal residues, are the residues ACE and NME of the
    Topology. Reference positions are the first frame of the coldest run, since the embedded PDB has
    guessed hydrogens and caps.

    Attributes
    ----------
    path, domain: str
    """

    path: str
    domain: str

    def load(self) -> Molecule:
        """Read Topology and reference positions.

        Raises
        ------
        DataFileError
            No such domain, or names and bonds that make no molecule.
        """
        from ..systems.inputs import Molecule

        unfolded, positions = self._unfold()
        if unfolded.doubts:
            told = unfolded.doubts[:MOST_DOUBTS]
            if len(unfolded.doubts) > len(told):
                told = (*told, f"and {len(unfolded.doubts) - len(told)} more")
            message = f"{'; '.join(told)}. The embedded PDB and the frames do not belong together."
            raise DataFileError(Fault(self.path, self.domain, "chemistry", message))
        return Molecule(unfolded.topology, positions, {}, self.domain)

    def _unfold(self) -> tuple[Any, NDArray[np.float64]]:
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                group = file[self.domain]
                atoms = embedded_atoms(_text(group["pdbProteinAtoms"]))
                positions = _first_frame(group, atoms)
                bonds = psf_bonds(_text(group["psf"]), atoms) if "psf" in group else None
            return unfold(atoms, positions, bonds), positions
        except HDF5_ERRORS as error:
            message = f"{first_line(error)}. Get the file again."
            raise DataFileError(Fault(self.path, self.domain, "unreadable", message)) from error


def _first_frame(group: Any, atoms: list[EmbeddedAtom]) -> NDArray[np.float64]:
    for temperature in sorted(filter(_is_number, group), key=float):
        for replica in group[temperature].values():
            if "coords" in replica and len(replica["coords"]):
                return np.asarray(replica["coords"][0], np.float64) * NM_PER_ANGSTROM
    return np.array([a.position_nm for a in atoms])


def check_statistics(sample: Sample) -> list[Fault]:
    """Compare stored radii of gyration and fluctuations with what the coordinates give.

    Radius of gyration: heavy atoms, equal weights. Fluctuations: alpha carbons after superposition
    of the alpha carbons, on their mean or on the first frame, about their mean.
    """
    import h5py

    at = sample.provenance
    heavy, alpha = selections(sample)
    stored: dict[str, NDArray[np.float64]] = {}
    with h5py.File(at.path, "r") as file:
        run = file[at.entry]
        for name in ("gyrationRadius", "rmsf"):
            if name in run:
                stored[name] = np.asarray(run[name][...], np.float64)
    found: dict[str, list[NDArray[np.float64]]] = {}
    positions = sample.frames.read()
    if "gyrationRadius" in stored:
        found["gyrationRadius"] = [gyration_radius(positions[:, heavy])]
    if "rmsf" in stored:
        found["rmsf"] = [rmsf(positions[:, alpha], mean) for mean in (True, False)]
    faults = []
    for name, candidates in found.items():
        told = stored[name].reshape(-1)
        if len(told) != len(candidates[0]):
            message = f"{name} has {len(told)} values; expected {len(candidates[0])}."
        else:
            off = min(float(np.abs(c - told).max()) for c in candidates)
            if off <= STATISTICS_TOLERANCE_NM:
                continue
            message = (
                f"the stored {name} is up to {off:.3g} nm off what the coordinates give "
                f"(at most {STATISTICS_TOLERANCE_NM:g} expected): coordinates or atoms are others."
            )
        faults.append(Fault(at.path, at.entry, "inconsistent", message, fatal=False))
    return faults


def selections(sample: Sample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the heavy atoms, and of the alpha carbons, one a residue of the file."""
    atoms = list(sample.molecule().topology.atoms())
    heavy = [a.index for a in atoms if a.element.atomic_number > 1]
    alpha = [a.index for a in atoms if a.name == "CA" and a.residue.name not in ("ACE", "NME")]
    return np.array(heavy, np.int64), np.array(alpha, np.int64)


def _is_number(key: str) -> bool:
    return key.replace(".", "", 1).isdigit()


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _text(dataset: Any) -> str:
    return _decoded(dataset[()])
