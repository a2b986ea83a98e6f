"""Shows the usage lines of docstrings as code in the API reference.

OpenMM's docstrings, and ours beside them, have `>>>` lines anywhere in the text. The reference's
parser knows them in a section of examples alone, and Markdown takes them for quotations.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

USAGE = re.compile(r"(?:^[ ]*(?:>>>|\.\.\.)(?:[ ].*)?\n?)+", re.MULTILINE)


class UsageLines(griffe.Extension):
    """Puts fences around usage lines."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = USAGE.sub(_fenced, obj.docstring.value)


def _fenced(lines: re.Match[str]) -> str:
    text = "\n".join(line.strip() for line in lines[0].strip().splitlines())
    return f"\n```pycon\n{text}\n```\n"
