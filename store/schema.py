"""The tables, declared once: `tables.py` is made from them, and the migrations are checked against them.

Only types that SQLite and PostgreSQL share: text, 64-bit integers, doubles. Moments are integer microseconds since the
epoch, truth values 0 and 1, objects JSON texts. SQLModel classes with `table=True` do not validate, so nothing reaches a
row but through `store.convert`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Integer, MetaData, Text, text
from sqlmodel import Field, SQLModel

__all__ = [
    "METADATA",
    "AccountTable",
    "AttemptTable",
    "AuditTable",
    "BudgetTable",
    "CheckpointTable",
    "ClosureTable",
    "DailyUseTable",
    "EventCursorTable",
    "LatestMetricTable",
    "LedgerTable",
    "MetaTable",
    "MetricTable",
    "MigrationTable",
    "NeedEdgeTable",
    "OutputTable",
    "PipelineTable",
    "ProjectTable",
    "RuleTable",
    "TaskTable",
    "VerdictTable",
]

METADATA = MetaData()


def _index_where(name: str, column: str, where: str, *, unique: bool = False) -> Index:
    """Declare an index that holds only the few rows for which `where` is true."""
    return Index(name, column, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class _Table(SQLModel):
    metadata = METADATA


class MetaTable(_Table, table=True):
    """One row. `revision` counts transactions.

    `canary` is changed by whoever begins a tick: a tick that finds another's knows that locks are broken.
    """

    __tablename__ = "meta"

    id: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    instance: str = Field(sa_type=Text)
    host: str = Field(sa_type=Text)
    filesystem: str = Field(sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    last_tick_at: int | None = Field(default=None, sa_type=BigInteger)
    ticks: int = Field(default=0, sa_type=BigInteger)
    last_tick: str = Field(default="{}", sa_type=Text)
    canary: str = Field(default="", sa_type=Text)
    revision: int = Field(default=0, sa_type=BigInteger)


class MigrationTable(_Table, table=True):
    """Every migration that was applied. The schema's version is the highest."""

    __tablename__ = "migration"

    version: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    name: str = Field(sa_type=Text)
    applied_at: int = Field(sa_type=BigInteger)


class ProjectTable(_Table, table=True):
    __tablename__ = "project"

    name: str = Field(primary_key=True, sa_type=Text)
    created_at: int = Field(sa_type=BigInteger)
    in_policy: int = Field(default=0, sa_type=Integer)


class BudgetTable(_Table, table=True):
    """Hard caps. Project "" holds for projects outside the policy; `per_user` 1 caps each member on their own.

    With an `owner_uid` other than -1 that one member alone, in place of what caps each.
    """

    __tablename__ = "budget"

    project: str = Field(primary_key=True, sa_type=Text)
    per_user: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    owner_uid: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    resource: str = Field(primary_key=True, sa_type=Text)
    gpu_type: str = Field(primary_key=True, sa_type=Text)
    cap: int = Field(sa_type=BigInteger)


class PipelineTable(_Table, table=True):
    """`spec` is the pipeline without its tasks, which are in their own table."""

    __tablename__ = "pipeline"

    id: str = Field(primary_key=True, sa_type=Text)
    project: str = Field(sa_type=Text, foreign_key="project.name")
    name: str = Field(sa_type=Text)
    owner_uid: int = Field(sa_type=BigInteger)
    owner: str = Field(sa_type=Text)
    submitted_at: int = Field(sa_type=BigInteger)
    deadline: int | None = Field(default=None, sa_type=BigInteger)
    source: str = Field(sa_type=Text)
    spec: str = Field(sa_type=Text)


