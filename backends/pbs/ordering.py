"""qhold, qrls and qalter: the order of one's own jobs that wait.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf. All three exit with 0 where they changed
nothing: qhold on a running job only marks it, so what became of a hold is looked up, not believed.
"""

from __future__ import annotations

from collections.abc import Collection

from elisa.backends.pbs.options import PbsOptions

__all__ = ["hold_argv", "job_priority", "order_argv", "release_argv"]

# PriorityClass has five ranks: the highest is not held back at all.
_TOP_PRIORITY = 4
_LOWEST = -1024


def job_priority(priority: int, options: PbsOptions) -> int:
    """Return PBS's priority of a job of elisa's `priority`: 0 at the most, for not every site lets users raise it."""
    return max(_LOWEST, min(0, priority - _TOP_PRIORITY) * options.priority_step)


def hold_argv(qhold: str, pbs_ids: Collection[str]) -> tuple[str, ...]:
    """Return the request to hold jobs that wait."""
    return (qhold, "-h", "u", *pbs_ids)


def release_argv(qrls: str, pbs_ids: Collection[str]) -> tuple[str, ...]:
    """Return the request to let held jobs start again."""
    return (qrls, "-h", "u", *pbs_ids)


def order_argv(qalter: str, priority: int, pbs_ids: Collection[str]) -> tuple[str, ...]:
    """Return the request to give jobs that wait one of PBS's priorities."""
    return (qalter, "-p", str(priority), *pbs_ids)
