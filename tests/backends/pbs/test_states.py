"""Every state and end that a real OpenPBS showed, and Torque's statuses from its manual."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.options import Dialect
from elisa.backends.pbs.states import Record, describe, read_record
from elisa.model.ids import NativeId
from elisa.model.native import NativeState, Seen
from elisa.model.states import EndReason
from tests.backends.pbs.bench import recorded

ID = NativeId("1.vm.t000000001.1")


def seen_in(name: str, dialect: Dialect = Dialect.OPENPBS) -> dict[str, Seen]:
    """Return what each job of a recording comes to, by its name."""
    records = [read_record(pairs) for _, pairs in parse_records(recorded(name).stdout, "Job Id: ")]
    return {record.name.removeprefix("el.ab12."): describe(record, ID, dialect) for record in records}


OURS = seen_in("qstat-jobs")

ENDS = {
    "1": (EndReason.COMPLETED, 0, None, ""),
    "2": (EndReason.FAILED, 3, None, ""),
    "3": (EndReason.FAILED, None, 9, ""),
    "4": (EndReason.TIMEOUT, None, None, "over its time limit"),
    "5": (EndReason.CANCELLED, None, 15, "terminated by pbsuser@vm"),
    "6": (EndReason.CANCELLED, None, 9, "terminated by pbsuser@vm"),
    "7": (EndReason.CANCELLED, None, None, "deleted before it ran"),
    "8": (EndReason.LOST, None, None, "never ran: what it waited for failed or is unknown (afterok:2022.vm@vm)"),
    "9": (EndReason.LOST, None, None, "never ran: what it waited for failed or is unknown (afterok:999999.vm@vm)"),
    "a": (EndReason.BOOT_FAILURE, None, 31, "its folder or log can't be reached on vm"),
    "b": (EndReason.PREEMPTED, None, 15, "terminated by Scheduler@vm"),
    "c": (EndReason.NODE_FAILURE, None, None, "its first node was lost"),
    "d": (EndReason.NODE_FAILURE, None, None, "its node's daemon was restarted"),
}
LIVES = {
    "f": (NativeState.RUNNING, "", "vm"),
    "g": (NativeState.QUEUED, "Not enough free nodes available", ""),
    "h": (NativeState.HELD, "Job held by pbsuser on Tue Nov 24 03:42:42 2026", ""),
    "j": (NativeState.QUEUED, "waits for afterok:2035.vm@vm", ""),
    "k": (NativeState.QUEUED, "waits for its time", ""),
    "m": (NativeState.RUNNING, "suspended", "vm"),
    "n": (NativeState.QUEUED, "Queue not started.", ""),
}


@pytest.mark.parametrize("name", ENDS)
def test_each_way_to_end_is_told_apart(name: str) -> None:
    got = OURS[f"t00000000{name}.1"]

    assert (got.state, got.end_reason, got.exit_code, got.signal, got.detail) == (NativeState.ENDED, *ENDS[name])


@pytest.mark.parametrize("name", LIVES)
def test_each_way_to_live_is_told_apart(name: str) -> None:
    got = OURS[f"t00000000{name}.1"]

    assert (got.state, got.detail, got.nodes) == LIVES[name]
    assert (got.end_reason, got.exit_code, got.signal, got.ended_at) == (None, None, None, None)


def test_recording_has_no_other_kinds() -> None:
    assert {name[9] for name in OURS} == ENDS.keys() | LIVES.keys()


def test_times_and_runs_are_read() -> None:
    assert OURS["t000000004.1"] == Seen(
        native_id=ID,
        state=NativeState.ENDED,
        end_reason=EndReason.TIMEOUT,
        detail="over its time limit",
        nodes="vm",
        queued_at=datetime(2026, 11, 24, 3, 41, 1, tzinfo=UTC),
        started_at=datetime(2026, 11, 24, 3, 41, 1, tzinfo=UTC),
        ended_at=OURS["t000000004.1"].ended_at,
        raw="F -29",
    )
    assert OURS["t000000004.1"].ended_at is not None


def test_status_0_after_a_shutdown_of_the_server_is_no_success() -> None:
    got = seen_in("qstat-after-server-shutdown")["t00000000s.1"]

    assert (got.end_reason, got.exit_code) == (EndReason.LOST, None)
    assert got.detail == "its server was restarted: status 0 then means success, or killed with the server"


def test_plain_scripts_end_as_they_did() -> None:
    got = {name: (seen.end_reason, seen.exit_code) for name, seen in seen_in("qstat_xf_text_1").items()}

    assert got == {
        "envjob": (EndReason.COMPLETED, 0),
        "dep_ok": (EndReason.COMPLETED, 0),
        "arr": (EndReason.FAILED, 1),
        "heldjob": (None, None),
        "exit3": (EndReason.FAILED, 3),
        "dep_notok": (EndReason.COMPLETED, 0),
        "dep_never": (EndReason.LOST, None),
        "dep_any": (EndReason.COMPLETED, 0),
        "wall_trap": (EndReason.TIMEOUT, None),
        "wall_plain": (EndReason.TIMEOUT, None),
        "wall_grace": (EndReason.TIMEOUT, None),
        "future": (None, None),
        "toobig": (None, None),
        "chunks": (EndReason.COMPLETED, 0),
    }


def test_a_job_that_no_node_fits_says_so() -> None:
    got = seen_in("qstat_xf_text_1")["toobig"]

    assert (got.state, got.detail) == (
        NativeState.QUEUED,
        "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)",
    )


def test_a_job_on_its_way_to_its_node_does_not_run_yet() -> None:
    # 12.vm in the recorded `qstat -f -F dsv` of 23 November 2026, 23:57:03; a second later it had a start time
    words = "Job was sent for execution at Mon Nov 23 at 23:57 on (vm:ncpus=1)"
    sent = describe(Record(name="n", state="R", substate=41, nodes="vm", comment=words), ID, Dialect.OPENPBS)
    began = Record(
        name="n", state="R", substate=41, nodes="vm", started_at=datetime(2026, 11, 23, 23, 57, 4, tzinfo=UTC)
    )

    assert (sent.state, sent.detail, sent.nodes, sent.started_at) == (
        NativeState.QUEUED,
        "is sent to its node",
        "",
        None,
    )
    assert describe(began, ID, Dialect.OPENPBS).state is NativeState.RUNNING


@pytest.mark.parametrize(
    ("state", "substate", "began", "expected"),
    [
        ("R", 41, False, "changed"),
        ("R", 42, True, "began"),
        ("Q", 10, False, None),
        ("H", 20, False, None),
        ("S", 45, True, None),
        ("E", 51, True, None),
        ("B", 70, True, None),
    ],
    ids=["sent", "runs", "waits", "held", "suspended", "ends", "an array"],
)
def test_only_what_should_run_has_been_given_its_nodes(
    state: str,
    substate: int,
    began: bool,  # noqa: FBT001 - of a table
    expected: str | None,
) -> None:
    times = {"changed": datetime(2026, 11, 23, 23, 57, 3, tzinfo=UTC), "began": datetime(2026, 11, 24, tzinfo=UTC)}
    started_at = times["began"] if began else None
    record = Record(name="n", state=state, substate=substate, started_at=started_at, changed_at=times["changed"])

    assert describe(record, ID, Dialect.OPENPBS).given_at == (None if expected is None else times[expected])


def ended(status: int | None, **more: object) -> Record:
    facts: dict[str, object] = {"substate": 93, "started_at": datetime(2026, 11, 24, tzinfo=UTC), **more}
    return Record(name="n", state="F", exit_status=status, **facts)  # type: ignore[arg-type]  # a builder


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (-1, EndReason.BOOT_FAILURE),
        (-10, EndReason.BOOT_FAILURE),
        (-11, EndReason.NODE_FAILURE),
        (-12, EndReason.PREEMPTED),
        (-19, EndReason.CANCELLED),
        (-24, EndReason.FAILED),
        (-26, EndReason.OUT_OF_MEMORY),
        (-27, EndReason.OUT_OF_MEMORY),
        (-28, EndReason.TIMEOUT),
        (-30, EndReason.BOOT_FAILURE),
        (-99, EndReason.FAILED),
        (137, EndReason.FAILED),
        (143, EndReason.FAILED),
        (271, EndReason.FAILED),
    ],
)
def test_openpbs_status_has_its_reason(status: int, reason: EndReason) -> None:
    assert describe(ended(status), ID, Dialect.OPENPBS).end_reason is reason


def test_a_deleted_job_is_cancelled_whatever_its_status() -> None:
    words = "Job run at Tue Nov 24 at 00:01 on (vm:ncpus=1) and terminated by pbsuser@vm"
    got = [
        describe(ended(status, substate=91, comment=words), ID, Dialect.OPENPBS) for status in (0, 42, 143, 265, 271)
    ]

    assert {seen.end_reason for seen in got} == {EndReason.CANCELLED}
    assert [(seen.exit_code, seen.signal) for seen in got] == [
        (0, None),
        (42, None),
        (143, None),
        (None, 9),
        (None, 15),
    ]


def test_a_status_without_a_program_says_what_it_may_mean() -> None:
    assert describe(ended(254), ID, Dialect.OPENPBS).detail == "PBS says this too of a program it can't start"


def test_an_end_without_status_after_a_start_is_lost() -> None:
    got = describe(ended(None), ID, Dialect.OPENPBS)

    assert (got.end_reason, got.detail) == (EndReason.LOST, "ended without an exit status")


def test_a_running_job_deleted_without_status_is_cancelled() -> None:
    got = describe(ended(None, substate=91), ID, Dialect.OPENPBS)

    assert (got.end_reason, got.detail) == (EndReason.CANCELLED, "deleted")


def test_a_state_that_nobody_knows_changes_nothing() -> None:
    got = describe(Record(name="n", state="M"), ID, Dialect.OPENPBS)

    assert (got.state, got.raw, got.end_reason) == (NativeState.UNKNOWN, "M", None)


def test_a_second_run_counts_as_a_restart() -> None:
    assert describe(Record(name="n", state="R", runs=3), ID, Dialect.OPENPBS).restarts == 2


def test_hosts_are_named_once() -> None:
    record = read_record({"Job_Name": "n", "job_state": "R", "exec_host": "n1/0*2+n1/2+n2/1"})

    assert record.nodes == "n1,n2"


# Torque, as its manual's example shows a job, and its table of statuses


TORQUE = """Job Id: 179.host
    Job_Name = el.ab12.t000000001.1
    Job_Owner = user@host
    resources_used.walltime = {used}
    job_state = C
    queue = batchq
    server = host
    ctime = Fri Aug 29 14:55:55 2008
    exec_host = node1/0+node1/1
    Hold_Types = n
    mtime = Fri Aug 29 14:56:55 2008
    qtime = Fri Aug 29 14:55:55 2008
    Resource_List.walltime = 00:10:00
    Variable_List = PBS_O_HOME=/home/user,PBS_O_LOGNAME=user,
