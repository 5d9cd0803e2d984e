"""What sbatch's failure says about the job: refused for good, not taken now, or perhaps taken all the same.

The words are those of slurm_errno.c, as seen on 22.05 and 24.11. What matters is on which side a doubt falls: only an answer of
the controller, or a failure before it was asked, proves that nothing was accepted.
"""

from __future__ import annotations

from elisa.backends.runner import Completed
from elisa.model.errors import AtLimit, BackendError, Rejected, SubmitUncertain, Unavailable

__all__ = ["raise_refused", "refusal", "unavailable"]

# The question was, or may have been, on its way: "Socket timed out" was followed by a running job (measured on 22.05).
_LOST_ANSWER = (
    "socket timed out",
    "zero bytes were transmitted or received",
    "unexpected message received",
    "communication connection failure",
    "receive failure",
    "send failure",
    "shutdown failure",
    "connection reset",
    "connection timed out",
    "broken pipe",
    "transport endpoint",
    "insane message length",
    # a controller that was killed in mid-message (seen on 22.05): "slurm_msg_sendto: …: Unexpected missing socket error"
    "missing socket error",
    "slurm_msg_sendto",
    "slurm_receive_msg",
    "header lengths are longer",
    "protocol authentication error",
    "interrupted system call",
)
_NOT_ASKED = (
    "connect failure",
    "connection refused",
    "unable to resolve",
    "in standby mode",
    "configuration source",
    "configuration file",
    "invalid authentication credential",
    "munge",
    "no cluster '",
    "can't be reached now",
    "command not found",
    "incompatible versions",
)
_NOT_NOW = (
    "temporarily unable to accept job",
    "rate limit",
    "required partition not available",
    "cannot allocate memory",
    "unable to create job record",
)
# So many jobs are too many: an array can be taken in parts, as far as the limit goes.
_TOO_MANY = (
    "resource temporarily unavailable",
    "maxsubmitjob",
    "grpsubmitjob",
    "submitjoblimit",
    "too many",
    "invalid job array specification",
)
# One job that is too big or too long: waiting changes nothing.
_LIMIT_OF_ONE_JOB = ("perjob", "pernode", "wallduration", "qosmin", "maxtres", "mincpunotsatisfied")
_LIMIT = "violates accounting/qos policy"
_ANSWERED = (
    "allocation failure",
    "batch job submission failed",
    "sbatch: error",
    "sbatch: unrecognized option",
    "sbatch: option ",
    "sbatch: invalid",
)


def refusal(answer: Completed) -> BackendError:
    """Return the error that sbatch's unsuccessful answer means, with its own words."""
    words = _words(answer)
    said = (answer.stderr or answer.stdout).lower()
    if answer.timed_out or (answer.exit_code or 0) < 0 or _has(said, _LOST_ANSWER):
        return SubmitUncertain("sbatch's answer was lost", why=words or f"killed by signal {-(answer.exit_code or 0)}")
    if answer.exit_code is None or _has(said, _NOT_ASKED):
        return unavailable("Slurm did not answer", answer)
    if _has(said, _TOO_MANY) or (_LIMIT in said and not _has(said, _LIMIT_OF_ONE_JOB)):
        return AtLimit(*_busy(words))
    if _has(said, _NOT_NOW):
        return Unavailable(*_busy(words))
    if _has(said, _ANSWERED):
        return Rejected("Slurm refused the job", why=words)
    return SubmitUncertain("sbatch failed without saying why", why=words or f"exit status {answer.exit_code}")


def raise_refused(rehearsal: Completed) -> None:
    """Raise what an unsuccessful rehearsal means: Rejected where it says no for good, Unavailable where it says nothing.

    "Requested node configuration is not available" is neither: so it says, too, while the nodes are down or drained, where
    a job may wait for them (seen on 22.05). What no node has is known from the nodes themselves.
    """
    meant = refusal(rehearsal)
    if isinstance(meant, Rejected) and "node configuration is not available" not in meant.why:
        raise meant
    if not isinstance(meant, Rejected | AtLimit):
        raise unavailable("Slurm did not say whether it would take the job", rehearsal)


def unavailable(what: str, answer: Completed) -> Unavailable:
    """Return the error for a question that got no usable answer."""
    return Unavailable(what, why=_words(answer), hint="`elisa doctor` shows how Slurm is reached")


def _busy(words: str) -> tuple[str, str, str]:
    return "Slurm takes no more jobs for now", words, "nothing to do: elisa tries again"


def _words(answer: Completed) -> str:
    """Return what was said in one line, without the program's name on each."""
    lines = (line.strip() for line in (answer.stderr or answer.stdout).split("\n"))
    said = (line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ") for line in lines if line)
    return "; ".join(said)[:500]


def _has(said: str, words: tuple[str, ...]) -> bool:
    return any(word in said for word in words)
