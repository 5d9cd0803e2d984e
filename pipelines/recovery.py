"""The language of failure: when to try again, and how work is saved."""

from __future__ import annotations

from elisa.model.pipeline import (
    Backoff,
    CheckpointPolicy,
    Grow,
    RestartWhen,
    RetryPolicy,
)
from elisa.model.states import EndReason
from elisa.pipelines.kinds import (
    Boolean,
    Choice,
    Integer,
    Number,
    Text,
    Value,
    duration,
    memory,
)
from elisa.pipelines.nodes import MapNode
from elisa.pipelines.outputs import refuse_outside
from elisa.pipelines.problems import Problems
from elisa.pipelines.shapes import Either, Field, OneOrMany, Record

__all__ = ["CHECKPOINT", "RETRY"]

_SIGNALS = ("USR1", "USR2", "TERM", "INT", "HUP", "CONT")


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
    refuse_outside(node, "pattern", problems)


CHECKPOINT = Either(
    short=Boolean(),
    long=Record(
        title="checkpoint",
        fields={
            "interval": Field(
                kind=duration(0),
                about="Time between saves; 0s: whenever the program offers one. elisa chooses it if left out.",
                to="interval_s",
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
