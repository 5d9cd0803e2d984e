"""The language itself, as tables: what a document, a task and a need may hold. Reading and JSON Schema both come from here."""

from __future__ import annotations

from dataclasses import dataclass, field

from elisa.model.pipeline import (
    CheckpointPolicy,
    Gang,
    NeedKind,
    OnUnmet,
    Output,
    PriorityClass,
    RetryPolicy,
    SitePlacement,
)
from elisa.model.resources import Resources
from elisa.pipelines.kinds import BAD, Boolean, Choice, Integer, JsonText, Number, Schema, Text, Value, duration, wanted
from elisa.pipelines.nodes import ListNode, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems
from elisa.pipelines.requests import CHECKPOINT, GANG, NAME, OUTPUTS, PLACEMENT, RESOURCES, RETRY
from elisa.pipelines.shapes import Either, Field, ListOf, MapOf, OneOrMany, Record

__all__ = [
    "DOCUMENT",
    "FOREACH",
    "IDENTIFIER",
    "NEED",
    "TASK",
    "TASK_NAME",
    "Argument",
    "NeedDraft",
    "TaskDraft",
]

TASK_NAME = Text(
    words="a task's name: a letter or `_`, then letters, digits, `_`, `-` and `.`, at most 63",
    pattern=r"[A-Za-z_][A-Za-z0-9_.-]{0,62}",
)
IDENTIFIER = Text(words="a name of letters, digits and `_`", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_VARIABLE = Text(words="a variable's name", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_LABEL = Text(words="a text", longest=1024)
_REFERENCE = Text(words="a task's name", longest=255)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedDraft:
    """A need as written: names not yet looked up. `kind` None follows from `output` and `step`."""

    tasks: tuple[str, ...]
    kind: NeedKind | None = None
    at_least: int | None = None
    output: str = ""
    step: int | None = None
    match: tuple[str, ...] = ()
    timeout_s: int | None = None
    on_unmet: OnUnmet = OnUnmet.SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument of a call: JSON, or the results of tasks."""

    json: str = ""
    result_of: tuple[str, ...] = ()
    match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeachDraft:
    task: str
    output: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """One task, or one instance of a matrix, as written: everything read, nothing looked up."""

    command: str | tuple[str, ...] = ()
    shell: bool = False
    call: str = ""
    args: tuple[tuple[str, Argument], ...] = ()
    workdir: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    pass_environment: tuple[str, ...] = ()
    needs: tuple[NeedDraft, ...] = ()
    when: str = ""
    foreach: ForeachDraft | None = None
    resources: Resources = Resources()
    gang: Gang | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    checkpoint: CheckpointPolicy | None = None
    preemptible: bool = True
    priority: PriorityClass | None = None
    importance: float = 0.0
    placement: SitePlacement = field(default_factory=SitePlacement)
    outputs: tuple[Output, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()


class _Command:
    """A list of words, or one string for a shell."""

    _string = Text(words="a command", longest=100_000)
    _words = ListOf(kind=Text(words="a word of the command", longest=100_000, empty=True))

    def read(self, node: Node, problems: Problems) -> Value:
        return (self._words if isinstance(node, ListNode) else self._string).read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [self._string.schema(), self._words.schema()]}


def _need(**given: Value) -> NeedDraft:
    either = [given.pop(name) for name in ("task", "tasks", "any") if name in given]
    return NeedDraft(tasks=tuple(name for names in either for name in names), **given)


def _check_need(need: NeedDraft, node: MapNode, problems: Problems) -> None:
    forms = [name for name in ("task", "tasks", "any") if node.find(name)]
    if len(forms) != 1:
        what = "a need names no task" if not forms else f"a need with both `{forms[0]}` and `{forms[1]}`"
        problems.add(node.mark, what, hint="write one of `task: a`, `tasks: [a, b]` (all of them) or `any: [a, b]`")
    _check_need_kind(need, node, problems)
    if need.at_least is not None and "any" in forms:
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


NEED = Either(
    short=_REFERENCE,
    long=Record(
        title="a need",
        fields={
            "task": Field(kind=OneOrMany(kind=_REFERENCE), about="The task, or all instances of a matrix."),
            "tasks": Field(kind=OneOrMany(kind=_REFERENCE), about="Several tasks, all of them or `at_least` so many."),
            "any": Field(kind=OneOrMany(kind=_REFERENCE), about="Several tasks, of which one is enough."),
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
            kind=OneOrMany(kind=_REFERENCE), about="The task whose function's return value this is.", required=True
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
            return _RESULT.read(node, problems)
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
        "task": Field(kind=_REFERENCE, about="The task that writes the list.", required=True),
        "output": Field(
            kind=NAME, about="Which of its outputs is the list (JSON); its function's return value if left out."
        ),
        "limit": Field(kind=Integer(least=1, most=100_000), about="Refuse a longer list."),
    },
    build=ForeachDraft,
    aliases=(("source", "task"), ("file", "output"), ("max", "limit")),
)


class _Matrix:
    """Only its schema: a matrix is multiplied out before its instances are read."""

    def read(self, node: Node, problems: Problems) -> Value:  # noqa: ARG002 - as said
        return BAD

    def schema(self) -> Schema:
        axis = {"anyOf": [{"type": "array", "minItems": 1}, {"type": "string", "pattern": r"^\$\{\w+\}$"}]}
        instances = {"type": "array", "items": {"type": "object"}}
        return {
            "type": "object",
            "properties": {"include": instances, "exclude": instances},
            "additionalProperties": axis,
        }


_RESERVED = "names that begin with ELISA_ are set by elisa"
_ENVIRONMENT = MapOf(
    kind=Text(words="a text", empty=True, longest=100_000),
    key=_VARIABLE,
    forbidden=lambda name: _RESERVED if name.startswith("ELISA_") else "",
)
_METADATA = MapOf(kind=JsonText(), key=Text(words="a name", pattern=r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}"))
_LABELS = MapOf(kind=_LABEL, key=Text(words="a label's name", pattern=r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,127}"))


def _check_task(task: TaskDraft, node: MapNode, problems: Problems) -> None:
    _check_program(task, node, problems)
    _check_paths(task, node, problems)
    interval = task.checkpoint.interval_s if task.checkpoint else None
    if interval is not None and interval >= task.resources.walltime_s:
        where = node.get("checkpoint") or node
        problems.add(where.mark, "the checkpoint `interval` is not below the walltime", hint="shorten the interval")
    grow, resources = task.retry.grow, task.resources
    bounds = (
        ("memory", grow.memory_maximum_mib, resources.memory_mib_per_node),
        ("walltime", grow.walltime_maximum_s, resources.walltime_s),
    )
    for name, bound, asked in bounds:
        if bound and bound < asked:
            where = node.get("retry") or node
            problems.add(
                where.mark, f"`{name}_maximum` is below the {name} asked for", hint="raise it, or leave it out"
            )


def _check_program(task: TaskDraft, node: MapNode, problems: Problems) -> None:
    command, call = node.find("command"), node.find("call")
    if command and call:
        problems.add(call.key.mark, "both `command` and `call`", "call", "leave one of them out")
    if not command and not call:
        problems.add(node.mark, "neither `command` nor `call`", hint="say what to run: `command: [python, train.py]`")
    if command and isinstance(task.command, str) and task.command and not task.shell:
        hint = "write a list, one word an item: `[python, train.py]`, or add `shell: true`"
        problems.add(command.key.mark, "a command of one string without `shell: true`", task.command, hint)
    if command and task.shell and isinstance(task.command, tuple) and task.command:
        problems.add(command.key.mark, "`shell: true` with a list", "command", "write the command as one string")
    for name, owner in (("args", call), ("shell", command)):
        entry = node.find(name)
        if entry and not owner:
            problems.add(entry.key.mark, f"`{name}` without `{'call' if name == 'args' else 'command'}`", name)


def _check_paths(task: TaskDraft, node: MapNode, problems: Problems) -> None:
    paths: dict[str, str] = {}
    outputs = node.get("outputs")
    for output in task.outputs:
        path = output.path.removeprefix("${task_dir}/").removeprefix("./")
        if path in paths:
            entry = outputs.find(output.name) if isinstance(outputs, MapNode) else None
            mark = entry.key.mark if entry else node.mark
            problems.add(mark, f"outputs `{paths[path]}` and `{output.name}` are the same file", output.path)
        paths[path] = output.name


_CALL = Text(words="a function such as train.py:train", pattern=r"(?!/)[^:]+\.py:[A-Za-z_]\w*", longest=1024)

TASK = Record(
    title="a task",
    fields={
        "command": Field(kind=_Command(), about="What to run: a list of words, or with `shell: true` one string."),
        "shell": Field(kind=Boolean(), about="Let /bin/sh run the command, which is then one string."),
        "call": Field(kind=_CALL, about="A Python function to call instead of a command, as FILE.py:FUNCTION."),
        "args": Field(
            kind=MapOf(kind=_Argument(), key=IDENTIFIER), about="Its keyword arguments: any JSON, or `{result_of: TASK}`."
        ),
        "workdir": Field(kind=Text(words="a path"), about="Where to run, relative to the pipeline's folder."),
        "environment": Field(kind=_ENVIRONMENT, about="Environment variables to set."),
        "pass_environment": Field(
            kind=OneOrMany(kind=_VARIABLE), about="Variables of the submitter's own environment to keep; no others are."
        ),
        "needs": Field(kind=_Needs(), about="What must have come so far before this starts."),
        "when": Field(kind=Text(words="a condition", longest=2000), about="Run only if this holds: max(train.accuracy) > 0.9."),
        "matrix": Field(kind=_Matrix(), about="One task of each combination of these values."),
        "foreach": Field(kind=FOREACH, about="Make one task of each item of a list that another task writes."),
        "resources": Field(kind=RESOURCES, about="What it asks for."),
        "gang": Field(kind=GANG, about="Start together with the other tasks of this gang, or not at all."),
        "retry": Field(kind=RETRY, about="How often to try again, or in detail when and how soon."),
        "checkpoint": Field(kind=CHECKPOINT, about="Whether and how it saves its work."),
        "preemptible": Field(kind=Boolean(), about="It may be stopped in favour of others and resumed later."),
        "priority": Field(kind=Choice(values=PriorityClass), about="Its priority class; the pipeline's if left out."),
        "importance": Field(kind=Number(), about="How much it matters within its priority class."),
        "placement": Field(kind=PLACEMENT, about="Where it should run, in the resource manager's own names."),
        "outputs": Field(kind=OUTPUTS, about="Files it leaves, by name, with the formats they must have."),
        "labels": Field(kind=_LABELS, about="Free labels."),
        "metadata": Field(kind=_METADATA, about="Free data: experiment parameters, data set references."),
    },
    build=TaskDraft,
    check=_check_task,
    aliases=(
        ("run", "command"), ("cmd", "command"), ("script", "command"), ("exec", "command"), ("function", "call"),
        ("arguments", "args"), ("kwargs", "args"), ("with", "args"), ("env", "environment"), ("cwd", "workdir"),
        ("directory", "workdir"), ("depends_on", "needs"), ("dependencies", "needs"), ("after", "needs"),
        ("requires", "needs"), ("if", "when"), ("condition", "when"), ("sweep", "matrix"), ("strategy", "matrix"),
        ("loop", "foreach"), ("for_each", "foreach"), ("retries", "retry"), ("restart", "retry"),
        ("checkpoints", "checkpoint"), ("output", "outputs"), ("tags", "labels"), ("partition", "placement"),
        ("queue", "placement"), ("account", "placement"), ("cpus", "resources"), ("memory", "resources"),
        ("walltime", "resources"), ("gpus", "resources"), ("nodes", "resources"),
    ),
)  # fmt: skip

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
        for key, _ in node.entries:
            if key.text in TASK.fields and key.text not in _DEFAULTABLE:
                problems.add(key.mark, f"`{key.text}` cannot be a default", key.text, "it belongs to each task")
            elif key.text not in TASK.fields:
                TASK.report_unknown(key, problems)
        return MapNode(mark=node.mark, entries=tuple(entry for entry in node.entries if entry.key.text in _DEFAULTABLE))


class _Parameters:
    """Only its schema: parameters are read first of all."""

    def schema(self) -> Schema:
        scalar = {"type": ["string", "number", "boolean", "null"]}
        values = {"anyOf": [scalar, {"type": "array", "items": scalar}]}
        return {"type": "object", "propertyNames": {"pattern": IDENTIFIER.pattern}, "additionalProperties": values}

    def read(self, node: Node, problems: Problems) -> Value:  # noqa: ARG002 - as said
        return BAD


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDraft:
    """A document with its tasks still unread."""

    name: str
    tasks: MapNode
    project: str = "default"
    deadline: str = ""
    importance: float = 0.0
    priority: PriorityClass = PriorityClass.NORMAL
    labels: tuple[tuple[str, str], ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    defaults: MapNode | None = None


DOCUMENT = Record(
    title="a pipeline",
    fields={
        "name": Field(kind=NAME, about="The pipeline's name.", required=True),
        "project": Field(kind=NAME, about="The project it belongs to and whose budget it uses."),
        "deadline": Field(
            kind=Text(words="a moment", longest=64), about="2026-12-24T18:00+01:00, or +3d: so long after its submission."
        ),
        "importance": Field(kind=Number(), about="How much it matters within its priority class."),
        "priority": Field(kind=Choice(values=PriorityClass), about="critical, high, normal, low or scavenger."),
        "labels": Field(kind=_LABELS, about="Free labels."),
        "metadata": Field(kind=_METADATA, about="Free data: experiment parameters, data set references."),
        "parameters": Field(kind=_Parameters(), about="Values that `${name}` stands for; `--set name=value` changes them."),
        "defaults": Field(kind=_Defaults(), about="What every task has unless it says otherwise."),
        "tasks": Field(kind=_Tasks(), about="The tasks, by name.", required=True),
    },
    build=DocumentDraft,
    aliases=(
        ("pipeline", "name"), ("title", "name"), ("jobs", "tasks"), ("steps", "tasks"), ("stages", "tasks"),
        ("params", "parameters"), ("variables", "parameters"), ("vars", "parameters"), ("due", "deadline"),
        ("default", "defaults"), ("tags", "labels"),
    ),
)  # fmt: skip
