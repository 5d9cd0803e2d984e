"""Policies of other packages: heard while they behave, fenced off when they do not, and everybody is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine import decide, kept_plans
from elisa.engine.config import Site
from elisa.engine.doctor import examine
from elisa.engine.kept_plans import replay_tick
from elisa.engine.plan import preview
from elisa.model.states import TaskState
from elisa.policies.plan import Plan, plan
from elisa.policies.registry import Plugins, load_plugins
from elisa.policies.snapshot import Snapshot
from elisa.report.status import read_status
from elisa.store.reader import Reader
from tests.reliability.specs import job
from tests.reliability.world import World


def backwards(snapshot: Snapshot) -> Any:
    return -np.arange(len(snapshot.tasks))


def endless(snapshot: Snapshot) -> Any:
    while True:
        with suppress(Exception):  # the worst manners there are
            sum(range(1000))


def nonsense(snapshot: Snapshot) -> Any:
    return ["first", "last"]


def broken(snapshot: Snapshot) -> Any:
    raise RuntimeError(f"{len(snapshot.tasks)} is my unlucky number")


def the_last_pool(snapshot: Snapshot) -> Any:
    return np.tile(np.arange(len(snapshot.pools)) / len(snapshot.pools), (len(snapshot.shapes), 1))


def idle(snapshot: Snapshot) -> Plan:
    return plan(replace(snapshot, pools=()))


Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install plug-ins of this module, as a package with entry points would."""

    def add(**named: str) -> None:
        entries = [
            EntryPoint(name.replace("_", "."), f"{__name__}:{function}", "elisa.policies")
            for name, function in named.items()
        ]
        found = load_plugins(entries)
        assert found.problems == ()
        monkeypatch.setattr(decide, "load_plugins", lambda: found)

    return add


def a_world(folder: Path, **settings: Any) -> World:
    site = {"backends": {"sim": {"kind": "simulated", "window": 1}}, "submits_per_tick": 1, **settings}
    return World.make(folder / "home", site=Site.model_validate(site))


def test_an_order_key_from_outside_decides(tmp_path: Path, install: Install) -> None:
    install(order_backwards="backwards")
    world = a_world(tmp_path, order=["backwards"])
    world.submit(job("a"), job("b"))
    first, last = sorted(world.tasks().values(), key=lambda task: task.id)

    report = world.tick()

    assert report.alarms == ()
    assert world.tasks()[last.spec.name].state is TaskState.ACTIVE
    assert world.tasks()[first.spec.name].state is TaskState.READY


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("broken", "RuntimeError: 2 is my unlucky number"),
        ("nonsense", "ValueError: it gave no number for each task"),
        ("endless", "TimeoutError: it took longer than 2 s"),
    ],
)
def test_an_order_key_that_fails_is_left_out_and_told_of(
    tmp_path: Path, install: Install, function: str, words: str
) -> None:
    install(order_theirs=function)
    world = a_world(tmp_path, order=["theirs", "age"])
    world.submit(job("a"), job("b"))

    report = world.tick()

    assert report.alarms == (f"order key `theirs` failed ({words}): left out",)
    assert len(report.submitted) == 1


def test_after_two_failures_a_plug_in_rests_and_then_gets_another_try(tmp_path: Path, install: Install) -> None:
    install(order_theirs="broken")
    world = a_world(tmp_path, order=["theirs"])
    world.submit(job("a"), job("b"), job("c"))
    for _ in range(2):
        world.tick()

    rests = world.tick()
    world.pass_time(600)
    install(order_theirs="backwards")
    mended = world.tick()

    assert "order key `theirs` is not there, or rests after failures: left out" in rests.alarms
    assert mended.alarms == ()


def test_everybody_is_told_of_a_plug_in_that_fails(tmp_path: Path, install: Install) -> None:
    install(order_theirs="broken")
    world = a_world(tmp_path, order=["theirs"])
    (world.home / "site.yaml").write_text("order: [theirs]\nbackends: {sim: {kind: simulated}}\n", encoding="utf-8")
    world.submit(job("a"), job("b"))
    for _ in range(2):
        world.tick()

    with Reader.open(world.home) as reader:
        status = read_status(reader, world.clock.now())
    findings = {one.name: one.what for one in examine(world.home)}

    assert status.alarms == "order key `theirs` failed (RuntimeError: 1 is my unlucky number): left out"
    assert findings["plug-in order.theirs"].startswith("failed 2 times since ")


