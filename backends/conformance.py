"""What every backend must do: checks that any implementation of `Backend` can be put to, here or in another package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC

from elisa.backends.under_test import BackendUnderTest
from elisa.model.errors import Rejected
from elisa.model.ids import AttemptId, NativeId, TaskId, attempt_id
from elisa.model.native import Answered, CancelOutcome, Gone, JobRequest, NativeState, Seen
from elisa.model.resources import Resources
from elisa.model.states import EndReason

__all__ = [
    "CHECKS",
    "HOSTILE",
    "HOSTILE_FOLDER",
    "HOSTILE_IDS",
    "BackendUnderTest",
    "a_cancelled_job_ends_cancelled",
    "a_job_is_asked_before_it_is_killed",
    "a_job_is_found_by_its_tag_from_anywhere",
    "a_job_over_its_time_limit_is_stopped",
    "a_job_that_dies_of_a_signal_has_failed",
    "a_job_that_follows_a_failure_never_runs",
    "a_job_that_follows_another_waits_for_its_success",
    "a_job_that_follows_any_end_runs_after_a_failure",
    "a_job_that_succeeds_is_completed",
    "a_poll_of_nothing_is_answered",
    "a_running_job_holds_its_cores",
    "a_running_job_is_seen_running",
    "a_search_for_nothing_finds_nothing",
    "a_stubborn_job_is_killed_after_its_grace",
    "an_ended_job_is_found_by_its_tag",
    "an_exit_code_is_kept",
    "an_impossible_request_is_rejected_and_leaves_nothing",
    "an_unknown_id_is_gone",
    "arguments_variables_and_paths_arrive_unchanged",
    "attempt",
    "cancelling_what_is_not_there_is_harmless",
    "check_backend",
    "one_poll_describes_many_jobs",
    "the_cluster_is_described_consistently",
]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Whatever a shell, a line-based protocol or a careless split would trip over.
HOSTILE = (
    "a'; echo foo",
    'say "hi" $(id) `id` $HOME',
    "two  spaces\tand a tab",
    "line\nbreak",
    "back\\slash",
    "*",
    "-n",
    "ü€",
)
HOSTILE_IDS = ("", "0", "999999999", "x; echo foo", "1\n2", "../../etc/passwd", "-u", "a" * 300)
HOSTILE_FOLDER = 'a\'; echo foo $(id) "x" ü'


def check_backend(make: Callable[[], BackendUnderTest]) -> None:
    """Put a backend to every check; raises AssertionError that names the first one it fails.

    `make` is called for each check and may return the same world every time.
    """
    for check in CHECKS:
        try:
            check(make())
        except AssertionError as err:
            err.add_note(f"the backend fails the check `{check.__name__}`")
            raise


def _expect(got: object, wanted: object) -> None:
    """Not `assert`: a check must hold under `python -O` too."""
    if got != wanted:
        raise AssertionError(f"{got!r}, not {wanted!r}")


def _claim(holds: bool, about: object) -> None:  # noqa: FBT001 - reads as the sentence it is
    if not holds:
        raise AssertionError(about)


def attempt(name: str, number: int = 1) -> AttemptId:
    """Return an attempt id that stays the same for a name."""
    digest = hashlib.sha256(name.encode()).digest()
    return attempt_id(TaskId("t" + "".join(_ALPHABET[byte & 31] for byte in digest[:9])), number)


def a_job_that_succeeds_is_completed(world: BackendUnderTest) -> None:
    native_id = world.backend.submit(world.job(attempt("succeeds"), "exit 0"))
    seen = world.end_of(native_id)

    _expect((seen.native_id, seen.end_reason, seen.exit_code, seen.signal), (native_id, EndReason.COMPLETED, 0, None))
    if seen.started_at is None or seen.ended_at is None:
        raise AssertionError(seen)
    _expect(seen.started_at.tzinfo, UTC)
    _claim(seen.started_at <= seen.ended_at, seen)


def an_exit_code_is_kept(world: BackendUnderTest) -> None:
    seen = world.end_of(world.backend.submit(world.job(attempt("exits"), "exit 3", exit_code=3)))

    _expect((seen.end_reason, seen.exit_code), (EndReason.FAILED, 3))


def a_job_that_dies_of_a_signal_has_failed(world: BackendUnderTest) -> None:
    request = world.job(attempt("dies"), "kill -9 $$")
    seen = world.end_of(world.backend.submit(replace(request, environment=(*request.environment, ("SIM_SIGNAL", "9")))))

    _expect(seen.end_reason, EndReason.FAILED)
    _claim(seen.signal == 9 or seen.exit_code not in {0, None}, seen)  # a shell between tells 128 + the signal


def arguments_variables_and_paths_arrive_unchanged(world: BackendUnderTest) -> None:
    if not world.runs_programs:
        return
    folder = world.folder / HOSTILE_FOLDER
    folder.mkdir(exist_ok=True)
    script = 'printf "%s\\n--\\n" "$@" "$V1" "$V2" "$PWD"'
    values = ("a b, c=d; $(id)", 'it\'s "quoted"')
    request = world.job(attempt("hostile"), script, *HOSTILE)
    variables = (("V1", values[0]), ("V2", values[1]))
    request = replace(
        request,
        workdir=str(folder),
        stdout=str(folder / "out"),
        stderr=str(folder / "err"),
        environment=(*request.environment, *variables),
    )
    seen = world.end_of(world.backend.submit(request))

    _expect(seen.end_reason, EndReason.COMPLETED)
    expected = "".join(f"{text}\n--\n" for text in (*HOSTILE, *values, str(folder)))
    _expect((folder / "out").read_text(encoding="utf-8"), expected)


def one_poll_describes_many_jobs(world: BackendUnderTest) -> None:
    attempts = [attempt("many", number) for number in range(1, 13)]
    ids = [
        world.backend.submit(world.job(tag, f"exit {number % 3}", exit_code=number % 3))
        for number, tag in enumerate(attempts)
    ]
    _expect(len(set(ids)), len(ids))
    ends = [world.end_of(native_id).exit_code for native_id in ids]
    poll = world.backend.poll([*ids, NativeId("999999999")])

    _expect(ends, [number % 3 for number in range(12)])
    if not isinstance(poll, Answered):
        raise AssertionError(poll)
    _expect(set(poll.observations), {*ids, "999999999"})
    _claim(all(isinstance(poll.observations[native_id], Seen) for native_id in ids), poll)
    _expect(poll.observations[NativeId("999999999")], Gone(native_id=NativeId("999999999")))


def a_poll_of_nothing_is_answered(world: BackendUnderTest) -> None:
    _expect(world.backend.poll([]), Answered(observations={}))


def an_unknown_id_is_gone(world: BackendUnderTest) -> None:
    for text in HOSTILE_IDS:
        _expect(world.observe(NativeId(text)), Gone(native_id=NativeId(text)))


def a_running_job_is_seen_running(world: BackendUnderTest) -> None:
    native_id = world.backend.submit(world.job(attempt("runs"), "sleep 300", seconds=300))
    seen = world.wait_for(native_id, NativeState.RUNNING)
    world.backend.cancel([native_id])

    _expect((seen.end_reason, seen.exit_code, seen.ended_at), (None, None, None))
    _claim(seen.started_at is not None and seen.nodes != "", seen)


def a_cancelled_job_ends_cancelled(world: BackendUnderTest) -> None:
    native_id = world.backend.submit(world.job(attempt("cancelled"), "sleep 300", seconds=300))
    world.wait_for(native_id, NativeState.RUNNING)

    _expect(world.backend.cancel([native_id]), {native_id: CancelOutcome.ASKED})
    _claim(world.backend.cancel([native_id])[native_id] is not CancelOutcome.FAILED, "cancelling twice fails")
    _expect(world.end_of(native_id).end_reason, EndReason.CANCELLED)
    _expect(world.backend.cancel([native_id]), {native_id: CancelOutcome.ALREADY_GONE})


def a_job_is_asked_before_it_is_killed(world: BackendUnderTest) -> None:
    if not world.runs_programs:
        return
    script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    native_id = _run_until_ready(world, attempt("asked"), script)
    world.backend.cancel([native_id])
    world.end_of(native_id)

    _expect((world.folder / f"{attempt('asked')}.out").read_text(encoding="utf-8"), "ready\nasked\n")


def a_stubborn_job_is_killed_after_its_grace(world: BackendUnderTest) -> None:
    if not world.runs_programs:
        return
    native_id = _run_until_ready(world, attempt("stubborn"), "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    world.backend.cancel([native_id])

    _expect(world.end_of(native_id).end_reason, EndReason.CANCELLED)


def _run_until_ready(world: BackendUnderTest, tag: AttemptId, script: str) -> NativeId:
    native_id = world.backend.submit(world.job(tag, script))
    world.wait_for(native_id, NativeState.RUNNING)
    output = world.folder / f"{tag}.out"
    for _ in range(round(world.patience_s / world.step_s)):
        if output.exists() and output.read_text(encoding="utf-8") == "ready\n":
            break
        world.pass_time(world.step_s)
    return native_id


def cancelling_what_is_not_there_is_harmless(world: BackendUnderTest) -> None:
    _expect(world.backend.cancel([]), {})
    ids = [NativeId(text) for text in HOSTILE_IDS]
    _expect(world.backend.cancel(ids), dict.fromkeys(ids, CancelOutcome.ALREADY_GONE))


def a_job_is_found_by_its_tag_from_anywhere(world: BackendUnderTest) -> None:
    tag, unknown = attempt("found"), attempt("never submitted")
    native_id = world.backend.submit(world.job(tag, "sleep 300", seconds=300))
    other = world.reopen()
    found = other.find([tag, unknown])

    _expect((found.ids.get(tag, ()), found.ids.get(unknown, ()), found.complete), ((native_id,), (), True))
    _claim(isinstance(other.poll([native_id]), Answered), "another process gets no answer")
    _expect(other.cancel([native_id]), {native_id: CancelOutcome.ASKED})
    _expect(world.end_of(native_id).end_reason, EndReason.CANCELLED)


def an_ended_job_is_found_by_its_tag(world: BackendUnderTest) -> None:
    tag = attempt("found ended")
    native_id = world.backend.submit(world.job(tag, "exit 0"))
    world.end_of(native_id)

    _expect(world.reopen().find([tag]).ids.get(tag, ()), (native_id,))


def a_search_for_nothing_finds_nothing(world: BackendUnderTest) -> None:
    _expect(dict(world.backend.find([]).ids), {})


def an_impossible_request_is_rejected_and_leaves_nothing(world: BackendUnderTest) -> None:
    tag = attempt("impossible")
    request = replace(world.job(tag, "exit 0"), resources=Resources(cpus_per_task=1_000_000))
    _claim(_is_rejected(world, request), "a million cores were promised")
    _expect(world.backend.find([tag]).ids.get(tag, ()), ())


def _is_rejected(world: BackendUnderTest, request: JobRequest) -> bool:
    try:
        world.backend.submit(request)
    except Rejected:
        return True
    return False


def a_job_over_its_time_limit_is_stopped(world: BackendUnderTest) -> None:
    if not world.shortest_walltime_s:
        return
    request = world.job(attempt("overtime"), "sleep 300", seconds=300)
    request = replace(request, resources=Resources(walltime_s=world.shortest_walltime_s))
    seen = world.end_of(world.backend.submit(request))

    _expect(seen.end_reason, EndReason.TIMEOUT)


def _submit_ahead(world: BackendUnderTest, name: str, exit_code: int = 0) -> NativeId:
    """Submit a job that runs until another is queued behind it."""
    script = f"sleep {world.ahead_s:g}; exit {exit_code}"
    return world.backend.submit(world.job(attempt(name), script, seconds=world.ahead_s, exit_code=exit_code))


def a_job_that_follows_another_waits_for_its_success(world: BackendUnderTest) -> None:
    if not world.backend.capabilities.dependencies:
        return
    first = _submit_ahead(world, "followed")
    second = world.backend.submit(replace(world.job(attempt("follows"), "exit 0"), after=(first,)))
    seen = world.end_of(second)
    before = world.observe(first)

    _expect(seen.end_reason, EndReason.COMPLETED)
    if not isinstance(before, Seen) or before.ended_at is None or seen.started_at is None:
        raise AssertionError((before, seen))
    _expect(before.end_reason, EndReason.COMPLETED)
    _claim(before.ended_at <= seen.started_at, (before, seen))


def a_job_that_follows_a_failure_never_runs(world: BackendUnderTest) -> None:
    if not world.backend.capabilities.dependencies:
        return
    ran = world.folder / "ran after a failure"
    first = _submit_ahead(world, "fails first", exit_code=3)
    second = world.backend.submit(replace(world.job(attempt("never"), 'touch "$1"', str(ran)), after=(first,)))
    world.end_of(first)
    world.backend.cancel([second])
    seen = world.end_of(second)

    _claim(seen.end_reason is not EndReason.COMPLETED, seen)
    _claim(not ran.exists(), "it ran")


def a_job_that_follows_any_end_runs_after_a_failure(world: BackendUnderTest) -> None:
    if not world.backend.capabilities.dependencies:
        return
    first = _submit_ahead(world, "ends first", exit_code=3)
    second = world.backend.submit(replace(world.job(attempt("goes on"), "exit 0"), after_any=(first,)))
    seen = world.end_of(second)
    before = world.observe(first)

    _expect(seen.end_reason, EndReason.COMPLETED)
    if not isinstance(before, Seen) or before.ended_at is None or seen.started_at is None:
        raise AssertionError((before, seen))
    _expect(before.end_reason, EndReason.FAILED)
    _claim(before.ended_at <= seen.started_at, (before, seen))


def the_cluster_is_described_consistently(world: BackendUnderTest) -> None:
    view = world.backend.cluster()
    names = {partition.name for partition in view.partitions}

    _expect(view.backend, world.backend.name)
    _claim(len(view.nodes) > 0 and len(names) > 0, view)
    _claim(sum(partition.is_default for partition in view.partitions) <= 1, view.partitions)
    _expect(len({node.name for node in view.nodes}), len(view.nodes))
    for node in view.nodes:
        _claim(0 <= node.free_cpus <= node.cpus, node)
        _claim(0 <= node.free_memory_mib <= node.memory_mib, node)
        _claim(set(node.partitions) <= names, node)
        _claim(all(free <= dict(node.gpus)[kind] for kind, free in node.free_gpus), node)


def a_running_job_holds_its_cores(world: BackendUnderTest) -> None:
    before = sum(node.free_cpus for node in world.backend.cluster().nodes)
    native_id = world.backend.submit(world.job(attempt("holds"), "sleep 300", seconds=300))
    world.wait_for(native_id, NativeState.RUNNING)
    during = sum(node.free_cpus for node in world.backend.cluster().nodes)
    world.backend.cancel([native_id])
    world.end_of(native_id)

    _claim(during < before, f"{before} cores free before, {during} while it runs")


CHECKS: tuple[Callable[[BackendUnderTest], None], ...] = (
    a_job_that_succeeds_is_completed,
    an_exit_code_is_kept,
    a_job_that_dies_of_a_signal_has_failed,
    arguments_variables_and_paths_arrive_unchanged,
    one_poll_describes_many_jobs,
    a_poll_of_nothing_is_answered,
    an_unknown_id_is_gone,
    a_running_job_is_seen_running,
    a_cancelled_job_ends_cancelled,
    a_job_is_asked_before_it_is_killed,
    a_stubborn_job_is_killed_after_its_grace,
    cancelling_what_is_not_there_is_harmless,
    a_job_is_found_by_its_tag_from_anywhere,
    an_ended_job_is_found_by_its_tag,
    a_search_for_nothing_finds_nothing,
    an_impossible_request_is_rejected_and_leaves_nothing,
    a_job_over_its_time_limit_is_stopped,
    a_job_that_follows_another_waits_for_its_success,
    a_job_that_follows_a_failure_never_runs,
    a_job_that_follows_any_end_runs_after_a_failure,
    the_cluster_is_described_consistently,
    a_running_job_holds_its_cores,
)
