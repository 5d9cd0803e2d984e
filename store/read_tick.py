"""What a tick reads to decide: tasks to look at, what they need, ready tasks in columns, and use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from elisa.model.charge import Charge
from elisa.model.columns import GangRow, PastUse, ProjectUsage, ReadyColumns, Shape, UsageRow
from elisa.model.ids import AttemptId, TaskId
from elisa.model.needs import ResolvedNeed, Target
from elisa.model.states import TaskState
from elisa.store.connection import Connection
from elisa.store.convert import CHARGES, from_us, needs_from, placement_from, resources_from, to_us
from elisa.store.read_tasks import OWN_NUMBER, TaskQueries

__all__ = ["TickQueries"]

_DAY_S = 86_400
_HOLDINGS = "jobs, nodes, cpus, memory_mib, gpus, watts"
# What many tasks have in common comes as one text: most of the time goes into making texts, one a row and column.
_SEPARATOR = "\n"  # in none of the parts: JSON is written without control characters, and names have none
_COLUMNS = (
    "SELECT t.id, t.priority, t.importance, t.submitted_at, COALESCE(t.ready_at, t.submitted_at),"
    " t.pipeline || '\n' || t.gang || '\n' || t.request || '\n' || t.placement || '\n' || t.brief_s FROM task t"
)
_READY = f"{_COLUMNS} WHERE t.state = 'ready' AND t.cancel_requested = 0"
_PIPELINES = "SELECT id, project, owner_uid, COALESCE(deadline, 0) FROM pipeline WHERE id IN ({keys})"
_RANKED_BY = "SELECT id, ranked_by FROM task WHERE ranked_by IS NOT NULL AND ranked_by <> owner_uid"
_NAMED = f"{_COLUMNS} WHERE t.id IN ({{keys}})"

_CUT_OFF = (
    f"SELECT a.id FROM task t JOIN attempt a ON a.task = t.id AND a.number = {OWN_NUMBER}"
    " WHERE t.state = 'waiting' AND t.due_at > ? AND a.claimed = 1 AND a.end_reason IN ('node_failure', 'lost')"
    " ORDER BY a.id"
)

_WAITING_NOTED = (
    "SELECT a.id FROM attempt a WHERE a.state IN ('submitted', 'queued')"
    " AND EXISTS (SELECT 1 FROM audit n WHERE n.subject = a.id AND n.kind = ?) ORDER BY a.id"
)


_LEFT = (
    "SELECT a.id FROM attempt a WHERE a.ended_at > ? AND a.state = 'lost'"
    " AND EXISTS (SELECT 1 FROM audit n WHERE n.subject = a.id AND n.kind = ?)"
    " AND NOT EXISTS (SELECT 1 FROM audit n WHERE n.subject = a.id AND n.kind = ?) ORDER BY a.id"
)


class _Kinds(NamedTuple):
    """What tasks of one kind have in common: a number for each kind, and what the numbers stand for."""

    owner: Sequence[int]
    deadline_us: Sequence[int]
    shape: Sequence[int]
    gang: Sequence[int]
    brief_s: Sequence[int]
    owners: Sequence[tuple[str, int]]
    shapes: Sequence[Shape]
    gangs: Sequence[tuple[str, str]]


class TickQueries(TaskQueries):
    """Queries of the tick."""

    _db: Connection

    def to_check(self, now: datetime) -> tuple[TaskId, ...]:
        """Return waiting tasks whose needs may have changed, or for which a wait or a time limit is over."""
        query = "SELECT id FROM task WHERE state = 'waiting' AND (check_needs > 0 OR due_at <= ?) ORDER BY id"
        return tuple(TaskId(row[0]) for row in self._db.rows(query, to_us(now)))

    def cut_off(self, now: datetime) -> tuple[AttemptId, ...]:
        """Return the attempts lost with their nodes whose tasks wait until whatever may still run there has ended."""
        return tuple(AttemptId(row[0]) for row in self._db.rows(_CUT_OFF, to_us(now)))

    def next_look_at(self) -> datetime | None:
        """Return the first moment at which a waiting task's wait or time limit is over, None if none waits for a moment."""
        due_us: int | None = self._db.rows("SELECT MIN(due_at) FROM task WHERE state = 'waiting'")[0][0]
        return from_us(due_us)

    def cancel_wanted(self) -> tuple[TaskId, ...]:
        """Return the tasks that somebody wants cancelled and that are not over."""
        return tuple(
            TaskId(row[0]) for row in self._db.rows("SELECT id FROM task WHERE cancel_requested = 1 ORDER BY id")
        )

    def hold_wanted(self) -> tuple[TaskId, ...]:
        """Return the active tasks that somebody wants held."""
        return tuple(
            TaskId(row[0]) for row in self._db.rows("SELECT id FROM task WHERE hold_requested = 1 ORDER BY id")
        )

    def waiting_noted(self, what: str) -> tuple[AttemptId, ...]:
        """Return the attempts whose native jobs have not begun, and of which `what` was ever noted."""
        return tuple(AttemptId(row[0]) for row in self._db.rows(_WAITING_NOTED, f"noted.{what}"))

    def lost_noted(self, since: datetime, what: str, but_not: str) -> tuple[AttemptId, ...]:
        """Return the attempts given up since then of which `what` was noted and `but_not` was not."""
        kinds = f"noted.{what}", f"noted.{but_not}"
        return tuple(AttemptId(row[0]) for row in self._db.rows(_LEFT, to_us(since), *kinds))

    def next_in_line(self, most: int) -> tuple[TaskId, ...]:
        """Return waiting tasks that lack nothing but what active ones are about to bring, as far as states tell.

        Of more than `most` those of the best class, and of the greatest importance in it.
        """
        return tuple(TaskId(row[0]) for row in self._db.rows(_NEXT_IN_LINE, most))

    def waiting_for(self, targets: Collection[TaskId]) -> tuple[TaskId, ...]:
        """Return the waiting tasks that need one of these, whatever else they need."""
        return tuple(sorted({TaskId(row[0]) for row in self._db.rows_in(_WAITING_FOR, targets)}))

    def brief_dependents(self, tasks: Collection[TaskId]) -> tuple[TaskId, ...]:
        """Return the waiting tasks that need one of these, and that may share a native job."""
        return tuple(dict.fromkeys(TaskId(row[0]) for row in self._db.rows_in(_BRIEF_DEPENDENTS, tasks)))

    def upstream(self, tasks: Collection[TaskId]) -> Mapping[TaskId, tuple[ResolvedNeed, ...]]:
        """Return the needs of each task with the tasks behind them: for a template, the tasks made from it if any."""
        needs = {row[0]: needs_from(row[1]) for row in self._db.rows_in(_NEEDS, tasks)}
        edges: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        for task, need, target in self._db.rows_in(_EDGES, tasks):
            edges[task, need].append(target)
        targets = self._targets({target for found in edges.values() for target in found})
        return {
            task: tuple(
                ResolvedNeed(need=need, targets=tuple(t for key in edges[task, number] for t in targets[key]))
                for number, need in enumerate(found)
            )
            for task, found in needs.items()
        }

    def _targets(self, ids: Collection[str]) -> Mapping[str, tuple[Target, ...]]:
        children: defaultdict[str, list[str]] = defaultdict(list)
        for template, child in self._db.rows_in(_CHILDREN, ids):
            children[template].append(child)
        everyone = [TaskId(task) for key in ids for task in children.get(key, [key])]
        metrics = self.metrics(everyone)
        outputs: defaultdict[str, dict[str, bool]] = defaultdict(dict)
        for task, name, ok in self._db.rows_in("SELECT task, name, ok FROM output WHERE task IN ({keys})", everyone):
            outputs[task][name] = bool(ok)
        steps = dict(self._db.rows_in(_NEWEST_STEP, everyone))
        found = {
            task: Target(
                id=task,
                name=name,
                group=group,
                state=TaskState(state),
                checkpoint_step=steps.get(task),
                outputs=MappingProxyType(outputs[task]),
                metrics=metrics.get(task, MappingProxyType({})),
            )
            for task, name, group, state in self._db.rows_in(
                "SELECT id, name, group_name, state FROM task WHERE id IN ({keys})", everyone
            )
        }
        return {key: tuple(found[TaskId(task)] for task in children.get(key, [key])) for key in ids}

    def ready_columns(self) -> ReadyColumns:
        """Return every ready task that nobody wants cancelled, column by column."""
        return self._as_columns(self._db.rows(_READY))

    def columns_of(self, tasks: Collection[TaskId]) -> ReadyColumns:
        """Return these tasks in the columns of ready ones, whatever their state."""
        return self._as_columns(self._db.rows_in(_NAMED, tasks))

    def _as_columns(self, rows: Sequence[Sequence[Any]]) -> ReadyColumns:
        if not rows:
            return ReadyColumns(*((),) * 10)
        # Not `zip(*rows)`: its iterators, one a row, would have the garbage collector look through everything again and again.
        task, priority, importance, submitted_us, ready_us, texts = ([row[place] for row in rows] for place in range(6))
        number = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        kind = [number[text] for text in texts]
        kinds = self._kinds(number)
        return ReadyColumns(
            task=task,
            owner=_spread(kinds.owner, kind),
            owners=kinds.owners,
            priority=priority,
            importance=importance,
            submitted_us=submitted_us,
            ready_us=ready_us,
            deadline_us=_spread(kinds.deadline_us, kind),
            shape=_spread(kinds.shape, kind),
            shapes=kinds.shapes,
            gang=_spread(kinds.gang, kind),
            gangs=self._gangs(kinds.gangs),
            ranked_by=dict(self._db.rows(_RANKED_BY)),
            brief_s=_spread(kinds.brief_s, kind),
        )

    def _kinds(self, texts: Iterable[str]) -> _Kinds:
        """Return what each text of `_COLUMNS` stands for, the owners, shapes and gangs numbered as they first occur."""
        parts = [text.split(_SEPARATOR) for text in texts]
        pipelines = {row[0]: row[1:] for row in self._db.rows_in(_PIPELINES, [pipeline for pipeline, *_ in parts])}
        owners: dict[tuple[str, int], int] = {}
        shapes: dict[tuple[str, str], int] = {}
        gangs: dict[tuple[str, str], int] = {}
        return _Kinds(
            owner=[owners.setdefault(pipelines[pipeline][:2], len(owners)) for pipeline, *_ in parts],
            deadline_us=[pipelines[pipeline][2] for pipeline, *_ in parts],
            shape=[shapes.setdefault((request, placement), len(shapes)) for *_, request, placement, _ in parts],
            gang=[gangs.setdefault((pipeline, gang), len(gangs)) if gang else -1 for pipeline, gang, *_ in parts],
            brief_s=[int(brief_s) for *_, brief_s in parts],
            owners=list(owners),
            shapes=[Shape(resources_from(request), placement_from(placement)) for request, placement in shapes],
            gangs=list(gangs),
        )

    def _gangs(self, wanted: Collection[tuple[str, str]]) -> list[GangRow]:
        if not wanted:
            return []
        rows = self._db.rows(_GANGS)
        # Whoever is left when others have finished waits for no more than are left.
        found = {
            (row[0], row[1]): GangRow(row[2], minimum=min(row[3], row[5]), live=row[4], name=f"{row[0]}/{row[1]}")
            for row in rows
        }
        return [found[key] for key in wanted]

    def usage(self, now: datetime) -> ProjectUsage:
        """Return what is reserved, spent and held by project and user; by day, too, for use to be forgotten."""
        sides = ", ".join(f"{side}_{name}" for side in ("reserved", "spent") for name in CHARGES)
        query = f"SELECT project, owner_uid, gpu_type, {sides}, {_HOLDINGS} FROM account ORDER BY 1, 2, 3"
        rows = tuple(UsageRow(row[0], row[1], row[2], *_sides(row[3:], row[2])) for row in self._db.rows(query))
        today_s = now.timestamp()
        query = f"SELECT project, owner_uid, gpu_type, day, {', '.join(CHARGES)} FROM daily_use ORDER BY 1, 2, 3, 4"
        past = tuple(
            PastUse(row[0], row[1], max(0.0, today_s - (row[3] + 1) * _DAY_S), _charge(row[4:], row[2]), row[3])
            for row in self._db.rows(query)
        )
        return ProjectUsage(rows, past)

    def events_cursor(self) -> Mapping[str, tuple[int, int]]:
        """Return how far each event file was read: its inode and the offset to read on from."""
        rows = self._db.rows("SELECT file, inode, position FROM event_cursor")
        return {file: (int(inode), position) for file, inode, position in rows}

    def last_seqs(self) -> Mapping[str, int]:
        """Return the highest sequence number that was read from each event file: no event up to it counts again."""
        return dict(self._db.rows("SELECT file, seq FROM event_cursor"))


