"""The audit: one row for each thing that happened, and no way to change one unseen."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.charge import Charge
from elisa.model.rows import AuditRow
from elisa.model.states import AttemptState, TaskState
from elisa.store.audit import GENESIS, row_hash
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import NOW, FakeClock, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted, task_id

ATTEMPT = an_attempt("train")


@pytest.fixture
def told(writer: Writer, home: Path) -> Path:
    """A store with the whole story of one task."""
    task = a_task("train")
    writer.apply((a_pipeline(task).added(),))
    writer.apply((moved(task, TaskState.WAITING, TaskState.READY),))
    writer.apply((intended(ATTEMPT, Charge(node_s=10)), submitted(ATTEMPT)))
    end = ended(ATTEMPT, AttemptState.SUBMITTED, spend=Charge(node_s=4))
    writer.apply((end, moved(task, TaskState.ACTIVE, TaskState.SUCCEEDED)))
    writer.close()
    return home


def test_every_transition_has_its_row(told: Path) -> None:
    with Reader.open(told) as reader:
        rows = reader.audit()

    assert [(row.kind, row.subject, row.facts.get("after")) for row in rows[1:]] == [
        ("pipeline.added", a_pipeline().id, None),
        ("task.added", task_id("train"), "waiting"),
        ("task.moved", task_id("train"), "ready"),
        ("task.moved", task_id("train"), "active"),
        ("attempt.intended", ATTEMPT.id, "intended"),
        ("attempt.submitted", ATTEMPT.id, "submitted"),
        ("attempt.moved", ATTEMPT.id, "ended"),
        ("task.moved", task_id("train"), "succeeded"),
    ]
    assert rows[0].kind == "store.created"
    assert {row.actor for row in rows[1:]} == {"ada"}
    assert [row.seq for row in rows] == list(range(1, 10))


def test_rows_are_asked_for_by_subject_place_and_number(told: Path) -> None:
    with Reader.open(told) as reader:
        assert [row.seq for row in reader.audit(after=3, limit=2)] == [4, 5]
        assert [row.seq for row in reader.audit(subject=ATTEMPT.id, after=6)] == [7, 8]


def test_each_row_is_sealed_with_the_row_before_it(writer: Writer) -> None:
    writer.apply((a_pipeline(a_task("train")).added(),))

    first, second, *_ = writer.audit()

    us = round(NOW.timestamp() * 1e6)
    assert first.previous == GENESIS
    assert second == AuditRow(
        seq=2,
        at=NOW,
        actor="ada",
        kind="pipeline.added",
        subject=a_pipeline().id,
        facts={"name": "study", "owner": "ada", "project": "nlp", "source": "study.yaml"},
        previous=first.hash,
        hash=row_hash(
            (
                2,
                us,
                "ada",
                "pipeline.added",
                a_pipeline().id,
                '{"name":"study","owner":"ada","project":"nlp","source":"study.yaml"}',
                first.hash,
            )
        ),
    )


def test_an_honest_store_is_sound(told: Path) -> None:
    with Reader.open(told) as reader:
        check = reader.verify_audit()

    assert (check.rows, check.problems, check.is_sound) == (9, (), True)


def problems_after(home: Path, *statements: str) -> tuple[str, ...]:
    connection = sqlite3.connect(layout.database(home))
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    with Reader.open(home) as reader:
        return reader.verify_audit().problems


TASK, TRY = task_id("train"), ATTEMPT.id


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 4", "audit row 4 was changed after it was written"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 1", "audit row 1 was changed after it was written"),
        ("UPDATE audit SET hash = upper(hash) WHERE seq = 9", "audit row 9 was changed after it was written"),
        ("DELETE FROM audit WHERE seq = 5", "audit row 5 is missing"),
        ("DELETE FROM audit WHERE seq = 9", "audit rows from 9 to 9 were removed"),
        (
            "UPDATE task SET state = 'failed'",
            f"task {TASK} is (failed, 1, 0), the audit says (succeeded, 1, 0)",
        ),
        (
            "UPDATE attempt SET native_id = '7'",
            f"attempt {TRY} is (ended, 0, 7), the audit says (ended, 0, 1001)",
        ),
        (
            "UPDATE ledger SET node_s = 5 WHERE kind = 'spend'",
            f"attempt {TRY}: of 10 node_s reserved, 5 were spent, 6 given back and 0 are held",
        ),
        (
            "UPDATE account SET spent_node_s = 0",
            "the account of nlp (user 1000) does not hold what the ledger adds up to: spent (0, 0, 0, 0, 0)",
        ),
    ],
)
def test_tampering_is_seen(told: Path, statement: str, problem: str) -> None:
    assert problem in problems_after(told, statement)


def test_a_task_that_was_slipped_in_is_seen(told: Path) -> None:
    columns = (
        "pipeline, project, owner_uid, position, group_name, spec, needs, placement, gang, gang_minimum, priority,"
    )
    columns += " importance, submitted_at, state, request, attempts, failures, cancel_requested, check_needs"
    copy = f"INSERT INTO task (id, name, {columns}) SELECT 'tforged', 'forged', {columns} FROM task"

    assert problems_after(told, copy) == ("task tforged is (succeeded, 1, 0), the audit says (absent)",)


def test_a_chain_that_was_written_anew_does_not_end_in_the_mirrored_head(told: Path) -> None:
    assert problems_after(told, *forge(told, lambda row: row._replace(actor="eve"))) == (
        "the audit up to row 9 was rewritten",
    )


def forge(home: Path, change: Callable[[AuditRow], AuditRow]) -> list[str]:
    """Return the statements that change every row and seal the chain again."""
    with Reader.open(home) as reader:
        rows = reader._db.rows("SELECT seq, at, actor, kind, subject, facts FROM audit ORDER BY seq")
    previous, statements = GENESIS, []
    for seq, at, _, kind, subject, facts in rows:
        actor = change(AuditRow(seq, NOW, "", kind, subject, {}, "", "")).actor
        seal = row_hash((seq, at, actor, kind, subject, facts, previous))
        statements.append(
            f"UPDATE audit SET actor = '{actor}', previous = '{previous}', hash = '{seal}' WHERE seq = {seq}"
        )
        previous = seal
    return statements


def test_the_head_is_mirrored_for_its_owner_alone(told: Path) -> None:
    mirror = layout.audit_head(told)
    with Reader.open(told) as reader:
        last = reader.audit()[-1]

    assert mirror.read_text() == f"{last.seq} {last.hash}\n"
    assert mirror.stat().st_mode & 0o777 == 0o600


def test_a_lost_mirror_or_one_that_lags_behind_is_no_tampering(told: Path, clock: FakeClock) -> None:
    lagging = layout.audit_head(told).read_text()
    with Writer.open(told, clock=clock, actor="ada") as writer:
        writer.apply((a_pipeline(a_task("more").in_pipeline("two"), name="two").added(),))
        layout.audit_head(told).write_text(lagging)
        assert writer.verify_audit().problems == ()

        layout.audit_head(told).unlink()
        assert writer.verify_audit().problems == ()


def test_a_mirror_that_cannot_be_written_stops_nobody(writer: Writer, home: Path) -> None:
    layout.audit_head(home).mkdir()

    writer.apply((a_pipeline().added(),))

    assert len(writer.pipelines()) == 1
    assert [path.name for path in home.iterdir() if path.name.startswith("audit")] == ["audit.head"]
