"""All that a plan is made of, as one value that can be written down; and what a plan decided, to be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from types import MappingProxyType

from elisa.model.codec import encode
from elisa.model.columns import Outlook, ProjectUsage, ReadyColumns, RunningRow
from elisa.model.ids import AttemptId, BackendName, TaskId
from elisa.model.native import ClusterView
from elisa.model.site import SitePolicy
from elisa.model.task import Attempt
from elisa.policies.badgpus import BadGpu
from elisa.policies.inheritance import Urged
from elisa.policies.plan import Plan
from elisa.policies.snapshot import KeptRoom, OrderPlugin, Snapshot

__all__ = ["Outcome", "PlanInputs", "differences"]

_NO_PLUGINS: Mapping[str, OrderPlugin] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """What `Snapshot.build` is given, apart from plug-ins, which are code: here are the names of those that took part.

    `plugins` are named as in a snapshot, `planner` is the one that planned, "" for the built-in plan.
    """

    ready: ReadyColumns
    usage: ProjectUsage
    clusters: Sequence[ClusterView]
    live: Sequence[Attempt]
    site: SitePolicy
    now: datetime
    queueing: Sequence[BackendName] = ()
    unreachable: Mapping[BackendName, str] = field(default_factory=dict)
    uid: int | None = None
    ends: Mapping[AttemptId, float] = field(default_factory=dict)
    promised: Mapping[TaskId, KeptRoom] = field(default_factory=dict)
    running: Sequence[RunningRow] = ()
    outlook: Outlook | None = None
    avoid: Mapping[BackendName, Sequence[str]] = field(default_factory=dict)
    urged: Mapping[TaskId, Urged] = field(default_factory=dict)
    unexcluding: Sequence[BackendName] = ()
    bad_gpus: Mapping[BackendName, Sequence[BadGpu]] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    planner: str = ""

    def snapshot(self, plugins: Mapping[str, OrderPlugin] = _NO_PLUGINS) -> Snapshot:
        """Return the snapshot that a plan looks at."""
        return Snapshot.build(
            self.ready,
            self.usage,
            self.clusters,
            self.live,
            self.site,
            self.now,
            queueing=self.queueing,
            unreachable=self.unreachable,
            uid=self.uid,
            ends=self.ends,
            promised=self.promised,
            running=self.running,
            outlook=self.outlook,
            avoid=self.avoid,
            urged=self.urged,
            unexcluding=self.unexcluding,
            bad_gpus=self.bad_gpus,
            plugins=plugins,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a plan decided, in its order, and why it passed others over: each reason once, with the tasks that share it.

    Decisions and reasons are texts, each of which stands for one value only.
    """

    decisions: tuple[str, ...]
    passed_over: tuple[tuple[str, tuple[TaskId, ...]], ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, made: Plan) -> Outcome:
        """Return what a plan decided."""
        groups = made.passed_over_groups()
        return cls(
            decisions=tuple(_text(decision) for decision in made.decisions),
            passed_over=tuple((_text(reason), tasks) for reason, tasks in groups),
            notes=made.notes,
        )


def _text(value: object) -> str:
    return f"{type(value).__name__.lower()} {json.dumps(encode(value), sort_keys=True)}"


def differences(stored: Outcome, again: Outcome) -> Iterator[str]:
    """Yield a sentence for each thing that a plan decided another way the second time; none if they are the same.

    Notes are no decisions: a plug-in that failed the first time takes no part in the second.
    """
    pairs = zip_longest(stored.decisions, again.decisions, fillvalue="nothing")
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            yield f"decision {number} was {one}, now it is {other}"
    before, after = _reasons(stored), _reasons(again)
    for task in sorted(before.keys() | after.keys()):
        was, is_now = (reasons.get(task, "nothing") for reasons in (before, after))
        if was != is_now:
            yield f"task {task} was passed over for {was}, now for {is_now}"


def _reasons(outcome: Outcome) -> Mapping[TaskId, str]:
    return {task: reason for reason, tasks in outcome.passed_over for task in tasks}
