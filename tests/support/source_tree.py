"""The package's source as tests read it: modules, imports, lines of code. Nothing is run."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

GENERATED = ("atmos.py", "_build_info.py")
"""Files that the build writes into the package's folder."""

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A source file.

    Attributes
    ----------
    name : str
        Dotted, without the package's own name, which is "".
    path : str
        Relative to the package's folder.
    is_package : bool
        Whether it is an `__init__.py`.
    text : str
        The source.
    """

    name: str
    path: str
    is_package: bool
    text: str

    @property
    def room(self) -> str:
        """Folder or module directly below the package."""
        return self.name.split(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def code_lines(self) -> frozenset[int]:
        """Numbers of the lines that hold code: no comments, docstrings or empty lines."""
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in _NO_CODE:
                lines.update(range(token.start[0], token.end[0] + 1))
        for docstring in self.docstrings:
            lines.difference_update(range(docstring.lineno, docstring.end_lineno + 1))
        return frozenset(lines)

    @cached_property
    def docstrings(self) -> list[ast.Constant]:
        """Docstrings of the module, its classes and its functions."""
        return [
            node.body[0].value
            for node in ast.walk(self.tree)
            if isinstance(node, Definition) and ast.get_docstring(node, clean=False) is not None
        ]

    @cached_property
    def lazy_names(self) -> dict[str, str]:
        """Names that a package's `__getattr__` finds in a table: name to module below it."""
        found: dict[str, str] = {}
        if any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in self.tree.body):
            for node in self.tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
                    table = ast.literal_eval(node.value)
                    found |= {k: v for k, v in table.items() if isinstance(v, str)}
        return found


@dataclass(frozen=True)
class Import:
    """A module that is imported, by its dotted name within the package, and where."""

    target: str
    line: int


class Package:
    """All modules of a package, by dotted name.

    Parameters
    ----------
    folder : Path
        The package's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.modules: dict[str, Module] = {}
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if str(relative) in GENERATED:
                continue
            is_package = path.name == "__init__.py"
            parts = relative.parent.parts if is_package else relative.with_suffix("").parts
            name = ".".join(parts)
            text = path.read_text(encoding="utf-8")
            self.modules[name] = Module(name, str(relative), is_package, text)

    def __iter__(self):
        return iter(self.modules.values())

    def imports(self, module: Module) -> list[Import]:
        """Modules of the package that `module` imports, wherever in it the import stands.

        `from x import y` is an import of `x.y` where that is a module or a name that `x` looks up
        lazily, and of `x` otherwise.
        """
        found = []
        for name, attribute, line in self._written(module):
            if name != self.name and not name.startswith(f"{self.name}."):
                continue
            base = name[len(self.name) + 1 :]
            target = ".".join(filter(None, (base, attribute)))
            home = self.modules[base].lazy_names if base in self.modules else {}
            if attribute in home:
                target = ".".join(filter(None, (base, home[attribute])))
            elif target not in self.modules:
                target = base
            found.append(Import(target, line))
        return found

    def foreign_imports(self, module: Module) -> list[Import]:
        """Packages other than this one that `module` imports, by the first part of their names."""
        written = ((name.split(".")[0], line) for name, _, line in self._written(module))
        return [Import(name, line) for name, line in written if name != self.name]

    def _written(self, module: Module) -> list[tuple[str, str, int]]:
        """Each import as (absolute dotted name, name taken from it or "", line)."""
        full = [self.name, *filter(None, module.name.split("."))]
        found = []
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                found += [(alias.name, "", node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = full[: len(full) - node.level + module.is_package] if node.level else []
                base = ".".join(filter(None, [*start, node.module or ""]))
                found += [(base, alias.name, node.lineno) for alias in node.names]
        return found
