from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.job import Life, LocalJob
from elisa.backends.under_test import BackendUnderTest
from elisa.model.errors import Rejected, SubmitUncertain, Unavailable
from elisa.model.native import JobRequest, NativeState
from elisa.model.resources import GpuRequest, Resources
from elisa.model.states import EndReason
from tests.backends.worlds import SLOTS, WallClock, local_backend

RequestFor = Callable[..., JobRequest]
JobOf = Callable[[str], LocalJob]

POINTS = ("begin", "folder", "request", "marked", "allowed", "spawned", "started")


def test_submitting_an_attempt_twice_gives_the_one_job(backend: LocalBackend, request_for: RequestFor) -> None:
    first = backend.submit(request_for("twice"))

    assert backend.submit(request_for("twice")) == first
    assert sum(node.cpus - node.free_cpus for node in backend.cluster().nodes) == 1


def _crash_at(home: Path, request: JobRequest, point: str) -> int:
    """Submit in a process of its own that is killed at a point, as by SIGKILL; return its exit status."""
    pid = os.fork()
    if pid == 0:

        def crash(name: str) -> None:
            if name == point:
                os._exit(137)

        LocalBackend(home, "4f2a", SLOTS, WallClock(), crash).submit(request)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("point", POINTS)
def test_a_submitter_killed_anywhere_leaves_one_job_or_the_certainty_that_there_is_none(
    point: str, world: BackendUnderTest, request_for: RequestFor, tmp_path: Path
) -> None:
    request = request_for("killed", f"echo ran >> '{tmp_path}/runs'")
    assert _crash_at(tmp_path / "home", request, f"local.submit.{point}") == 137
    found = local_backend(tmp_path / "home").find([request.attempt])

    assert found.complete
    # Whatever was found is all there will ever be: a second submission does not make a second run.
    native_id = world.backend.submit(request)
    assert found.ids[request.attempt] in {(), (native_id,)}
    assert world.end_of(native_id).end_reason is EndReason.COMPLETED
    assert (tmp_path / "runs").read_text(encoding="utf-8") == "ran\n"
    assert world.backend.find([request.attempt]).ids == {request.attempt: (native_id,)}


@pytest.mark.slow
def test_a_submitter_killed_at_any_moment_leaves_at_most_one_run(
    backend: LocalBackend, world: BackendUnderTest, request_for: RequestFor, tmp_path: Path
) -> None:
    for number in range(25):
        runs = tmp_path / f"runs-{number}"
        request = request_for(f"any moment {number}", f"echo ran >> '{runs}'")
        pid = os.fork()
        if pid == 0:
            backend.submit(request)
            os._exit(0)
        time.sleep(number / 1000)  # a submission takes about 15 ms: somewhere in it
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = backend.find([request.attempt]).ids[request.attempt]
        native_id = backend.submit(request)

        assert found in {(), (native_id,)}
        assert world.end_of(native_id).end_reason is EndReason.COMPLETED
        assert runs.read_text(encoding="utf-8") == "ran\n"


def test_a_marker_that_a_killed_submitter_was_writing_holds_no_room(
    backend: LocalBackend, request_for: RequestFor, job_of: JobOf, tmp_path: Path
) -> None:
    request = request_for("killed")
    pid = os.fork()
    if pid == 0:
        os.rename = lambda *_args: os._exit(137)  # type: ignore[assignment]  # as SIGKILL just before it
        LocalBackend(tmp_path / "home", "4f2a", SLOTS, WallClock()).submit(request)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 137

    assert backend.cluster().nodes[0].free_cpus == SLOTS.cpus
    assert backend.find([request.attempt]).ids == {request.attempt: ()}
    assert backend.submit(request)


@pytest.mark.parametrize("point", POINTS)
def test_room_held_by_a_killed_submitter_comes_back(
    point: str, backend: LocalBackend, world: BackendUnderTest, request_for: RequestFor, tmp_path: Path
) -> None:
    request = request_for("killed", "exit 0")
    _crash_at(tmp_path / "home", request, f"local.submit.{point}")
    for native_id in backend.find([request.attempt]).ids[request.attempt]:
        world.end_of(native_id)

    assert backend.cluster().nodes[0].free_cpus == SLOTS.cpus


def test_what_was_not_found_never_starts(backend: LocalBackend, request_for: RequestFor, job_of: JobOf) -> None:
    request = request_for("late")
    job = job_of("late")
    job.folder.mkdir(parents=True)
    job.write_request(request, {})
    assert backend.find([request.attempt]).ids == {request.attempt: ()}
    from elisa.backends.local.backend import _spawn, _wait_for

    _wait_for(_spawn(str(job.folder)))

    assert job.life() is Life.VOID
    assert backend.find([request.attempt]).ids == {request.attempt: ()}


@pytest.mark.slow
def test_a_job_survives_the_process_that_submitted_it(world: BackendUnderTest, tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.backends.worlds import local_world\n"
        "from elisa.backends.conformance import attempt\n"
        "world = local_world(Path(sys.argv[2]))\n"
        "print(world.backend.submit(world.job(attempt('survives'), 'sleep 0.3; exit 4')))\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(tmp_path)],
        capture_output=True, text=True, check=True, start_new_session=True,
    )  # fmt: skip

    assert world.end_of(done.stdout.strip()).exit_code == 4


