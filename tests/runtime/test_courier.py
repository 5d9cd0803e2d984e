from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Any

from elisa.runtime.courier import Courier


class Files:
    """Event files on a disk that fails as often as it is told to."""

    def __init__(self, failures: int = 0, error: int = errno.EIO) -> None:
        self.written: list[tuple[str, dict[str, Any], bool]] = []
        self.failures = failures
        self.error = error
        self.tried = threading.Semaphore(0)

    def write(self, kind: str, data: dict[str, Any], _at: float, *, is_durable: bool = False) -> None:
        self.tried.release()
        if self.failures:
            self.failures -= 1
            raise OSError(self.error, "no")
        self.written.append((kind, data, is_durable))


def a_courier(files: Files, look: Callable[[], bool] = lambda: False, look_s: float = 10.0) -> Courier:
    courier = Courier(files, look, retry_s=0.01, look_s=look_s)  # type: ignore[arg-type]  # what it needs of event files
    courier.start()
    return courier


def test_events_arrive_in_order() -> None:
    files = Files()
    courier = a_courier(files)
    courier.send("started", {})
    courier.send("exited", {"n": 1}, is_durable=True)

    assert courier.close(10)
    assert files.written == [("started", {}, False), ("exited", {"n": 1}, True)]


def test_what_could_not_be_written_is_tried_again() -> None:
    files = Files(failures=3)
    courier = a_courier(files)
    courier.send("exited", {})

    assert courier.close(10)
    assert [kind for kind, _, _ in files.written] == ["exited"]


def test_one_that_was_not_started_writes_all_at_the_end_without_a_thread() -> None:
    files, threads = Files(), threading.active_count()
    courier = Courier(files, away)  # type: ignore[arg-type]  # what it needs of event files
    courier.send("started", {})
    courier.send("exited", {}, is_durable=True)
    before = list(files.written)

    assert courier.close(10)
    assert (before, files.written) == ([], [("started", {}, False), ("exited", {}, True)])
    assert threading.active_count() == threads


def test_one_that_was_not_started_tries_again_too() -> None:
    files = Files(failures=3)
    courier = Courier(files, away, retry_s=0.01)  # type: ignore[arg-type]  # what it needs of event files
    courier.send("started", {})
    courier.send("exited", {}, is_durable=True)

    assert courier.close(10)
    assert [kind for kind, _, _ in files.written] == ["started", "exited"]


def test_one_that_was_not_started_does_not_hold_the_agent_either() -> None:
    courier = Courier(Files(failures=10**9), away, retry_s=0.01)  # type: ignore[arg-type]  # what it needs of event files
    courier.send("exited", {})

    assert not courier.close(0.1)


def test_of_waiting_heartbeats_the_newest_is_enough() -> None:
    files = Files(failures=10**9)
    courier = a_courier(files)
    courier.send("started", {})
    for number in range(5):
        courier.send("heartbeat", {"n": number})
    files.failures = 0

    assert courier.close(10)
    assert [data for kind, data, _ in files.written if kind == "heartbeat"] == [{"n": 4}]


def test_a_disk_that_never_answers_does_not_hold_the_agent() -> None:
    courier = a_courier(Files(failures=10**9))
    courier.send("exited", {})

    assert not courier.close(0.1)


def test_too_many_waiting_events_are_dropped_but_never_the_end() -> None:
    files = Files(failures=10**9)
    courier = a_courier(files)
    for _ in range(1500):
        courier.send("stopping", {})
    courier.send("exited", {}, is_durable=True)
    files.failures = 0

    assert courier.close(20)
    assert (len(files.written), files.written[-1][0]) == (1001, "exited")


def test_a_heartbeat_looks_at_the_fence() -> None:
    courier = a_courier(Files(), lambda: True)
    courier.send("started", {})
    courier.send("heartbeat", {})
    courier.close(10)

    assert courier.superseded


def away() -> bool:
    raise OSError(errno.ESTALE, "away")


def wait_until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_full_disk_in_reach_is_no_silence() -> None:
    files, looked = Files(failures=10**9, error=errno.ENOSPC), threading.Semaphore(0)

    def look() -> bool:
        looked.release()
        return False

    courier = a_courier(files, look, look_s=0.01)
    courier.send("heartbeat", {})
    for _ in range(3):
        assert looked.acquire(timeout=10)

    assert courier.silent_s() < 0.5


def test_what_could_be_written_is_no_proof_of_contact_for_it_may_have_gone_to_memory() -> None:
    files = Files()
    courier = a_courier(files, away)
    began = time.monotonic()
    for _ in range(3):
        courier.send("heartbeat", {})
        assert files.tried.acquire(timeout=10)

    assert courier.silent_s() >= time.monotonic() - began


def test_a_disk_out_of_reach_is_silence() -> None:
    courier = a_courier(Files(failures=10**9, error=errno.ESTALE), away, look_s=0.01)
    courier.send("heartbeat", {})
    time.sleep(0.1)

    assert courier.silent_s() >= 0.1


def test_contact_counts_from_before_the_sign_of_life_however_late_the_answer_comes() -> None:
    def slow() -> bool:
        time.sleep(0.2)
        return False

    long_ago = time.monotonic() - 100
    courier = Courier(Files(), slow, retry_s=0.01, look_s=0.01, contact=long_ago)  # type: ignore[arg-type]  # as above
    courier.start()
    wait_until(lambda: courier.silent_s() < 10)

    assert courier.silent_s() >= 0.2


def test_contact_begins_with_the_sign_of_life_that_was_left_before() -> None:
    courier = Courier(Files(), away, contact=time.monotonic() - 100)  # type: ignore[arg-type]  # as above

    assert 100 <= courier.silent_s() < 110


def test_the_fence_is_looked_at_between_heartbeats_too() -> None:
    is_raised = threading.Event()
    courier = a_courier(Files(), is_raised.is_set, look_s=0.01)
    time.sleep(0.05)
    before = courier.superseded
    is_raised.set()
    wait_until(lambda: courier.superseded)

    assert courier.close(10)
    assert not before
