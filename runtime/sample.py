"""What the processes of a job use, read from /proc: no more than a few file reads a process, no package needed."""

from __future__ import annotations

import os
import resource

from elisa.runtime.tuples import NamedTuple

__all__ = ["GpuUse", "Sample", "Sampler", "catches_signal", "descendants"]

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Sample(NamedTuple):
    """What a process tree used so far (`cpu_s`, maxima) and uses now."""

    cpu_s: float = 0.0
    memory_mib: float = 0.0
    max_memory_mib: float = 0.0
    processes: int = 0


class GpuUse(NamedTuple):
    """What the gpus did so far: seconds of work and joules, all gpus together, and the most memory used at one time."""

    gpu_s: float = 0.0
    max_memory_mib: float = 0.0
    energy_j: float = 0.0


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", 0) as stream:
            return stream.read()
    except OSError:  # it ended meanwhile
        return b""


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, those left by ended ones included if `pid` is their subreaper."""
    found: list[int] = []
    waiting = _children(pid)
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting.extend(_children(child))
    return found


def catches_signal(pid: int, number: int) -> bool:
    """Tell whether the process has a handler for signal `number`: to others some signals are deadly."""
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process and of those of its children that it has waited for."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S


def _resident_mib(pid: int) -> float:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE_MIB if fields else 0.0


def _proportional_mib(pid: int) -> float:
    """Return the memory of a process with each shared page counted by its share; its resident size if unknown."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) / 1024
    return _resident_mib(pid)


class Sampler:
    """Samples all processes below this one.

    Resident sizes count pages that processes share once for each of them. So a sum above `exact_above_mib` is counted
    again by shares, which is exact but slow.
    """

    def __init__(self, exact_above_mib: float = 0.0) -> None:
        self._exact_above_mib = exact_above_mib
        self._last = Sample()

    def sample(self) -> Sample:
        """Return the usage now."""
        pids = descendants(os.getpid())
        memory_mib = sum(map(_resident_mib, pids))
        if self._exact_above_mib and memory_mib > self._exact_above_mib:
            memory_mib = sum(map(_proportional_mib, pids))
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = ended.ru_utime + ended.ru_stime + sum(map(_cpu_s, pids))
        self._last = Sample(
            cpu_s=max(cpu_s, self._last.cpu_s),
            memory_mib=memory_mib,
            max_memory_mib=max(memory_mib, self._last.max_memory_mib),
            processes=len(pids),
        )
        return self._last

    def final(self) -> Sample:
        """Return the usage after the last process ended; its largest ever size is known then."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        largest_kib = ended.ru_maxrss if ended.ru_maxrss > own_kib else 0  # a fork is as large as its parent
        return self._last._replace(
            cpu_s=max(ended.ru_utime + ended.ru_stime, self._last.cpu_s),
            memory_mib=0.0,
            max_memory_mib=max(largest_kib / 1024, self._last.max_memory_mib),
            processes=0,
        )
