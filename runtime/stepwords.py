"""What Slurm's launcher writes when processes that it started ran out of memory.

They are children of another daemon, often on another node: the agent sees neither them nor what they use, and Slurm calls
the job itself `FAILED`. Words as in 22.05, of srun and of the daemon whose words it passes on.
"""

from __future__ import annotations

import os
import re
from typing import IO, Iterable

__all__ = ["tells_of_memory"]

_LAST_BYTES = 16_384
_OUT_OF_MEMORY = re.compile(
    rb"^(srun: error: .*: Out Of Memory"  # the kernel ended a process within the memory of its step
    rb"|slurmstepd\S*: error: Detected \d+ oom.kill event"
    rb"|slurmstepd\S*: error: .*exceeded memory limit)",  # Slurm itself did, where it only looks now and then
    re.MULTILINE,
)


def tells_of_memory(outputs: Iterable[IO[bytes]]) -> bool:
    """Tell whether the end of what a program wrote says so."""
    return any(_OUT_OF_MEMORY.search(_end_of(output)) for output in outputs)


def _end_of(output: IO[bytes]) -> bytes:
    try:
        with open(output.name, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LAST_BYTES))
            return stream.read()
    except OSError:  # it lies on a disk that is gone
        return b""
