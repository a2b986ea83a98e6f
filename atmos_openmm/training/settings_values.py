"""From TOML and JSON to the dataclasses of the settings, with names and types checked, and back."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal


def parse(text: str, name: str) -> dict[str, Any]:
    """Parse TOML; `name` is the file's, for the message.

    Raises
    ------
    ValueError
        It is no TOML.
    """
    toml = _toml()
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ValueError(f"{name} is no valid TOML: {error}.") from error
    return values


def override(values: dict[str, Any], assignment: str) -> None:
    """Change parsed settings by ``key=value``; see :func:`.training_settings.read_settings`.

    Raises
    ------
    ValueError
        It is no assignment, or its key leads nowhere.
    """
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"{assignment!r} is no setting; expected key=value.")
    toml = _toml()
    try:
        value = toml.loads(f"value = {text.strip()}")["value"]
    except toml.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    *path, last = key.strip().split(".")
    places: list[Any] = [values]
    for name in path:
        found: list[Any] = []
        for place in places:
            if isinstance(place, list):
                found += [stage for stage in place if name in ("all", stage.get("name"))]
            elif isinstance(place, dict):
                found.append(place.setdefault(name, {}))
        places = found
    if not places:
        raise ValueError(
            f"{assignment!r} leads to no setting: there is no stage of that name, or a value "
            "stands where a table was expected."
        )
    for place in places:
        if not isinstance(place, dict):
            raise ValueError(
                f"{assignment!r} names no single setting; stages are reached by "
                "stages.NAME.key or stages.all.key."
            )
        place[last] = value


def to_toml(values: Mapping[str, Any]) -> str:
    """Write plain settings as TOML: values, then tables, then the stages; None is left out."""
    lines = [f"{key} = {_text(value)}" for key, value in values.items() if _is_plain(value)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *_assignments(value)]
    for key, value in values.items():
        if _is_tables(value):
            for table in value:
                lines += ["", f"[[{key}]]", *_assignments(table)]
    return "\n".join(lines) + "\n"


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping from dotted keys; stages go by their names."""
    if _is_tables(values):
        values = {table["name"]: table for table in values}
    if not isinstance(values, Mapping):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, Mapping) and not _is_tables(value)


def _assignments(values: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_text(value)}" for key, value in values.items() if value is not None]


def _text(value: Any) -> str:
    """Write a value; a table inline."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_assignments(value)) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    # JSON's booleans, numbers and strings are TOML's too; 1e-08 and 0.001 likewise.
    return json.dumps(value)


def build(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from plain values, checking names and types."""
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(
            f"{where}{unknown[0]} is no setting; expected some of {', '.join(sorted(known))}."
        )
    missing = [
        name
        for name, item in known.items()
        if name not in values
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"{where}{missing[0]} is missing.")
    return kind(
        **{name: _value(hints[name], value, where + name) for name, value in values.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return a plain value as the type of a field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if isinstance(value, Mapping):
            return build(hint, value, where + ".")
    elif origin is Literal:
        if value in arguments:
            return value
        hint = " or ".join(repr(a) for a in arguments)
    elif origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is Ellipsis:
            return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) == len(arguments):
            pairs = zip(arguments, value, strict=True)
            return tuple(_value(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))
    elif origin is not None and isinstance(value, Mapping):
        return {str(k): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    expected = "a list" if origin is tuple else getattr(hint, "__name__", str(hint))
    raise ValueError(f"{where} is {value!r}; expected {expected}.")
