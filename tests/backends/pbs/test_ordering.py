from __future__ import annotations

import pytest

from elisa.backends.pbs.options import PbsOptions
from elisa.backends.pbs.ordering import hold_argv, job_priority, order_argv, release_argv
from elisa.backends.runner import Completed
from elisa.model.errors import Unavailable
from elisa.model.ids import NativeId
from elisa.model.native import NativeState, Seen
from tests.backends.pbs.bench import Bench, ScriptedRunner, a_request, observed, recorded, scripted_backend

RUNNING = NativeId("2035.vm.t00000000f.1")
QUEUED = NativeId("2040.vm.t00000000g.1")
HELD = NativeId("2042.vm.t00000000h.1")
STALE = NativeId("2040.vm.t000000001.1")


def test_requests() -> None:
    assert hold_argv("qhold", ["1.vm"]) == ("qhold", "-h", "u", "1.vm")
    assert release_argv("qrls", ["1.vm"]) == ("qrls", "-h", "u", "1.vm")
    assert order_argv("qalter", -30, ["1.vm", "2.vm"]) == ("qalter", "-p", "-30", "1.vm", "2.vm")


@pytest.mark.parametrize(("priority", "pbs"), [(4, 0), (7, 0), (3, -10), (0, -40), (-500, -1024)])
def test_priorities_are_never_raised(priority: int, pbs: int) -> None:
    assert job_priority(priority, PbsOptions()) == pbs


def test_only_own_jobs_that_wait_are_held() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qhold": ""})
    got = scripted_backend(runner, {"dialect": "openpbs"}).hold([RUNNING, QUEUED, HELD, STALE])

    assert [argv for argv in runner.asked if argv[0] == "qhold"] == [("qhold", "-h", "u", "2040.vm")]
    assert got == {HELD}  # the recording still shows the other waiting


def test_jobs_are_ordered_in_as_few_requests_as_there_are_priorities() -> None:
    runner = ScriptedRunner({"qstat": recorded("qstat-jobs"), "qalter": ""})
    other = NativeId("2041.vm.t00000000n.1")
    scripted_backend(runner, {"dialect": "openpbs"}).reorder({QUEUED: 4, other: 2, RUNNING: 1, STALE: 0})

    assert [argv for argv in runner.asked if argv[0] == "qalter"] == [
        ("qalter", "-p", "0", "2040.vm"),
        ("qalter", "-p", "-20", "2041.vm"),
    ]


def test_nothing_is_changed_during_an_outage() -> None:
    runner = ScriptedRunner({"qstat": Completed(exit_code=255, stderr="Connection refused\n")})

    with pytest.raises(Unavailable):
        scripted_backend(runner, {"dialect": "openpbs"}).hold([QUEUED])
    assert [argv[0] for argv in runner.asked] == ["qstat"]


@pytest.mark.parametrize(("dialect", "is_script"), [("openpbs", False), ("torque", True)])
def test_preview_shows_what_would_be_submitted(dialect: str, is_script: bool) -> None:  # noqa: FBT001 - of a table
    runner = ScriptedRunner({"pbsnodes": recorded("pbsnodes-busy"), "qsub": recorded("qsub_ok")})
    backend = scripted_backend(runner, {"dialect": dialect})
    argv, script = backend.preview(a_request())
    before = list(runner.asked)
    backend.submit(a_request())

    assert before == []
    assert (runner.asked[-1], runner.inputs[-1] or "") == (argv, script)
    assert bool(script) is is_script


@pytest.mark.slow
def test_a_held_job_starts_when_it_is_released(bench: Bench) -> None:
    backend = bench.backend()
    bench.pbs.pause()
    native_id = backend.submit(bench.job("exit 0"))

    assert backend.hold([native_id]) == {native_id}
    bench.pbs.resume()
    waiting = observed(backend, native_id)
    assert isinstance(waiting, Seen)
    assert waiting.state is NativeState.HELD
    assert backend.release([native_id]) == {native_id}
    assert bench.end_of(native_id).exit_code == 0
