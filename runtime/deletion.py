"""Who deletes this job, in PBS's words: unless its server keeps a history, it forgets them with the job.

PBS writes `... and terminated by ada@login` into a job's comment when it takes the request, and only then has TERM sent
(`req_deletejob2` in https://github.com/openpbs/openpbs/blob/v23.06.06/src/server/req_delete.c); the job is known until it is
over. Where a signal came otherwise, from `qsig` or a node that is shut down, nothing of the kind stands there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from typing import Mapping

__all__ = ["Inquiry", "find_qstat", "inquire", "who_deletes"]

_COMMENT = re.compile(r"^    comment = (.*(?:\n\t.*)*)$", re.MULTILINE)
_DELETED = re.compile(r" and (terminated by [^\s@]+@\S+)$")
_BY_SCHEDULER = "terminated by Scheduler@"  # to make room: `preempt_order` D
_EXEC = re.compile(r"^PBS_EXEC=(\S+)$", re.MULTILINE)
_LONGEST_S = 5.0  # before the queue's kill_delay, 10 s if nobody set it, is over


class Inquiry:
    """A question that is put while the program is made to stop."""

    def __init__(self, qstat: str, job_id: str) -> None:
        self._words = ""
        self._until = time.monotonic() + _LONGEST_S
        self._argv = (qstat, "-f", job_id)
        self._thread = threading.Thread(target=self._ask, name="inquiry", daemon=True)
        self._thread.start()

    def answer(self) -> Mapping[str, str]:
        """Wait for the answer, some seconds from the question at most; return what it adds to the last word.

        That is nothing if nobody is known to delete the job.
        """
        self._thread.join(max(0.0, self._until - time.monotonic()))
        words = self._words
        if not words:
            return {}
        return {"taken": "preempted" if words.startswith(_BY_SCHEDULER) else "cancelled", "detail": words}

    def _ask(self) -> None:
        try:
            answer = subprocess.run(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_LONGEST_S,
                start_new_session=True,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return
        self._words = who_deletes(answer.stdout.decode(errors="replace"))


def inquire(env: Mapping[str, str]) -> Inquiry | None:
    """Ask about the job that `env` describes; None where there is no PBS to be asked."""
    job_id = env.get("PBS_JOBID", "")
    qstat = find_qstat(env) if job_id and not env.get("SLURM_JOB_ID") else None
    return Inquiry(qstat, job_id) if qstat else None


def find_qstat(env: Mapping[str, str]) -> str | None:
    """Return the path of PBS's qstat: on the PATH, or where this node's configuration says that PBS is."""
    found = shutil.which("qstat", path=env.get("PATH"))
    if found:
        return found
    try:
        with open(env.get("PBS_CONF_FILE") or "/etc/pbs.conf", encoding="utf-8", errors="replace") as stream:
            configured = _EXEC.search(stream.read())
    except OSError:
        return None
    return shutil.which("qstat", path=os.path.join(configured[1], "bin")) if configured else None


def who_deletes(record: str) -> str:
    """Return the end of the comment in what `qstat -f` prints of a job, if that says that it is being deleted."""
    comment = _COMMENT.search(record)
    deleted = _DELETED.search(comment[1].replace("\n\t", "")) if comment else None
    return deleted[1] if deleted else ""
