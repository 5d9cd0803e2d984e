"""Who starts now, and why every other ready task does not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from elisa.model.changes import PassedOver
from elisa.model.charge import Charge
from elisa.model.decisions import Decision, Park, Preempt, Resize, Submit
from elisa.model.ids import TaskId
from elisa.model.reasons import Fact, Reason, ReasonCode, because
from elisa.model.resources import Resources
from elisa.policies.ageing import Ageing, ageing_of, comes_of_age
from elisa.policies.badgpus import BadGpu, harmful
from elisa.policies.budgets import Beginning, charge_of
from elisa.policies.closing import kept_off
from elisa.policies.factors import FactorLine, factor_columns, factor_lines
from elisa.policies.first_claim import claimed_first, with_leaving
from elisa.policies.fusion import Bundle, Member
from elisa.policies.growing import NO_GROWTH, growth
from elisa.policies.hibernation import due
from elisa.policies.lending import to_give_back
from elisa.policies.makeroom import make_room
from elisa.policies.opinions import heard
from elisa.policies.order import KeyLine, Ranking, key_columns, ranking
from elisa.policies.overcommit import pressed
from elisa.policies.placement import options_of
from elisa.policies.placement_nodes import tainted, too_small, without_data
from elisa.policies.placement_pools import Pool
from elisa.policies.reservations import to_take_back
from elisa.policies.score import Scored, rank_options
from elisa.policies.snapshot import Floats, Ints, Snapshot
from elisa.policies.starts import Start
from elisa.policies.walk import Walk

__all__ = ["Plan", "plan"]


def plan(snapshot: Snapshot) -> Plan:
    """Return what to start now, in order, with a reason for every ready task. The same snapshot gives the same plan."""
    snapshot, notes = heard(snapshot)
    ranked = ranking(snapshot)
    walk = Walk(snapshot, ranked.ahead)
    walk.run(ranked.order)
    claimed = claimed_first(snapshot, ranked, walk)
    if claimed:
        snapshot = with_leaving(snapshot, claimed)
        walk = Walk(snapshot, ranked.ahead)
        walk.run(ranked.order)
    parked = due(snapshot.site, snapshot.usage.rows, snapshot.running, snapshot.now_s)
    parked = (*parked, *to_take_back(snapshot, walk.reserved, but_not={one.attempt for one in parked}))
    parked += pressed(snapshot.clusters, snapshot.running, snapshot.site, {one.attempt for one in parked})
    given_back = to_give_back(snapshot, ranked.order, walk, but_not={one.attempt for one in parked})
    going = {one.attempt for one in parked}.union(one.attempt for one in given_back)
    served = {one.beneficiary for one in (*given_back, *claimed)}
    room = [*claimed, *make_room(snapshot, ranked.order, walk, served)]
    room = [one for one in room if one.attempt not in going]
    grown = growth(snapshot, walk, going.union(one.attempt for one in room)) if snapshot.running else NO_GROWTH
    ranked = ranked._replace(notes=(*ranked.notes, *notes))
    return Plan(snapshot, ranked, walk, (*parked, *given_back, *room, *grown.decisions), grown.room)


class Plan:
    """Decisions in the order in which to carry them out, and the reasons for everything else.

    `room` tells on how many nodes running elastic work could run now, of what could run on more than it has.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        ranked: Ranking,
        walk: Walk,
        stops: Sequence[Park | Preempt | Resize] = (),
        room: Mapping[str, int] = NO_GROWTH.room,
    ) -> None:
        self.snapshot = snapshot
        self.room = room
        self.order = ranked.order
        self.notes = ranked.notes
        self._ahead = ranked.ahead
        self._starts = {start.row: start for start in walk.starts}
        self._refusal = walk.why.refusal
        self._reasons = walk.why.groups
        self._closing = walk.closing
        self._future = walk.future
        self._presence = walk.presence
        self._stops = stops
        self._admit_after = walk.admit_after

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """One `Submit` for each task that starts, then one `Park`, `Preempt` or `Resize` for each attempt to leave."""
        return (*(self._submit(start) for start in self._starts.values()), *self._stops)

    @cached_property
    def _following(self) -> Mapping[int, Sequence[Start]]:
        following: dict[int, list[Start]] = {}
        for start in self._starts.values():
            if start.host >= 0:
                following.setdefault(start.host, []).append(start)
        return following

    def is_brief(self, task: TaskId) -> bool:
        """Tell whether a task that starts is short enough to share its native job; KeyError for any that was not ready."""
        rules = self.snapshot.site.fusion
        return rules.enabled and bool(self.snapshot.tasks.brief_s[self._row(task)] <= rules.longest_s)

    def bundle(self, leader: TaskId) -> Bundle:
        """Return the ready tasks that share the native job of one that starts, itself the first; KeyError for any other."""
        first = self._starts[self._row(leader)]
        others = self._following.get(first.row, ())
        tasks = self.snapshot.tasks
        members = tuple(Member(TaskId(tasks.ids[one.row]), float(tasks.brief_s[one.row])) for one in (first, *others))
        return Bundle(members=members, lanes=1 + sum(bool(one.taken.nodes) for one in others))

    def admit_after(self, leader: TaskId, length_s: int) -> bool:
        """Take budget for one more task like `leader`, in its job, which becomes so long; tell whether there was any."""
        return self._admit_after(self._starts[self._row(leader)], length_s)

    @cached_property
    def _rank(self) -> Ints:
        rank = np.empty(len(self.order), dtype=np.int64)
        rank[self.order] = np.arange(1, len(self.order) + 1)
        return rank

    @cached_property
    def _keys(self) -> Mapping[str, npt.NDArray[np.generic]]:
        return key_columns(self.snapshot)

    @cached_property
    def _factors(self) -> Mapping[str, Floats]:
        return factor_columns(self.snapshot)

    def passed_over(self) -> Iterator[PassedOver]:
        """Give the reason for every ready task that does not start."""
        for reason, tasks in self.passed_over_groups():
            for task in tasks:
                yield PassedOver(task=task, reason=reason)

    def passed_over_groups(self) -> Sequence[tuple[Reason, tuple[TaskId, ...]]]:
        """Return each reason once, with all tasks that share it, in the order of the queue."""
        return self._groups

    @cached_property
    def _groups(self) -> Sequence[tuple[Reason, tuple[TaskId, ...]]]:
        # A tick goes through them thrice: to write them down, to keep the plan, and for loans that are needed back.
        waits = np.ones(len(self.order), dtype=np.bool_)
        waits[list(self._starts)] = False
        ids = self.snapshot.tasks.ids
        reasons = self._reasons(self.order[waits[self.order]])
        return tuple((reason, tuple([TaskId(ids[row]) for row in rows])) for reason, rows in reasons)

    def rank(self, task: TaskId) -> int:
        """Return the task's place in the queue, from 1; KeyError if it was not ready."""
        return int(self._rank[self._row(task)])

    def factors(self, task: TaskId) -> tuple[FactorLine, ...]:
        """Return the factors of a ready task's score, whether or not the site orders by it; KeyError if it was not ready."""
        return factor_lines(self._factors, self.snapshot.site.factors, self._row(task))

    def keys(self, task: TaskId) -> tuple[KeyLine, ...]:
        """Return what each key of the order says of a ready task, the most important first; KeyError if it was not ready."""
        row = self._row(task)
        return tuple(KeyLine(name, float(column[row])) for name, column in self._keys.items())

    def ageing(self, task: TaskId) -> Ageing | None:
        """Return when a ready task comes of age; None where the site has no ageing, KeyError if it was not ready."""
        row = self._row(task)
        return ageing_of(self.snapshot, row, goes_ahead=row in self._ahead)

    def places(self, task: TaskId) -> tuple[Scored, ...]:
        """Return the places where a ready task may run, the best first, with the terms that rank them; KeyError otherwise.

        One alone is not weighed.
        """
        number = int(self.snapshot.tasks.shape[self._row(task)])
        shape = self.snapshot.shapes[number]
        options = options_of(shape, self.snapshot.pools, self.snapshot.unreachable)
        return rank_options(number, shape, options.ways, self.snapshot)

    @property
    def beginnings(self) -> Iterator[Beginning]:
        """What begins at this moment, for it has nodes: who waits in a queue is left out, and who shares another's job."""
        tasks, owners = self.snapshot.tasks, self.snapshot.owners
        for start in self._starts.values():
            if start.taken.nodes and start.host < 0:
                yield Beginning(owners[int(tasks.owner[start.row])], start.way.request, start.way.gpu_type)

    def reason(self, task: TaskId) -> Reason:
        """Return why a ready task starts or does not; KeyError if it was not ready."""
        row = self._row(task)
        return self._submit(self._starts[row]).reason if row in self._starts else self._refusal(row)

    def charge(self, task: TaskId) -> Charge:
        """Return what the plan reserved for a task that starts; KeyError for any other."""
        way = self._starts[self._row(task)].way
        return charge_of(way.request, way.request.walltime_s, way.gpu_type)

    def request(self, task: TaskId) -> Resources:
        """Return the request of a task that starts, narrowed to the type of GPU it was admitted for; KeyError for any other.

        Where it must be beside or apart from others it names its nodes.
        """
        start = self._starts[self._row(task)]
        request, gpu_type = start.way.request, start.way.gpu_type
        if start.taken.pinned:
            names = self.snapshot.pools[start.way.pool].nodes.names
            request = replace(request, nodelist=tuple(names[node] for node in start.taken.pinned))
        return replace(request, gpus=replace(request.gpus, types=(gpu_type,))) if gpu_type else request

    def likeness(self, task: TaskId) -> Hashable:
        """Return what tasks that start have in common if they ask for the same thing in the same place."""
        row = self._row(task)
        return int(self.snapshot.tasks.shape[row]), self._starts[row].way

    def nodes(self, task: TaskId) -> tuple[str, ...]:
        """Return the nodes that a task was fitted on, none if it is to wait in a queue; KeyError if it does not start."""
        start = self._starts[self._row(task)]
        names = self.snapshot.pools[start.way.pool].nodes.names
        return tuple(names[node] for node in start.taken.nodes)

    def kept_off(self, task: TaskId, own_bad: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the nodes that a task which starts must not get; KeyError for any other.

        Those that close too soon; those with a taint that it does not tolerate, without data that it needs, or with too few
        GPUs but for those that are left out; those of tasks that it must be apart from; those on which room is kept or reserved
        for others, unless it was fitted there; and, as far as enough are left, `own_bad`, what the snapshot says to avoid, and
        where bad GPUs are, unless it was fitted there. Rules may name nodes that do not exist: see `known`.
        One that names its own nodes is kept off none.
        """
        start = self._starts[self._row(task)]
        if start.taken.pinned:
            return ()
        pool = self.snapshot.pools[start.way.pool]
        bad = self.bad_gpus(task)
        suspects = (*self.snapshot.avoid.get(pool.backend, ()), *harmful(start.way.request, bad, self.nodes(task)))
        off = kept_off(start.way, pool, self._closing, own_bad, suspects)
        promised = self._future.promised_nodes(start.taken.way).difference(start.taken.nodes)
        off = (
            *off,
            *tainted(start.way.request, pool),
            *too_small(start.way.request, start.way.gpu_type, pool),
            *without_data(start.way.request, pool),
            *self._apart(start, pool),
        )
        return tuple(sorted({*off, *(pool.nodes.names[node] for node in promised)}))

    def bad_gpus(self, task: TaskId) -> Sequence[BadGpu]:
        """Return the GPUs to leave out on the backend where a task starts; KeyError for any other."""
        pool = self.snapshot.pools[self._starts[self._row(task)].way.pool]
        return self.snapshot.bad_gpus.get(pool.backend, ())

    def _apart(self, start: Start, pool: Pool) -> Iterator[str]:
        """Yield the nodes of tasks that one must be apart from which waits in a queue."""
        shape = int(self.snapshot.tasks.shape[start.row])
        if self._presence.is_held(shape):
            self._presence.take(shape, pool, (), -1)
            allowed = self._presence.allowed(shape, pool)
            self._presence.take(shape, pool, ())
            yield from (name for name, may in zip(pool.nodes.names, allowed.tolist(), strict=True) if not may)

    def known(self, task: TaskId, names: Sequence[str]) -> tuple[str, ...]:
        """Return which of the names are nodes where a task starts; all of them where no node is known."""
        nodes = self.snapshot.pools[self._starts[self._row(task)].way.pool].nodes
        return tuple(name for name in names if not nodes.names or name in nodes.names)

    def _row(self, task: TaskId) -> int:
        ids = self.snapshot.tasks.ids
        row = bisect_left(ids, task)
        if row >= len(ids) or ids[row] != task:
            raise KeyError(task)
        return row

    def _submit(self, start: Start) -> Submit:
        snapshot, ids = self.snapshot, self.snapshot.tasks.ids
        pool = snapshot.pools[start.way.pool]
        task, rank = TaskId(ids[start.row]), int(self._rank[start.row])
        facts: dict[str, Fact] = {"rank": rank, "backend": pool.backend, "partition": pool.partition.name}
        if start.way.gpu_type:
            facts["gpu_type"] = start.way.gpu_type
        if start.taken.pinned:
            facts["on"] = ",".join(pool.nodes.names[node] for node in start.taken.pinned)
        if start.row in self._ahead:
            facts["of_age_at"] = comes_of_age(snapshot, start.row).isoformat()
        if task in snapshot.urged:
            facts["urged_by"] = snapshot.urged[task].by
        shape = snapshot.shapes[snapshot.tasks.shape[start.row]]
        if shape.asked_s:
            facts |= {"shortened_s": shape.request.walltime_s, "asked_s": shape.asked_s}
        if shape.tries and start.way.gpu_type == shape.tries:
            facts["tries"] = shape.tries
        elastic = start.way.request.elastic
        if elastic is not None:
            facts |= {"size": start.way.request.size, "least": elastic.least, "most": elastic.most, "of": elastic.unit}
        lender = self._future.lender(start.taken.way, start.taken.nodes)
        if lender is not None:
            facts["lent_by"] = lender.project
        leader = TaskId(ids[start.host]) if start.host >= 0 else None
        return Submit(
            task=task,
            backend=pool.backend,
            partition=pool.partition.name,
            rank=rank,
            reason=because(ReasonCode.CHOSEN, **facts)
            if leader is None
            else because(ReasonCode.FUSED, leader=leader, **facts),
            leader=leader,
        )
