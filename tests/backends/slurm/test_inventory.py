from __future__ import annotations

import re
from datetime import datetime

import pytest

from elisa.backends.slurm.inventory import (
    nodes_argv,
    parse_licences,
    parse_nodes,
    parse_partitions,
    parse_reservations,
    reservations_argv,
)
from elisa.backends.slurm.options import SlurmOptions
from elisa.model.native import NodeState, NodeView, PartitionView
from tests.backends.slurm.jobs import VERSIONS, recording


def node(words: str) -> NodeView:
    (view,) = parse_nodes(f"NodeName=x {words}\n")
    return view


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_nodes_are_read(version: str) -> None:
    nodes = parse_nodes(recording("scontrol-node", version))

    assert [node.state for node in nodes] == [NodeState.UP] * 3 + [NodeState.DOWN]
    assert nodes[2] == NodeView(
        name="n3",
        cpus=8,
        memory_mib=16000,
        free_cpus=8,
        free_memory_mib=16000,
        gpus=(("a100", 4),),
        free_gpus=(("a100", 4),),
        features=("ib",),
        partitions=("low", "high"),
        booted_at=nodes[2].booted_at,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_time_of_boot_is_read(version: str) -> None:
    booted = re.findall(r"BootTime=(\S+)", recording("scontrol-node", version))

    assert [node.booted_at for node in parse_nodes(recording("scontrol-node", version))] == [
        datetime.fromisoformat(f"{text}Z") for text in booted
    ]
    assert node("BootTime=None State=DOWN").booted_at is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("IDLE+CLOUD+POWERED_DOWN", True),
        ("DOWN*+POWERED_DOWN", True),
        ("IDLE+POWER_DOWN", False),
        ("IDLE+POWERING_DOWN", False),
        ("DOWN*", False),
    ],
)
def test_only_a_node_without_power_is_off(state: str, *, expected: bool) -> None:
    assert node(f"State={state}").is_off is expected


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_partitions_are_read(version: str) -> None:
    assert parse_partitions(recording("scontrol-partition", version)) == (
        PartitionView(name="low", is_default=True, priority=1, preemptible=True),
        PartitionView(name="high", max_walltime_s=86400, priority=10),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_licences_are_read(version: str) -> None:
    assert parse_licences(recording("scontrol-licenses", version)) == {"matlab": 2}


def test_what_is_in_use_is_not_free() -> None:
    view = node(
        "CPUAlloc=5 CPUEfctv=62 CPUTot=64 Gres=gpu:a100:2(S:0-1),gpu:v100:4(S:0),tmp:5 "
        "GresUsed=gpu:a100:1(IDX:0),gpu:v100:4(IDX:0-3) RealMemory=1000 AllocMem=600 State=MIXED"
    )

    assert (view.cpus, view.free_cpus, view.free_memory_mib) == (62, 57, 400)
    assert (view.gpus, view.free_gpus) == ((("a100", 2), ("v100", 4)), (("a100", 1), ("v100", 0)))


@pytest.mark.parametrize(
    ("used", "free_gpus", "free_shards"),
    [
        ("gpu:a100:0,shard:a100:0", 2, 8),
        ("gpu:a100:1(IDX:0),shard:a100:0", 1, 4),
        ("gpu:a100:0,shard:a100:5(4/4,1/4)", 0, 3),
    ],
)
def test_shards_are_a_type_of_their_own_and_share_the_gpus_with_whole_ones(
    used: str, free_gpus: int, free_shards: int
) -> None:
    view = node(f"Gres=gpu:a100:2(S:0),shard:a100:8(S:0) GresUsed={used} State=MIXED")

    assert view.gpus == (("a100", 2), ("shard", 8))
    assert view.free_gpus == (("a100", free_gpus), ("shard", free_shards))


def test_percents_of_mps_are_a_type_of_their_own_beside_shards() -> None:
    used = "gpu:a100:1(IDX:0),shard:a100:1(0/4,0/4,1/4),mps:a100:50(0/100,50/100,0/100)"
    view = node(f"Gres=gpu:a100:3,shard:a100:12,mps:a100:300 GresUsed={used} State=MIXED")

    assert view.gpus == (("a100", 3), ("shard", 12), ("mps", 300))
    assert view.free_gpus == (("a100", 0), ("shard", 7), ("mps", 150))


def test_gpu_without_a_type_has_an_empty_one() -> None:
    assert node("CPUTot=1 Gres=gpu:4 GresUsed=gpu:3 State=IDLE").free_gpus == (("", 1),)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("IDLE", NodeState.UP),
        ("ALLOCATED+PLANNED", NodeState.UP),
        ("IDLE+CLOUD+POWERED_DOWN", NodeState.UP),
        ("MIXED+DRAIN", NodeState.DRAINED),
        ("IDLE+MAINTENANCE+RESERVED", NodeState.DRAINED),
        ("IDLE*", NodeState.DOWN),
        ("DOWN*+DRAIN", NodeState.DOWN),
        ("IDLE+NOT_RESPONDING", NodeState.DOWN),
        ("UNKNOWN", NodeState.UNKNOWN),
        ("NOVEL", NodeState.UNKNOWN),
    ],
)
def test_state_of_a_node_is_read_from_its_flags(words: str, state: NodeState) -> None:
    assert node(f"CPUTot=8 State={words}").state is state


