from __future__ import annotations

import pytest

from elisa.backends.pbs.attributes import parse_records
from elisa.backends.pbs.fit import why_never
from elisa.backends.pbs.inventory import (
    nodes_argv,
    parse_cluster_nodes,
    parse_licences,
    parse_queues,
    partitions_of,
    queues_argv,
    server_argv,
)
from elisa.backends.pbs.options import PbsOptions
from elisa.model.native import NodeState, NodeView, PartitionView
from elisa.model.resources import GpuRequest, Resources
from tests.backends.pbs.bench import recorded

TYPED = PbsOptions(gpu_type="gpu_model")
QUEUES = parse_queues(recorded("qstat-queues").stdout)
SERVER = dict(parse_records(recorded("qstat-server").stdout, "Server: "))["vm"]


def nodes_in(text: str, queues: str = "Queue: workq\n", options: PbsOptions = TYPED) -> tuple[NodeView, ...]:
    return parse_cluster_nodes(text, parse_queues(queues), options)


def a_node(name: str = "n1", **more: str) -> str:
    pairs = {
        "state": "free",
        "resources_available.host": name,
        "resources_available.mem": "16gb",
        "resources_available.ncpus": "8",
        "resources_assigned.ncpus": "2",
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    return f"{name}\n" + "".join(f"     {key} = {value}\n" for key, value in pairs.items()) + "\n"


def test_questions() -> None:
    assert (nodes_argv("pbsnodes"), queues_argv("qstat"), server_argv("qstat")) == (
        ("pbsnodes", "-a"),
        ("qstat", "-Q", "-f"),
        ("qstat", "-B", "-f"),
    )


def test_busy_node_as_recorded() -> None:
    assert parse_cluster_nodes(recorded("pbsnodes-busy").stdout, QUEUES, TYPED) == (
        NodeView(
            name="vm",
            cpus=8,
            memory_mib=16384,
            free_cpus=0,
            free_memory_mib=0,
            gpus=(("a100", 2),),
            free_gpus=(("a100", 0),),
            features=("bigmem",),
            partitions=("workq", "short", "small", "closed", "stopped", "private", "express"),
        ),
    )


def test_node_that_is_down_as_recorded() -> None:
    [node] = parse_cluster_nodes(recorded("pbsnodes-down").stdout, QUEUES, PbsOptions())

    assert (node.state, node.cpus, node.gpus) == (NodeState.DOWN, 8, (("", 2),))


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("free", NodeState.UP),
        ("job-busy", NodeState.UP),
        ("job-exclusive", NodeState.UP),
        ("offline", NodeState.DRAINED),
        ("down,offline", NodeState.DOWN),
        ("state-unknown,down", NodeState.DOWN),
        ("maintenance", NodeState.DRAINED),
        ("enchanted", NodeState.UNKNOWN),
    ],
)
def test_node_states(words: str, state: NodeState) -> None:
    [node] = nodes_in(a_node(state=words))

    assert node.state is state


def test_what_is_assigned_is_not_free() -> None:
    [node] = nodes_in(
        a_node(resources_assigned__mem="4194304kb", resources_available__ngpus="4", resources_assigned__ngpus="1")
    )

    assert (node.free_cpus, node.free_memory_mib, node.free_gpus) == (6, 12288, (("", 3),))


def test_percents_of_gpus_are_counted_by_the_resource_that_the_site_names() -> None:
    text = a_node(resources_available__gpu_percent="200", resources_assigned__gpu_percent="40")

    [node] = nodes_in(text, options=PbsOptions(mps="gpu_percent"))
    assert (node.gpus, node.free_gpus) == ((("mps", 200),), (("mps", 160),))
    assert nodes_in(text)[0].gpus == ()


def test_vnodes_of_one_host_are_one_node() -> None:
    parts = (a_node("n1"), a_node("n1[0]", resources_available__host="n1"), a_node("n2", state="job-exclusive"))
    got = nodes_in("".join(parts))

    assert [(node.name, node.cpus, node.free_cpus, node.state) for node in got] == [
        ("n1", 16, 12, NodeState.UP),
        ("n2", 8, 0, NodeState.UP),
    ]


def test_queues_reach_their_own_nodes_only() -> None:
    queues = (
        "Queue: free\n\nQueue: tied\n\nQueue: marked\n    default_chunk.Qlist = marked\n    default_chunk.ncpus = 1\n"
    )
    text = a_node("n1", queue="tied") + a_node("n2", resources_available__Qlist="other,marked") + a_node("n3")

    assert {node.name: node.partitions for node in nodes_in(text, queues)} == {
        "n1": ("tied",),
        "n2": ("free", "tied", "marked"),
        "n3": ("free", "tied"),
    }


