"""The language as JSON Schema, for editors that complete and check a pipeline while it is written."""

from __future__ import annotations

from typing import Any

from elisa.pipelines.document import DOCUMENT
from elisa.pipelines.references import NEED
from elisa.pipelines.tasks import TASK

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a pipeline in YAML.

    It knows every key and type; what depends on several places at once (names, circles, sums) only loading finds.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "elisa pipeline",
        **DOCUMENT.schema(),
        "$defs": {"task": TASK.schema(), "need": NEED.schema()},
    }