def test_one_that_cannot_be_loaded_is_told_of_in_every_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("order.theirs", "no_such_module:key", "elisa.policies")]
    monkeypatch.setattr(decide, "load_plugins", lambda: load_plugins(entries))
    world = a_world(tmp_path, order=["theirs", "age"])
    world.submit(job("a"))

    report = world.tick()

    assert report.alarms[0] == "order key `theirs` is not there, or rests after failures: left out"
    assert report.alarms[1].startswith("plug-in `order.theirs` of no_such_module:key cannot be loaded: ")
    assert len(report.submitted) == 1


@pytest.mark.parametrize("function", ["backwards", "broken"])
def test_a_decision_is_replayed_with_the_plug_ins_that_took_part(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    install(order_theirs=function)
    monkeypatch.setattr(kept_plans, "load_plugins", decide.load_plugins)
    world = a_world(tmp_path, order=["theirs", "age"])
    world.submit(job("a"), job("b"))
    world.tick()

    done = replay_tick(world.workspace(), 1)

    assert done.differences == ()
    assert done.kept.inputs.plugins == (("theirs",) if function == "backwards" else ())


def test_a_planner_from_outside_takes_the_place_of_the_plan(tmp_path: Path, install: Install) -> None:
    install(planner_idle="idle")
    world = a_world(tmp_path, planner="idle")
    world.submit(job("a"))

    assert world.tick().submitted == ()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("broken", "failed (RuntimeError: 1 is my unlucky number)"),
        ("nonsense", "failed (AttributeError: 'list' object has no attribute 'decisions')"),
        ("endless", "took longer than 2 s"),
    ],
)
def test_a_planner_that_fails_gives_way_to_the_built_in_plan(
    tmp_path: Path, install: Install, function: str, words: str
) -> None:
    install(planner_theirs=function)
    world = a_world(tmp_path, planner="theirs")
    world.submit(job("a"))

    shown = preview(world.workspace())
    report = world.tick()

    assert shown.plan.notes == report.alarms == (f"planner `theirs` {words}: left out",)
    assert len(report.submitted) == 1


def test_a_planner_nobody_brings_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "load_plugins", lambda: Plugins({}, ()))
    world = a_world(tmp_path, planner="absent")
    world.submit(job("a"))

    assert world.tick().alarms == ("planner `absent` is not there, or rests after failures: left out",)


TWO_QUEUES = ClusterSpec(
    nodes=(NodeType(name="node", cpus=4),),
    partitions=(PartitionSpec(name="day", is_default=True), PartitionSpec(name="night")),
)


def test_a_term_from_outside_chooses_the_place_and_the_decision_can_be_replayed(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(score_last="the_last_pool")
    monkeypatch.setattr(kept_plans, "load_plugins", decide.load_plugins)
    site = Site.model_validate({"backends": {"sim": {"kind": "simulated"}}, "placement": {"others": {"last": 100}}})
    world = World.make(tmp_path / "home", spec=TWO_QUEUES, site=site)
    world.submit(job("a"))
    world.tick()

    [attempt] = world.attempts("a")
    done = replay_tick(world.workspace(), 1)

    assert attempt.partition == "night"
    assert done.kept.inputs.plugins == ("score.last",)
    assert done.differences == ()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("score", {"placement": {"others": {"theirs": 1}}}),
        ("factor", {"factors": {"others": {"theirs": 1}}}),
        ("cost", {"preemption": {"costs": ["theirs"]}}),
    ],
)
def test_one_of_another_kind_that_fails_is_left_out_and_rests_after_two_failures(
    tmp_path: Path, install: Install, kind: str, settings: dict[str, Any]
) -> None:
    install(**{f"{kind}_theirs": "broken"})
    world = a_world(tmp_path, **settings)
    world.submit(job("a"), job("b"), job("c"))

    alarms = [world.tick().alarms for _ in range(3)]

    assert [told[0].split(" (")[0] for told in alarms[:2]] == [f"`{kind}.theirs` failed"] * 2
    assert f"`{kind}.theirs` is not there, or rests after failures: left out" in alarms[2]


def test_a_name_that_is_built_in_is_no_name_of_another_package() -> None:
    with pytest.raises(ValueError, match="`age` is built in"):
        Site.model_validate({"factors": {"others": {"age": 1}}})
