from __future__ import annotations

import pytest

from elisa.backends.local import slots as module
from elisa.backends.local.opening import read_slots
from elisa.backends.local.slots import Held, LocalSlots, NeverFits, NoRoom, assign, detect_slots
from elisa.backends.runner import Completed
from elisa.model.errors import UsageError
from elisa.model.resources import MPS, SHARD, GpuRequest, Resources

SLOTS = LocalSlots(cpus=8, memory_mib=1000, gpus=("a100", "h100", "a100"), gpu_memory_mib=40000)


class FakeRunner:
    """Answers every program with the same words."""

    def __init__(self, answer: Completed) -> None:
        self._answer = answer

    def run(self, *_argv: object, **_options: object) -> Completed:
        return self._answer


@pytest.mark.parametrize(
    ("taken", "asked", "given"),
    [
        ((), Resources(cpus_per_task=8, memory_mib_per_node=1000), Held(cpus=8, memory_mib=1000)),
        (
            (Held(cpus=5, memory_mib=0),),
            Resources(tasks_per_node=2, cpus_per_task=2),
            NoRoom(resource="cpus", asked=4, free=3),
        ),
        ((), Resources(cpus_per_task=9), NeverFits(resource="cpus", asked=9, largest=8)),
        ((), Resources(nodes=2), NeverFits(resource="nodes", asked=2, largest=1)),
        ((), Resources(memory_mib_per_node=1001), NeverFits(resource="memory_mib", asked=1001, largest=1000)),
        (
            (Held(cpus=1, memory_mib=600),),
            Resources(memory_mib_per_node=500),
            NoRoom(resource="memory_mib", asked=500, free=400),
        ),
        ((), Resources(exclusive=True), Held(cpus=8, memory_mib=0)),
        ((Held(cpus=1, memory_mib=0),), Resources(exclusive=True), NoRoom(resource="cpus", asked=8, free=7)),
        ((), Resources(gpus=GpuRequest(per_node=2)), Held(cpus=1, memory_mib=0, gpus=(0, 1))),
        ((), Resources(gpus=GpuRequest(per_node=2, types=("a100",))), Held(cpus=1, memory_mib=0, gpus=(0, 2))),
        (
            (Held(cpus=1, memory_mib=0, gpus=(1,)),),
            Resources(gpus=GpuRequest(per_node=1, types=("h100", "a100"))),
            Held(cpus=1, memory_mib=0, gpus=(0,)),
        ),
        (
            (Held(cpus=1, memory_mib=0, gpus=(0, 2)),),
            Resources(gpus=GpuRequest(per_node=1, types=("a100",))),
            NoRoom(resource="gpus", asked=1, free=0),
        ),
        (
            (),
            Resources(gpus=GpuRequest(per_node=2, types=("h100",))),
            NeverFits(resource="gpus", asked=2, largest=1),
        ),
        (
            (),
            Resources(gpus=GpuRequest(per_node=1, memory_mib=80000)),
            NeverFits(resource="gpu_memory_mib", asked=80000, largest=40000),
        ),
    ],
)
def test_a_job_gets_what_is_free_or_the_reason_why_not(
    taken: tuple[Held, ...], asked: Resources, given: Held | NoRoom | NeverFits
) -> None:
    assert assign(SLOTS, taken, asked) == given


def test_gpus_of_unknown_memory_are_given_to_any_request() -> None:
    slots = LocalSlots(cpus=1, memory_mib=0, gpus=("gpu",))

    assert assign(slots, (), Resources(gpus=GpuRequest(per_node=1, memory_mib=9))) == Held(
        cpus=1, memory_mib=0, gpus=(0,)
    )


def test_gpus_are_detected_from_what_nvidia_smi_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    words = "NVIDIA A100-SXM4-80GB, 81920\nNVIDIA A100-SXM4-80GB, 81920\nTesla T4, [N/A]\n"
    found = detect_slots(FakeRunner(Completed(exit_code=0, stdout=words)))

    assert found.gpus == ("a100-sxm4-80gb", "a100-sxm4-80gb", "tesla-t4")
    assert found.gpu_memory_mib == 81920


def test_a_machine_without_a_working_nvidia_smi_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    found = detect_slots(FakeRunner(Completed(exit_code=9, stdout="NVIDIA-SMI has failed, 1\n")))

    assert (found.gpus, found.gpu_memory_mib) == ((), 0)
    assert found.cpus >= 1
    assert found.memory_mib > 0


