"""An AtmosPropagator from files or from a Simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.bundled import DEFAULT_MODEL

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..model.model_file import LoadedModel
    from ..systems.inputs import Molecule

__all__ = ["PropagatorInputs"]


class PropagatorInputs:
    """The ways to an AtmosPropagator beside its constructor."""

    @classmethod
    def fromFiles(
        cls,
        files: str | Path | Sequence[str | Path],
        model: str | Path | LoadedModel = DEFAULT_MODEL,
        *,
        records: Sequence[str | int] | None = None,
        molecules: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Self:
        """
        Create an AtmosPropagator for the molecule that files hold: PDB, mmCIF and SDF files, or
        topology and coordinates of AMBER, GROMACS or CHARMM.

        To have the Topology, the positions and the System as well, read the files with
        `atmos_openmm.systems.forcefield.read_with_system`, and make the propagator of its Topology.

        Parameters
        ----------
        files : path or sequence of paths
            As `atmos_openmm.systems.read_molecule` takes them
        model : str, Path or LoadedModel
            See the class
        records : sequence of str or int, optional
            Which molecules to take of SDF files with several
        molecules : mapping, optional
            RDKit molecules or SMILES by residue name, for residues that are not standard
        **arguments
            `solute`, `lag`, `temperature`, `seed`, `device` and `screen`

        Raises
        ------
        ValueError
            If a file cannot be read, or the model does not fit the molecule
        """
        from ..systems.inputs import read_input

        molecule = read_input(files, records=records, molecules=molecules)
        return cls._of(model, molecule, arguments)

    @classmethod
    def fromSimulation(
        cls,
        simulation: Any,
        model: str | Path | LoadedModel = DEFAULT_MODEL,
        *,
        molecules: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Self:
        """
        Create an AtmosPropagator for the molecule of an openmm.app.Simulation that has positions.

        >>> propagator = AtmosPropagator.fromSimulation(simulation)
        >>> integrator = propagator.createIntegrator(300*kelvin, 1/picosecond, 4*femtoseconds,
        ...                                          system=simulation.system)

        Parameters
        ----------
        simulation : openmm.app.Simulation
            Its Topology and positions are taken
        model, molecules, **arguments
            See fromFiles; without `molecules`, residues whose bonds have no orders are told from
            their elements, bonds and hydrogens

        Raises
        ------
        ValueError
            If there are no positions, or the model does not fit
        """
        from ..systems.simulation_molecule import molecule_of_simulation

        return cls._of(model, molecule_of_simulation(simulation, molecules), arguments)

    @classmethod
    def _of(
        cls, model: str | Path | LoadedModel, molecule: Molecule, arguments: dict[str, Any]
    ) -> Self:
        return cls(  # type: ignore[call-arg]
            model,
            molecule.topology,
            positions=molecule.positions_nm if len(molecule.positions_nm) else None,
            molecules=molecule.molecules or None,
            **arguments,
        )