class TaskTable(_Table, table=True):
    """A task. What a plan sorts by stands in columns of its own, so that no spec is decoded to rank 100,000 tasks.

    `check_needs` is 0, or the revision since which its needs must be looked at again; `due_at` is when they must be
    although nothing happened. `priority` is a rank, 0 the most urgent; `ranked_by` is the user on whose rights it rests, if
    somebody ranked the task.
    """

    __tablename__ = "task"
    __table_args__ = (
        Index("task_by_name", "pipeline", "name", unique=True),
        Index("task_by_pipeline", "pipeline", "state"),
        Index("task_by_state", "state", "project"),
        Index("task_by_parent", "parent"),
        _index_where("task_to_check", "id", "check_needs > 0"),
        _index_where("task_due", "due_at", "due_at IS NOT NULL"),
        _index_where("task_ranked", "id", "ranked_by IS NOT NULL"),
        _index_where("task_to_cancel", "id", "cancel_requested = 1"),
        _index_where("task_to_hold", "id", "hold_requested = 1"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    pipeline: str = Field(sa_type=Text, foreign_key="pipeline.id")
    project: str = Field(sa_type=Text)
    owner_uid: int = Field(sa_type=BigInteger)
    parent: str | None = Field(default=None, sa_type=Text, foreign_key="task.id")
    position: int = Field(sa_type=BigInteger)
    name: str = Field(sa_type=Text)
    group_name: str = Field(sa_type=Text)
    spec: str = Field(sa_type=Text)
    needs: str = Field(sa_type=Text)
    placement: str = Field(sa_type=Text)
    gang: str = Field(sa_type=Text)
    gang_minimum: int = Field(sa_type=BigInteger)
    priority: int = Field(sa_type=Integer)
    importance: float = Field(sa_type=Double)
    submitted_at: int = Field(sa_type=BigInteger)
    state: str = Field(sa_type=Text)
    request: str = Field(sa_type=Text)
    ready_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    not_before: int | None = Field(default=None, sa_type=BigInteger)
    attempts: int = Field(default=0, sa_type=BigInteger)
    failures: int = Field(default=0, sa_type=BigInteger)
    cancel_requested: int = Field(default=0, sa_type=Integer)
    resume_from: str | None = Field(default=None, sa_type=Text)
    check_needs: int = Field(default=0, sa_type=BigInteger)
    due_at: int | None = Field(default=None, sa_type=BigInteger)
    hold_requested: int = Field(default=0, sa_type=Integer)
    ranked_by: int | None = Field(default=None, sa_type=BigInteger)
    brief_s: int = Field(default=0, sa_type=BigInteger)


class NeedEdgeTable(_Table, table=True):
    """Need number `need` of `task` looks at `target`, a task or the template of tasks to come."""

    __tablename__ = "need_edge"
    __table_args__ = (Index("need_edge_by_target", "target"),)

    task: str = Field(primary_key=True, sa_type=Text, foreign_key="task.id")
    need: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    target: str = Field(primary_key=True, sa_type=Text, foreign_key="task.id")


class AttemptTable(_Table, table=True):
    """An attempt. `held_*` is what of its reservation is not booked yet: zero from its end on.

    `held_watts` is what it counts for at once. `behind` lists the attempts that its native job was queued behind, `leader`
    is the first of those that share it. `continues` names the one before it as long as, and if, it did not become its
    task's own; `inherits` the one whose holdings it takes over, as long as that one has them.
    """

    __tablename__ = "attempt"
    __table_args__ = (
        Index("attempt_by_task", "task", "number", unique=True),
        _index_where(
            "one_live_attempt_a_task", "task", "state NOT IN ('ended', 'lost') AND continues IS NULL", unique=True
        ),
        _index_where(
            "one_heir_an_attempt", "inherits", "inherits IS NOT NULL AND state NOT IN ('ended', 'lost')", unique=True
        ),
        Index("attempt_by_native_id", "native_id"),
        _index_where("attempt_by_end", "ended_at", "ended_at IS NOT NULL"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    task: str = Field(sa_type=Text, foreign_key="task.id")
    project: str = Field(sa_type=Text)
    owner_uid: int = Field(sa_type=BigInteger)
    number: int = Field(sa_type=BigInteger)
    backend: str = Field(sa_type=Text)
    partition_name: str = Field(sa_type=Text)
    request: str = Field(sa_type=Text)
    intended_at: int = Field(sa_type=BigInteger)
    resume_from: str | None = Field(default=None, sa_type=Text)
    gpu_type: str = Field(sa_type=Text)
    state: str = Field(sa_type=Text)
    native_id: str | None = Field(default=None, sa_type=Text)
    native_detail: str = Field(default="", sa_type=Text)
    submitted_at: int | None = Field(default=None, sa_type=BigInteger)
    started_at: int | None = Field(default=None, sa_type=BigInteger)
    ended_at: int | None = Field(default=None, sa_type=BigInteger)
    incarnation: int = Field(default=0, sa_type=BigInteger)
    absences: int = Field(default=0, sa_type=BigInteger)
    quiet_ticks: int = Field(default=0, sa_type=BigInteger)
    cancel_sent: int = Field(default=0, sa_type=Integer)
    claimed: int = Field(default=0, sa_type=Integer)
    nodes: str = Field(default="", sa_type=Text)
    last_checkpoint: str | None = Field(default=None, sa_type=Text)
    usage: str = Field(default="{}", sa_type=Text)
    end_reason: str = Field(default="", sa_type=Text)
    ending: str | None = Field(default=None, sa_type=Text)
    held_node_s: int = Field(default=0, sa_type=BigInteger)
    held_cpu_s: int = Field(default=0, sa_type=BigInteger)
    held_memory_mib_s: int = Field(default=0, sa_type=BigInteger)
    held_gpu_s: int = Field(default=0, sa_type=BigInteger)
    behind: str = Field(default="[]", sa_type=Text)
    leader: str | None = Field(default=None, sa_type=Text)
    held_watt_s: int = Field(default=0, sa_type=BigInteger)
    continues: str | None = Field(default=None, sa_type=Text)
    inherits: str | None = Field(default=None, sa_type=Text)
    held_watts: int = Field(default=0, sa_type=BigInteger)


class CheckpointTable(_Table, table=True):
    __tablename__ = "checkpoint"
    __table_args__ = (Index("checkpoint_by_task", "task"),)

    attempt: str = Field(primary_key=True, sa_type=Text, foreign_key="attempt.id")
    step: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    path: str = Field(primary_key=True, sa_type=Text)
    task: str = Field(sa_type=Text)
    size_bytes: int = Field(sa_type=BigInteger)
    seconds: float = Field(sa_type=Double)
    saved_at: int | None = Field(default=None, sa_type=BigInteger)
    seen_at: int = Field(sa_type=BigInteger)


class MetricTable(_Table, table=True):
    """Every number reported with a step, and the newest of those without (step -1). NULL stands for not a number."""

    __tablename__ = "metric"
    __table_args__ = (Index("metric_by_task", "task", "name"),)

    attempt: str = Field(primary_key=True, sa_type=Text, foreign_key="attempt.id")
    name: str = Field(primary_key=True, sa_type=Text)
    step: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    task: str = Field(sa_type=Text)
    value: float | None = Field(sa_type=Double, nullable=True)
    seen_at: int = Field(sa_type=BigInteger)


class LatestMetricTable(_Table, table=True):
    """The newest value of each name for each task: what conditions look at."""

    __tablename__ = "latest_metric"

    task: str = Field(primary_key=True, sa_type=Text, foreign_key="task.id")
    name: str = Field(primary_key=True, sa_type=Text)
    value: float | None = Field(sa_type=Double, nullable=True)


class OutputTable(_Table, table=True):
    __tablename__ = "output"

    task: str = Field(primary_key=True, sa_type=Text, foreign_key="task.id")
    name: str = Field(primary_key=True, sa_type=Text)
    attempt: str = Field(sa_type=Text)
    path: str = Field(sa_type=Text)
    ok: int = Field(sa_type=Integer)
    why: str = Field(sa_type=Text)


class LedgerTable(_Table, table=True):
    __tablename__ = "ledger"
    __table_args__ = (Index("ledger_by_project", "project"),)

    attempt: str = Field(primary_key=True, sa_type=Text, foreign_key="attempt.id")
    incarnation: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    kind: str = Field(primary_key=True, sa_type=Text)
    project: str = Field(sa_type=Text)
    owner_uid: int = Field(sa_type=BigInteger)
    at: int = Field(sa_type=BigInteger)
    gpu_type: str = Field(sa_type=Text)
    node_s: int = Field(sa_type=BigInteger)
    cpu_s: int = Field(sa_type=BigInteger)
    memory_mib_s: int = Field(sa_type=BigInteger)
    gpu_s: int = Field(sa_type=BigInteger)
    watt_s: int = Field(default=0, sa_type=BigInteger)


class AccountTable(_Table, table=True):
    """The sum of the ledger for one user of one project and one type of GPU, and what live attempts hold now."""

    __tablename__ = "account"

    project: str = Field(primary_key=True, sa_type=Text)
    owner_uid: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    gpu_type: str = Field(primary_key=True, sa_type=Text)
    reserved_node_s: int = Field(default=0, sa_type=BigInteger)
    reserved_cpu_s: int = Field(default=0, sa_type=BigInteger)
    reserved_memory_mib_s: int = Field(default=0, sa_type=BigInteger)
    reserved_gpu_s: int = Field(default=0, sa_type=BigInteger)
    spent_node_s: int = Field(default=0, sa_type=BigInteger)
    spent_cpu_s: int = Field(default=0, sa_type=BigInteger)
    spent_memory_mib_s: int = Field(default=0, sa_type=BigInteger)
    spent_gpu_s: int = Field(default=0, sa_type=BigInteger)
    jobs: int = Field(default=0, sa_type=BigInteger)
    nodes: int = Field(default=0, sa_type=BigInteger)
    cpus: int = Field(default=0, sa_type=BigInteger)
    memory_mib: int = Field(default=0, sa_type=BigInteger)
    gpus: int = Field(default=0, sa_type=BigInteger)
    reserved_watt_s: int = Field(default=0, sa_type=BigInteger)
    spent_watt_s: int = Field(default=0, sa_type=BigInteger)
    watts: int = Field(default=0, sa_type=BigInteger)


class DailyUseTable(_Table, table=True):
    """What was spent on one day (days since the epoch, UTC): the memory of fair share."""

    __tablename__ = "daily_use"

    project: str = Field(primary_key=True, sa_type=Text)
    owner_uid: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    gpu_type: str = Field(primary_key=True, sa_type=Text)
    day: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    node_s: int = Field(default=0, sa_type=BigInteger)
    cpu_s: int = Field(default=0, sa_type=BigInteger)
    memory_mib_s: int = Field(default=0, sa_type=BigInteger)
    gpu_s: int = Field(default=0, sa_type=BigInteger)
    watt_s: int = Field(default=0, sa_type=BigInteger)


class AuditTable(_Table, table=True):
    __tablename__ = "audit"
    __table_args__ = (Index("audit_by_subject", "subject"),)

    seq: int = Field(primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False})
    at: int = Field(sa_type=BigInteger)
    actor: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    facts: str = Field(sa_type=Text)
    previous: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text)


class ClosureTable(_Table, table=True):
    """A time in which nodes of a backend (none named: all) are closed to work; without `ends_at`, until it is lifted.

    `state` is open or lifted.
    """

    __tablename__ = "closure"
    __table_args__ = (_index_where("closure_open", "id", "state = 'open'"),)

    id: str = Field(primary_key=True, sa_type=Text)
    backend: str = Field(sa_type=Text)
    nodes: str = Field(sa_type=Text)
    starts_at: int = Field(sa_type=BigInteger)
    ends_at: int | None = Field(default=None, sa_type=BigInteger)
    why: str = Field(sa_type=Text)
    added_by: str = Field(sa_type=Text)
    is_forced: int = Field(default=0, sa_type=Integer)
    state: str = Field(sa_type=Text)


class RuleTable(_Table, table=True):
    """What people set of the site's rules by command. `body` is a JSON object; `state` is set or dropped."""

    __tablename__ = "rule"
    __table_args__ = (_index_where("rule_set", "id", "state = 'set'"),)

    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    project: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    set_by: str = Field(sa_type=Text)
    set_at: int = Field(sa_type=BigInteger)
    state: str = Field(sa_type=Text)


class VerdictTable(_Table, table=True):
    __tablename__ = "verdict"

    task: str = Field(primary_key=True, sa_type=Text, foreign_key="task.id")
    code: str = Field(sa_type=Text)
    facts: str = Field(sa_type=Text)
    since: int = Field(sa_type=BigInteger)


class EventCursorTable(_Table, table=True):
    """How far an event file was read. `inode` is text: some filesystems use all 64 bits without a sign."""

    __tablename__ = "event_cursor"

    file: str = Field(primary_key=True, sa_type=Text)
    inode: str = Field(sa_type=Text)
    position: int = Field(sa_type=BigInteger)
    seq: int = Field(sa_type=BigInteger)