def test_future_node_is_left_out() -> None:
    assert parse_nodes("NodeName=x CPUTot=8 State=FUTURE\n") == ()


def test_question_can_name_a_cluster() -> None:
    assert nodes_argv("scontrol", SlurmOptions(cluster="big")) == (
        "scontrol",
        "--cluster=big",
        "--oneliner",
        "--detail",
        "show",
        "node",
    )


@pytest.mark.parametrize(
    ("used", "a100", "h100"),
    [
        # as 22.05 says it, with 16 shards on four GPUs and nothing, 3, 3 + 3 and then 4 of them in use
        ("gpu:a100:0(IDX:N/A),gpu:h100:0(IDX:N/A),shard:a100:0(IDX:N/A),shard:h100:0(IDX:N/A)", 2, 2),
        ("gpu:a100:0(IDX:N/A),gpu:h100:0(IDX:N/A),shard:a100:1(IDX:0),shard:h100:0(IDX:N/A)", 1, 2),
        ("gpu:a100:0(IDX:N/A),gpu:h100:0(IDX:N/A),shard:a100:2(IDX:0-1),shard:h100:0(IDX:N/A)", 0, 2),
        ("gpu:a100:0(IDX:N/A),gpu:h100:1(IDX:3),shard:a100:2(IDX:0-1),shard:h100:1(IDX:2)", 0, 0),
        # as newer releases do
        ("gpu:a100:0,gpu:h100:1(IDX:3),shard:a100:3(0/4,3/4),shard:h100:0(0/4,0/4)", 1, 1),
        ("gpu:a100:0,gpu:h100:0,shard:5(0/4,0/4,4/4,1/4)", 2, 0),
        ("gpu:a100:0,gpu:h100:0,shard:2(IDX:1,3)", 1, 1),
        # without telling which
        ("gpu:a100:0,gpu:h100:0,shard:h100:5", 2, 0),
        ("gpu:a100:0,gpu:h100:0,shard:3", 1, 1),
    ],
)
def test_shards_break_gpus_of_the_type_they_are_of(used: str, a100: int, h100: int) -> None:
    view = node(f"Gres=gpu:a100:2,gpu:h100:2,shard:a100:8,shard:h100:8 GresUsed={used} State=MIXED")

    free = dict(view.free_gpus)
    assert (free["a100"], free["h100"]) == (a100, h100)


def test_reservations_are_open_while_they_run_to_whom_their_users_say() -> None:
    words = {
        "mine": "State=ACTIVE Users=bob,ada",
        "later": "State=INACTIVE Users=ada",
        "theirs": "State=ACTIVE Users=bob",
        "all-but-me": "State=ACTIVE Users=-ada",
        "all-but-bob": "State=ACTIVE Users=-bob,-eve",
        "of-an-account": "State=ACTIVE Users=(null) Accounts=physics",
    }
    text = "\n".join(f"ReservationName={name} StartTime=2026-01-01T00:00:00 {rest}" for name, rest in words.items())

    found = parse_reservations(text, "ada")

    assert [name for name, is_open in found.items() if is_open] == ["mine", "all-but-bob", "of-an-account"]
    assert set(found) == set(words)
    assert parse_reservations("No reservations in the system\n", "ada") == {}
    assert reservations_argv("scontrol", SlurmOptions()) == ("scontrol", "--oneliner", "show", "reservation")
