"""The language of a task, as one table."""

from __future__ import annotations

from elisa.model.pipeline import (
    PriorityClass,
)
from elisa.pipelines.drafts import TaskDraft
from elisa.pipelines.kinds import (
    BAD,
    Boolean,
    Choice,
    Number,
    Schema,
    Text,
    Value,
    duration,
)
from elisa.pipelines.nodes import ListNode, MapNode, Node
from elisa.pipelines.outputs import OUTPUTS
from elisa.pipelines.problems import Problems
from elisa.pipelines.promise import PROMISE
from elisa.pipelines.recovery import CHECKPOINT, RETRY
from elisa.pipelines.references import ARGUMENT, FOREACH, NEEDS
from elisa.pipelines.resources import GANG, PLACEMENT, RESOURCES
from elisa.pipelines.shapes import Field, ListOf, MapOf, OneOrMany, Record
from elisa.pipelines.words import IDENTIFIER, LABELS, METADATA, VARIABLE

__all__ = ["TASK"]


class _Command:
    """A list of words, or one string for a shell."""

    _string = Text(words="a command", longest=100_000)
    _words = ListOf(kind=Text(words="a word of the command", longest=100_000, empty=True))

    def read(self, node: Node, problems: Problems) -> Value:
        return (self._words if isinstance(node, ListNode) else self._string).read(node, problems)

    def schema(self) -> Schema:
        return {"anyOf": [self._string.schema(), self._words.schema()]}


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
    key=VARIABLE,
    forbidden=lambda name: _RESERVED if name.startswith("ELISA_") else "",
)


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
    if not command and not call and all(key.text in TASK.fields for key, _ in node.entries):
        problems.add(node.mark, "neither `command` nor `call`", hint="say what to run: `command: [python, train.py]`")
    if command and isinstance(task.command, str) and task.command and not task.shell:
        hint = "write a list, one word an item: `[python, train.py]`, or add `shell: true`"
        problems.add(command.key.mark, "a command of one string without `shell: true`", task.command, hint)
    if command and task.shell and isinstance(task.command, tuple) and task.command:
        problems.add(command.key.mark, "`shell: true` with a list", "command", "write the command as one string")
    if command and task.shell and task.foreach and "${item" in str(task.command):
        hint = 'write "$ELISA_PARAM_ITEM", or the name of the item\'s value: a shell would run what the list holds'
        problems.add(command.key.mark, "an item in a shell's command", str(task.command), hint)
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

# What people try in its place.
_ALIASES = (
    ("run", "command"), ("cmd", "command"), ("script", "command"), ("exec", "command"), ("function", "call"),
    ("arguments", "args"), ("kwargs", "args"), ("with", "args"), ("env", "environment"), ("cwd", "workdir"),
    ("directory", "workdir"), ("depends_on", "needs"), ("dependencies", "needs"), ("after", "needs"),
    ("requires", "needs"), ("if", "when"), ("condition", "when"), ("sweep", "matrix"), ("strategy", "matrix"),
    ("loop", "foreach"), ("for_each", "foreach"), ("retries", "retry"), ("checkpoints", "checkpoint"),
    ("output", "outputs"), ("tags", "labels"),
)  # fmt: skip
TASK = Record(
    title="a task",
    fields={
        "command": Field(kind=_Command(), about="What to run: a list of words, or with `shell: true` one string."),
        "shell": Field(kind=Boolean(), about="Let /bin/sh run the command, which is then one string."),
        "call": Field(kind=_CALL, about="A Python function to call instead of a command, as FILE.py:FUNCTION."),
        "args": Field(
            kind=MapOf(kind=ARGUMENT, key=IDENTIFIER), about="Its keyword arguments: any JSON, or `{result_of: TASK}`."
        ),
        "workdir": Field(kind=Text(words="a path"), about="Where to run, relative to the pipeline's folder."),
        "environment": Field(kind=_ENVIRONMENT, about="Environment variables to set."),
        "pass_environment": Field(
            kind=OneOrMany(kind=VARIABLE), about="Variables of the submitter's own environment to keep; no others are."
        ),
        "needs": Field(kind=NEEDS, about="What must have come so far before this starts."),
        "when": Field(
            kind=Text(words="a condition", longest=2000), about="Run only if this holds: max(train.accuracy) > 0.9."
        ),
        "matrix": Field(kind=_Matrix(), about="One task of each combination of these values."),
        "foreach": Field(kind=FOREACH, about="Make one task of each item of a list that another task writes."),
        "resources": Field(kind=RESOURCES, about="What it asks for."),
        "gang": Field(kind=GANG, about="Start together with the other tasks of this gang, or not at all."),
        "retry": Field(kind=RETRY, about="How often to try again, or in detail when and how soon."),
        "checkpoint": Field(kind=CHECKPOINT, about="Whether and how it saves its work."),
        "preemptible": Field(kind=Boolean(), about="It may be stopped in favour of others and resumed later."),
        "expected": Field(
            kind=duration(), about="How long it usually runs, such as 20s; past runs know better.", to="expected_s"
        ),
        "fuse": Field(
            kind=Boolean(), about="If it is short, it may share a native job with others that ask for the same."
        ),
        "chain": Field(
            kind=Boolean(),
            about="Its job may be queued behind those it waits for, and its next attempt behind the present, before these end.",
        ),
        "priority": Field(kind=Choice(values=PriorityClass), about="Its priority class; the pipeline's if left out."),
        "importance": Field(kind=Number(), about="How much it matters within its priority class."),
        "promise": Field(kind=PROMISE, about="The metric that tells what its results are hoped to be worth."),
        "placement": Field(kind=PLACEMENT, about="Where it should run, in the resource manager's own names."),
        "outputs": Field(kind=OUTPUTS, about="Files it leaves, by name, with the formats they must have."),
        "labels": Field(kind=LABELS, about="Free labels."),
        "metadata": Field(kind=METADATA, about="Free data: experiment parameters, data set references."),
    },
    build=TaskDraft,
    check=_check_task,
    aliases=_ALIASES,
)
