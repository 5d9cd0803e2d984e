"""How a simulated cluster outlives the process that drives it: a file of JSON lines, each what changed in one call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elisa.backends.simulated.cluster import Cluster
from elisa.backends.simulated.job import SimJob
from elisa.backends.simulated.timers import Timer
from elisa.model.errors import StoreError
from elisa.model.ids import AttemptId, NativeId

__all__ = ["Memory"]

_VERSION = 1
# Lines beyond which the file is written anew, beside one for each job.
_SPARE_LINES = 500


class Memory:
    """The file of one cluster. A line that a crash cut off is forgotten: its caller was never told of what it says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._handle = -1
        self._state = (0, 0)

    def is_older_than_file(self) -> bool:
        """Tell whether somebody else has written to the file since it was read or written here."""
        return self._file_state() != self._state

    def _file_state(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (status.st_ino, status.st_size)

    def load(self, cluster: Cluster) -> bool:
        """Bring a fresh cluster to where the file says it was; False if there is no file."""
        self.close()
        self._state = self._file_state()
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return False
        entries = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
        if not entries or entries[0].get("v") != _VERSION:
            raise StoreError(f"{self._path} is no simulated cluster that this elisa can read", hint="remove it")
        self._lines = len(entries)
        rows: dict[str, list[Any]] = {}
        for entry in entries:
            for native_id in entry["purged"]:
                rows.pop(native_id, None)
            for row in entry["jobs"]:
                rows.pop(row[0], None)
                rows[row[0]] = row
        _restore(cluster, entries, rows.values())
        return True

    def save(self, cluster: Cluster, changed: Iterable[SimJob], purged: Iterable[NativeId]) -> None:
        """Write down what changed since the last call."""
        if self._lines > len(cluster.jobs) + _SPARE_LINES:
            self._rewrite(cluster)
        else:
            self._append(_entry(cluster, changed, purged))
        self._state = self._file_state()

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self._handle < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._drop_torn_line()
        os.write(self._handle, _line(entry))
        self._lines += 1

    def _drop_torn_line(self) -> None:
        data = self._path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(self._path, data.rfind(b"\n") + 1)

    def _rewrite(self, cluster: Cluster) -> None:
        """Start a new file with all that is so, so that reading it back takes no longer than the jobs in it."""
        jobs = sorted(cluster.jobs.values(), key=lambda job: job.order)
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.write_bytes(_line({**_entry(cluster, jobs, []), "tags": cluster.tags}))
        temporary.replace(self._path)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self._lines = 1

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _entry(cluster: Cluster, changed: Iterable[SimJob], purged: Iterable[NativeId]) -> dict[str, Any]:
    down = {node.index: node.down_until_us for node in cluster.room.nodes if node.down_until_us}
    return {
        "v": _VERSION,
        "now": cluster.now_us,
        "count": cluster.count,
        "outage": cluster.outage_until_us,
        "timers": cluster.faults.timers,
        "down": down,
        "jobs": [job.to_row() for job in changed],
        "purged": list(purged),
    }


def _restore(cluster: Cluster, entries: list[Mapping[str, Any]], rows: Iterable[list[Any]]) -> None:
    last = entries[-1]
    cluster.now_us, cluster.count = last["now"], last["count"]
    cluster.outage_until_us = last["outage"]
    cluster.faults.restore({name: Timer(*timer) for name, timer in last["timers"].items()})
    tags: dict[str, list[str]] = {name: list(ids) for name, ids in entries[0].get("tags", {}).items()}
    for entry in entries:
        for row in entry["jobs"]:
            known = tags.setdefault(row[1], [])
            if row[0] not in known:
                known.append(row[0])
    jobs = [SimJob.from_row(row) for row in rows]
    kept = {job.id for job in jobs}
    for name, ids in tags.items():
        shown = ids if cluster.spec.accounting else [native_id for native_id in ids if native_id in kept]
        cluster.tags[AttemptId(name)] = [NativeId(native_id) for native_id in shown]
    down = {int(index): until_us for index, until_us in last["down"].items()}
    cluster.restore(sorted(jobs, key=lambda job: job.order), down)
