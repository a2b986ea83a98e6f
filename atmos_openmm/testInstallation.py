"""Shows what works on this machine: ``python -m atmos_openmm.testInstallation``.

It prints a table of versions, OpenMM's platforms, the compiled parts, the GPU and the bundled
models, each tried out as far as that takes seconds, and ends with a verdict. The exit status is 0
if everything that jumps need works.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ._versions import build_info, installed_version, package_version


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    part : str
        what was looked at
    finding : str
        what was found
    fault : str
        what is wrong and what to do; empty where nothing is
    """

    part: str
    finding: str
    fault: str = ""


def check_installation() -> list[Row]:
    """Try out the parts of the installation.

    Returns
    -------
    list of Row
        the table; an installation works when no row has a fault
    """
    rows = [*_versions(), *_platforms()]
    for part, check in (
        ("integrator", _integrator),
        ("operator library", _operators),
        ("GPU", _gpu),
    ):
        rows.append(_guarded(part, check))
    rows += _models()
    return rows


def _guarded(part: str, check: Callable[[], str]) -> Row:
    try:
        return Row(part, check())
    except Exception as error:
        return Row(part, "fails", f"{type(error).__name__}: {error}")


def _versions() -> list[Row]:
    built = build_info()
    python = ".".join(str(number) for number in sys.version_info[:3])
    return [
        Row("atmos-openmm", f"{package_version()} in {Path(__file__).parent}"),
        Row("Python", f"{python} (built for {built.python})"),
        Row("torch", f"{installed_version('torch')} (built against {built.torch})"),
        Row("OpenMM", f"{installed_version('openmm')} (built against {built.openmm})"),
    ]


def _platforms() -> list[Row]:
    """Each platform of OpenMM, with a force computed on it."""
    import openmm

    rows = []
    for index in range(openmm.Platform.getNumPlatforms()):
        platform = openmm.Platform.getPlatform(index)
        name = f"platform {platform.getName()}"
        try:
            _try_platform(platform)
        except Exception as error:
            # A platform without its hardware is no fault of the installation: others do.
            rows.append(Row(name, f"cannot be used here: {error}"))
        else:
            rows.append(Row(name, "works"))
    # Plugins of platforms whose driver is not there; each failure names the library it is about.
    names = set()
    for failure in openmm.Platform.getPluginLoadFailures():
        names.update(re.findall(r"loading library \S*?([^/\s]+):", failure))
    if names:
        rows.append(Row("other platforms", "have no driver here: " + ", ".join(sorted(names))))
    return rows


def _two_atoms() -> tuple[object, list[tuple[float, float, float]]]:
    import openmm

    system = openmm.System()
    bond = openmm.HarmonicBondForce()
    for _ in range(2):
        system.addParticle(12.0)
    bond.addBond(0, 1, 0.15, 1e5)
    system.addForce(bond)
    return system, [(0.0, 0.0, 0.0), (0.16, 0.0, 0.0)]


def _try_platform(platform: object) -> None:
    import openmm

    system, positions = _two_atoms()
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    force = context.getState(forces=True).getForces()[0].x
    # The bond is 0.01 nm too long at 1e5 kJ/mol/nm^2; a GPU computes in single precision.
    if abs(force - 1000.0) > 0.1:
        raise RuntimeError(f"a bond's force is {force:.3f} kJ/mol/nm, expected 1000")


def _integrator() -> str:
    """A jump by an AtmosIntegrator with a TorchScript module."""
    import openmm

    from .integrator import AtmosIntegrator
    from .jump.identity import Identity, module_bytes

    integrator = AtmosIntegrator(300.0, 1.0, 0.001)
    integrator.setModule(module_bytes(Identity(2)), [0, 1])
    integrator.setAcceptanceMode("none")
    integrator.setJumpInterval(1)
    system, positions = _two_atoms()
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(positions)
    integrator.step(3)
    if integrator.getNumAccepted() != 2:
        raise RuntimeError(
            f"{integrator.getNumAccepted()} of 2 jumps that change nothing were accepted; "
            f"rejected: {integrator.getRejections()}"
        )
    del context
    return "jumps"


def _operators() -> str:
    from . import ops

    info = ops.library_info()
    cuda = "without CUDA"
    if info["cuda_built"]:
        state = "loaded" if info["cuda_loaded"] else f"not loaded: {info['cuda_error']}"
        cuda = f"CUDA {info['cuda_toolkit']} kernels {state}"
    return f"works, {info['cpu_instruction_set']} on the CPU, {cuda}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use (models run on the CPU)"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join(names)


def _models() -> list[Row]:
    """Each bundled model file, opened with all the checks that loading makes."""
    from .propagator import bundled_models

    names = bundled_models()
    if not names:
        return [Row("bundled models", "none", "The package comes with one. Install it again.")]
    return [_guarded(f"model {name}", partial(_open_model, name)) for name in names]


def _open_model(name: str) -> str:
    from .model.model_file import load_model

    path = Path(__file__).parent / "models" / f"{name}.atmos"
    capabilities = load_model(path).capabilities
    low, high = capabilities.lag_range_ps
    return (
        f"loads; {len(capabilities.residues)} residue types, {capabilities.max_atoms} atoms at "
        f"most, lags of {low:g} to {high:g} ps"
    )


def format_table(rows: list[Row]) -> str:
    """The rows as aligned text, with the faults below."""
    width = max(len(row.part) for row in rows)
    return "\n".join(f"{row.part:<{width}}  {row.finding}" for row in rows)


def main() -> int:
    """Print the table and the verdict; return the exit status."""
    rows = check_installation()
    print(format_table(rows))
    print()
    faults = [row for row in rows if row.fault]
    for row in faults:
        print(f"{row.part}: {row.fault}")
    if faults:
        print(f"Verdict: {len(faults)} of {len(rows)} parts have a fault.")
        return 1
    print("Verdict: everything works.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
