"""Quoting what libraries raise."""

from __future__ import annotations

from atmos_openmm.core.read_errors import first_line


def test_the_first_line_of_a_message_or_the_type() -> None:
    assert first_line(OSError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
