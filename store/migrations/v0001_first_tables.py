"""Version 1: the tables as they were first released. Frozen: later changes are later migrations."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["run"]

_STATEMENTS = (
    """
    CREATE TABLE account (
        project TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        gpu_type TEXT NOT NULL,
        reserved_node_s BIGINT NOT NULL,
        reserved_cpu_s BIGINT NOT NULL,
        reserved_memory_mib_s BIGINT NOT NULL,
        reserved_gpu_s BIGINT NOT NULL,
        spent_node_s BIGINT NOT NULL,
        spent_cpu_s BIGINT NOT NULL,
        spent_memory_mib_s BIGINT NOT NULL,
        spent_gpu_s BIGINT NOT NULL,
        jobs BIGINT NOT NULL,
        nodes BIGINT NOT NULL,
        cpus BIGINT NOT NULL,
        memory_mib BIGINT NOT NULL,
        gpus BIGINT NOT NULL,
        PRIMARY KEY (project, owner_uid, gpu_type)
    )
    """,
    """
    CREATE TABLE audit (
        seq INTEGER NOT NULL,
        at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        facts TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL,
        PRIMARY KEY (seq)
    )
    """,
    """
    CREATE INDEX audit_by_subject ON audit (subject)
    """,
    """
    CREATE TABLE budget (
        project TEXT NOT NULL,
        per_user INTEGER NOT NULL,
        resource TEXT NOT NULL,
        gpu_type TEXT NOT NULL,
        cap BIGINT NOT NULL,
        PRIMARY KEY (project, per_user, resource, gpu_type)
    )
    """,
    """
    CREATE TABLE daily_use (
        project TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        gpu_type TEXT NOT NULL,
        day BIGINT NOT NULL,
        node_s BIGINT NOT NULL,
        cpu_s BIGINT NOT NULL,
        memory_mib_s BIGINT NOT NULL,
        gpu_s BIGINT NOT NULL,
        PRIMARY KEY (project, owner_uid, gpu_type, day)
    )
    """,
    """
    CREATE TABLE event_cursor (
        file TEXT NOT NULL,
        inode TEXT NOT NULL,
        position BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (file)
    )
    """,
    """
    CREATE TABLE meta (
        id INTEGER NOT NULL,
        instance TEXT NOT NULL,
        host TEXT NOT NULL,
        filesystem TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        last_tick_at BIGINT,
        ticks BIGINT NOT NULL,
        last_tick TEXT NOT NULL,
        canary TEXT NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE migration (
        version INTEGER NOT NULL,
        name TEXT NOT NULL,
        applied_at BIGINT NOT NULL,
        PRIMARY KEY (version)
    )
    """,
    """
    CREATE TABLE project (
        name TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        in_policy INTEGER NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE pipeline (
        id TEXT NOT NULL,
        project TEXT NOT NULL,
        name TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        owner TEXT NOT NULL,
        submitted_at BIGINT NOT NULL,
        deadline BIGINT,
        source TEXT NOT NULL,
        spec TEXT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(project) REFERENCES project (name)
    )
    """,
    """
    CREATE TABLE task (
        id TEXT NOT NULL,
        pipeline TEXT NOT NULL,
        project TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        parent TEXT,
        position BIGINT NOT NULL,
        name TEXT NOT NULL,
        group_name TEXT NOT NULL,
        spec TEXT NOT NULL,
        needs TEXT NOT NULL,
        placement TEXT NOT NULL,
        gang TEXT NOT NULL,
        gang_minimum BIGINT NOT NULL,
        priority INTEGER NOT NULL,
        importance DOUBLE PRECISION NOT NULL,
        submitted_at BIGINT NOT NULL,
        state TEXT NOT NULL,
        request TEXT NOT NULL,
        ready_at BIGINT,
        ended_at BIGINT,
        not_before BIGINT,
        attempts BIGINT NOT NULL,
        failures BIGINT NOT NULL,
        cancel_requested INTEGER NOT NULL,
        resume_from TEXT,
        check_needs BIGINT NOT NULL,
        due_at BIGINT,
        PRIMARY KEY (id),
        FOREIGN KEY(pipeline) REFERENCES pipeline (id),
        FOREIGN KEY(parent) REFERENCES task (id)
    )
    """,
    """
    CREATE UNIQUE INDEX task_by_name ON task (pipeline, name)
    """,
    """
    CREATE INDEX task_by_parent ON task (parent)
    """,
    """
    CREATE INDEX task_by_pipeline ON task (pipeline, state)
    """,
    """
    CREATE INDEX task_by_state ON task (state, project)
    """,
    """
    CREATE INDEX task_due ON task (due_at) WHERE due_at IS NOT NULL
    """,
    """
    CREATE INDEX task_to_cancel ON task (id) WHERE cancel_requested = 1
    """,
    """
    CREATE INDEX task_to_check ON task (id) WHERE check_needs > 0
    """,
    """
    CREATE TABLE attempt (
        id TEXT NOT NULL,
        task TEXT NOT NULL,
        project TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        number BIGINT NOT NULL,
        backend TEXT NOT NULL,
        partition_name TEXT NOT NULL,
        request TEXT NOT NULL,
        intended_at BIGINT NOT NULL,
        resume_from TEXT,
        gpu_type TEXT NOT NULL,
        state TEXT NOT NULL,
        native_id TEXT,
        native_detail TEXT NOT NULL,
        submitted_at BIGINT,
        started_at BIGINT,
        ended_at BIGINT,
        incarnation BIGINT NOT NULL,
        absences BIGINT NOT NULL,
        quiet_ticks BIGINT NOT NULL,
        cancel_sent INTEGER NOT NULL,
        claimed INTEGER NOT NULL,
        nodes TEXT NOT NULL,
        last_checkpoint TEXT,
        usage TEXT NOT NULL,
        end_reason TEXT NOT NULL,
        ending TEXT,
        held_node_s BIGINT NOT NULL,
        held_cpu_s BIGINT NOT NULL,
        held_memory_mib_s BIGINT NOT NULL,
        held_gpu_s BIGINT NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(task) REFERENCES task (id)
    )
    """,
    """
    CREATE INDEX attempt_by_native_id ON attempt (native_id)
    """,
    """
    CREATE UNIQUE INDEX attempt_by_task ON attempt (task, number)
    """,
    """
    CREATE UNIQUE INDEX one_live_attempt_a_task ON attempt (task) WHERE state NOT IN ('ended', 'lost')
    """,
    """
    CREATE TABLE latest_metric (
        task TEXT NOT NULL,
        name TEXT NOT NULL,
        value DOUBLE PRECISION,
        PRIMARY KEY (task, name),
        FOREIGN KEY(task) REFERENCES task (id)
    )
    """,
    """
    CREATE TABLE need_edge (
        task TEXT NOT NULL,
        need INTEGER NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (task, need, target),
        FOREIGN KEY(task) REFERENCES task (id),
        FOREIGN KEY(target) REFERENCES task (id)
    )
    """,
    """
    CREATE INDEX need_edge_by_target ON need_edge (target)
    """,
    """
    CREATE TABLE output (
        task TEXT NOT NULL,
        name TEXT NOT NULL,
        attempt TEXT NOT NULL,
        path TEXT NOT NULL,
        ok INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (task, name),
        FOREIGN KEY(task) REFERENCES task (id)
    )
    """,
    """
    CREATE TABLE verdict (
        task TEXT NOT NULL,
        code TEXT NOT NULL,
        facts TEXT NOT NULL,
        since BIGINT NOT NULL,
        PRIMARY KEY (task),
        FOREIGN KEY(task) REFERENCES task (id)
    )
    """,
    """
    CREATE TABLE checkpoint (
        attempt TEXT NOT NULL,
        step BIGINT NOT NULL,
        path TEXT NOT NULL,
        task TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        seconds DOUBLE PRECISION NOT NULL,
        saved_at BIGINT,
        seen_at BIGINT NOT NULL,
        PRIMARY KEY (attempt, step, path),
        FOREIGN KEY(attempt) REFERENCES attempt (id)
    )
    """,
    """
    CREATE INDEX checkpoint_by_task ON checkpoint (task)
    """,
    """
    CREATE TABLE ledger (
        attempt TEXT NOT NULL,
        incarnation BIGINT NOT NULL,
        kind TEXT NOT NULL,
        project TEXT NOT NULL,
        owner_uid BIGINT NOT NULL,
        at BIGINT NOT NULL,
        gpu_type TEXT NOT NULL,
        node_s BIGINT NOT NULL,
        cpu_s BIGINT NOT NULL,
        memory_mib_s BIGINT NOT NULL,
        gpu_s BIGINT NOT NULL,
        PRIMARY KEY (attempt, incarnation, kind),
        FOREIGN KEY(attempt) REFERENCES attempt (id)
    )
    """,
    """
    CREATE INDEX ledger_by_project ON ledger (project)
    """,
    """
    CREATE TABLE metric (
        attempt TEXT NOT NULL,
        name TEXT NOT NULL,
        step BIGINT NOT NULL,
        task TEXT NOT NULL,
        value DOUBLE PRECISION,
        seen_at BIGINT NOT NULL,
        PRIMARY KEY (attempt, name, step),
        FOREIGN KEY(attempt) REFERENCES attempt (id)
    )
    """,
    """
    CREATE INDEX metric_by_task ON metric (task, name)
    """,
)


def run(execute: Callable[[str], object]) -> None:
    """Create all tables of version 1."""
    for statement in _STATEMENTS:
        execute(statement)
