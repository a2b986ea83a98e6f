"""Time and memory of making many walkers: one module for all beside a module each.

Walkers whose integrators hold the same archive share one loaded module in a process. The baseline
makes as many whose archives differ by a label that nothing reads, so that each is loaded. Both are
made in the same run, in turns, in CPU time; memory is what remains while the walkers live.

    python benchmarks/walkers.py [--walkers 8] [--rounds 5]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import zipfile

import openmm
from measuring import resident_bytes, start_of_peak
from openmm import unit

from atmos_openmm import AtmosPropagator
from atmos_openmm.integrator import AtmosIntegrator
from atmos_openmm.systems.forcefield import create_system
from atmos_openmm.systems.peptides import build_peptide


def labelled(archive: bytes, label: str) -> bytes:
    """The same archive with one more entry."""
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a") as file:
        folder = file.namelist()[0].partition("/")[0]
        file.writestr(f"{folder}/extra/label", label)
    return buffer.getvalue()


class Walkers:
    """Makes Contexts of alanine dipeptide with the bundled model."""

    def __init__(self) -> None:
        self.topology, self.positions_nm = build_peptide("ACE-ALA-NME")
        self.system = create_system(self.topology)
        self.propagator = AtmosPropagator(topology=self.topology, positions=self.positions_nm)
        self.archive = self.propagator.moduleBytes()

    def make(self, archives: list[bytes]) -> tuple[float, float]:
        """Make a walker of each archive, and let them go: CPU seconds, and MB while they live."""
        start_of_peak()
        before, began = resident_bytes(), time.process_time()
        contexts = []
        for archive in archives:
            integrator: AtmosIntegrator = self.propagator.createIntegrator(
                300 * unit.kelvin,
                1 / unit.picosecond,
                4 * unit.femtoseconds,
                system=self.system,
            )
            integrator.setModule(archive, self.propagator.atomIndices)
            platform = openmm.Platform.getPlatformByName("Reference")
            context = openmm.Context(self.system, integrator, platform)
            context.setPositions(self.positions_nm)
            contexts.append(context)
        return time.process_time() - began, (resident_bytes() - before) / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walkers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    walkers = Walkers()
    shared = [walkers.archive] * options.walkers
    apart = [labelled(walkers.archive, str(k)) for k in range(options.walkers)]
    walkers.make(shared[:1])  # torch is loaded by the first
    found: dict[str, list[tuple[float, float]]] = {"shared": [], "apart": []}
    for _ in range(options.rounds):
        found["apart"].append(walkers.make(apart))
        found["shared"].append(walkers.make(shared))
    times = {name: statistics.median(t for t, _ in rows) for name, rows in found.items()}
    memory = {name: statistics.median(m for _, m in rows) for name, rows in found.items()}
    print(f"{options.walkers} walkers, archive of {len(walkers.archive) / 1e6:.1f} MB")
    for name in found:
        print(f"{name:<7} {times[name]:8.3f} s of CPU  {memory[name]:8.1f} MB")
    print(f"ratio   {times['shared'] / times['apart']:8.3f}")


if __name__ == "__main__":
    main()
