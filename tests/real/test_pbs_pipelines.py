"""Whole pipelines on a real PBS: held in its queue, chained in it, and brought to their ends through what befalls them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress

import pytest

from elisa.engine.commands import hold, release
from elisa.engine.workspace import open_workspace
from elisa.model.native import Answered, NativeState, Observation, Seen
from elisa.model.states import AttemptState, EndReason
from elisa.store.reader import Reader
from tests.backends.pbs.bench import wait_until
from tests.backends.pbs.elisa_on_pbs import ElisaOnPbs
from tests.real.long_work import run_without_ticks, steps, submit_long_work
from tests.real.pbs_site import PbsSite

pytestmark = [pytest.mark.real, pytest.mark.slow]

LATER = """
name: later
project: demo
tasks:
  later:
    command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"']
    placement: {extras: {begin: "12312359"}}
"""


def test_a_held_task_is_held_in_the_queue_and_released_there(site: PbsSite) -> None:
    elisa = site.elisa()
    elisa.submit(LATER)
    elisa.tick_until(lambda: bool(elisa.attempts("later")) and elisa.attempts("later")[0].native_id is not None)
    (attempt,) = elisa.attempts("later")
    with open_workspace(elisa.home) as ws:
        hold(ws, [attempt.task])
    elisa.tick_until(lambda: "held" in elisa.attempts("later")[0].native_detail.lower())
    with open_workspace(elisa.home) as ws:
        release(ws, [attempt.task])
    elisa.tick_until(lambda: "held" not in elisa.attempts("later")[0].native_detail.lower())

    with Reader.open(elisa.home) as reader:
        kinds = [row.kind for row in reader.audit(subject=attempt.id) if "noted.native" in row.kind]
    assert [one.native_id for one in elisa.attempts("later")] == [attempt.native_id]
    assert kinds == [f"noted.native_{step}" for step in ("holding", "held", "releasing", "released")]


ENDLESS = """
name: endless
project: demo
tasks:
  endless: {command: [sleep, "600"], retry: {backoff: {initial: 0s}}%s}