def test_a_job_gets_its_request_s_environment_and_no_other(
    world: BackendUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    tag = attempt("environment")
    request = replace(world.job(tag, "env"), environment=(("A", "1"), ("PATH", "/usr/bin:/bin")))
    native_id = world.backend.submit(request)
    world.end_of(native_id)
    lines = (tmp_path / f"{tag}.out").read_text(encoding="utf-8").splitlines()

    given = {line for line in lines if not line.startswith(("PWD=", "SHLVL=", "_="))}
    assert given == {"A=1", "PATH=/usr/bin:/bin", "CUDA_VISIBLE_DEVICES=", f"ELISA_NATIVE_ID={native_id}"}


def test_each_job_gets_gpus_of_its_own(
    backend: LocalBackend, world: BackendUnderTest, request_for: RequestFor, tmp_path: Path
) -> None:
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 300"
    for name, types in (("one", ()), ("two", ("a100",))):
        native_id = backend.submit(request_for(name, script, gpus=GpuRequest(per_node=1, types=types)))
        world.wait_for(native_id, NativeState.RUNNING)
    node = backend.cluster().nodes[0]

    assert (node.gpus, node.free_gpus) == ((("a100", 2), ("h100", 1)), (("h100", 1),))
    with pytest.raises(Unavailable) as caught:
        backend.submit(request_for("three", gpus=GpuRequest(per_node=1, types=("a100",))))
    assert caught.value.why == "it asks for 1 gpus, 0 are free"


def test_a_job_with_percents_of_a_gpu_is_told_how_many(
    backend: LocalBackend, world: BackendUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_slots", replace(backend._slots, mps=(1,)))
    asked = Resources(walltime_s=600, gpus=GpuRequest(per_node=30, types=("mps:1",), parts=100))
    tag = attempt("percents")

    world.end_of(backend.submit(replace(world.job(tag, "env"), resources=asked)))

    lines = (tmp_path / f"{tag}.out").read_text(encoding="utf-8").splitlines()
    assert {"CUDA_VISIBLE_DEVICES=1", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=30"} <= set(lines)
    assert dict(backend.cluster().nodes[0].gpus)["mps:1"] == 100


def test_a_job_without_room_waits_and_one_too_large_is_refused(backend: LocalBackend, request_for: RequestFor) -> None:
    backend.submit(request_for("large", cpus_per_task=10))

    with pytest.raises(Unavailable):
        backend.submit(request_for("second", cpus_per_task=10))
    with pytest.raises(Rejected):
        backend.submit(request_for("third", cpus_per_task=17))
    assert backend.find([attempt("second"), attempt("third")]).ids == {attempt("second"): (), attempt("third"): ()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"argv": ("/no/such/program",)}, "No such file or directory: /no/such/program"),
        ({"workdir": "/no/such/folder"}, "No such file or directory: /no/such/folder"),
        ({"stdout": "/proc/no/such"}, "No such file or directory: /proc/no"),
    ],
)
def test_a_job_that_cannot_start_says_why(
    change: dict[str, object], words: str, world: BackendUnderTest, request_for: RequestFor
) -> None:
    seen = world.end_of(world.backend.submit(replace(request_for("broken"), **change)))  # type: ignore[arg-type]

    assert (seen.end_reason, seen.exit_code, seen.detail) == (EndReason.FAILED, 73, words)


def test_a_full_disk_means_that_nothing_was_started(
    backend: LocalBackend, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(self: LocalJob, request: JobRequest, environment: object) -> None:
        raise OSError(28, "No space left on device", "request")

    monkeypatch.setattr(LocalJob, "write_request", no_space)
    with pytest.raises(Unavailable) as caught:
        backend.submit(request_for("full"))

    assert caught.value.why == "No space left on device: request"
    assert backend.cluster().nodes[0].free_cpus == SLOTS.cpus


def test_a_supervisor_that_does_not_come_up_is_reported_with_its_last_words(
    backend: LocalBackend, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elisa.backends.local.supervisor.__file__", "/no/such/supervisor.py")
    with pytest.raises(Unavailable) as caught:
        backend.submit(request_for("stillborn"))

    assert "can't open file '/no/such/supervisor.py'" in caught.value.why
    assert backend.find([attempt("stillborn")]).ids == {attempt("stillborn"): ()}


def test_what_cannot_be_settled_is_uncertain(
    backend: LocalBackend, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: str) -> int:
        raise OSError(5, "Input/output error", folder)

    monkeypatch.setattr("elisa.backends.local.backend._spawn", broken)
    monkeypatch.setattr(LocalJob, "void", lambda _: broken("void"))
    with pytest.raises(SubmitUncertain):
        backend.submit(request_for("uncertain"))


def test_a_missing_home_is_no_empty_one(backend: LocalBackend, request_for: RequestFor, tmp_path: Path) -> None:
    native_id = backend.submit(request_for("mounted", "exit 0"))
    (tmp_path / "home").rename(tmp_path / "unmounted")

    assert "is not there" in str(backend.poll([native_id]))
    for call in (lambda: backend.find([attempt("mounted")]), lambda: backend.submit(request_for("other"))):
        with pytest.raises(Unavailable):
            call()
    (tmp_path / "unmounted").rename(tmp_path / "home")
