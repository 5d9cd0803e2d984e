from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from elisa.backends.conformance import attempt
from elisa.backends.registry import choose_clock, open_backend
from elisa.backends.simulated import memory as module
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.model import layout
from elisa.model.errors import Rejected, StoreError, SubmitUncertain, Unavailable, UsageError
from elisa.model.ids import BackendName, NativeId
from elisa.model.ports import no_crash
from tests.backends.simulated.conftest import World
from tests.backends.worlds import START, WallClock

Make = Callable[..., World]
OPTIONS = {
    "nodes": {"n": {"count": 3, "cpus": 4}},
    "partitions": {
        "low": {"default": True, "preemptible": True, "wait": {"uniform": [0, 60]}},
        "high": {"priority": 3},
    },
    "faults": {"node_down_every": "3h", "node_down_for": "20m", "preempt_every": "2h", "outage_every": "5h"},
    "requeue": True,
    "purge_after": "2h",
    "seed": 11,
}


def _day(world: World, *, reopens: bool) -> list[str]:
    """Run a day of jobs; return all that could be seen. With `reopens`, every call comes from a process of its own."""
    seen: list[str] = []
    ids: list[NativeId] = []
    for number in range(1, 97):
        if reopens:
            world.backend = world.reopen(VirtualClock(START))
            world.clock = world.backend._clock  # type: ignore[assignment]
        world.clock.jump_to(START + timedelta(minutes=15 * number))
        partition = "high" if number % 5 == 0 else "low"
        request = world.agent_request(
            "day", number, sim_duration={"uniform": [600, 9000]}, partition=partition,
            job={"checkpoint": {"interval_s": 600}}, after=tuple(ids[-1:]) if number % 7 == 0 else (),
        )  # fmt: skip
        try:
            ids.append(world.backend.submit(request))
        except (Rejected, Unavailable, SubmitUncertain) as err:
            seen.append(str(err))
        if number % 9 == 0:
            seen.append(str(world.backend.cancel(ids[-2:])))
        seen.append(str(world.backend.poll(ids)))
        with suppress(Unavailable):
            seen.append(str(world.backend.find([attempt("day", n) for n in range(1, number)])))
        seen.append(str(world.backend.next_event_at()))
    return seen


def test_a_cluster_lives_on_in_other_processes_bit_for_bit(make: Make, tmp_path: Path) -> None:
    alone, kept = make(**OPTIONS), make(memory=tmp_path / "cluster.json", **OPTIONS)

    assert _day(kept, reopens=True) == _day(alone, reopens=False)
    assert kept.spool.files == alone.spool.files


def test_the_same_seed_gives_the_same_day_and_another_one_another(make: Make) -> None:
    assert _day(make(**OPTIONS), reopens=False) == _day(make(**OPTIONS), reopens=False)
    assert _day(make(**OPTIONS), reopens=False) != _day(make(**{**OPTIONS, "seed": 12}), reopens=False)


def test_the_file_is_written_anew_when_it_has_grown(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPARE_LINES", 5)
    alone, kept = make(**OPTIONS), make(memory=tmp_path / "cluster.json", **OPTIONS)

    assert _day(kept, reopens=True) == _day(alone, reopens=False)
    assert len((tmp_path / "cluster.json").read_bytes().splitlines()) < 150


def test_a_line_that_was_cut_off_is_as_if_it_had_never_been_begun(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    world = make(memory=path, **OPTIONS)
    first = world.backend.submit(world.request("first"))
    whole = path.read_bytes()
    world.backend.submit(world.request("second"))
    path.write_bytes(path.read_bytes()[:-20])
    world.backend = world.reopen()

    assert world.seen(first)
    assert world.backend.find([attempt("second")]).ids == {attempt("second"): ()}
    assert world.backend.submit(world.request("third"))
    lines = path.read_bytes().splitlines()
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["v"] for line in lines] == [1] * len(lines)


def test_what_another_process_did_is_noticed(make: Make, tmp_path: Path) -> None:
    world = make(memory=tmp_path / "cluster.json", **OPTIONS)
    native_id = world.reopen().submit(world.request("theirs"))

    assert world.seen(native_id)
    assert world.backend.submit(world.request("ours")) != native_id


def test_a_file_of_another_kind_is_refused(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    path.write_text('{"v": 99, "jobs": [], "purged": []}\n', encoding="ascii")
    with pytest.raises(StoreError):
        make(memory=path, **OPTIONS)


def _open(tmp_path: Path, kind: str, options: dict[str, object]) -> object:
    return open_backend(
        "mine", kind, options, home=tmp_path, instance="4f2a", clock=VirtualClock(START), random=None, crash=no_crash  # type: ignore[arg-type]
    )  # fmt: skip


def test_backends_are_opened_by_kind(tmp_path: Path) -> None:
    simulated = _open(tmp_path, "simulated", {"nodes": {"n": {"cpus": 4}}})

    assert isinstance(simulated, SimulatedBackend)
    assert (simulated.name, simulated.cluster().nodes[0].cpus) == ("mine", 4)
    simulated.submit(World().request("kept"))
    assert layout.simulated_state(tmp_path, BackendName("mine")).exists()


@pytest.mark.parametrize(("kind", "hint"), [("slrum", "did you mean `slurm`?"), ("xyz", "known are ")])
def test_an_unknown_kind_is_named_with_the_nearest(kind: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _open(tmp_path, kind, {})

    assert caught.value.hint.startswith(hint)


def test_only_simulated_clusters_let_the_clock_jump() -> None:
    clock = WallClock()

    assert isinstance(choose_clock(["simulated", "simulated"], clock), VirtualClock)
    assert choose_clock(["simulated", "local"], clock) is clock
    assert choose_clock([], clock) is clock
