"""What the local and the simulated backend cost: starting a process, what stays of it, polling 10,000 jobs, a month."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure, median_of, seconds_of
from elisa.backends.local.backend import LocalBackend
from elisa.backends.local.slots import LocalSlots
from elisa.backends.simulated.backend import SimulatedBackend
from elisa.backends.simulated.clock import VirtualClock
from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.simulated.sink import MemorySpool
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest
from elisa.model.resources import Resources

FIGURES = ("local_submit_ms", "local_supervisor_mib", "simulated_poll_10k_ms", "simulated_month_s")

START = datetime(2027, 1, 1, tzinfo=UTC)
NODES = {"n": {"count": 1250, "cpus": 8, "memory": "64GiB"}}


def measure() -> Iterator[Figure]:
    """Yield the figures; nothing is left running."""
    with tempfile.TemporaryDirectory() as folder:
        submit_ms, resident_mib = _local(Path(folder), runs=20)
    yield Figure(figure="local_submit_ms", value=submit_ms, unit="ms", goal="<=30", runs=20)
    yield Figure(figure="local_supervisor_mib", value=resident_mib, unit="MiB", goal="<=12")
    yield Figure(figure="simulated_poll_10k_ms", value=_poll_ms(), unit="ms", goal="<=50", runs=5)
    yield Figure(figure="simulated_month_s", value=seconds_of(_month), unit="s", goal="<=10")


def _request(number: int, folder: Path = Path("/"), seconds: float = 0.0) -> JobRequest:
    return JobRequest(
        attempt=AttemptId(f"t{number:09d}.1"),
        argv=("/bin/sleep", "60"),
        workdir=str(folder),
        stdout="/dev/null",
        stderr="/dev/null",
        resources=Resources(walltime_s=40 * 86400),
        environment=(("SIM_DURATION", str(seconds)),) if seconds else (),
        grace_s=1.0,
    )


def _local(folder: Path, runs: int) -> tuple[float, float]:
    """Return the median time to submit a job, and what its supervisor keeps resident."""
    backend = LocalBackend(folder, "benc", LocalSlots(cpus=runs, memory_mib=1), VirtualClock(START))
    ids: list[NativeId] = []
    times = [seconds_of(lambda n=n: ids.append(backend.submit(_request(n, folder)))) for n in range(runs)]  # type: ignore[misc]
    resident = [_resident_mib(int(native_id.partition(".")[0])) for native_id in ids]
    backend.cancel(ids)
    while backend.cluster().nodes[0].free_cpus < runs:
        time.sleep(0.02)
    return 1000 * median(times), max(resident)


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _poll_ms() -> float:
    backend = SimulatedBackend(parse_cluster({"nodes": NODES}), VirtualClock(START), sink=MemorySpool())
    ids = [backend.submit(_request(number, seconds=86400)) for number in range(10_000)]
    return 1000 * median_of(lambda: seconds_of(lambda: backend.poll(ids)))


def _month() -> None:
    """Run 10,000 jobs of two days and more on nodes that fail, polled at every event of a month."""
    faults = {"node_down_every": "1d", "preempt_every": "6h"}
    options = {"nodes": {"n": {"count": 150, "cpus": 8}}, "faults": faults, "duration": {"lognormal": ["2d", 0.6]}}
    clock = VirtualClock(START)
    backend = SimulatedBackend(parse_cluster(options), clock, sink=MemorySpool())
    ids = [backend.submit(_request(number)) for number in range(10_000)]
    while (moment := backend.next_event_at()) is not None and (moment - START).days < 30:
        clock.jump_to(moment)
        backend.poll(ids[:1200])
