"""Names, sizes, messages and docstrings of the package's source."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
from source_tree import Module, Package

LONGEST_FILE = 450  # lines
LONGEST_FUNCTION = 100  # lines of code, without docstring and comments

# Where options of the command line are declared and may be spoken of.
COMMAND_LINE = ("commands", "cli", "__main__", "testInstallation")
# Options of other programs, in errors that quote a command line of pip, CMake or setup.py.
OTHER_PROGRAMS = ("--build", "--inplace", "--install", "--no-build-isolation")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# A custom property of CSS is declared (`{--ink: #222;`) or used (`var(--ink)`).
CUSTOM_PROPERTY = re.compile(r"([{;]\s*)--[a-z][\w-]*:|var\(--[a-z][\w-]*\)")

SECTIONS = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields")
UNDERLINE = re.compile(r"-{3,}")
UNSPACED = re.compile(r"\(?\*{0,2}\w+(, \*{0,2}\w+)*\)?:( .*)?")


def repeated_classes(package: Package) -> list[str]:
    """Classes of one name in two places."""
    homes = defaultdict(list)
    for module in package:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module.path)
    return [f"{name}: {', '.join(paths)}" for name, paths in homes.items() if len(paths) > 1]


def repeated_files(package: Package) -> list[str]:
    """File names that exist three times."""
    homes = defaultdict(list)
    for module in package:
        if not module.is_package:
            homes[module.path.split("/")[-1]].append(module.path)
    return [f"{name}: {', '.join(paths)}" for name, paths in homes.items() if len(paths) > 2]


def long_files(package: Package) -> list[str]:
    lengths = {module.path: len(module.text.splitlines()) for module in package}
    return [f"{path}: {n} lines" for path, n in lengths.items() if n > LONGEST_FILE]


def long_functions(package: Package) -> list[str]:
    faults = []
    for module in package:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = range(node.lineno, node.end_lineno + 1)
                code = len(module.code_lines.intersection(lines))
                if code > LONGEST_FUNCTION:
                    faults.append(f"{module.path}: {node.name} has {code} lines of code")
    return faults


def named_flags(package: Package) -> list[str]:
    """Options of the command line in strings and docstrings of what lies below it."""
    faults = []
    for module in package:
        if module.room in COMMAND_LINE:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
                if module.room == "report":
                    text = CUSTOM_PROPERTY.sub(r"\1", text)
                faults += [
                    f"{module.path}:{node.lineno} names {flag}"
                    for flag in FLAG.findall(text)
                    if flag not in OTHER_PROGRAMS
                ]
    return faults


def other_docstrings(package: Package) -> list[str]:
    """Docstrings with `name: type` where numpydoc has `name : type`."""
    return [
        f"{module.path}:{line} {item}"
        for module in package
        for line, item in _items(module)
        if UNSPACED.fullmatch(item)
    ]


def _items(module: Module) -> Iterator[tuple[int, str]]:
    """Lines of docstring sections that stand at the section's own indentation."""
    for docstring in module.docstrings:
        lines = docstring.value.splitlines()
        section, margin = "", 0
        for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True)):
            indent = len(line) - len(line.lstrip())
            if line.strip() and UNDERLINE.fullmatch(following.strip()):
                section, margin = line.strip(), indent
            elif section in SECTIONS and line.strip() and indent == margin:
                yield docstring.lineno + number, line.strip()


RULES = [
    repeated_classes,
    repeated_files,
    long_files,
    long_functions,
    named_flags,
    other_docstrings,
]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(package, rule):
    faults = rule(package)
    assert not faults, "\n".join(faults)


def test_no_option_of_another_program_is_ours(package):
    """Else the rule on flags would let it pass."""
    ours = set()
    for module in package:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("option"):
                ours |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    assert "--output" in ours
    assert not ours & set(OTHER_PROGRAMS)


DOCSTRING = '''"""Do it.

Parameters
----------
{item}
    Which may say: anything.
"""'''
MADE_UP = {
    "a class twice": (
        repeated_classes,
        {"data/a.py": "class Frame: ...", "model/b.py": "class Frames: ..."},
        {"data/a.py": "class Frame: ...", "model/b.py": "def f():\n    class Frame: ..."},
        "Frame: data/a.py, model/b.py",
    ),
    "a file three times": (
        repeated_files,
        {"data/a.py": "", "model/a.py": "", "data/__init__.py": "", "model/__init__.py": ""},
        {"data/a.py": "", "model/a.py": "", "training/losses/a.py": ""},
        "a.py: data/a.py, model/a.py, training/losses/a.py",
    ),
    "a long file": (
        long_files,
        {"data/a.py": "a = 1\n" * 450},
        {"data/a.py": "a = 1\n" * 451},
        "data/a.py: 451 lines",
    ),
    "a long function": (
        long_functions,
        {"data/a.py": 'def f():\n    """Two\n    lines."""\n    # why\n\n' + "    a = 1\n" * 99},
        {"data/a.py": "def f():\n" + "    a = 1\n" * 98 + '    a = """\n\n    """\n'},
        "data/a.py: f has 102 lines of code",
    ),
    "a flag in a message": (
        named_flags,
        {
            "data/a.py": "x = 'a--b, --, pip install --no-build-isolation .'",
            "cli.py": "x = '--out'",
        },
        {"data/a.py": "def f(n):\n    raise ValueError(f'Choose {n} with --output')"},
        "data/a.py:2 names --output",
    ),
    "a flag in a docstring": (
        named_flags,
        {"data/a.py": '"""Choose another folder."""', "testInstallation.py": '"""--help"""'},
        {"data/a.py": '"""As --help says."""'},
        "data/a.py:1 names --help",
    ),
    "a flag in a page": (
        named_flags,
        {"report/a.py": "x = 'p {--ink: #222; --soft:#fff} a {color: var(--ink)}'"},
        {"report/a.py": "x = '<p>Give --temperature: the page needs it.'"},
        "report/a.py:1 names --temperature",
    ),
    "a docstring of another dialect": (
        other_docstrings,
        {"data/a.py": DOCSTRING.format(item="name, other : str")},
        {"data/a.py": DOCSTRING.format(item="name, other: str")},
        "data/a.py:5 name, other: str",
    ),
}


@pytest.mark.parametrize(("rule", "good", "bad", "fault"), MADE_UP.values(), ids=MADE_UP)
def test_the_rule_finds_what_it_forbids(write_package, rule, good, bad, fault):
    assert rule(write_package(good)) == []
    assert rule(write_package(bad)) == [fault]
