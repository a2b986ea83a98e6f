"""A HybridSampler from files or from a Simulation, with everything that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..propagator import AtmosPropagator

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..model.model_file import LoadedModel
    from ..systems.forcefield import MadeSystem
    from ..systems.inputs import Molecule
    from ..systems.system_options import SystemOptions

__all__ = ["FromInputs"]


class FromInputs:
    """The ways to a HybridSampler beside its constructor."""

    @classmethod
    def fromFiles(
        cls,
        files: str | Path | Sequence[str | Path],
        model: str | Path | LoadedModel | None,
        folder: str | Path,
        *,
        options: SystemOptions | None = None,
        records: Sequence[str | int] | None = None,
        molecules: Mapping[str, Any] | None = None,
        solute: Iterable[int] | None = None,
        **arguments: Any,
    ) -> Self:
        """
        Create a sampler of the molecule that files hold: a PDB or mmCIF file, with SDF files of its
        ligands; topology and coordinates of AMBER, GROMACS or CHARMM; or a structure and the XML
        file of its System.  What was chosen is in run.json.

        >>> sampler = HybridSampler.fromFiles(['complex.prmtop', 'complex.rst7'], None, 'run3',
        ...                                   options=SystemOptions(implicit='obc2'),
        ...                                   acceptance='metropolis', density='uniform')

        Parameters
        ----------
        files : path or sequence of paths
            As `atmos_openmm.systems.read_molecule` takes them
        model : str, Path, LoadedModel or None
            What proposes the jumps, as AtmosPropagator takes it; None with acceptance 'metropolis'
            and a density that is no model's
        folder : str or Path
            Where everything is written
        options : SystemOptions, optional
            How the System is made; the defaults without them
        records : sequence of str or int, optional
            Which molecules to take of SDF files with several
        molecules : mapping, optional
            RDKit molecules or SMILES by residue name, for residues that are not standard
        solute : iterable of int, optional
            Particles that are moved
        **arguments
            Those of HybridSampler

        Raises
        ------
        ValueError
            If a file cannot be read, the System cannot be made, or the model does not fit
        """
        from ..systems.forcefield import read_with_system

        molecule, made = read_with_system(files, options, records=records, molecules=molecules)
        if not len(molecule.positions_nm):
            raise ValueError(
                f"The files of {molecule.name} hold no coordinates; give a file with them as well."
            )
        return cls._of(molecule, made, model, folder, solute, arguments)

    @classmethod
    def fromSimulation(
        cls,
        simulation: Any,
        model: str | Path | LoadedModel | None,
        folder: str | Path,
        *,
        molecules: Mapping[str, Any] | None = None,
        solute: Iterable[int] | None = None,
        **arguments: Any,
    ) -> Self:
        """
        Create a sampler that goes on from an openmm.app.Simulation, with its Topology, System,
        positions and box, and with temperature, friction and step size of its integrator where it
        has them and nothing else is said.  The Simulation is not changed.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            With positions
        model, folder, solute
            See fromFiles
        molecules : mapping, optional
            RDKit molecules by residue name, for residues that are not standard
        **arguments
            Those of HybridSampler

        Raises
        ------
        ValueError
            If there are no positions, System and Topology differ, or the model does not fit
        """
        from ..systems.forcefield import make_system
        from ..systems.simulation_molecule import molecule_of_simulation

        for name, getter in (
            ("temperature", "getTemperature"),
            ("frictionCoeff", "getFriction"),
            ("stepSize", "getStepSize"),
        ):
            if hasattr(simulation.integrator, getter):
                arguments.setdefault(name, getattr(simulation.integrator, getter)())
        molecule = molecule_of_simulation(simulation, molecules)
        return cls._of(molecule, make_system(molecule), model, folder, solute, arguments)

    @classmethod
    def _of(
        cls,
        molecule: Molecule,
        made: MadeSystem,
        model: str | Path | LoadedModel | None,
        folder: str | Path,
        solute: Iterable[int] | None,
        arguments: dict[str, Any],
    ) -> Self:
        """Bind the model, and hand over all that the constructor takes."""
        chosen = None if solute is None else list(solute)
        propagator = None
        if model is not None:
            propagator = AtmosPropagator(
                model,
                molecule.topology,
                solute=chosen,
                positions=molecule.positions_nm,
                molecules=molecule.molecules or None,
            )
        settings = {
            "molecule": molecule.name,
            "forcefield": made.sources,
            **arguments.pop("settings", {}),
        }
        notes = {"system": made.choices, **arguments.pop("notes", {})}
        return cls(  # type: ignore[call-arg]
            molecule.topology,
            made.system,
            molecule.positions_nm,
            propagator,
            folder,
            solute=chosen,
            molecules=molecule.molecules or None,
            settings=settings,
            notes=notes,
            **arguments,
        )
