"""Which words may stand where: names of tasks, parameters and variables, and words for a resource manager."""

from __future__ import annotations

from elisa.pipelines.kinds import (
    JsonText,
    Text,
)
from elisa.pipelines.shapes import MapOf

__all__ = ["IDENTIFIER", "LABELS", "METADATA", "NAME", "REFERENCE", "SITE_WORD", "TASK_NAME", "VARIABLE"]

NAME = Text(words="a name of letters, digits, `_`, `-` and `.`", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
TASK_NAME = Text(
    words="a task's name: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 63",
    pattern=r"[A-Za-z_][A-Za-z0-9_.-]{0,62}",
)
IDENTIFIER = Text(words="a name of letters, digits and `_`", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,62}")
VARIABLE = Text(words="a variable's name", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,254}")
REFERENCE = Text(words="a task's name", longest=255)
# What goes on a resource manager's command line as it is: no spaces, quotes, commas or leading dashes.
SITE_WORD = Text(words="one word", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@:/+-]{0,127}")
_KEY = r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}"
LABELS = MapOf(kind=Text(words="a text", longest=1024), key=Text(words="a label's name", pattern=_KEY))
METADATA = MapOf(kind=JsonText(), key=Text(words="a name", pattern=_KEY))