\tPBS_O_WORKDIR=/opt/moab
    exit_status = {status}
    start_time = Fri Aug 29 14:55:57 2008
    start_count = 1
    comp_time = Fri Aug 29 14:56:56 2008

"""


@pytest.mark.parametrize(
    ("status", "used", "reason"),
    [
        (0, "00:00:10", EndReason.COMPLETED),
        (1, "00:00:10", EndReason.FAILED),
        (271, "00:00:10", EndReason.CANCELLED),
        (271, "00:10:03", EndReason.TIMEOUT),
        (-1, "00:00:00", EndReason.BOOT_FAILURE),
        (-8, "00:00:00", EndReason.BOOT_FAILURE),
        (-10, "00:00:10", EndReason.OUT_OF_MEMORY),
        (-11, "00:10:00", EndReason.TIMEOUT),
        (-14, "00:00:00", EndReason.BOOT_FAILURE),
    ],
)
def test_torque_status_has_its_reason(status: int, used: str, reason: EndReason) -> None:
    text = TORQUE.format(status=status, used=used)
    got = describe(read_record(next(parse_records(text, "Job Id: "))[1]), ID, Dialect.TORQUE)

    assert got.end_reason is reason
    assert (got.nodes, got.started_at, got.ended_at) == (
        "node1",
        datetime(2008, 8, 29, 14, 55, 57, tzinfo=UTC),
        datetime(2008, 8, 29, 14, 56, 56, tzinfo=UTC),
    )


def test_torque_shows_a_dependency_as_a_system_hold() -> None:
    record = Record(name="n", state="H", holds="s", depend="afterok:1.host@host")

    assert describe(record, ID, Dialect.TORQUE).state is NativeState.QUEUED


def test_held_by_a_person_is_held_in_torque_too() -> None:
    got = describe(Record(name="n", state="H", holds="u"), ID, Dialect.TORQUE)

    assert (got.state, got.detail) == (NativeState.HELD, "held (u)")
