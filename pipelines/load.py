"""A pipeline's file read: YAML or Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
    return assemble(_document(where, origin), origin, overrides or {})


def load_text(text: str | bytes, origin: Origin, overrides: Mapping[str, str] | None = None) -> Pipeline:
    """Return the pipeline that a YAML text describes, as if it had been read from `origin`."""
    return assemble(strict_yaml.load(text, origin.file), origin, overrides or {})


def _document(path: Path, origin: Origin) -> Node:
    try:
        with path.open("rb") as file:
            text = file.read(strict_yaml.MAX_BYTES + 1)
    except OSError as err:
        what = f"cannot be read: {err.strerror}"
        raise SpecError((Problem(file=origin.file, line=0, what=what, hint="check the name"),)) from err
    return strict_yaml.load(text, origin.file)
