"""Runs of `atmos-openmm train` in processes of their own, for the tests of resumption and ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from atmos_openmm.training.training_settings import TrainingSettings

SCRIPT = "import sys\nfrom atmos_openmm.cli import main\nsys.exit(main())\n"


def command(data: Path, folder: Path, given: TrainingSettings, *more: str) -> list[str]:
    """Arguments of a run on two CPU processes, without the program."""
    config = folder.with_suffix(".toml")
    config.write_text(given.to_toml(), encoding="utf-8")
    arguments = ["train", str(data), "--output", str(folder), "--config", str(config)]
    return [*arguments, "--devices=2", "--accelerator=cpu", "--workers=0", *more]


def module(*arguments: str) -> list[str]:
    """The program as ``python -m atmos_openmm``."""
    return [sys.executable, "-m", "atmos_openmm", *arguments]


def script(folder: Path, *arguments: str) -> list[str]:
    """The program as the script that an installation puts on the path."""
    path = folder / "atmos-openmm"
    path.write_text(SCRIPT)
    return [sys.executable, str(path), *arguments]


class Process:
    """A run with its children in a process group of their own."""

    def __init__(self, line: list[str], folder: Path) -> None:
        self._log = folder / "training.log.jsonl"
        self._out = folder.with_suffix(".out")
        with open(self._out, "w") as out:
            self._run = subprocess.Popen(
                line, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_for_row(self, step: int, seconds: float = 200.0) -> None:
        """Wait until the log has the row of a step."""
        end = time.monotonic() + seconds
        while not self._log.exists() or len(self._log.read_bytes().splitlines()) < step:
            assert self._run.poll() is None and time.monotonic() < end, self.output()
            time.sleep(0.02)

    def kill_group(self) -> None:
        """SIGKILL to every process of the run."""
        os.killpg(self._run.pid, signal.SIGKILL)
        self._run.wait()

    def terminate_first(self) -> None:
        """SIGTERM to the process that was started, and to none of its children."""
        self._run.send_signal(signal.SIGTERM)

    def terminate_all(self) -> None:
        """SIGTERM to every process of the run."""
        os.killpg(self._run.pid, signal.SIGTERM)

    def wait(self, seconds: float = 200.0) -> int:
        """The exit status."""
        try:
            return self._run.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_group()
            raise AssertionError(f"The run does not end.\n{self.output()}") from None

    def output(self) -> str:
        """What all processes printed."""
        return self._out.read_text()
