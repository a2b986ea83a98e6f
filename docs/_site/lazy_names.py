"""Lets the API reference find names that a package looks up lazily.

The packages say in a table (`_HOMES`, `_EXPORTS`) which of their modules holds a public name. The
reference is made from the source alone, without importing anything, so it reads these tables.
"""

from __future__ import annotations

import ast
from typing import Any

import griffe

TABLES = ("_HOMES", "_EXPORTS")


class LazyNames(griffe.Extension):
    """Makes an alias of each name in a package's table."""

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        for table in TABLES:
            value = getattr(mod.members.get(table), "value", None)
            if value is None:
                continue
            for name, home in ast.literal_eval(str(value)).items():
                if name not in mod.members:
                    mod.set_member(name, griffe.Alias(name, f"{mod.path}.{home}.{name}"))
