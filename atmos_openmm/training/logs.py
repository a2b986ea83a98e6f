"""Logs of a training run: JSON lines and TensorBoard's event files, without steps twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.files import write_atomically

LOG = "training.log.jsonl"
EVENTS = "tensorboard"
"""Folder of the event files inside the training folder."""

PLACE = ("step", "stage", "stage_step")
"""Entries of a row that say where the run is; all others are scalars."""

HELD_OUT = "held_out"
"""Entry of a row that was written after a validation: its loss; ``held_out_...``: its terms."""


class TrainingLog:
    """Rows of numbers by step.

    A run that goes on from a checkpoint may have written rows of later steps before it was killed.
    They are cut from the JSON lines, and TensorBoard is told to leave them out (a new event file
    whose first event purges what follows the step).

    Parameters
    ----------
    folder : Path
    step : int
        Step of the checkpoint that the run goes on from; 0 for a new run.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.path = Path(folder) / LOG
        _cut(self.path, step)
        events = Path(folder) / EVENTS
        # The suffix tells files of one second apart, in the order in which they are to be read.
        self._writer = SummaryWriter(
            str(events), purge_step=step + 1, max_queue=100, filename_suffix=f".{step:012d}"
        )

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; its ``step`` is the step that it was written after.

        Numbers become scalars of TensorBoard: ``held_out/...`` for those of a validation,
        ``train/...`` for the others.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name in PLACE:
                continue
            tag = f"train/{name}"
            if name == HELD_OUT:
                tag = f"{HELD_OUT}/loss"
            elif name.startswith(HELD_OUT):
                tag = f"{HELD_OUT}/{name[len(HELD_OUT) + 1 :]}"
            self._writer.add_scalar(tag, value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def _cut(path: Path, step: int) -> None:
    """Leave out rows after a step, and a last line that a kill cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())
