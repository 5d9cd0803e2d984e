"""A job that was queued behind others begins only if each of those has finished its task."""

from __future__ import annotations

import os

from elisa.runtime.lean import load_json
from elisa.runtime.tuples import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    from elisa.runtime.job import Job

__all__ = ["wait_for_others"]

# A folder's contents may be this old where it is looked at (acdirmax, nfs(5)); jobs follow each other faster than that.
_CACHED_S = 60
_LOOK_S = 1.0


def wait_for_others(job: Job, sleep: Callable[[float], None]) -> str:
    """Return the first attempt that `job` was queued behind and that did not finish its task; "" if all have.

    The resource manager has said that they succeeded, or it has forgotten them: one that shows no mark is waited for a
    while, as its mark may be hidden by a cache.
    """
    for _ in range(_CACHED_S):
        missing = _first_unfinished(job)
        if not missing:
            return ""
        sleep(_LOOK_S)
    return _first_unfinished(job)


def _first_unfinished(job: Job) -> str:
    return next((attempt for attempt in job.behind if not _has_finished(job.home, attempt)), "")


def _has_finished(home: str, attempt: str) -> bool:
    folder = os.path.join(home, "claims", attempt.rpartition(".")[0])
    try:
        os.listdir(folder)  # NFS asks the server anew when a folder is opened
        content = load_json(os.path.join(folder, "done"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("attempt") == attempt
