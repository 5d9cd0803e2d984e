"""The language of what tasks say of one another: needs, arguments that are results, and lists to expand."""

from __future__ import annotations

from dataclasses import replace

from elisa.model.pipeline import (
    NeedKind,
    OnUnmet,
)
from elisa.pipelines.drafts import Argument, ForeachDraft, NeedDraft
from elisa.pipelines.kinds import (
    BAD,
    Choice,
    Integer,
    JsonText,
    Schema,
    Value,
    duration,
)
from elisa.pipelines.nodes import ListNode, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Either, Field, ListOf, OneOrMany, Record
from elisa.pipelines.words import IDENTIFIER, NAME, REFERENCE

__all__ = ["ARGUMENT", "FOREACH", "NEED", "NEEDS"]


def _need(**given: Value) -> NeedDraft:
    if "any" in given:
        given.setdefault("at_least", 1)
    either = [given.pop(name) for name in ("task", "tasks", "any") if name in given]
    return NeedDraft(tasks=tuple(name for names in either for name in names), **given)


def _check_need(need: NeedDraft, node: MapNode, problems: Problems) -> None:
    forms = [name for name in ("task", "tasks", "any") if node.find(name)]
    if len(forms) != 1:
        what = "a need names no task" if not forms else f"a need with both `{forms[0]}` and `{forms[1]}`"
        problems.add(node.mark, what, hint="write one of `task: a`, `tasks: [a, b]` (all of them) or `any: [a, b]`")
    _check_need_kind(need, node, problems)
    if node.find("at_least") and "any" in forms:
        problems.add(node.mark, "`any` and `at_least` in one need", "at_least", "write `tasks` instead of `any`")
    if need.on_unmet is OnUnmet.WAIT and need.timeout_s is not None:
        problems.add(
            node.mark, "a `timeout` and `on_unmet: wait` in one need", "timeout", "skip, fail or run after a timeout"
        )


def _check_need_kind(need: NeedDraft, node: MapNode, problems: Problems) -> None:
    fitting = {"output": NeedKind.DATA, "step": NeedKind.CHECKPOINT}
    for name, kind in fitting.items():
        entry = node.find(name)
        if entry and need.kind not in {None, kind}:
            problems.add(entry.key.mark, f"`{name}` in a need of kind {need.kind}", name, f"write `kind: {kind}`")
    if need.kind is NeedKind.DATA and not node.find("output"):
        problems.add(node.mark, "a need of kind data without `output`", hint="name one of the other task's outputs")
    if node.find("output") and node.find("step") and need.kind is None:
        problems.add(node.mark, "a need with both `output` and `step`", hint="write two needs")


_NEED = Either(
    short=REFERENCE,
    long=Record(
        title="a need",
        fields={
            "task": Field(kind=OneOrMany(kind=REFERENCE), about="The task, or all instances of a matrix."),
            "tasks": Field(kind=OneOrMany(kind=REFERENCE), about="Several tasks, all of them or `at_least` so many."),
            "any": Field(kind=OneOrMany(kind=REFERENCE), about="Several tasks, of which one is enough."),
            "kind": Field(kind=Choice(values=NeedKind), about="Wait for success, completion, a checkpoint, or data."),
            "at_least": Field(kind=Integer(least=1), about="So many of them are enough."),
            "output": Field(kind=NAME, about="The output to wait for (kind data)."),
            "step": Field(kind=Integer(), about="The least step of the checkpoint to wait for (kind checkpoint)."),
            "match": Field(
                kind=OneOrMany(kind=IDENTIFIER), about="Of a matrix only the instances with the same values of these."
            ),
            "timeout": Field(kind=duration(), about="Wait no longer, counted from the submission.", to="timeout_s"),
            "on_unmet": Field(
                kind=Choice(values=OnUnmet), about="If it can no longer be met: skip, fail, wait or run."
            ),
        },
        build=_need,
        check=_check_need,
        aliases=(("name", "task"), ("type", "kind"), ("min", "at_least"), ("count", "at_least"), ("data", "output")),
    ),
    widen=lambda name: NeedDraft(tasks=(name,)),
)


class _Need:
    """One need, short or long, that knows where it stands."""

    forms = _NEED

    def read(self, node: Node, problems: Problems) -> Value:
        need = self.forms.read(node, problems)
        return BAD if need is BAD else replace(need, mark=node.mark)

    def schema(self) -> Schema:
        return self.forms.schema()


NEED = _Need()


class _Needs:
    """A list of needs, or one."""

    _many = ListOf(kind=NEED, least=0)

    def read(self, node: Node, problems: Problems) -> Value:
        if isinstance(node, ListNode):
            return self._many.read(node, problems)
        need = NEED.read(node, problems)
        return BAD if need is BAD else (need,)

    def schema(self) -> Schema:
        return {"anyOf": [NEED.schema(), self._many.schema()]}


_RESULT = Record(
    title="a result",
    fields={
        "result_of": Field(
            kind=OneOrMany(kind=REFERENCE), about="The task whose function's return value this is.", required=True
        ),
        "match": Field(
            kind=OneOrMany(kind=IDENTIFIER), about="Of a matrix only the instances with the same values of these."
        ),
    },
    build=Argument,
)


class _Argument:
    """Any JSON, or `{result_of: TASK}`."""

    def read(self, node: Node, problems: Problems) -> Value:
        if isinstance(node, MapNode) and node.find("result_of"):
            result = _RESULT.read(node, problems)
            return BAD if result is BAD else replace(result, mark=node.mark)
        inner = _find_result(node)
        if inner is not None:
            problems.add(inner.mark, "`result_of` inside another value", "result_of", "make it an argument of its own")
        return Argument(json=JsonText().read(node, problems))

    def schema(self) -> Schema:
        return {}


def _find_result(node: Node) -> Scalar | None:
    if isinstance(node, MapNode):
        entry = node.find("result_of")
        if entry:
            return entry.key
    inside = (
        node.items
        if isinstance(node, ListNode)
        else [e.value for e in node.entries]
        if isinstance(node, MapNode)
        else []
    )
    return next((found for item in inside if (found := _find_result(item))), None)


FOREACH = Record(
    title="foreach",
    fields={
        "task": Field(kind=REFERENCE, about="The task that writes the list.", required=True),
        "output": Field(
            kind=NAME, about="Which of its outputs is the list (JSON); its function's return value if left out."
        ),
        "limit": Field(kind=Integer(least=1, most=100_000), about="Refuse a longer list."),
    },
    build=ForeachDraft,
    aliases=(("source", "task"), ("file", "output"), ("max", "limit")),
)


NEEDS = _Needs()
ARGUMENT = _Argument()
