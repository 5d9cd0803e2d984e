"""The quick way in: common command lines are read from a table made of typer's description, without importing typer.

`quick_table.py` is generated from `app.py` by `python -m elisa.cli.quick_generate`; a test holds the two in step. Whatever the
table does not cover (help, completion, an unknown option, a value that does not fit) goes to typer, which then answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from .call import invoke
from .quick_table import COMMANDS, Parameter

__all__ = ["match"]


def match(arguments: Sequence[str]) -> Callable[[], int] | None:
    """Return the call that `arguments` ask for, or None if typer must look at them."""
    if "_ELISA_COMPLETE" in os.environ or not arguments:
        return None
    name, rest = arguments[0], list(arguments[1:])
    if rest and f"{name} {rest[0]}" in COMMANDS:
        name = f"{name} {rest.pop(0)}"
    parameters = COMMANDS.get(name)
    if parameters is None:
        return None
    values = _read(parameters, rest)
    return None if values is None else partial(invoke, name.replace(" ", "_").replace("-", "_"), values)


def _read(parameters: Sequence[Parameter], words: list[str]) -> dict[str, object] | None:
    flags = {flag: parameter for parameter in parameters for flag in parameter.flags}
    values: dict[str, object] = {parameter.name: parameter.default for parameter in parameters}
    positional: list[str] = []
    rest = iter(words)
    for word in rest:
        parameter = flags.get(word)
        if parameter is None:
            if word.startswith("-"):
                return None
            positional.append(word)
        elif parameter.kind == "flag":
            values[parameter.name] = True
        elif (text := next(rest, None)) is None or not _store(values, parameter, text):
            return None
    return values if _place(parameters, positional, values) else None


def _store(values: dict[str, object], parameter: Parameter, text: str) -> bool:
    if parameter.kind not in ("text", "texts") or text.startswith("-"):
        return False
    if parameter.kind == "text":
        values[parameter.name] = text
    else:
        values[parameter.name] = [*(values[parameter.name] or []), text]  # type: ignore[misc] # a list by its kind
    return True


def _place(parameters: Sequence[Parameter], words: list[str], values: dict[str, object]) -> bool:
    """Put positional words where they belong; False when they do not fit."""
    places = [parameter for parameter in parameters if not parameter.flags]
    for parameter in places:
        if parameter.kind == "texts":
            values[parameter.name], words = words or None, []
        elif words:
            values[parameter.name] = words.pop(0)
        if parameter.required and not values[parameter.name]:
            return False
    return not words
