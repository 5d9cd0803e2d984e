from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.simulated.dice import Dice, Distribution, parse_distribution
from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.simulated.spec import AnswerFaults, ClusterSpec, FaultSpec, NodeType, PartitionSpec
from elisa.model.errors import UsageError


def _constant(value: float) -> Distribution:
    return Distribution(kind="constant", numbers=(value,))


def test_a_few_lines_describe_a_cluster() -> None:
    got = parse_cluster(
        {
            "nodes": {
                "cpu": {"count": 2, "cpus": 64, "memory": "256GiB", "features": ["ib"], "partitions": ["batch"]},
                "gpu": {"gpus": {"a100": 4, "mps": 2}, "gpu_memory": "80GiB", "speed": 1.5},
            },
            "partitions": {
                "batch": {"default": True, "max_walltime": "2d", "max_nodes": 2, "wait": {"exponential": "10m"}},
                "spare": {"preemptible": True, "priority": 1, "max_queued": 5},
            },
            "licences": {"matlab": 10},
            "duration": "1h",
            "faults": {
                "node_down_every": "5d",
                "node_down_for": "2h",
                "slow": 0.1,
                "answers": {"accept_lost": 0.25, "late": "2m"},
            },
            "requeue": True,
            "accounting": False,
            "purge_after": 300,
            "reuse_ids": 9,
            "heartbeat": "10m",
            "checkpoint": "20m",
            "seed": 7,
        }
    )

    assert got == ClusterSpec(
        nodes=(
            NodeType(name="cpu", count=2, cpus=64, memory_mib=262144, features=("ib",), partitions=("batch",)),
            NodeType(name="gpu", gpus=(("a100", 4), ("mps:0", 100), ("mps:1", 100)), gpu_memory_mib=81920, speed=1.5),
        ),
        partitions=(
            PartitionSpec(
                name="batch",
                is_default=True,
                max_walltime_s=172800,
                max_nodes=2,
                wait=Distribution(kind="exponential", numbers=(600.0,)),
            ),
            PartitionSpec(name="spare", preemptible=True, priority=1, max_queued=5),
        ),
        licences=(("matlab", 10),),
        duration=_constant(3600.0),
        faults=FaultSpec(
            node_down_every_s=432000.0,
            node_down_for_s=7200.0,
            slow=0.1,
            answers=AnswerFaults(accept_lost=0.25, late_s=120.0),
        ),
        requeue=True,
        accounting=False,
        purge_after_s=300.0,
        reuse_ids=9,
        heartbeat_s=600.0,
        checkpoint_s=1200.0,
        seed=7,
    )


def test_an_empty_description_is_a_cluster_too() -> None:
    assert parse_cluster({}) == parse_cluster({"nodes": {"node": None}, "partitions": {"batch": {"default": True}}})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"node": {}}, "`node` means nothing to the simulated cluster\nhint: did you mean `nodes`?"),
        (
            {"nodes": {"a": {"cpu": 4}}},
            "`nodes.a.cpu` means nothing to the simulated cluster\nhint: did you mean `cpus`?",
        ),
        ({"xyz": 1}, "known are accounting, arrays, checkpoint, duration"),
        ({"nodes": {"a": {"cpus": -1}}}, "`nodes.a.cpus` of the simulated cluster is wrong\n  why: `-1` is no count"),
        ({"nodes": {"a": {"cpus": True}}}, "`True` is no count"),
        ({"nodes": {"a": {"speed": 0}}}, "it must be greater than 0"),
        ({"nodes": {"a": {"speed": "fast"}}}, "`fast` is no number from 0 on"),
        ({"nodes": {"a": {"features": "ib"}}}, "`ib` is no list of names"),
        ({"nodes": {"a": 4}}, "it needs keys and values"),
        ({"nodes": {"a": {"memory": "lots"}}}, "`lots` is no amount of memory"),
        ({"partitions": {"p": {"default": "yes"}}}, "`yes` is neither true nor false"),
        ({"partitions": {"p": {"wait": {"poisson": 1}}}}, "`{'poisson': 1}` is no distribution"),
        ({"faults": {"answers": {"lost": 1.5}}}, "`faults.answers.lost` of the simulated cluster is wrong"),
        ({"purge_after": "12:30"}, "`12:30` is no duration"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_place(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_cluster(options)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind", "numbers"),
    [
        (90, "constant", (90.0,)),
        ("2h", "constant", (7200.0,)),
        ({"uniform": [1, "1m"]}, "uniform", (1.0, 60.0)),
        ({"exponential": "1h"}, "exponential", (3600.0,)),
        ({"lognormal": ["1h", 0.5]}, "lognormal", (3600.0, 0.5)),
        ({"choice": [1, 2, 3]}, "choice", (1.0, 2.0, 3.0)),
    ],
)
def test_a_distribution_is_read(value: object, kind: str, numbers: tuple[float, ...]) -> None:
    assert parse_distribution(value) == Distribution(kind=kind, numbers=numbers)


@pytest.mark.parametrize("value", [{"uniform": [1]}, {"choice": []}, {"a": 1, "b": 2}, {}, True, None, float("nan")])
def test_what_is_no_distribution_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no distribution|neither a number nor a duration"):
        parse_distribution(value)


@given(seed=st.integers(), key=st.text())
def test_the_same_key_always_gives_the_same_number(seed: int, key: str) -> None:
    first, second = Dice(seed), Dice(seed)

    assert 0.0 <= first.uniform(key) < 1.0
    assert first.uniform(key) == second.uniform(key)


@pytest.mark.parametrize(
    ("source", "mean", "low", "high"),
    [
        (Distribution(kind="constant", numbers=(5.0,)), 5.0, 5.0, 5.0),
        (Distribution(kind="uniform", numbers=(2.0, 4.0)), 3.0, 2.0, 4.0),
        (Distribution(kind="exponential", numbers=(3.0,)), 3.0, 0.0, 60.0),
        (Distribution(kind="lognormal", numbers=(1.0, 0.5)), 1.133, 0.05, 20.0),
        (Distribution(kind="choice", numbers=(1.0, 2.0, 6.0)), 3.0, 1.0, 6.0),
    ],
)
def test_draws_follow_their_distribution(source: Distribution, mean: float, low: float, high: float) -> None:
    draws = [Dice(1).draw(source, number) for number in range(4000)]

    assert sum(draws) / len(draws) == pytest.approx(mean, rel=0.05)
    assert low <= min(draws) <= max(draws) <= high


def test_improbable_things_happen_as_often_as_they_should() -> None:
    dice = Dice(3)

    assert sum(dice.happens(0.2, number) for number in range(5000)) == pytest.approx(1000, rel=0.1)
    assert not any(dice.happens(0.0, number) for number in range(100))
    assert all(dice.happens(1.0, number) for number in range(100))


@pytest.mark.parametrize("queue", [True, False])
def test_a_cluster_says_whether_it_has_a_queue(queue: bool) -> None:  # noqa: FBT001 - a parameter of the test
    cluster = SimulatedBackend(parse_cluster({"queue": queue}), VirtualClock(datetime(2026, 3, 1, tzinfo=UTC)))

    assert cluster.capabilities.queues is queue
