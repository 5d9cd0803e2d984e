"""What NVIDIA's gpus of this job do, asked of the driver's library; silent where there is none."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Callable, Mapping

from elisa.runtime.sample import GpuUse

__all__ = ["GpuSampler", "given_gpus", "open_gpus"]

_LIBRARY = "libnvidia-ml.so.1"
_MIB = 2**20
_LASTING = ("GPU-", "MIG-")  # how names begin that stay a GPU's, or a part's, own


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def given_gpus(env: Mapping[str, str], *, is_managed: bool, host: str = "") -> tuple[str, ...]:
    """Return which GPUs of its node this job was given, by names that mean the same GPU to every job; () if nobody tells.

    Slurm tells their numbers on the node, whatever those are in the job; TORQUE lists them in a file, with the host that each
    is of; and a UUID, as PBS gives them, is one GPU's alone. A plain number of CUDA's is not where a resource manager gave
    it: where it hides all other GPUs from a job, those begin at 0 in each.
    """
    visible = _listed(env.get("CUDA_VISIBLE_DEVICES") or env.get("GPU_DEVICE_ORDINAL") or "")
    if not is_managed:
        return visible
    told = _listed(env.get("SLURM_JOB_GPUS") or env.get("SLURM_STEP_GPUS") or "") or _of_host(env, host)
    return told or (visible if all(name.startswith(_LASTING) for name in visible) else ())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _of_host(env: Mapping[str, str], host: str) -> tuple[str, ...]:
    """Return the GPUs of this host in TORQUE's list, which has a line such as `n1-gpu0` for each."""
    try:
        with open(env["PBS_GPUFILE"], encoding="utf-8") as stream:
            pairs = [line.strip().rpartition("-gpu") for line in stream]
    except (KeyError, OSError, UnicodeError):
        return ()
    return tuple(number for name, _, number in pairs if name.partition(".")[0] == host.partition(".")[0])


def open_gpus(env: Mapping[str, str], load: Callable[[str], Any] = ctypes.CDLL) -> GpuSampler | None:
    """Return a sampler of the gpus that `env` gives to this job; None if there are none, or no driver."""
    try:
        library = load(_LIBRARY)
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    handles = [handle for handle in (_handle(library, name) for name in _wanted(library, env)) if handle is not None]
    return GpuSampler(library, handles) if handles else None


def _wanted(library: Any, env: Mapping[str, str]) -> list[str]:  # noqa: ANN401  (a foreign library)
    visible = env.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    return [str(number) for number in range(count.value)]


def _handle(library: Any, name: str) -> ctypes.c_void_p | None:  # noqa: ANN401  (a foreign library)
    handle = ctypes.c_void_p()
    if name.isdigit():
        status = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(handle))
    else:
        status = library.nvmlDeviceGetHandleByUUID(os.fsencode(name), ctypes.byref(handle))
    return handle if status == 0 else None


class GpuSampler:
    """Adds up what the gpus report between one look and the next."""

    def __init__(self, library: Any, handles: list[ctypes.c_void_p]) -> None:  # noqa: ANN401  (a foreign library)
        self._library = library
        self._handles = handles
        self._use = GpuUse()
        self._looked_at: float | None = None

    def sample(self, now: float) -> GpuUse:
        """Return the use so far; `now` is of the monotonic clock."""
        elapsed_s = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        share = sum(self._share(handle) for handle in self._handles)
        memory_mib = sum(self._memory_mib(handle) for handle in self._handles)
        watts = sum(self._watts(handle) for handle in self._handles)
        self._use = GpuUse(
            self._use.gpu_s + share * elapsed_s,
            max(self._use.max_memory_mib, memory_mib),
            self._use.energy_j + watts * elapsed_s,
        )
        return self._use

    def _share(self, handle: ctypes.c_void_p) -> float:
        found = _Utilization()
        status = self._library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(found))
        return float(found.gpu) / 100 if status == 0 else 0.0

    def _watts(self, handle: ctypes.c_void_p) -> float:
        milliwatts = ctypes.c_uint()
        status = self._library.nvmlDeviceGetPowerUsage(handle, ctypes.byref(milliwatts))
        return milliwatts.value / 1000 if status == 0 else 0.0

    def _memory_mib(self, handle: ctypes.c_void_p) -> float:
        found = _Memory()
        status = self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(found))
        return float(found.used) / _MIB if status == 0 else 0.0
