"""Killed at any point, a store holds all of a transaction or nothing of it, and the next process goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from elisa.model import layout
from elisa.model.changes import (
    CancelRequested,
    Change,
    CheckpointSeen,
    CursorMoved,
    MetricSeen,
    OutputSeen,
    PassedOver,
    UsageSeen,
)
from elisa.model.charge import Charge
from elisa.model.errors import StaleChange
from elisa.model.ports import CrashPoint, no_crash
from elisa.model.reasons import ReasonCode, because
from elisa.model.states import AttemptState, TaskState
from elisa.model.task import CheckpointRef, Usage
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import FakeClock, SeededRandom, a_pipeline, a_task, an_attempt, ended, intended, moved, submitted
from tests.store.dying import killed_at

TRAIN, REPORT = a_task("train"), a_task("report").needing("train")
TRY = an_attempt("train")
STORY: Sequence[Sequence[Change]] = (
    (a_pipeline(TRAIN, REPORT).added(),),
    (
        PassedOver(task=REPORT.id, reason=because(ReasonCode.NEEDS_UNMET)),
        moved(TRAIN, TaskState.WAITING, TaskState.READY),
    ),
    (intended(TRY, Charge(node_s=100)),),
    (submitted(TRY),),
    (
        CursorMoved(file="a", inode=1, offset=100, before=0),
        CheckpointSeen(attempt=TRY.id, checkpoint=CheckpointRef(path="p", step=5)),
        MetricSeen(attempt=TRY.id, name="loss", value=0.5, step=1),
        UsageSeen(attempt=TRY.id, usage=Usage(cpu_s=5.0)),
        OutputSeen(attempt=TRY.id, name="model", path="m", ok=True),
    ),
    (
        ended(TRY, AttemptState.SUBMITTED, spend=Charge(node_s=30)),
        moved(TRAIN, TaskState.ACTIVE, TaskState.SUCCEEDED),
        CancelRequested(task=REPORT.id, by="ada"),
    ),
)


def tell(home: Path, crash: CrashPoint = no_crash) -> None:
    """Tell what of the story the store does not know yet; every chapter is one transaction."""
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada", crash=crash) as writer:
        for chapter in STORY[writer.revision() :]:
            writer.apply(chapter)


def contents(home: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    with Reader.open(home) as reader:
        assert reader.verify_audit().problems == ()
        assert reader._db.rows("PRAGMA integrity_check")[0][0] == "ok"
        tables = [row[0] for row in reader._db.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(reader._db.rows(f"SELECT * FROM {table}"), key=repr) for table in tables}


@pytest.fixture(scope="module")
def chapters(memory: Path) -> list[dict[str, list[tuple[object, ...]]]]:
    """What the store holds after each chapter, none being the first."""
    home = memory / "whole"
    home.mkdir()
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        found = [contents(home)]
        for chapter in STORY:
            writer.apply(chapter)
            found.append(contents(home))
    return found


@pytest.mark.slow
def test_killed_anywhere_a_store_goes_on_from_its_last_whole_transaction(
    chapters: list[dict[str, list[tuple[object, ...]]]], in_memory: Path
) -> None:
    known = []
    for k in count(1):
        home = in_memory / str(k)
        home.mkdir()
        was_killed = killed_at(k, lambda crash, home=home: tell(home, crash))  # type: ignore[misc]  # bound now
        if layout.database(home).exists():
            known.append(chapters.index(contents(home)))
        tell(home)
        assert contents(home) == chapters[-1]
        if not was_killed:
            break

    assert known == sorted(known)
    assert set(known) == set(range(len(chapters)))
    assert k > 100


@pytest.mark.slow
def test_killed_again_while_it_recovers_a_store_loses_nothing(
    chapters: list[dict[str, list[tuple[object, ...]]]], in_memory: Path
) -> None:
    for k in range(50, 130, 7):
        for again in (1, 2, 5):
            home = in_memory / f"{k}-{again}"
            home.mkdir()
            killed_at(k, lambda crash, home=home: tell(home, crash))  # type: ignore[misc]  # bound now
            killed_at(again, lambda crash, home=home: tell(home, crash))  # type: ignore[misc]  # bound now

            tell(home)

            assert contents(home) == chapters[-1]


class Stopped(Exception):
    """What a crash point raises in this process."""


def test_an_exception_in_a_transaction_undoes_it_and_the_writer_may_go_on(home: Path) -> None:
    armed = {"point": ""}

    def crash(point: str) -> None:
        if point == armed["point"]:
            raise Stopped(point)

    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada", crash=crash) as writer:
        for point in ("store.begin", "store.statement.0", "store.statement.3", "store.commit"):
            armed["point"] = point
            with pytest.raises(Stopped):
                writer.apply(STORY[0])
            assert writer.pipelines() == ()

        armed["point"] = ""
        writer.apply(STORY[0])
        assert len(writer.pipelines()) == 1


def test_a_row_that_changes_under_a_lock_that_does_not_hold_is_seen(home: Path) -> None:
    opened: list[Writer] = []

    def meddle(point: str) -> None:
        if point == "store.statement.0" and opened:
            opened[0]._db.run("UPDATE task SET state = 'held' WHERE id = ?", TRAIN.id)

    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada", crash=meddle) as writer:
        writer.apply(STORY[0])
        opened.append(writer)

        with pytest.raises(StaleChange, match="1 of its rows were no longer as they had been read"):
            writer.apply(STORY[1])

        opened.clear()
        assert writer.task(TRAIN.id).state is TaskState.WAITING


def test_a_tick_that_finds_the_word_of_another_stops(home: Path) -> None:
    def open_writer() -> Writer:
        return Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada")

    with open_writer() as one, open_writer() as other, open_writer() as command:
        one.begin_tick("one")
        one.ticked()
        command.apply(STORY[0])
        one.ticked()
        other.begin_tick("other")

        with pytest.raises(Exception, match="another tick has begun"):
            one.apply(STORY[1])

        other.apply(STORY[1])
        command.apply(STORY[2])
        assert one.task(TRAIN.id).state is TaskState.ACTIVE