def test_torque_node() -> None:
    text = (
        "node1\n     state = free\n     np = 16\n     properties = fast,big\n     ntype = cluster\n"
        "     jobs = 0/12.host, 3-4/13.host\n     status = rectime=1,physmem=33554432kb,ncpus=16\n     gpus = 2\n\n"
    )

    assert nodes_in(text) == (
        NodeView(
            name="node1",
            cpus=16,
            memory_mib=32768,
            free_cpus=13,
            free_memory_mib=32768,
            gpus=(("", 2),),
            free_gpus=(("", 2),),
            features=("fast", "big"),
            partitions=("workq",),
        ),
    )


def test_queues_as_recorded() -> None:
    got = partitions_of(QUEUES, SERVER, "pbsuser")

    assert got == (
        PartitionView(name="workq", is_default=True),
        PartitionView(name="short", max_walltime_s=600),
        PartitionView(name="small"),
        PartitionView(name="closed", is_up=False),
        PartitionView(name="stopped", is_up=False),
        PartitionView(name="private", is_up=False),
        PartitionView(name="express", priority=200),
    )


@pytest.mark.parametrize(
    ("users", "is_up"),
    [("ada", True), ("+ada@*,bob", True), ("bob", False), ("*,-ada", False), ("+*", True), ("", False)],
)
def test_a_queue_for_some_users_is_up_for_them(users: str, is_up: bool) -> None:  # noqa: FBT001 - of a table
    text = f"Queue: q\n    enabled = True\n    started = True\n    acl_user_enable = True\n    acl_users = {users}\n"
    [partition] = partitions_of(parse_queues(text), {}, "ada")

    assert partition.is_up is is_up


def test_queue_of_a_reservation_is_none_that_work_may_be_sent_to_unasked() -> None:
    mine = "    enabled = True\n    started = True\n    acl_user_enable = True\n    acl_users = ada@host\n"
    text = f"Queue: R2306\n{mine}\nQueue: R2\n    enabled = True\n    started = True\n\nQueue: team\n{mine}"

    assert [partition.name for partition in partitions_of(parse_queues(text), {}, "ada")] == ["R2", "team"]


def test_licences_as_recorded() -> None:
    assert dict(parse_licences(SERVER)) == {"matlab": 3}


def test_licences_in_use_are_not_free() -> None:
    server = {"resources_available.matlab": "3", "resources_assigned.matlab": "2", "resources_available.note": "text"}

    assert dict(parse_licences(server)) == {"matlab": 1}


# whether a request fits at all


NODES = nodes_in(a_node("n1") + a_node("n2", resources_available__ngpus="4", resources_available__gpu_model="a100"))


@pytest.mark.parametrize(
    "asked",
    [
        Resources(nodes=2, cpus_per_task=8, memory_mib_per_node=16384),
        Resources(gpus=GpuRequest(per_node=4)),
        Resources(gpus=GpuRequest(per_node=4, types=("h100", "a100"))),
    ],
)
def test_what_fits_when_everything_is_free_may_wait(asked: Resources) -> None:
    assert why_never(asked, NODES) == ""


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Resources(nodes=3), "it asks for nodes with 1 cores: 3 of them; of 2 nodes 2 have that"),
        (Resources(cpus_per_task=9), "it asks for nodes with 9 cores: 1 of them; of 2 nodes 0 have that"),
        (
            Resources(memory_mib_per_node=16385),
            "it asks for nodes with 1 cores, 16385 MiB: 1 of them; of 2 nodes 0 have that",
        ),
        (
            Resources(nodes=2, gpus=GpuRequest(per_node=1)),
            "it asks for nodes with 1 cores, 1 GPUs: 2 of them; of 2 nodes 1 have that",
        ),
        (
            Resources(gpus=GpuRequest(per_node=1, types=("h100",))),
            "it asks for nodes with 1 cores, 1 GPUs: 1 of them; of 2 nodes 0 have that",
        ),
    ],
)
def test_what_no_node_has_never_fits(asked: Resources, why: str) -> None:
    assert why_never(asked, NODES) == why


def test_a_node_that_never_came_up_might_have_anything() -> None:
    assert why_never(Resources(cpus_per_task=99), nodes_in("n1\n     state = state-unknown,down\n\n")) == ""