def test_slots_are_read_from_the_configuration() -> None:
    options = {"cpus": 3, "memory": "2GiB", "gpus": ["a100", "t4"], "gpu_memory": "16GiB"}

    assert read_slots(options) == LocalSlots(cpus=3, memory_mib=2048, gpus=("a100", "t4"), gpu_memory_mib=16384)
    assert read_slots({"gpus": {"a100": 2, "t4": 1}}).gpus == ("a100", "a100", "t4")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cores": 3}, "the local backend has no option `cores`"),
        ({"cpus": -1}, "`-1` is no count"),
        ({"cpus": "many"}, "`many` is no count"),
        ({"memory": 5}, "`5` is no amount of memory: write it like 512MiB, 16GiB or 2TiB"),
        ({"gpus": "a100"}, "`a100` is neither a list of GPU types nor a mapping from type to count"),
    ],
)
def test_options_that_cannot_be_are_refused_with_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_slots(options)

    assert words in str(caught.value)


SHARED = LocalSlots(cpus=8, memory_mib=1000, gpus=("a100", "a100"), parts=(1, 3))


def shard(count: int = 1) -> Resources:
    return Resources(gpus=GpuRequest(per_node=count, types=(SHARD,)))


def test_jobs_share_a_gpu_up_to_its_parts_and_nobody_gets_it_whole() -> None:
    taken: list[Held] = []
    for _ in range(3):
        held = assign(SHARED, taken, shard())
        assert isinstance(held, Held)
        taken.append(held)

    assert [held.gpus for held in taken] == [(1,), (1,), (1,)]
    assert assign(SHARED, taken, shard()) == NoRoom(resource="gpus", asked=1, free=0)
    assert assign(SHARED, (), Resources(gpus=GpuRequest(per_node=1))) == Held(cpus=1, memory_mib=0, gpus=(0,))
    assert assign(SHARED, (), Resources(gpus=GpuRequest(per_node=2))) == NeverFits(resource="gpus", asked=2, largest=1)


def test_a_gpu_that_is_shared_already_is_filled_before_the_next() -> None:
    slots = LocalSlots(cpus=8, memory_mib=1000, gpus=("a100", "a100"), parts=(2, 2))

    held = assign(slots, (Held(cpus=1, memory_mib=0, gpus=(1,)),), shard())

    assert isinstance(held, Held)
    assert held.gpus == (1,)


def test_shared_gpus_are_configured_by_their_index() -> None:
    slots = read_slots({"cpus": 1, "memory": "1GiB", "gpus": {"a100": 3}, "gpu_parts": {"1": 4}})

    assert [slots.kind_of(gpu) for gpu in range(3)] == ["a100", "shard", "a100"]


PERCENTS = LocalSlots(cpus=64, memory_mib=1000, gpus=("a100", "a100", "a100"), mps=(1, 2))


def percents(count: int, *kinds: str) -> Resources:
    return Resources(gpus=GpuRequest(per_node=count, types=kinds or (MPS,), parts=100))


def test_percents_are_all_of_one_gpu_the_fullest_that_has_enough() -> None:
    first = Held(cpus=1, memory_mib=0, gpus=(2,) * 60)

    assert assign(PERCENTS, (), percents(60)) == Held(cpus=1, memory_mib=0, gpus=(1,) * 60)
    assert assign(PERCENTS, (first,), percents(40)) == Held(cpus=1, memory_mib=0, gpus=(2,) * 40)
    assert assign(PERCENTS, (first,), percents(50)) == Held(cpus=1, memory_mib=0, gpus=(1,) * 50)
    assert assign(PERCENTS, (first,), percents(50, "mps:2")) == NoRoom(resource="gpus", asked=50, free=40)
    assert assign(PERCENTS, (), percents(101)) == NeverFits(resource="gpus", asked=101, largest=100)
    assert assign(SLOTS, (), percents(1)) == NeverFits(resource="gpus", asked=1, largest=0)


def test_nobody_gets_a_gpu_that_is_shared_by_percents_without_asking_for_it() -> None:
    held = assign(PERCENTS, (), Resources(gpus=GpuRequest(per_node=1)))

    assert isinstance(held, Held)
    assert held.gpus == (0,)


def test_gpus_shared_by_percents_are_configured_by_their_indices() -> None:
    slots = read_slots({"cpus": 1, "memory": "1GiB", "gpus": {"a100": 3}, "gpu_mps": [0, 2]})

    assert [slots.kind_of(gpu) for gpu in range(3)] == ["mps:0", "a100", "mps:2"]
    for wrong in (1, "01", ["a100"]):
        with pytest.raises(UsageError, match="configured wrongly"):
            read_slots({"gpus": {"a100": 3}, "gpu_mps": wrong})


@pytest.mark.parametrize("wrong", [4, {"a100": 4}, {"1": "four"}])
def test_shares_that_cannot_be_are_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="configured wrongly"):
        read_slots({"gpus": {"a100": 3}, "gpu_parts": wrong})
