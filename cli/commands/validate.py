"""`elisa validate`."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path

from elisa.cli.output import print_json, print_plain
from elisa.cli.settings import parse_settings
from elisa.cli.vetted import vet
from elisa.model.errors import UsageError

__all__ = ["validate"]


def validate(
    *, file: str | Path | None, settings: Sequence[str] | None, schema: bool, home: str | None, json: bool
) -> int:
    """Check a pipeline, where there is a state folder for its backends, too; or print the schema that editors use."""
    if schema:
        return _print_schema()
    if file is None:
        raise UsageError("no pipeline was named", "`elisa validate` checks a file", "elisa validate pipeline.yaml")
    from elisa.pipelines.load import load

    pipeline = load(Path(file), parse_settings(settings))
    vet(pipeline, Path(file), home)
    if json:
        print_json("validate", 1, {"valid": True, "pipeline": pipeline.name, "tasks": [t.name for t in pipeline.tasks]})
    else:
        print_plain(
            f"{file}: pipeline {pipeline.name} of project {pipeline.project}, {len(pipeline.tasks)} tasks, no problem"
        )
    return 0


def _print_schema() -> int:
    from elisa.pipelines.schema import json_schema

    json_format.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0
