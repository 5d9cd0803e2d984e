from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from elisa.runtime.gpu import given_gpus, open_gpus
from elisa.runtime.sample import GpuUse


class Driver:
    """A driver with two gpus, at 50 and 100 percent, that use 1 and 2 GiB and draw 100 and 200 W; a third cannot be asked."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def nvmlInit_v2(self) -> int:  # noqa: N802  (the library's name, as all below)
        return self.status

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 3
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: N802
        handle._obj.value = index.value + 1
        return 0 if index.value < 3 else 2

    def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:  # noqa: N802
        handle._obj.value = {b"GPU-a": 1}.get(name)
        return 0 if name == b"GPU-a" else 2

    def nvmlDeviceGetUtilizationRates(self, handle: ctypes.c_void_p, found: Any) -> int:  # noqa: N802
        found._obj.gpu = 50 * (handle.value or 0)
        return 0 if handle.value != 3 else 3

    def nvmlDeviceGetPowerUsage(self, handle: ctypes.c_void_p, found: Any) -> int:  # noqa: N802
        found._obj.value = 100_000 * (handle.value or 0)
        return 0 if handle.value != 3 else 3

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, found: Any) -> int:  # noqa: N802
        found._obj.used = (handle.value or 0) * 2**30
        return 0 if handle.value != 3 else 3


@pytest.mark.parametrize(
    ("env", "use"),
    [
        ({}, GpuUse(15.0, 3072.0, 3000.0)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, GpuUse(10.0, 2048.0, 2000.0)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b,7"}, GpuUse(5.0, 1024.0, 1000.0)),
    ],
)
def test_the_gpus_of_the_job_are_added_up(env: dict[str, str], use: GpuUse) -> None:
    gpus = open_gpus(env, lambda _name: Driver())
    assert gpus is not None

    assert gpus.sample(100.0).gpu_s == 0.0
    assert gpus.sample(110.0) == use


def test_without_a_driver_or_gpus_nothing_is_sampled() -> None:
    def absent(_name: str) -> Any:
        raise OSError("no such library")

    assert open_gpus({}, absent) is None
    assert open_gpus({}, lambda _name: Driver(status=9)) is None
    assert open_gpus({"CUDA_VISIBLE_DEVICES": ""}, lambda _name: Driver()) is None


@pytest.mark.parametrize(
    ("is_managed", "expected"),
    [(False, ("0", "2")), (True, ())],
    ids=["given by elisa", "chosen by a resource manager"],
)
def test_gpus_are_named_only_where_their_numbers_mean_the_same_in_each_job(
    *, is_managed: bool, expected: tuple[str, ...]
) -> None:
    assert given_gpus({"CUDA_VISIBLE_DEVICES": "0,2"}, is_managed=is_managed) == expected
    assert given_gpus({}, is_managed=is_managed) == ()


def test_what_a_resource_manager_says_of_the_nodes_own_gpus_is_believed(tmp_path: Path) -> None:
    listed = tmp_path / "gpus"
    listed.write_text("n1-gpu2\nn1.site-gpu3\nn2-gpu0\n")
    hidden = {"CUDA_VISIBLE_DEVICES": "0,1"}

    assert given_gpus({**hidden, "SLURM_JOB_GPUS": "2,3"}, is_managed=True) == ("2", "3")
    assert given_gpus({**hidden, "SLURM_STEP_GPUS": "1"}, is_managed=True) == ("1",)
    assert given_gpus({**hidden, "PBS_GPUFILE": str(listed)}, is_managed=True, host="n1.site") == ("2", "3")
    assert given_gpus({**hidden, "PBS_GPUFILE": str(tmp_path / "none")}, is_managed=True, host="n1") == ()


def test_a_uuid_is_one_gpus_own_wherever_it_stands() -> None:
    assert given_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8f, MIG-3a"}, is_managed=True) == ("GPU-8f", "MIG-3a")
    assert given_gpus({"GPU_DEVICE_ORDINAL": "GPU-8f"}, is_managed=True) == ("GPU-8f",)
    assert given_gpus({"CUDA_VISIBLE_DEVICES": "GPU-8f,1"}, is_managed=True) == ()
