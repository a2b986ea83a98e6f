"""The user's molecular dynamics: files of any kind to runs of one molecule."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.check import require_sound
from ..data.frames import ArrayFrames
from ..data.mdtraj_formats import data_layout, import_trajectories
from ..data.sample import Provenance, Sample
from ..data.sources import open_samples
from ..systems.parameter_files import topology_program
from ..systems.system_file import check_system_fits
from ..systems.system_options import DEFAULT_FORCEFIELD, SystemOptions
from ..trajectories.errors import MissingInformationError
from ..trajectories.layout import TrajectoryFile

if TYPE_CHECKING:
    import openmm
    from openmm.app import Topology

    from ..systems.features import MoleculeFeatures
    from ..systems.inputs import Molecule

__all__ = ["GivenMolecule", "MolecularDynamics", "Run", "read_dynamics"]

#: Where trajectories of other programs are brought into this package's layout, in the folder.
CONVERTED = "trajectories.h5"


@dataclass(frozen=True)
class Run:
    """One trajectory.

    Attributes
    ----------
    name : str
    kind : str
        ``dynamics``, or ``exchange``: frames of one temperature of a replica exchange.
    positions_nm : float32 array [F, A, 3]
    temperature_kelvin : float
    spacing_ps : float or None
        Time between frames; None for ``exchange``.
    """

    name: str
    kind: Literal["dynamics", "exchange"]
    positions_nm: NDArray[np.float32]
    temperature_kelvin: float
    spacing_ps: float | None

    def __len__(self) -> int:
        return len(self.positions_nm)


@dataclass(frozen=True, eq=False)
class GivenMolecule:
    """A molecule in memory as the source of samples (`data.sample.MoleculeSource`).

    Attributes
    ----------
    molecule : Molecule
    """

    molecule: Molecule

    def load(self) -> Molecule:
        """The molecule."""
        return self.molecule


@dataclass(frozen=True)
class MolecularDynamics:
    """What a user's files hold.

    Attributes
    ----------
    name : str
        Of the molecule.
    topology : openmm.app.Topology
        A atoms, without solvent.
    molecules : dict of str to RDKit Mol
        Chemistry of ligands by residue name.
    runs : tuple of Run
    system : openmm.System or None
        Of the A atoms.
    notes : tuple of str
        Choices that were made while reading.
    """

    name: str
    topology: Topology
    molecules: dict[str, Any]
    runs: tuple[Run, ...]
    system: openmm.System | None
    notes: tuple[str, ...] = ()

    @property
    def reference_nm(self) -> NDArray[np.float64]:
        """The first frame, [A, 3]: handedness is taken from it."""
        return self.runs[0].positions_nm[0].astype(np.float64)

    @property
    def residues(self) -> tuple[str, ...]:
        """Residue names that there are, in order."""
        return tuple(sorted({residue.name for residue in self.topology.residues()}))

    def features(
        self, atoms: Literal["all", "heavy"] = "all", caps: Literal["token", "atoms"] = "token"
    ) -> MoleculeFeatures:
        """The features that a network is told.

        Raises
        ------
        FeatureError
            See `systems.features.features_from_topology`.
        """
        from ..systems.features import features_from_topology

        return features_from_topology(
            self.topology, atoms, positions=self.reference_nm, molecules=self.molecules, caps=caps
        )

    def samples(
        self,
        runs: Sequence[int],
        parts: Sequence[tuple[int, int]],
        label: str,
        *,
        without_time: bool = False,
    ) -> list[Sample]:
        """Parts of runs as samples, which hold no other frame.

        Parameters
        ----------
        runs : sequence of int
            Numbers of the runs.
        parts : sequence of (int, int)
            Frames [start, stop) of each.
        label : str
            What the molecule is called in the samples' names.
        without_time : bool
            Take dynamics for draws from one temperature, in no order (kind ``exchange``).
        """
        from ..systems.inputs import Molecule

        source = GivenMolecule(
            Molecule(self.topology, self.reference_nm, dict(self.molecules), self.name)
        )
        found = []
        for number, (start, stop) in zip(runs, parts, strict=True):
            run = self.runs[number]
            timed = run.kind == "dynamics" and not without_time
            found.append(
                Sample(
                    name=f"{label}/{number:04d}{'' if timed else ' draws'}",
                    kind="dynamics" if timed else "exchange",
                    frames=ArrayFrames(run.positions_nm[start:stop]),
                    source=source,
                    temperature_kelvin=run.temperature_kelvin,
                    spacing_ps=run.spacing_ps if timed else None,
                    provenance=Provenance("atmos-openmm", label, f"{number}:{start}-{stop}"),
                )
            )
        return found


def read_dynamics(
    files: Sequence[str | os.PathLike[str]],
    folder: Path,
    *,
    topology: str | os.PathLike[str] | None = None,
    temperature: float | None = None,
    spacing_ps: float | None = None,
    ligands: Sequence[str | os.PathLike[str]] = (),
    smiles: Mapping[str, str] | None = None,
    forcefield: Sequence[str] = (),
    system: openmm.System | None = None,
    options: SystemOptions | None = None,
) -> MolecularDynamics:
    """Read trajectories of one molecule.

    Parameters
    ----------
    files : sequence of paths
        Trajectory files of this package, mdCATH or MISATO files, or trajectories in any format
        that MDTraj reads (all of one system).
    folder : Path
        Where trajectories in MDTraj's formats are converted to.
    topology : path, optional
        PDB or mmCIF file of the atoms of MDTraj's formats, in their order, or AMBER's or GROMACS's
        topology of them, whose parameters then give energies.
    temperature : float, optional
        Kelvin: of trajectories in MDTraj's formats; of other files, those to take.
    spacing_ps : float, optional
        Time between frames of trajectories in MDTraj's formats, instead of what they say.
    ligands : sequence of paths
        SDF files with the chemistry of residues that are not standard; FILE:TITLE names one record
        of several.
    smiles : mapping from residue name to str, optional
        Chemistry of residues as SMILES.
    forcefield : sequence of str
        OpenMM force field files for energies, instead of the System in the files.
    system : openmm.System, optional
        For energies, instead of either.
    options : SystemOptions, optional
        How the System is made, where it is made here; its force field counts where `forcefield`
        is given.

    Returns
    -------
    MolecularDynamics

    Raises
    ------
    MissingInformationError
        The topology, the temperature or the time between frames has to be given.
    ValueError
        Files that cannot be read, hold no trajectory or different molecules.
    FileNotFoundError
    """
    notes: list[str] = []
    paths = [Path(f) for f in files]
    if not paths:
        raise ValueError("No files were given; name at least one trajectory of your molecule.")
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no trajectory {path}.")
    known = [path for path in paths if data_layout(path)]
    foreign = [path for path in paths if path not in known]
    if foreign:
        if temperature is None:
            raise MissingInformationError(
                "temperature",
                f"{foreign[0]} does not say at which temperature it was made; give it in kelvin.",
            )
        folder.mkdir(parents=True, exist_ok=True)
        notes += import_trajectories(
            folder / CONVERTED,
            foreign,
            topology,
            temperature_kelvin=temperature,
            spacing_ps=spacing_ps,
        )
        known.append(folder / CONVERTED)
    samples = [s for s in open_samples(known) if s.kind != "static"]
    if not samples:
        raise ValueError(
            f"{paths[0]} holds structures without time; adapting needs molecular dynamics."
        )
    if temperature is not None:
        there = sorted({s.temperature_kelvin or 0.0 for s in samples})
        samples = [s for s in samples if abs((s.temperature_kelvin or 0.0) - temperature) < 0.5]
        if not samples:
            raise ValueError(
                f"The files hold trajectories at {', '.join(f'{t:g}' for t in there)} K and none "
                f"at {temperature:g} K; leave the temperature out, or give one of these."
            )
    notes += require_sound(samples)
    molecule = _one_molecule(samples)
    runs = tuple(_run(s) for s in samples)
    name = runs[0].name.split("/")[0] if not foreign or len(known) > 1 else Path(foreign[0]).stem
    chemistry: dict[str, Any] = dict(molecule.molecules)
    known_topology = molecule.topology
    if ligands or smiles:
        known_topology, chemistry, told = _with_ligands(molecule.topology, runs[0], ligands, smiles)
        notes += told
    found = MolecularDynamics(name, known_topology, chemistry, runs, system, tuple(notes))
    if system is not None:
        check_system_fits(system, known_topology, "The System given")
        return found
    options = replace(options or SystemOptions(), forcefield=tuple(forcefield), rigid_water=True)
    return _with_system(found, samples, options, topology)


def _one_molecule(samples: Sequence[Sample]) -> Any:
    """The molecule that all samples are of."""
    first = samples[0].molecule()
    described = _atoms(first.topology)
    for sample in samples[1:]:
        if sample.source == samples[0].source:
            continue
        if _atoms(sample.molecule().topology) != described:
            raise ValueError(
                f"{sample.name} is another molecule than {samples[0].name} (or has its atoms in "
                "another order); a model is adapted to one molecule. Run the command for each, or "
                "use `atmos-openmm train` for several."
            )
    return first


def _atoms(topology: Topology) -> tuple[Any, ...]:
    bonds = frozenset(frozenset((a.index, b.index)) for a, b in topology.bonds())
    atoms = tuple((a.name, a.residue.name, a.residue.index) for a in topology.atoms())
    return atoms, bonds


def _run(sample: Sample) -> Run:
    positions = sample.positions_nm()
    assert sample.kind != "static" and sample.temperature_kelvin is not None
    return Run(
        sample.name, sample.kind, positions, float(sample.temperature_kelvin), sample.spacing_ps
    )


def _with_ligands(
    topology: Topology,
    run: Run,
    ligands: Sequence[str | os.PathLike[str]],
    smiles: Mapping[str, str] | None,
) -> tuple[Topology, dict[str, Any], list[str]]:
    """Topology with the bonds of ligands, and their chemistry from SDF files."""
    from openmm import unit
    from openmm.app import PDBFile

    from ..systems.inputs import read_molecule

    with tempfile.TemporaryDirectory() as place:
        structure = Path(place) / "frame.pdb"
        with open(structure, "w") as file:
            positions = run.positions_nm[0].astype(np.float64) * unit.nanometer
            PDBFile.writeFile(topology, positions, file, keepIds=True)
        read = read_molecule([structure, *(Path(p) for p in ligands)], molecules=smiles)
    if read.topology.getNumAtoms() != topology.getNumAtoms():
        raise ValueError(
            f"{', '.join(str(p) for p in ligands)} holds a molecule that is not in the trajectory "
            f"({read.topology.getNumAtoms()} atoms with it, {topology.getNumAtoms()} in the "
            "frames)."
        )
    return read.topology, read.molecules, list(read.notes)


def _with_system(
    found: MolecularDynamics,
    samples: Sequence[Sample],
    options: SystemOptions,
    topology: str | os.PathLike[str] | None,
) -> MolecularDynamics:
    """The same with its System: by force field, the topology's parameters, or that of the files."""
    from ..systems.forcefield import make_system
    from ..systems.inputs import Molecule, read_input

    parameters = None
    if not options.forcefield and topology is not None and topology_program(Path(topology)):
        whole = read_input(Path(topology))
        if whole.topology.getNumAtoms() == found.topology.getNumAtoms():
            parameters = whole.parameters
            options = replace(options, forcefield=DEFAULT_FORCEFIELD)
    if not options.forcefield:
        return replace(found, system=_system_of_files(found, samples))
    molecule = Molecule(
        found.topology, found.reference_nm, found.molecules, found.name, parameters=parameters
    )
    made = make_system(molecule, options.for_frames(parameters))
    told = f"Energies: {'; '.join(made.lines())}."
    return replace(found, system=made.system, notes=(*found.notes, told))


def _system_of_files(found: MolecularDynamics, samples: Sequence[Sample]) -> openmm.System | None:
    """The System that trajectory files of this package hold for these atoms."""
    for path in dict.fromkeys(s.provenance.path for s in samples):
        if samples[0].provenance.dataset != "atmos-openmm":
            return None
        with TrajectoryFile(path) as file:
            if file.system_xml:
                system = file.system
                if system.getNumParticles() == found.topology.getNumAtoms():
                    return system
    return None
