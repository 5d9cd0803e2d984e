"""A pipeline's file read: YAML or Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from elisa.model.errors import Problem, SpecError
from elisa.model.pipeline import Pipeline
from elisa.pipelines import strict_yaml
from elisa.pipelines.assemble import Origin, assemble
from elisa.pipelines.nodes import Node

__all__ = ["load", "load_text"]


def load(path: Path, overrides: Mapping[str, str] | None = None, *, now: datetime | None = None) -> Pipeline:
    """Return the pipeline in `path`; a `.py` file is imported, anything else is read as YAML.

    `overrides` replace declared parameters. `now` is what `deadline: +3d` counts from; this moment if left out.
    Raises SpecError with all problems found.
    """
    where = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as the author sees them
    origin = Origin(file=str(path), folder=where.parent, now=now or datetime.now(UTC))
    if where.suffix == ".py" or (".py:" in where.name and not where.exists()):
        return _load_python(where, origin, overrides or {})
    return assemble(_document(where, origin), origin, overrides or {})


def _load_python(where: Path, origin: Origin, overrides: Mapping[str, str]) -> Pipeline:
    from elisa.pipelines.python_file import document_of

    file, _, name = where.name.partition(":")
    shown = origin.file.removesuffix(f":{name}") if name else origin.file
    own = replace(origin, file=shown)
    path = where.with_name(file)
    if not path.is_file():
        raise _unreadable(shown, "no such file")
    return assemble(document_of(path, shown, name, overrides), own, {})


def load_text(text: str | bytes, origin: Origin, overrides: Mapping[str, str] | None = None) -> Pipeline:
    """Return the pipeline that a YAML text describes, as if it had been read from `origin`."""
    return assemble(strict_yaml.load(text, origin.file), origin, overrides or {})


def _document(path: Path, origin: Origin) -> Node:
    try:
        with path.open("rb") as file:
            text = file.read(strict_yaml.MAX_BYTES + 1)
    except OSError as err:
        raise _unreadable(origin.file, str(err.strerror)) from err
    return strict_yaml.load(text, origin.file)


def _unreadable(file: str, why: str) -> SpecError:
    return SpecError((Problem(file=file, line=0, what=f"cannot be read: {why}", hint="check the name"),))
