"""The plan beside the reference: the same starts on the same nodes, and the same rule that refuses each of the rest."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.charge import Charge
from elisa.model.columns import ProjectUsage, UsageRow
from elisa.model.decisions import Submit
from elisa.model.ids import ProjectName, TaskId
from elisa.model.native import NodeView
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from tests.policies.build import Ready, a_cluster, a_node, a_plan, a_request
from tests.policies.reference import Outcome, Reference, Row

PROJECTS = ("lattice", "nlp", "vision")
REQUESTS = (
    a_request(walltime_s=3600),
    a_request(walltime_s=60, cpus_per_task=5, memory_mib_per_node=2048),
    a_request(1, ("a100",), walltime_s=7200, cpus_per_task=2),
    a_request(2, ("a100",), walltime_s=600, nodes=2, memory_mib_per_node=1024),
    a_request(1, ("h100",), walltime_s=600, cpus_per_task=3, nodes=2),
    a_request(9, ("h100",), walltime_s=600),
)

rows: Any = st.builds(
    Row,
    project=st.sampled_from(PROJECTS),
    user=st.integers(1, 2),
    request=st.sampled_from(REQUESTS),
    rank=st.integers(0, 4),
    importance=st.sampled_from([0.0, 1.0, 2.5]),
    age_s=st.sampled_from([0, 60, 3600]),
    deadline_s=st.sampled_from([0, 0, 900, 7200]),
)
caps: Any = st.builds(
    Cap,
    resource=st.sampled_from([Metered.CPU_S, Metered.GPU_S, Metered.JOBS, Metered.CPUS, Metered.GPUS]),
    limit=st.sampled_from([0, 1, 2, 4, 3600, 20000]),
    gpu_type=st.sampled_from(["", "a100"]),
)
both: Any = st.lists(caps, max_size=2).map(tuple)
policies: Any = st.tuples(
    *(
        st.builds(
            ProjectPolicy,
            name=st.just(ProjectName(name)),
            shares=st.sampled_from([1.0, 2.0]),
            caps=both,
            user_caps=both,
        )
        for name in PROJECTS
    )
)
hours: Any = st.builds(
    lambda cpus, gpus: Charge(cpu_s=3600 * cpus, gpu_s=3600 * gpus), st.integers(0, 3), st.integers(0, 2)
)
usage: Any = st.lists(
    st.builds(
        UsageRow,
        project=st.sampled_from(PROJECTS),
        owner_uid=st.integers(1, 3),
        gpu_type=st.sampled_from(["", "a100"]),
        reserved=hours,
        spent=hours,
        jobs=st.integers(0, 1),
        cpus=st.integers(0, 2),
        gpus=st.integers(0, 2),
    ),
    max_size=4,
)
free: Any = st.tuples(st.integers(0, 8), st.sampled_from([0, 1024, 4096]), st.integers(0, 2), st.integers(0, 2))


def a_node_with(number: int, cpus: int, memory_mib: int, a100: int, h100: int) -> NodeView:
    has = (("a100", 2), ("h100", 2))
    left = (("a100", a100), ("h100", h100))
    return a_node(f"n{number}", gpus=dict(has), free_cpus=cpus, free_memory_mib=memory_mib, free_gpus=left)


@given(tasks=st.lists(rows, max_size=12), rules=policies, used=usage, nodes=st.lists(free, min_size=1, max_size=4))
def test_the_plan_is_that_of_the_reference(
    tasks: list[Row], rules: tuple[ProjectPolicy, ...], used: list[UsageRow], nodes: list[tuple[int, int, int, int]]
) -> None:
    site = SitePolicy(projects=rules, backfill_depth=0)
    views = [a_node_with(number, *one) for number, one in enumerate(nodes)]
    by_id = {f"t{number:02}": row for number, row in enumerate(tasks)}
    ready = Ready()
    for id_, row in by_id.items():
        own = row._asdict()
        ready.add(id_, own.pop("request"), owner_uid=own.pop("user"), priority=own.pop("rank"), **own)

    made = a_plan(ready, a_cluster(*views), site=site, usage=ProjectUsage(rows=used))

    submits = [one.task for one in made.decisions if isinstance(one, Submit)]
    got = Outcome(
        [(task, made.nodes(task)) for task in submits],
        {task: made.reason(TaskId(task)).code for task in by_id if task not in submits},
    )
    reference = Reference(rows=by_id, site=site, usage=used, nodes=views)
    assert got == reference.decide()
    assert sorted(by_id, key=lambda task: made.rank(TaskId(task))) == reference.order()
