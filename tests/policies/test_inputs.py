"""A plan is a function of what can be written down: read back, it gives the same plan, and every change is told."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.codec import decode, encode
from elisa.model.columns import Outlook, ProjectUsage, RunningRow, UsageRow
from elisa.model.ids import AttemptId, BackendName, ProjectName, TaskId
from elisa.model.pipeline import PriorityClass
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.policies.badgpus import BadGpu
from elisa.policies.inheritance import Urged
from elisa.policies.inputs import Outcome, PlanInputs, differences
from elisa.policies.plan import plan
from elisa.policies.snapshot import KeptRoom, Snapshot
from tests.policies.build import HERE, NOW, Ready, a_cluster, a_node, a_request, an_attempt

SITE = SitePolicy(
    projects=(ProjectPolicy(name=ProjectName("a"), caps=(Cap(resource=Metered.CPU_S, limit=7200),)),),
    reserved_classes=((PriorityClass.CRITICAL, (1, 2)),),
)


def some_inputs(ready: Ready, site: SitePolicy = SITE) -> PlanInputs:
    usage = ProjectUsage(rows=[UsageRow("a", 1, "a100", Charge(gpu_s=3, gpu_type="a100"), Charge(cpu_s=2), jobs=1)])
    running = RunningRow("t9.1", "t9", "b", 7, HERE, ("n1",), a_request(), 3, 10**15)
    return PlanInputs(
        ready=ready.columns(),
        usage=usage,
        clusters=(a_cluster(a_node(cpus=4)),),
        live=(an_attempt(),),
        site=site,
        now=NOW,
        queueing=(HERE,),
        unreachable={BackendName("away"): "no answer"},
        uid=1000,
        ends={AttemptId("t9.1"): 1.5},
        promised={TaskId("t1"): KeptRoom(2.5, ("n1",))},
        running=(running,),
        outlook=Outlook(speeds={(0, "a100"): 2.0}, waits_s={("here", "p"): 3.0}),
        avoid={HERE: ("n2",)},
        urged={TaskId("t9"): Urged(1, TaskId("t2"))},
        unexcluding=(BackendName("away"),),
        bad_gpus={HERE: (BadGpu("n1", "2", NOW),)},
    )


def written_and_read(inputs: PlanInputs) -> PlanInputs:
    return decode(PlanInputs, json.loads(json.dumps(encode(inputs))))


def test_inputs_are_all_that_a_snapshot_is_built_of() -> None:
    parameters = set(inspect.signature(Snapshot.build).parameters)

    assert {field.name for field in fields(PlanInputs)} - {"planner"} == parameters
    assert all(getattr(some_inputs(Ready().add("t1")), name) for name in parameters - {"plugins"})


def test_everything_that_a_plan_looks_at_survives_being_written_down() -> None:
    inputs = some_inputs(
        Ready().add("t1", project="a", deadline_s=60.0).add("t2", a_request(1, ("a100",)), project="b")
    )
    once = written_and_read(inputs)

    assert written_and_read(once) == once
    assert (once.site, once.now, once.ends, once.promised) == (inputs.site, inputs.now, inputs.ends, inputs.promised)
    assert (once.outlook, once.running, once.live) == (inputs.outlook, tuple(inputs.running), tuple(inputs.live))


tasks = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(1, 5), st.floats(0, 99), st.integers(0, 9)),
    max_size=12,
)


@given(tasks)
def test_what_was_written_down_gives_the_same_plan(rows: list[tuple[str, int, int, float, int]]) -> None:
    ready = Ready()
    for number, (project, priority, cpus, importance, deadline) in enumerate(rows):
        request = a_request(cpus_per_task=cpus)
        more = {"importance": importance, "deadline_s": 600.0 * deadline}
        ready.add(f"t{number:02}", request, project=project, priority=priority, **more)
    inputs = some_inputs(ready)

    first, second = (Outcome.of(plan(one.snapshot())) for one in (inputs, written_and_read(inputs)))

    assert list(differences(first, second)) == []
    assert decode(Outcome, json.loads(json.dumps(encode(first)))) == first


def test_every_difference_is_told() -> None:
    ready = Ready().add("t1", project="a").add("t2", project="b")
    none = replace(SITE, unlisted=ProjectPolicy(name=ProjectName(""), caps=(Cap(resource=Metered.JOBS, limit=0),)))
    first, second = (Outcome.of(plan(replace(some_inputs(ready, site), uid=None).snapshot())) for site in (SITE, none))

    told = list(differences(first, replace(second, notes=("left out",))))

    assert [words.partition(" ")[0] for words in told] == ["decision", "decision", "task"]
    assert told[1].endswith("now it is nothing")
    assert "task t2 was passed over for nothing, now for reason" in told[2]
