"""Settings there and now: what differs, and how it is told."""

from __future__ import annotations

from atmos_openmm.core.settings import changed_values, differences


def test_changed_values_are_compared_as_json_keeps_them() -> None:
    there = {"steps": 2, "range": [1.0, 2.0], "seed": 1, "gone": "x"}
    now = {"steps": 4, "range": (1.0, 2.0), "seed": 1, "new": None, "other": True}
    assert changed_values(there, now) == {
        "steps": (2, 4),
        "gone": ("x", None),
        "other": (None, True),
    }


def test_differences_are_told_in_the_order_of_names() -> None:
    there, now = {"b": 1, "a": "x", "c": 0}, {"b": 2, "a": "y", "c": 1}
    assert differences(there, now, ignore=["c"]) == ["a: 'x' there, 'y' now", "b: 1 there, 2 now"]
