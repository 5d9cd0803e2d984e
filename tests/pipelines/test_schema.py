from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from elisa.pipelines import strict_yaml
from elisa.pipelines.nodes import plain
from elisa.pipelines.python_file import document_of
from elisa.pipelines.schema import json_schema

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent.parent / "examples"
GOOD = sorted([*EXAMPLES.rglob("pipeline.yaml"), *(FOLDER / "good").glob("*.yaml")])
PYTHON = sorted(EXAMPLES.rglob("pipeline.py"))

# Wrong in how they are built, not in what they mean: an editor can tell.
STRUCTURALLY_BAD = [
    "a_list", "a_word", "bad_names", "checkpoints", "defaults", "environment", "foreach", "gangs",
    "huge_numbers", "impossible_requests", "matrix_axes", "need_forms", "no_name_no_tasks", "no_tasks",
    "octal_and_friends", "only_null", "output_paths", "placement", "recovery", "resources_beside_command",
    "several_problems", "sexagesimal", "unknown_resource", "unknown_task_key", "unknown_top_level_key",
    "wrong_types_everywhere", "yes_and_no", "units", "parameters", "calls",
]  # fmt: skip


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_good_pipelines_fit_the_schema(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    document = plain(strict_yaml.load(path.read_bytes(), path.name))

    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_the_decorators_record_fits_the_schema(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    document = plain(document_of(path, path.name, "", {}))

    assert [error.message for error in validator.iter_errors(document)] == []


@pytest.mark.parametrize("name", STRUCTURALLY_BAD)
def test_badly_built_pipelines_do_not_fit_the_schema(name: str, validator: jsonschema.Draft202012Validator) -> None:
    document = plain(strict_yaml.load((FOLDER / "bad" / f"{name}.yaml").read_bytes(), name))

    assert list(validator.iter_errors(document))


def test_every_key_has_a_description() -> None:
    lacking: list[str] = []

    def look(schema: Any, path: str) -> None:
        if isinstance(schema, dict):
            for name, inner in schema.get("properties", {}).items():
                if not inner.get("description") and not {"include", "exclude"} & {name}:
                    lacking.append(f"{path}/{name}")
            for name, inner in schema.items():
                look(inner, f"{path}/{name}")
        elif isinstance(schema, list):
            for inner in schema:
                look(inner, path)

    look(json_schema(), "")

    assert lacking == []
