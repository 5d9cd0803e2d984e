from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from elisa.engine.files import OsFiles
from elisa.engine.health import Health, HealthBook, pause_s
from elisa.model import layout

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_pauses_grow_from_nothing_to_five_minutes() -> None:
    assert [pause_s(failures, 1.0) for failures in (1, 2, 3, 4, 9, 10, 99)] == [0, 2, 4, 8, 256, 300, 300]


def test_many_users_do_not_come_back_together() -> None:
    assert pause_s(10, 0.0) == 150


def test_a_failure_is_remembered_by_the_next_tick(tmp_path: Path) -> None:
    book = HealthBook(OsFiles(), tmp_path)
    book.failed("cluster", NOW, "down", 0.5)
    book.failed("cluster", NOW, "still down", 1.0)
    book.save()

    later = HealthBook(OsFiles(), tmp_path)

    assert later.sick == {
        "cluster": Health(failures=2, since=NOW, retry_at=NOW + timedelta(seconds=2), what="still down")
    }
    assert later.is_resting("cluster", NOW + timedelta(seconds=1))
    assert not later.is_resting("cluster", NOW + timedelta(seconds=2))
    assert not later.is_resting("other", NOW)


def test_a_third_failure_is_for_a_person_to_see() -> None:
    alarms = [Health(failures=n, since=NOW, retry_at=NOW, what="").is_alarming for n in (1, 2, 3)]

    assert alarms == [False, False, True]


def test_an_answer_ends_it(tmp_path: Path) -> None:
    book = HealthBook(OsFiles(), tmp_path)
    book.failed("cluster", NOW, "down", 0.5)
    book.save()

    book.worked("cluster")
    book.save()

    assert HealthBook(OsFiles(), tmp_path).sick == {}


def test_a_clock_that_jumped_back_keeps_nobody_waiting(tmp_path: Path) -> None:
    book = HealthBook(OsFiles(), tmp_path)
    for _ in range(20):
        book.failed("cluster", NOW, "down", 1.0)

    assert not book.is_resting("cluster", NOW - timedelta(days=365))


def test_nothing_is_written_as_long_as_all_are_well(tmp_path: Path) -> None:
    HealthBook(OsFiles(), tmp_path).save()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"failures": "x"}}', b"[" * 100_000])
def test_a_damaged_book_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    layout.backend_health(tmp_path).write_bytes(content)

    assert HealthBook(OsFiles(), tmp_path).sick == {}
