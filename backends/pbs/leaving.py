"""qsig: a running job asked to end in its own time, where qdel would end it by force after the queue's `kill_delay`.

https://help.altair.com/2024.1.0/PBS%20Professional/PBSReferenceGuide2024.1.pdf (qsig). MOM sends the signal to each process
of the job's own session: to the agent, which starts its program in another one. She leaves out processes of root
(`mom_get_sample` in https://github.com/openpbs/openpbs/blob/v23.06.06/src/resmom/linux/mom_mach.c), and calls a job of which
she counts none finished, with status 0, while it runs on: "Job recycled into exiting on signal" in her log, seen on OpenPBS
23.06.06. So root's jobs are never signalled.
"""

from __future__ import annotations

from elisa.backends.runner import Completed
from elisa.model.native import CancelOutcome, NativeState, Observation, Seen

__all__ = ["leave_argv", "may_be_signalled", "parse_leave"]

_ROOT = "root"
_RUNS = "R"
# PBSE_UNKJOBID and PBSE_HISTJOBID, each modulo 256
_GONE = frozenset({153, 35})


def may_be_signalled(seen: Observation, user: str) -> bool:
    """Tell whether a signal surely reaches a job's agent, and does nothing else to the job."""
    return user != _ROOT and isinstance(seen, Seen) and seen.state is NativeState.RUNNING and seen.raw == _RUNS


def leave_argv(qsig: str, pbs_id: str) -> tuple[str, ...]:
    """Return the request to one job: of several only the last exit status could be told."""
    return (qsig, "-s", "SIGTERM", pbs_id)


def parse_leave(answer: Completed) -> CancelOutcome:
    """Return what is certain: FAILED where the signal may not have come."""
    if answer.ok:
        return CancelOutcome.ASKED
    return CancelOutcome.ALREADY_GONE if answer.exit_code in _GONE else CancelOutcome.FAILED
