"""Tables as text."""

from atmos_openmm.core.text import aligned


def test_the_first_column_is_left_and_the_others_right():
    rows = [["", "n"], ["one", "1"], ["three", "333"]]
    assert aligned(rows, "  ") == ["           n", "  one      1", "  three  333"]
