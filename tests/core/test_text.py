"""Tables and lists as text."""

from atmos_openmm.core.text import aligned, listed


def test_the_first_column_is_left_and_the_others_right():
    rows = [["", "n"], ["one", "1"], ["three", "333"]]
    assert aligned(rows, "  ") == ["           n", "  one      1", "  three  333"]


def test_long_lists_are_cut():
    assert listed("abc", 3) == "a, b, c" and listed("abcde", 3) == "a, b, c and 2 more"
    assert listed([]) == ""
