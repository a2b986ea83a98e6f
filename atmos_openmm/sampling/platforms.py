"""The OpenMM Platform of a run."""

from __future__ import annotations

#: The CPU platform gets one thread for systems up to this size: waking more costs more.
SMALL_SYSTEM_PARTICLES = 500


def choose_platform(name: str | None) -> str:
    """The name of a Platform that is there: this one, or the fastest, as OpenMM would choose it.

    Raises
    ------
    ValueError
        if there is none of this name; the message lists those that there are
    """
    import openmm

    platforms = [openmm.Platform.getPlatform(i) for i in range(openmm.Platform.getNumPlatforms())]
    if name is None:
        return str(max(platforms, key=lambda platform: platform.getSpeed()).getName())
    known = [platform.getName() for platform in platforms]
    if name not in known:
        raise ValueError(
            f"There is no OpenMM platform {name!r} here; choose one of {', '.join(known)}."
        )
    return name


def platform_properties(platform: str, particles: int, threads: int | None) -> dict[str, str]:
    """Properties of a Context: the number of threads on the CPU platform, where it matters."""
    if platform != "CPU":
        return {}
    if threads is not None:
        return {"Threads": str(threads)}
    return {"Threads": "1"} if particles <= SMALL_SYSTEM_PARTICLES else {}
