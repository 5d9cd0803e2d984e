"""What a failure of PBS's programs says: refused for good, not taken now, or perhaps taken all the same.

Exit statuses are the server's error codes (PBSE_*, https://github.com/openpbs/openpbs/blob/v23.06.06/src/include/pbs_error.h)
modulo 256, below 6 also qsub's own. What matters is on which side a doubt falls: only an answer of the server, or a failure
before it was asked, proves that nothing was accepted.
"""

from __future__ import annotations

from elisa.backends.runner import Completed
from elisa.model.errors import AtLimit, BackendError, Rejected, SubmitUncertain, Unavailable

__all__ = ["refusal", "unavailable", "words_of"]

_PBSE = 15000


def _statuses(*errors: int) -> frozenset[int]:
    return frozenset((_PBSE + error) % 256 for error in errors)


_BUSY = _statuses(
    9,  # JOBEXIST: after a restart the server gives out numbers again that it remembers as used (seen on OpenPBS)
    19,  # BADCRED: munge or pbs_iff could not vouch for us
    20,  # EXPIRED
    21,  # QUNOENB: the queue takes no jobs
    27,  # OBJBUSY
    33,  # NOCONNECTS
    34,  # NOSERVER
    46,  # MAXQUED: the queue is full
    48,  # EXLIMIT
    60,  # SVRDOWN: shutting down
    117,  # CONNFULL
    136,  # HOOKERROR
    142,  # ENTLIMCT: a limit of jobs a user, group or project
    143,  # ENTLIMRESC: a limit of a resource for all their jobs
    174,  # RESCBUSY
    208,  # TRYAGAIN
)
_REFUSED = frozenset(range(1, 6)) | _statuses(
    2,  # NOATTR
    3,  # ATTRRO
    4,  # IVALREQ
    5,  # UNKREQ
    6,  # TOOMANY: options
    7,  # PERM
    14,  # BADATVAL
    18,  # UNKQUE
    22,  # QACESS
    23,  # BADUSER
    24,  # HOPCOUNT
    28,  # QUENBIG
    29,  # NOSUP
    32,  # BADATLST
    35,  # UNKRESC
    36,  # EXCQRESC: more than the queue allows one job
    37,  # QUENODFLT
    39,  # ROUTEREJ
    40,  # ROUTEEXPD
    42,  # BADSCRIPT
    44,  # RESCUNAV
    45,  # BADGRP
    49,  # BADACCT
    54,  # BADDEPEND
    55,  # DUPLIST
    62,  # UNKNODE
    64,  # NONODES
    89,  # BADNODESPEC
    108,  # INVALSELECTRESC
    109,  # INVALJOBRESC
    110,  # INVALNODEPLACE
    111,  # PLACENOSELECT
    116,  # DUPRESC
    144,  # ATVALERANGE
    155,  # IVAL_AOECHUNK
    162,  # MAX_NO_MINWT
    163,  # MIN_GT_MAXWT
    166,  # NOLIMIT_RESOURCE
    168,  # MOM_REJECT_ROOT_SCRIPTS
    169,  # HOOK_REJECT: the site's own rules, in the site's own words
    172,  # IVAL_OBJ_NAME
    173,  # JOBNBIG
    175,  # JOBSCRIPTMAXSIZE
)
# PBSE_SYSTEM and PBSE_BADHOST are also what the server may say later: the words tell that it was never reached.
_NOT_ASKED = ("cannot connect to server", "couldn't connect to cluster", "no default server", "command not found")
# Torque's own qsub begins so what its server answered. Its numbers mean other things than OpenPBS's, and not the same in each
# of its releases (172 is an unknown queue in 6.1, an expired credential in OpenPBS): its words tell, in the order below.
_TORQUE = "qsub: submit error ("
# seen on Torque 6.1-dev; the rest from https://github.com/adaptivecomputing/torque/blob/6.1-dev/src/include/pbs_error_db.h
_TORQUE_BUSY = (
    "queue is not enabled",
    "invalid credential",
    "expired credential",
    "no free connections",
    "maximum number of jobs",
    "resource temporarily unavailable",
    "server shutting down",
    "too busy",
    "queue is currently not available",
    "trqauthd unable to",
    "this queue had errors during its recovery",
)
_TORQUE_REFUSED = (
    "unknown queue",
    "unknown resource",
    "illegal attribute or resource value",
    "job exceeds queue resource limits",
    "bad uid",
    "bad gid",
    "undefined attribute",
    "cannot set attribute",
    "invalid request",
    "unauthorized request",
    "access to queue is denied",
    "no support for requested service",
    "no default queue",
    "job rejected by all possible destinations",
    "resource limit exceeds allowable",
    "invalid account",
    "invalid job dependency",
    "queue does not allow",
    "conflicts with the queue's default",
    "minimum limit",
)
# what a full queue is called by Torque, whose statuses are coarser
_FULL = ("maximum number of jobs", "would exceed", "too many jobs", "resource temporarily unavailable")


# an array that is longer than the server takes, or throttled where a release before 2020 knows no `%`
_NO_ARRAY = ("array job exceeds", "illegal -j value")


def refusal(answer: Completed) -> BackendError:
    """Return the error that qsub's unsuccessful answer means, with its own words."""
    words, said = words_of(answer), answer.stderr.lower()
    if answer.timed_out or (answer.exit_code or 0) < 0:
        return SubmitUncertain("qsub's answer was lost", why=words)
    if answer.exit_code is None or any(text in said for text in _NOT_ASKED):
        return unavailable("PBS did not answer", answer)
    if _TORQUE in said:
        return _torque_refusal(words, said)
    if answer.exit_code in _BUSY or any(text in said for text in _FULL):
        return Unavailable("PBS takes no more jobs for now", why=words, hint="nothing to do: elisa tries again")
    if any(text in said for text in _NO_ARRAY):
        return AtLimit("PBS takes no such array", why=words)
    if answer.exit_code in _REFUSED:
        return Rejected("PBS refused the job", why=words)
    return SubmitUncertain("qsub failed, and the job may be there", why=words)


def _torque_refusal(words: str, said: str) -> BackendError:
    if any(text in said for text in _TORQUE_BUSY):
        return Unavailable("PBS takes no more jobs for now", why=words, hint="nothing to do: elisa tries again")
    if any(text in said for text in _TORQUE_REFUSED):
        return Rejected("PBS refused the job", why=words)
    return SubmitUncertain("qsub failed, and the job may be there", why=words)


def unavailable(what: str, answer: Completed) -> Unavailable:
    """Return the error for a question that got no usable answer."""
    return Unavailable(what, why=words_of(answer), hint="`elisa doctor` shows how PBS is reached")


def words_of(answer: Completed) -> str:
    """Return what was said in one line, without the usage that qsub prints after its own errors."""
    said = (answer.stderr or answer.stdout).partition("usage: ")[0]
    words = "; ".join(line.strip() for line in said.split("\n") if line.strip())
    return words[:500] or f"exit status {answer.exit_code}"
