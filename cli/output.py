"""What commands print: data on stdout (a table for people, one versioned JSON document with `--json`), the rest on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

from elisa.model.errors import ElisaError, Problem, SpecError
from elisa.model.text import clean

from .plain import plain_lines

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["note", "print_error", "print_json", "print_plain", "show"]


def print_json(command: str, version: int, data: Mapping[str, object]) -> None:
    """Print one JSON document whose `schema` names the command and the version of its form."""
    json.dump({"schema": f"elisa.{command}/{version}", **data}, sys.stdout, default=_plain, ensure_ascii=True)
    sys.stdout.write("\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def print_plain(text: str) -> None:
    """Print text for a person, control characters made visible."""
    sys.stdout.write("\n".join(clean(line) for line in text.split("\n")) + "\n")


def note(text: str) -> None:
    """Say something beside the data, on stderr."""
    sys.stderr.write(clean(text) + "\n")


def show(*things: RenderableType) -> None:
    """Print tables and lines; user text in them must have passed `clean`."""
    lines = plain_lines(things)
    if lines is not None:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return
    from .screen import print_things

    print_things(*things)


def print_error(err: ElisaError, *, wants_json: bool) -> None:
    """Print what happened, why, and what to do: three lines, or one JSON document on stdout with `--json`."""
    if wants_json:
        print_json("error", 1, {"error": _error_data(err)})
    if isinstance(err, SpecError):
        _print_problems(err)
        return
    lines = [f"error: {err.what}"]
    if err.why:
        lines.append(f"  why: {err.why}")
    if err.hint:
        lines.append(f"hint: {err.hint}")
    _note_lines(lines)


def _error_data(err: ElisaError) -> dict[str, object]:
    data: dict[str, object] = {
        "kind": type(err).__name__,
        "what": err.what,
        "why": err.why,
        "hint": err.hint,
        "exit_code": int(err.exit_code),
    }
    if isinstance(err, SpecError):
        fields = ("file", "line", "what", "text", "hint")
        data["problems"] = [{name: getattr(problem, name) for name in fields} for problem in err.problems]
    return data


def _print_problems(err: SpecError) -> None:
    for problem in err.problems:
        _note_lines(
            [
                f"error: {problem.what}",
                f"  why: {_place(problem)}{': ' + problem.text if problem.text else ''}",
                *([f"hint: {problem.hint}"] if problem.hint else []),
            ]
        )
    if len(err.problems) > 1:
        note(f"{len(err.problems)} problems; nothing was changed")


def _place(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}" if problem.line else problem.file


def _note_lines(lines: list[str]) -> None:
    """Say several lines on stderr, each cleaned by itself."""
    sys.stderr.write("\n".join(clean(line) for line in lines) + "\n")
