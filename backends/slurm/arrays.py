"""Many jobs that ask for the same thing, submitted by one sbatch as one array.

https://slurm.schedmd.com/job_array.html. The script holds one line for each element, so that it can be read back from the
controller (`scontrol write batch_script`) to tell which element runs which attempt after an answer was lost.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from elisa.backends.protocol import array_key
from elisa.backends.slurm.identity import JobKey, array_tag, native_id_of
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.submission import checked, common_options
from elisa.model.errors import Rejected
from elisa.model.ids import AttemptId, NativeId
from elisa.model.native import JobRequest

__all__ = ["array_argv", "array_ids", "parse_array_script", "render_array_script"]

_ELEMENT = re.compile(r'^([0-9]+)\) .*? ELISA_NATIVE_ID="[^"]*"\.([a-z0-9.]+)', re.MULTILINE)


def render_array_script(requests: Sequence[JobRequest]) -> str:
    """Return the script: one line an element, which becomes its agent in its own folder and with its own log."""
    lines = (_element(index, request, requests[0].attempt) for index, request in enumerate(requests))
    return "\n".join(("#!/bin/sh", "case $SLURM_ARRAY_TASK_ID in", *lines, "esac", "exit 73", ""))


def _element(index: int, request: JobRequest, first: AttemptId) -> str:
    of_array = request.attempt if request.attempt == first else f"{request.attempt}+{first}"
    native_id = f'"${{SLURM_ARRAY_JOB_ID}}_{index}".{of_array}'
    words = " ".join(shlex.quote(word) for word in request.argv)
    logs = f">>{shlex.quote(request.stdout)} 2>>{shlex.quote(request.stderr)}"
    return f"{index}) cd {shlex.quote(request.workdir)} && export ELISA_NATIVE_ID={native_id} && exec {words} {logs};;"


def parse_array_script(script: str) -> Mapping[int, AttemptId]:
    """Return which attempt each element runs."""
    return {int(index): AttemptId(attempt) for index, attempt in _ELEMENT.findall(script)}


def array_argv(sbatch: str, requests: Sequence[JobRequest], instance: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return sbatch's command line. Raises Rejected if they are no array."""
    first = requests[0]
    if any(array_key(request) != array_key(first) for request in requests):
        raise Rejected("these jobs ask for different things: they can't be one array")
    throttle = f"%{first.at_once}" if first.at_once else ""
    own = (
        f"--job-name={array_tag(instance, first.attempt, len(requests))}",
        f"--array=0-{len(requests) - 1}{throttle}",
        "--chdir=/",
        # each element has a log of its own, opened by its line of the script
        "--output=/dev/null",
    )
    return checked((sbatch, *own, *common_options(first, options)))


def array_ids(number: str, requests: Sequence[JobRequest]) -> Mapping[AttemptId, NativeId]:
    """Return the native id of each element of array `number`."""
    first = requests[0].attempt
    return {
        request.attempt: native_id_of(JobKey(f"{number}_{index}", first), request.attempt)
        for index, request in enumerate(requests)
    }
