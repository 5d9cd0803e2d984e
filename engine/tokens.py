"""The few `${...}` that only the engine can fill in, because only it knows where a task's folders are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from elisa.model import layout
from elisa.model.ids import PipelineId

__all__ = ["Lookup", "fill", "fill_shell", "folders_of"]

_TOKEN = re.compile(r"\$\{([^{}$]*)\}")
# What a shell reads as itself, in quotes of either kind and without.
_PLAIN = re.compile(r"^[A-Za-z0-9_./@%+=:,-]+$")

Lookup = Callable[[str], str | None]


def folders_of(home: Path, pipeline: PipelineId, task: str) -> Lookup:
    """Return what knows `task_dir`, `checkpoint_dir`, `pipeline_dir` and `dir.NAME` for one task of a pipeline."""

    def look_up(token: str) -> str | None:
        match token.partition("."):
            case "dir", ".", name:
                return str(layout.task_dir(home, pipeline, name))
            case "task_dir", "", _:
                return str(layout.task_dir(home, pipeline, task))
            case "checkpoint_dir", "", _:
                return str(layout.checkpoint_dir(home, pipeline, task))
            case "pipeline_dir", "", _:
                return str(layout.pipeline_dir(home, pipeline))
            case _:
                return None

    return look_up


def fill(text: str, look_up: Lookup) -> str:
    """Return `text` with every `${NAME}` that is known replaced; anything else stays as it is."""
    return _TOKEN.sub(lambda match: look_up(match[1]) or match[0], text)


def fill_shell(text: str, look_up: Lookup) -> str:
    """Return a shell's command line, filled in without handing the shell anything to interpret.

    A path that a shell would not read as it stands becomes a reference to the variable of the job that holds it.
    """

    def safe(match: re.Match[str]) -> str:
        value = look_up(match[1])
        if value is None:
            return match[0]
        return value if _PLAIN.match(value) else _reference(match[1])

    return _TOKEN.sub(safe, text)


def _reference(token: str) -> str:
    if token.startswith("dir."):
        return f"${{ELISA_PIPELINE_DIR}}/{layout.task_dir_name(token.removeprefix('dir.'))}"
    return f"${{ELISA_{token.upper()}}}"
