"""The OpenMM Platform of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openmm

#: The CPU platform gets one thread for systems up to this size: waking more costs more.
SMALL_SYSTEM_PARTICLES = 500


def choose_platform(name: str | None) -> openmm.Platform:
    """A Platform by name, or the fastest, as OpenMM would choose it.

    Raises
    ------
    ValueError
        if there is none of this name; the message lists those that there are
    """
    import openmm

    platforms = [openmm.Platform.getPlatform(i) for i in range(openmm.Platform.getNumPlatforms())]
    if name is None:
        return max(platforms, key=lambda platform: platform.getSpeed())
    for platform in platforms:
        if platform.getName() == name:
            return platform
    known = ", ".join(platform.getName() for platform in platforms)
    raise ValueError(f"There is no OpenMM platform {name!r} here; choose one of {known}.")


def platform_properties(
    platform: openmm.Platform, particles: int, threads: int | None
) -> dict[str, str]:
    """Properties of a Context: the number of threads on the CPU platform, where it matters."""
    if platform.getName() != "CPU":
        return {}
    if threads is not None:
        return {"Threads": str(threads)}
    return {"Threads": "1"} if particles <= SMALL_SYSTEM_PARTICLES else {}
