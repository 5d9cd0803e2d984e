"""The language of means: resources, placement, gang, retry, checkpoint and outputs of a task, each with its own checks."""

from __future__ import annotations

from dataclasses import replace

from elisa.model.pipeline import (
    Backoff,
    CheckpointPolicy,
    Gang,
    Grow,
    Output,
    RestartWhen,
    RetryPolicy,
    SitePlacement,
)
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import EndReason
from elisa.pipelines.kinds import BAD, Boolean, Choice, Integer, Number, Schema, Text, Value, duration, memory
from elisa.pipelines.nodes import Entry, MapNode, Node, Scalar
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Either, Field, ListOf, MapOf, OneOrMany, Record

__all__ = ["CHECKPOINT", "FORMATS", "GANG", "NAME", "OUTPUTS", "PLACEMENT", "RESOURCES", "RETRY"]

# What the agent inside a job can check; tests hold the two lists together.
FORMATS = (
    "any", "text", "json", "jsonl", "csv", "npy", "npz", "hdf5", "netcdf", "parquet", "safetensors", "gzip", "zip",
    "directory",
)  # fmt: skip
_WITH_COLUMNS = {"csv", "jsonl"}

NAME = Text(words="a name of letters, digits, `_`, `-` and `.`", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
# What goes on a resource manager's command line as it is: no spaces, quotes, commas or leading dashes.
_SITE_WORD = Text(words="one word", pattern=r"[A-Za-z0-9_][A-Za-z0-9_.@:/+-]{0,127}")
_EXPRESSION = Text(
    words="an expression without quotes or spaces", pattern=r"[A-Za-z0-9_(\[][A-Za-z0-9_.&|*()\[\]:=+-]{0,255}"
)
_SIGNALS = ("USR1", "USR2", "TERM", "INT", "HUP", "CONT")


def _check_gpus(gpus: GpuRequest, node: MapNode, problems: Problems) -> None:
    for name in ("types", "memory"):
        entry = node.find(name)
        if entry and not gpus.per_node:
            problems.add(entry.key.mark, f"`gpus` has `{name}` but asks for no gpu", name, "add `count: 1`")


_GPUS = Record(
    title="gpus",
    fields={
        "count": Field(kind=Integer(most=10_000), about="GPUs on each node.", to="per_node"),
        "types": Field(
            kind=OneOrMany(kind=_SITE_WORD), about="Models that will do, best first, such as a100; any if left out."
        ),
        "memory": Field(kind=memory(), about="The least memory of one GPU, such as 40GiB.", to="memory_mib"),
    },
    build=GpuRequest,
    check=_check_gpus,
    aliases=(("type", "types"), ("per_node", "count"), ("number", "count"), ("model", "types"), ("mem", "memory")),
)

RESOURCES = Record(
    title="resources",
    fields={
        "nodes": Field(kind=Integer(least=1, most=1_000_000), about="Nodes."),
        "tasks_per_node": Field(kind=Integer(least=1, most=100_000), about="Processes (ranks) on each node."),
        "cpus": Field(kind=Integer(least=1, most=100_000), about="Cores for each process.", to="cpus_per_task"),
        "memory": Field(kind=memory(), about="Memory on each node, such as 16GiB.", to="memory_mib_per_node"),
        "walltime": Field(kind=duration(), about="The longest it may run, such as 2h30m; else one hour.", to="walltime_s"),
        "gpus": Field(
            kind=Either(short=Integer(most=10_000), long=_GPUS, widen=lambda count: GpuRequest(per_node=count)),
            about="GPUs on each node: a number, or count, types and memory.",
        ),
        "licences": Field(
            kind=MapOf(kind=Integer(least=1), key=_SITE_WORD), about="Licences of the resource manager, by name and number."
        ),
        "features": Field(kind=OneOrMany(kind=_SITE_WORD), about="Features that every node must have."),
        "constraint": Field(kind=_EXPRESSION, about="A feature expression in the resource manager's own language."),
        "exclusive": Field(kind=Boolean(), about="Share the nodes with no other job."),
    },
    build=Resources,
    aliases=(
        ("cpu", "cpus"), ("ncpus", "cpus"), ("cores", "cpus"), ("cpus_per_task", "cpus"), ("threads", "cpus"),
        ("mem", "memory"), ("memory_mib", "memory"), ("ram", "memory"), ("time", "walltime"), ("runtime", "walltime"),
        ("time_limit", "walltime"), ("gpu", "gpus"), ("ngpus", "gpus"), ("ntasks_per_node", "tasks_per_node"),
        ("ranks", "tasks_per_node"), ("licenses", "licences"), ("license", "licences"), ("node", "nodes"),
        ("constraints", "constraint"),
    ),
)  # fmt: skip

PLACEMENT = Record(
    title="placement",
    fields={
        "backend": Field(kind=NAME, about="The configured resource manager to use."),
        "partition": Field(kind=_SITE_WORD, about="The partition or queue."),
        "account": Field(kind=_SITE_WORD, about="The account to charge at the resource manager."),
        "qos": Field(kind=_SITE_WORD, about="The quality of service."),
        "reservation": Field(kind=_SITE_WORD, about="A reservation to run in."),
        "extras": Field(
            kind=MapOf(
                kind=Text(words="a text", empty=True, longest=256),
                key=Text(words="an option's name", pattern=r"[A-Za-z][A-Za-z0-9_-]{0,62}"),
            ),
            about="Further options of the resource manager, by long name, passed on as they are.",
        ),
    },
    build=SitePlacement,
    aliases=(("queue", "partition"), ("cluster", "backend"), ("options", "extras")),
)

GANG = Either(
    short=NAME,
    long=Record(
        title="gang",
        fields={
            "name": Field(kind=NAME, about="All tasks with this name start together or not at all.", required=True),
            "minimum": Field(kind=Integer(least=1), about="Start as soon as so many can; all if left out."),
            "timeout": Field(kind=duration(), about="Give up waiting for the others after this time.", to="timeout_s"),
        },
        build=Gang,
        aliases=(("min", "minimum"), ("at_least", "minimum")),
    ),
    widen=lambda name: Gang(name=name),
)


def _check_backoff(backoff: Backoff, node: MapNode, problems: Problems) -> None:
    if backoff.maximum_s < backoff.initial_s:
        problems.add(node.mark, "`backoff` has a `maximum` below its `initial`", hint="raise `maximum`")


_BACKOFF = Record(
    title="backoff",
    fields={
        "initial": Field(kind=duration(0), about="Wait before the first retry, such as 30s.", to="initial_s"),
        "factor": Field(kind=Number(least=1, most=100), about="Each wait is so many times the one before."),
        "maximum": Field(kind=duration(0), about="The longest wait, such as 1h.", to="maximum_s"),
        "jitter": Field(
            kind=Number(most=1), about="Spread waits by this fraction, so that retries do not come all at once."
        ),
    },
    build=lambda **given: Backoff(**{name: float(value) for name, value in given.items()}),
    check=_check_backoff,
    aliases=(("max", "maximum"), ("delay", "initial")),
)

_GROW = Record(
    title="grow",
    fields={
        "memory": Field(
            kind=Number(least=1, most=100),
            about="Ask for so many times the memory after out_of_memory.",
            to="memory_factor",
        ),
        "walltime": Field(
            kind=Number(least=1, most=100), about="Ask for so many times the time after timeout.", to="walltime_factor"
        ),
        "memory_maximum": Field(kind=memory(), about="Never ask for more memory than this.", to="memory_maximum_mib"),
        "walltime_maximum": Field(kind=duration(), about="Never ask for more time than this.", to="walltime_maximum_s"),
    },
    build=Grow,
)

_END_REASONS = tuple(
    reason.value for reason in EndReason if reason not in {EndReason.COMPLETED, EndReason.CANCELLED, EndReason.REJECTED}
)


def _retry(**given: Value) -> RetryPolicy:
    ends = tuple(EndReason(word) for word in given.pop("on", ()))
    return RetryPolicy(on=ends, **given)


def _check_retry(retry: RetryPolicy, node: MapNode, problems: Problems) -> None:
    entry = node.find("limit")
    if retry.restart is RestartWhen.NEVER and entry and retry.limit > 0:
        problems.add(entry.key.mark, "`restart: never` and a `limit` of retries", "limit", "leave one of them out")


RETRY = Either(
    short=Integer(most=1000),
    long=Record(
        title="retry",
        fields={
            "limit": Field(
                kind=Integer(most=1000),
                about="Retries that are the task's own fault; preemption and node failures cost none.",
            ),
            "restart": Field(
                kind=Choice(values=RestartWhen),
                about="never, on_failure, or always (even after success: for services).",
            ),
            "on": Field(kind=OneOrMany(kind=Choice(values=_END_REASONS)), about="Retry only after these ends."),
            "backoff": Field(kind=_BACKOFF, about="How long to wait between retries."),
            "grow": Field(kind=_GROW, about="How the request grows after out_of_memory or timeout."),
        },
        build=_retry,
        check=_check_retry,
        aliases=(
            ("max", "limit"),
            ("attempts", "limit"),
            ("retries", "limit"),
            ("count", "limit"),
            ("delay", "backoff"),
        ),
    ),
    widen=lambda limit: RetryPolicy(limit=limit),
)


def _checkpoint(**given: Value) -> CheckpointPolicy:
    for name in {"interval_s", "lead_s"} & set(given):
        given[name] = float(given[name])
    return CheckpointPolicy(**given)


def _check_checkpoint(policy: CheckpointPolicy, node: MapNode, problems: Problems) -> None:
    entry = node.find("complete_when")
    if entry and not policy.pattern:
        problems.add(
            entry.key.mark, "`complete_when` without a `pattern`", "complete_when", 'add `pattern: "restart.*.nc"`'
        )
    _refuse_outside(node, "pattern", problems)


CHECKPOINT = Either(
    short=Boolean(),
    long=Record(
        title="checkpoint",
        fields={
            "interval": Field(
                kind=duration(), about="Time between saves; elisa chooses it if left out.", to="interval_s"
            ),
            "keep": Field(kind=Integer(least=1, most=10_000), about="How many of the newest checkpoints to keep."),
            "pattern": Field(
                kind=Text(words="a file pattern", longest=255),
                about="Restart files the program writes, such as restart.*.nc.",
            ),
            "complete_when": Field(
                kind=Text(words="a file pattern", longest=255),
                about="A file that appears when a restart file is complete, such as {}.done.",
            ),
            "signal": Field(kind=Choice(values=_SIGNALS), about="The signal that asks the program to save."),
            "lead": Field(
                kind=duration(),
                about="Ask for the last save so long before the walltime; learnt if left out.",
                to="lead_s",
            ),
        },
        build=_checkpoint,
        check=_check_checkpoint,
        aliases=(("every", "interval"), ("period", "interval"), ("files", "pattern")),
    ),
    widen=lambda wanted: CheckpointPolicy() if wanted else None,
)

_INSIDE = ("${task_dir}/", "${checkpoint_dir}/", "${pipeline_dir}/")


def _refuse_outside(node: MapNode, name: str, problems: Problems) -> None:
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
    _refuse_outside(node, "path", problems)
    entry = node.find("columns")
    if entry and output.format not in _WITH_COLUMNS:
        hint = f"leave `columns` out, or declare `format: {min(_WITH_COLUMNS)}`"
        problems.add(entry.key.mark, f"the columns of {output.format} cannot be checked", "columns", hint)


_OUTPUT_PATH = Text(words="a path", longest=1024)
_OUTPUT = Record(
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
            _refuse_outside(MapNode(mark=node.mark, entries=(_entry("path", node),)), "path", problems)
        return path

    def schema(self) -> Schema:
        return _OUTPUT_PATH.schema()


def _entry(name: str, value: Node) -> Entry:
    return Entry(Scalar(mark=value.mark, text=name, value=name), value)


OUTPUTS = MapOf(
    kind=Either(short=_OutputPath(), long=_OUTPUT, widen=_short_output),
    key=NAME,
    pair=lambda name, output: replace(output, name=name),
)
