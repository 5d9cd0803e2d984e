"""The language of outputs: files with formats, kept inside the task's folder."""

from __future__ import annotations

from dataclasses import replace

from elisa.model.pipeline import (
    Output,
)
from elisa.pipelines.kinds import (
    BAD,
    Boolean,
    Choice,
    Schema,
    Text,
    Value,
)
from elisa.pipelines.nodes import Entry, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Either, Field, ListOf, MapOf, Record
from elisa.pipelines.words import NAME

__all__ = ["FORMATS", "OUTPUT", "OUTPUTS", "refuse_outside"]

# What the agent inside a job can check; tests hold the two lists together.
FORMATS = (
    "any", "text", "json", "jsonl", "csv", "npy", "npz", "hdf5", "netcdf", "parquet", "safetensors", "gzip", "zip",
    "directory",
)  # fmt: skip
_WITH_COLUMNS = {"csv", "jsonl"}


_INSIDE = ("${task_dir}/", "${checkpoint_dir}/", "${pipeline_dir}/")


def refuse_outside(node: MapNode, name: str, problems: Problems) -> None:
    entry = node.find(name)
    path = getattr(entry.value, "text", "") if entry else ""
    if not entry or not path:
        return
    if ".." in path.split("/"):
        problems.add(entry.value.mark, f"`{name}` leads out of the task's folder", path, "write a path without `..`")
    elif path.startswith(("/", "~")):
        hint = f"write it relative to the task's folder, or begin with {', '.join(_INSIDE)}"
        problems.add(entry.value.mark, f"`{name}` is not inside the task's folder", path, hint)


def _check_output(output: Output, node: MapNode, problems: Problems) -> None:
    refuse_outside(node, "path", problems)
    entry = node.find("columns")
    if entry and output.format not in _WITH_COLUMNS:
        hint = f"leave `columns` out, or declare `format: {min(_WITH_COLUMNS)}`"
        problems.add(entry.key.mark, f"the columns of {output.format} cannot be checked", "columns", hint)


_OUTPUT_PATH = Text(words="a path", longest=1024)
OUTPUT = Record(
    title="an output",
    fields={
        "path": Field(kind=_OUTPUT_PATH, about="The file, relative to the task's folder.", required=True),
        "format": Field(kind=Choice(values=FORMATS), about="What it must be before anybody reads it."),
        "columns": Field(
            kind=ListOf(kind=Text(words="a column's name"), unique=True), about="Columns it must have (csv, jsonl)."
        ),
        "optional": Field(kind=Boolean(), about="The task may succeed without it."),
    },
    build=lambda **given: Output(name="", **given),
    check=_check_output,
    aliases=(("file", "path"), ("type", "format"), ("variables", "columns")),
)


def _short_output(path: str) -> Output:
    return Output(name="", path=path)


class _OutputPath:
    """The short form of an output: its path alone."""

    def read(self, node: Node, problems: Problems) -> Value:
        path = _OUTPUT_PATH.read(node, problems)
        if path is not BAD:
            refuse_outside(MapNode(mark=node.mark, entries=(_entry("path", node),)), "path", problems)
        return path

    def schema(self) -> Schema:
        return _OUTPUT_PATH.schema()


def _entry(name: str, value: Node) -> Entry:
    return Entry(Scalar(mark=value.mark, text=name, value=name), value)


OUTPUTS = MapOf(
    kind=Either(short=_OutputPath(), long=OUTPUT, widen=_short_output),
    key=NAME,
    pair=lambda name, output: replace(output, name=name),
)
