"""Samplers and propagators from files and from Simulations."""

from __future__ import annotations

import json

import numpy as np
import openmm
import program_files as files
import pytest
from model_support import declaration, network
from openmm import app, unit

from atmos_openmm import AtmosPropagator
from atmos_openmm.model.model_file import save_model
from atmos_openmm.sampling import HybridSampler
from atmos_openmm.systems.forcefield import read_with_system
from atmos_openmm.systems.inputs import read_molecule
from atmos_openmm.systems.peptides import build_peptide
from atmos_openmm.systems.simulation_molecule import molecule_of_simulation
from atmos_openmm.systems.system_options import SystemOptions

EXACT = {
    "acceptance": "metropolis", "density": "uniform", "platform": "Reference", "seed": 3,
    "equilibrationSteps": 2, "stepSize": 0.002,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("amber")
    files.save(files.structure(), path / "a.prmtop", path / "a.rst7")
    save_model(path / "tiny.atmos", network(), declaration())
    return path


def _simulation(boxed=False, order=None):
    topology, positions = build_peptide("ACE-ALA-NME")
    if boxed:
        topology.setUnitCellDimensions([3.0] * 3 * unit.nanometer)
    system = app.ForceField("amber14-all.xml").createSystem(
        topology, nonbondedMethod=app.PME if boxed else app.NoCutoff
    )
    integrator = openmm.LangevinMiddleIntegrator(320.0, 2.0, 0.002)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(positions)
    return simulation


def test_a_sampler_of_amber_files(folder, tmp_path):
    sampler = HybridSampler.fromFiles(
        [folder / "a.prmtop", folder / "a.rst7"],
        None,
        tmp_path / "run",
        options=SystemOptions(implicit="obc2"),
        **EXACT,
    )
    with sampler:
        sampler.run(cycles=1)
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert kept["notes"]["system"]["implicit solvent"] == "obc2"
    assert kept["settings"]["forcefield"] == ["a.prmtop"]
    with pytest.raises(ValueError, match="no coordinates"):
        HybridSampler.fromFiles(folder / "a.prmtop", None, tmp_path / "none", **EXACT)


def test_a_sampler_that_goes_on_from_a_simulation(folder, tmp_path):
    simulation = _simulation()
    arguments = {k: v for k, v in EXACT.items() if k != "stepSize"}
    with HybridSampler.fromSimulation(simulation, None, tmp_path / "run", **arguments) as sampler:
        assert sampler.topology is simulation.topology
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert kept["temperature_K"] == 320.0 and kept["friction_per_ps"] == 2.0
    assert kept["step_ps"] == 0.002


def test_a_propagator_of_files_and_of_a_simulation(folder):
    model = str(folder / "tiny.atmos")
    one = AtmosPropagator.fromFiles([folder / "a.prmtop", folder / "a.rst7"], model, lag=30)
    two = AtmosPropagator.fromSimulation(_simulation(), model, lag=30)
    assert one.checkedLag() == two.checkedLag() == 30
    assert len(one.atomIndices) == len(two.atomIndices) == 22


def test_a_simulation_gives_its_system_box_and_positions():
    simulation = _simulation(boxed=True)
    simulation.context.setPeriodicBoxVectors(*(np.eye(3) * 3.5 * unit.nanometer))
    molecule = molecule_of_simulation(simulation)
    system = molecule.parameters.create_system(SystemOptions())
    assert system.getDefaultPeriodicBoxVectors()[0].x == 3.5
    assert simulation.system.getDefaultPeriodicBoxVectors()[0].x == 3.0
    empty = app.Simulation(
        simulation.topology,
        simulation.system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    with pytest.raises(ValueError, match="no positions"):
        molecule_of_simulation(empty)


def test_a_molecule_and_its_system_in_one_call(folder):
    paths = [folder / "a.prmtop", folder / "a.rst7"]
    molecule, made = read_with_system(paths, SystemOptions(constraints="None"))
    plain = app.AmberPrmtopFile(str(paths[0])).createSystem()
    assert files.energy(made.system, molecule.positions_nm) == pytest.approx(
        files.energy(plain, read_molecule(paths).positions_nm), rel=1e-6
    )