"""


def delete(elisa: ElisaOnPbs) -> None:
    """Delete the newest job by hand; it may be over already."""
    pbs_id = (elisa.attempts("endless")[-1].native_id or "").partition(".t")[0]
    subprocess.run(["qdel", pbs_id], capture_output=True, check=False)


def newest(elisa: ElisaOnPbs) -> AttemptState | None:
    attempts = elisa.attempts("endless")
    return attempts[-1].state if attempts else None


def test_whoever_deletes_a_running_job_is_not_fought_whether_its_server_remembers_it_or_not(site: PbsSite) -> None:
    elisa = site.elisa()
    elisa.submit(ENDLESS % "")
    elisa.tick_until(lambda: newest(elisa) is AttemptState.RUNNING)
    delete(elisa)
    elisa.tick_to_the_end()
    (attempt,) = elisa.attempts("endless")

    assert elisa.states() == {"endless": "cancelled"}
    assert attempt.end is not None
    assert attempt.end.detail.startswith("terminated by ")


def test_who_deletes_jobs_that_wait_sees_them_come_again_once_at_most(site: PbsSite) -> None:
    elisa = site.elisa()
    elisa.submit(ENDLESS % ", placement: {extras: {begin: '12312359'}}")
    for _ in range(2):
        elisa.tick_until(lambda: newest(elisa) is AttemptState.QUEUED or elisa.states()["endless"] == "cancelled")
        delete(elisa)
        elisa.tick_until(lambda: newest(elisa) is not AttemptState.QUEUED)
    elisa.tick_until(lambda: elisa.states()["endless"] in {"held", "cancelled"})

    ends = [one.end and one.end.reason for one in elisa.attempts("endless")]
    assert (elisa.states()["endless"], ends) in [
        ("cancelled", [EndReason.CANCELLED]),
        ("held", [EndReason.LOST, EndReason.LOST]),
    ]


def chained(site: PbsSite, ahead: int = 4) -> ElisaOnPbs:
    """Return a state folder that queues so many stages, or attempts at long work, behind a job that has not ended."""
    elisa = site.elisa()
    file = elisa.home / "site.yaml"
    file.write_text(file.read_text().replace("window: 100", f"window: 100, chain: {ahead}"))
    return elisa


def a_chain(elisa: ElisaOnPbs, **codes: int) -> None:
    """Submit stages that follow one another, each with its exit code, and tick until all of them are queued."""
    before, lines = "", []
    for name, code in codes.items():
        command = f"sleep 3; echo {name} >>{elisa.folder}/ran; exit {code}"
        lines.append(f"  {name}: {{command: [sh, -c, '{command}'], needs: [{before}], retry: 0, fuse: false}}")
        before = name
    elisa.submit("\n".join(["name: chain", "project: demo", "tasks:", *lines]))
    elisa.tick_until(lambda: all(attempts and attempts[0].native_id for attempts in map(elisa.attempts, codes)))


def ran(elisa: ElisaOnPbs) -> list[str]:
    file = elisa.folder / "ran"
    return file.read_text().split() if file.exists() else []


def jobs_left(site: PbsSite, elisa: ElisaOnPbs, *names: str) -> list[Observation]:
    """Return what PBS says of the jobs of these tasks that are not over."""
    ids = [one.native_id for name in names for one in elisa.attempts(name) if one.native_id]
    poll = site.backend().poll(ids)
    assert isinstance(poll, Answered)
    return [one for one in poll.observations.values() if isinstance(one, Seen) and one.state is not NativeState.ENDED]


def test_stages_queued_ahead_follow_one_another_with_no_elisa_about(site: PbsSite) -> None:
    elisa = chained(site)
    a_chain(elisa, a=0, b=0, c=0, d=0)
    wait_until(lambda: ran(elisa) == list("abcd"), within_s=90)
    elisa.tick_to_the_end()

    assert set(elisa.states().values()) == {"succeeded"}
    assert [len(elisa.attempts(name)) for name in "abcd"] == [1] * 4


def test_chain_breaks_cleanly_where_a_stage_fails(site: PbsSite) -> None:
    elisa = chained(site)
    a_chain(elisa, a=0, b=3, c=0, d=0)
    elisa.tick_to_the_end()
    elisa.tick_until(lambda: not jobs_left(site, elisa, *"abcd"))

    assert elisa.states() == {"a": "succeeded", "b": "failed", "c": "skipped", "d": "skipped"}
    assert ran(elisa) == ["a", "b"]


def test_ticks_that_are_killed_while_a_chain_is_queued_lose_and_double_nothing(site: PbsSite) -> None:
    elisa = chained(site)
    names = [f"s{number}" for number in range(6)]
    lines = [
        f"  {name}: {{command: [sh, -c, 'sleep 1; echo {name} >>{elisa.folder}/ran'], needs: [{before}], fuse: false}}"
        for name, before in zip(names, ["", *names], strict=False)
    ]
    elisa.submit("\n".join(["name: chain", "project: demo", "tasks:", *lines]))
    for number in range(12):
        command = [sys.executable, "-m", "elisa.cli", "tick", "--home", str(elisa.home)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.4 + 0.1 * number)
            process.kill()
    elisa.tick_to_the_end(within_s=120)
    elisa.tick_until(lambda: not jobs_left(site, elisa, *names))

    assert set(elisa.states().values()) == {"succeeded"}
    assert ran(elisa) == names


def test_work_of_several_time_limits_goes_on_without_a_tick_and_does_no_step_twice(site: PbsSite) -> None:
    elisa = chained(site)
    submit_long_work(elisa, 18, expected_s=16)
    run_without_ticks(elisa)
    elisa.tick_to_the_end()
    elisa.tick_until(lambda: all(one.end is not None for one in elisa.attempts("long")))

    own = [one.end and one.end.reason for one in elisa.attempts("long") if one.continues is None]
    assert own == [EndReason.TIMEOUT] * (len(own) - 1) + [EndReason.COMPLETED]
    assert steps(elisa.folder) == list(range(18))
    assert (elisa.folder / "sum").read_text().split() == [str(sum(range(18)))]
    assert elisa.states() == {"long": "succeeded"}
    assert not jobs_left(site, elisa, "long")


def test_attempts_queued_ahead_do_nothing_where_the_one_in_front_fails(site: PbsSite) -> None:
    elisa = chained(site)
    script = f"echo x >>{elisa.folder}/ran; while [ ! -e {elisa.folder}/go ]; do sleep 0.1; done; exit 3"
    elisa.submit(f"""
        name: long
        project: demo
        tasks:
          long:
            command: [sh, -c, '{script}']
            expected: 10m
            checkpoint: {{lead: 1s}}
            retry: 0
            resources: {{walltime: 2m}}
    """)
    elisa.tick_until(lambda: len(elisa.attempts("long")) > 1 and bool(ran(elisa)))
    (elisa.folder / "go").touch()
    wait_until(lambda: not jobs_left(site, elisa, "long"), within_s=90)
    elisa.tick_to_the_end()

    assert elisa.states() == {"long": "failed"}
    assert ran(elisa) == ["x"]
