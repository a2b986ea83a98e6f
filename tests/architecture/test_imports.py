"""Imports run one way: no arrow upward between the rooms, and no circle between modules.

All imports are read, those of `TYPE_CHECKING` blocks and of functions too.
"""

from __future__ import annotations

import pytest
from source_tree import Module, Package

# The rooms, bottom to top. A room imports what lies on lines above its own here; rooms of one line
# may know each other in one direction.
LAYERS = (
    ("core",),
    ("ops", "density"),
    ("model",),
    ("systems",),
    ("trajectories", "jump"),
    ("propagator", "integrator", "surrogate", "_native", "data", "simulate", "validation"),
    ("training", "sampling", "evaluation"),
    ("adapting",),
    ("report",),
    ("commands",),
    ("cli",),
)

# Rooms that may import less than all that is below them.
ONLY = {
    "core": (),
    "density": ("core",),
    "systems": ("core",),
}

# Other packages that a room does without.
WITHOUT = {"density": ("openmm",), "model": ("openmm",)}

# Modules beside the rooms. They import what they need, and anyone may import them.
EXCEPTIONS = {
    "": "looks up the public names, which live in several rooms",
    "__main__": "starts the command line",
    "_backend": "what the compiled integrator imports by name before its first module",
    "_registration": "loads the compiled wrapper, which makes the integrator known to OpenMM",
    "_versions": "compares versions before anything is loaded; imports nothing of the package",
    "atmos": "the compiled wrapper, which the build writes",
    "_build_info": "versions of the build, which the build writes",
    "testInstallation": "tries out every part of the package",
}

LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def unknown_rooms(package: Package) -> list[str]:
    return [m.path for m in package if m.room not in LEVEL and m.room not in EXCEPTIONS]


def upward(package: Package) -> list[str]:
    """Imports from a room of what is not below it."""
    faults = []
    for module, target, line in _between_rooms(package):
        room, other = module.room, target.split(".")[0]
        allowed = ONLY.get(room)
        if (allowed is not None and other not in allowed) or LEVEL[other] > LEVEL[room]:
            faults.append(f"{module.path}:{line} imports {target}")
    return faults


def circles(package: Package) -> list[str]:
    """Circles between modules, each as its modules in order."""
    arrows = {m.name: {i.target for i in package.imports(m)} - {m.name} for m in package}
    return _circles(arrows)


def circles_of_rooms(package: Package) -> list[str]:
    arrows: dict[str, set[str]] = {}
    for module, target, _ in _between_rooms(package):
        arrows.setdefault(module.room, set()).add(target.split(".")[0])
    return _circles(arrows)


def foreign(package: Package) -> list[str]:
    """Imports of packages that a room does without."""
    return [
        f"{module.path}:{found.line} imports {found.target}"
        for module in package
        for found in package.foreign_imports(module)
        if found.target in WITHOUT.get(module.room, ())
    ]


def _between_rooms(package: Package) -> list[tuple[Module, str, int]]:
    return [
        (module, found.target, found.line)
        for module in package
        if module.room in LEVEL
        for found in package.imports(module)
        if (other := found.target.split(".")[0]) in LEVEL and other != module.room
    ]


def _circles(arrows: dict[str, set[str]]) -> list[str]:
    """One circle for each arrow that closes one, found by a walk along the arrows."""
    found, done = [], set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(" -> ".join((*trail[trail.index(name) :], name)))
        elif name not in done:
            for target in sorted(arrows.get(name, ())):
                walk(target, (*trail, name))
            done.add(name)

    for name in sorted(arrows):
        walk(name, ())
    return found


@pytest.mark.parametrize("rule", [unknown_rooms, upward, circles, circles_of_rooms, foreign])
def test_the_package_keeps_the_rule(package, rule):
    faults = rule(package)
    assert not faults, "\n".join(faults)


def test_every_room_and_exception_has_its_place():
    assert not set(LEVEL) & set(EXCEPTIONS)
    assert all(EXCEPTIONS.values())
    assert set(ONLY) | set(WITHOUT) <= set(LEVEL)


MADE_UP = {
    "upward": (
        upward,
        {"core/files.py": "", "jump/noise.py": "from ..core.files import x"},
        {"core/files.py": "from ..jump import noise", "jump/noise.py": ""},
        "core/files.py:1 imports jump.noise",
    ),
    "upward while checking types": (
        upward,
        {"data/a.py": "", "training/b.py": "import atmos_openmm.data.a"},
        {
            "data/a.py": "if TYPE_CHECKING:\n    import atmos_openmm.training.b",
            "training/b.py": "",
        },
        "data/a.py:2 imports training.b",
    ),
    "upward in a function": (
        upward,
        {"cli.py": "", "report/__init__.py": "def f():\n    from ..data import a"},
        {"cli.py": "", "report/__init__.py": "def f():\n    from ..cli import main"},
        "report/__init__.py:2 imports cli",
    ),
    "less than all that is below": (
        upward,
        {"systems/a.py": "from .b import c\nfrom ..core import d", "systems/b.py": ""},
        {"systems/a.py": "from ..model.b import c", "model/b.py": ""},
        "systems/a.py:1 imports model.b",
    ),
    "upward through a public name": (
        upward,
        {"__init__.py": "_HOMES = {'P': 'propagator'}\ndef __getattr__(name): ...", "cli.py": ""},
        {
            "__init__.py": "_HOMES = {'P': 'propagator'}\ndef __getattr__(name): ...",
            "propagator.py": "",
            "jump/a.py": "from .. import P",
        },
        "jump/a.py:1 imports propagator",
    ),
    "a circle": (
        circles,
        {"data/a.py": "from . import b", "data/b.py": "from . import c", "data/c.py": ""},
        {
            "data/a.py": "from . import b",
            "data/b.py": "def f():\n    from .c import g",
            "data/c.py": "from .a import h",
        },
        "data.a -> data.b -> data.c -> data.a",
    ),
    "a circle through a lazy name": (
        circles,
        {"data/__init__.py": "", "data/a.py": "from . import b", "data/b.py": ""},
        {
            "data/__init__.py": "_HOMES = {'A': 'a'}\ndef __getattr__(name): ...",
            "data/a.py": "from . import b",
            "data/b.py": "from . import A",
        },
        "data.a -> data.b -> data.a",
    ),
    "a circle of rooms": (
        circles_of_rooms,
        {"data/a.py": "from ..simulate import b", "simulate/b.py": "", "simulate/c.py": ""},
        {
            "data/a.py": "from ..simulate import b",
            "data/d.py": "",
            "simulate/b.py": "",
            "simulate/c.py": "from ..data import d",
        },
        "data -> simulate -> data",
    ),
    "a package to do without": (
        foreign,
        {"model/a.py": "import torch", "systems/b.py": "import openmm"},
        {"model/a.py": "def f():\n    from openmm.app import Topology"},
        "model/a.py:2 imports openmm",
    ),
    "a room that nobody placed": (
        unknown_rooms,
        {"data/a.py": "", "_versions.py": "", "cli.py": ""},
        {"attic/a.py": ""},
        "attic/a.py",
    ),
}


@pytest.mark.parametrize(("rule", "good", "bad", "fault"), MADE_UP.values(), ids=MADE_UP)
def test_the_rule_finds_what_it_forbids(write_package, rule, good, bad, fault):
    assert rule(write_package(good)) == []
    assert rule(write_package(bad)) == [fault]
