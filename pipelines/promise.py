"""The language of promise: the metric that tells what a task's results are hoped to be worth."""

from __future__ import annotations

from elisa.model.pipeline import Promise
from elisa.pipelines.kinds import Number
from elisa.pipelines.nodes import MapNode
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Field, Record
from elisa.pipelines.words import IDENTIFIER

__all__ = ["PROMISE"]

_VALUE = Number(least=-1e12, most=1e12)


def _check(promise: Promise, node: MapNode, problems: Problems) -> None:
    if promise.best == promise.worst:
        problems.add(node.mark, "`best` and `worst` of a promise are the same", str(promise.best), "let them differ")


PROMISE = Record(
    title="promise",
    fields={
        "metric": Field(kind=IDENTIFIER, about="A number that the task reports.", required=True),
        "worst": Field(kind=_VALUE, about="The value that promises nothing.", required=True),
        "best": Field(kind=_VALUE, about="The value that promises most; it may be the smaller one.", required=True),
    },
    build=Promise,
    check=_check,
    aliases=(("name", "metric"), ("min", "worst"), ("max", "best"), ("goal", "best")),
)