def _spread(of_kind: Sequence[int], kinds: Iterable[int]) -> Sequence[int]:
    return [of_kind[kind] for kind in kinds]


def _sides(values: Sequence[int], gpu_type: str) -> tuple[Any, ...]:
    """Return what is reserved, what is spent, and what is held now."""
    count = len(CHARGES)
    reserved, spent = tuple(values[:count]), tuple(values[count : 2 * count])
    return (_charge(reserved, gpu_type), _charge(spent, gpu_type), *values[2 * count :])


def _charge(amounts: tuple[int, ...], gpu_type: str) -> Charge:
    return Charge(**dict(zip(CHARGES, amounts, strict=True)), gpu_type=gpu_type)


_NEXT_IN_LINE = (
    "SELECT t.id FROM task t WHERE t.state = 'waiting' AND t.cancel_requested = 0 AND t.not_before IS NULL AND t.id IN"
    " (SELECT e.task FROM task s JOIN need_edge e ON e.target = s.id WHERE s.state = 'active')"
    " AND NOT EXISTS (SELECT 1 FROM need_edge o JOIN task x ON x.id = o.target"
    " WHERE o.task = t.id AND x.state NOT IN ('active', 'succeeded'))"
    " ORDER BY t.priority, t.importance DESC, t.id LIMIT ?"
)
_WAITING_FOR = (
    "SELECT t.id FROM need_edge e JOIN task t ON t.id = e.task WHERE e.target IN ({keys})"
    " AND t.state = 'waiting' AND t.cancel_requested = 0"
)
_BRIEF_DEPENDENTS = (
    "SELECT t.id FROM need_edge e JOIN task t ON t.id = e.task WHERE e.target IN ({keys}) AND t.state = 'waiting'"
    " AND t.brief_s > 0 AND t.cancel_requested = 0 AND t.not_before IS NULL ORDER BY t.id"
)
_NEEDS = "SELECT id, needs FROM task WHERE id IN ({keys})"
_EDGES = "SELECT task, need, target FROM need_edge WHERE task IN ({keys}) ORDER BY task, need, target"
_CHILDREN = "SELECT parent, id FROM task WHERE parent IN ({keys}) ORDER BY position"
_NEWEST_STEP = "SELECT task, MAX(step) FROM checkpoint WHERE task IN ({keys}) GROUP BY task"
_GANGS = (
    "SELECT pipeline, gang, SUM(CASE WHEN state IN ('waiting', 'ready', 'held') THEN 1 ELSE 0 END), MAX(gang_minimum),"
    " SUM(CASE WHEN state = 'active' THEN 1 ELSE 0 END), SUM(CASE WHEN state = 'succeeded' THEN 0 ELSE 1 END) FROM task"
    " WHERE gang <> '' GROUP BY pipeline, gang"
)
