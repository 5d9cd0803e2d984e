from __future__ import annotations

import pytest

from elisa.backends.pbs.reservations import parse_reservations
from elisa.backends.protocol import Reserves
from elisa.model.errors import Unavailable
from tests.backends.pbs.bench import Bench, recorded

RECORDED = recorded("pbs_rstat-f").stdout


def test_reservations_have_the_name_that_jobs_give_and_only_one_that_runs_is_open() -> None:
    assert parse_reservations(RECORDED, "pbsuser") == {"R2739": True, "R2740": False}


def test_reservation_of_others_is_not_open() -> None:
    assert parse_reservations(RECORDED, "ada") == {"R2739": False, "R2740": False}


@pytest.mark.parametrize(
    ("listed", "is_open"),
    [("ada@*,bob@vm", True), ("+ada@vm", True), ("-ada@vm,+*@*", False), ("*@*", True), ("", False)],
)
def test_who_may_run_there_is_read_as_pbs_writes_it(listed: str, is_open: bool) -> None:  # noqa: FBT001 - of a table
    text = f"Resv ID: R7.vm\nreserve_state = RESV_RUNNING\nAuthorized_Users = {listed}\n\n"

    assert parse_reservations(text, "ada") == {"R7": is_open}


def test_no_reservation_is_an_answer() -> None:
    assert parse_reservations(recorded("pbs_rstat-none").stdout, "ada") == {}


def test_planner_is_told_what_the_server_says_now(bench: Bench) -> None:
    pairs = {"reserve_state": "RESV_RUNNING", "queue": "R7", "Authorized_Users": "ada@vm"}
    bench.pbs.become({"reservations": {"R7": pairs}})
    backend = bench.backend(user="ada")
    told = backend.reservations()
    bench.pbs.become({"reservations": {}})

    assert isinstance(backend, Reserves)
    assert told == {"R7": True}
    assert backend.reservations() == {}
    bench.pbs.down()
    with pytest.raises(Unavailable):
        backend.reservations()
