"""The line of progress on a terminal and in a log."""

from __future__ import annotations

import math

from atmos_openmm.core.progress import ProgressLine


def test_lines_that_stay_replace_the_one_that_does_not(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    line = ProgressLine(terminal_interval_s=0.0)
    line("1 of 2")
    line.keep("a note")
    line.finish()  # nothing is left on the line
    assert capsys.readouterr().err == "\r\033[K1 of 2\r\033[Ka note\n"


def test_a_log_gets_only_the_lines_that_stay(capsys):
    line = ProgressLine(log_interval_s=math.inf)
    line("1 of 2")
    line.keep("a note")
    line.finish()
    assert capsys.readouterr().err == "a note\n"
