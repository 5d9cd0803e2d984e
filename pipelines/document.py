"""The language of a whole document, as one table."""

from __future__ import annotations

from elisa.model.pipeline import (
    PriorityClass,
)
from elisa.pipelines.drafts import DocumentDraft
from elisa.pipelines.kinds import (
    BAD,
    Choice,
    Number,
    Schema,
    Text,
    Value,
    wanted,
)
from elisa.pipelines.nodes import MapNode, Node, walk
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Field, Record
from elisa.pipelines.tasks import TASK
from elisa.pipelines.words import IDENTIFIER, LABELS, METADATA, NAME, TASK_NAME

__all__ = ["DOCUMENT"]

_DEFAULTABLE = tuple(
    name for name in TASK.fields if name not in {"command", "call", "args", "matrix", "foreach", "outputs"}
)


class _Tasks:
    """Only its schema and shape: tasks are read one by one."""

    def schema(self) -> Schema:
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^(?:{TASK_NAME.pattern})$"},
            "additionalProperties": {"$ref": "#/$defs/task"},
        }

    def read(self, node: Node, problems: Problems) -> Value:
        if not isinstance(node, MapNode) or not node.entries:
            return wanted(node, problems, "a map of tasks by name")
        return node


class _Defaults:
    """Only its shape: what it holds is read as part of every task."""

    def schema(self) -> Schema:
        fields = {
            name: {**TASK.fields[name].kind.schema(), "description": TASK.fields[name].about} for name in _DEFAULTABLE
        }
        return {"type": "object", "additionalProperties": False, "properties": fields}

    def read(self, node: Node, problems: Problems) -> Value:
        if not isinstance(node, MapNode):
            return wanted(node, problems, "a map")
        for key, value in node.entries:
            if key.text in TASK.fields and key.text not in _DEFAULTABLE:
                problems.add(key.mark, f"`{key.text}` cannot be a default", key.text, "it belongs to each task")
            elif key.text not in TASK.fields:
                TASK.report_unknown(key, problems)
            elif not any("${" in scalar.text for scalar in walk(value)):
                TASK.fields[key.text].kind.read(value, problems)  # even if every task says otherwise
        return MapNode(mark=node.mark, entries=tuple(entry for entry in node.entries if entry.key.text in _DEFAULTABLE))


class _Parameters:
    """Only its schema: parameters are read first of all."""

    def schema(self) -> Schema:
        scalar = {"type": ["string", "number", "boolean", "null"]}
        values = {"anyOf": [scalar, {"type": "array", "items": scalar}]}
        return {"type": "object", "propertyNames": {"pattern": IDENTIFIER.pattern}, "additionalProperties": values}

    def read(self, node: Node, problems: Problems) -> Value:  # noqa: ARG002 - as said
        return BAD


# What people try in its place.
_ALIASES = (
    ("pipeline", "name"), ("title", "name"), ("jobs", "tasks"), ("steps", "tasks"), ("stages", "tasks"),
    ("params", "parameters"), ("variables", "parameters"), ("vars", "parameters"), ("due", "deadline"),
    ("default", "defaults"), ("tags", "labels"),
)  # fmt: skip
DOCUMENT = Record(
    title="a pipeline",
    fields={
        "name": Field(kind=NAME, about="The pipeline's name.", required=True),
        "project": Field(kind=NAME, about="The project it belongs to and whose budget it uses."),
        "deadline": Field(
            kind=Text(words="a moment", longest=64),
            about="2026-12-24T18:00+01:00, or +3d: so long after its submission.",
        ),
        "importance": Field(kind=Number(), about="How much it matters within its priority class."),
        "priority": Field(kind=Choice(values=PriorityClass), about="critical, high, normal, low or scavenger."),
        "labels": Field(kind=LABELS, about="Free labels."),
        "metadata": Field(kind=METADATA, about="Free data: experiment parameters, data set references."),
        "parameters": Field(
            kind=_Parameters(), about="Values that `${name}` stands for; `--set name=value` changes them."
        ),
        "defaults": Field(kind=_Defaults(), about="What every task has unless it says otherwise."),
        "tasks": Field(kind=_Tasks(), about="The tasks, by name.", required=True),
    },
    build=DocumentDraft,
    aliases=_ALIASES,
)
