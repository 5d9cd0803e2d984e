from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elisa.runtime.deletion import find_qstat, inquire, who_deletes

BEING_DELETED = """Job Id: 7.vm
    Job_Name = el.k3f9.t7k2m9qx4t.1
    job_state = R
    comment = Job run at Sun Nov 29 at 03:20 on (vm:ncpus=2:ngpus=1:mem=102400k
\tb) and terminated by %s
    etime = Sun Nov 29 03:20:07 2026

"""
RUNNING = BEING_DELETED.replace(" and terminated by %s", "")


def a_qstat(folder: Path, answer: str) -> Path:
    """Write a qstat that answers so about the job 7.vm alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "answer").write_text(answer)
    program = folder / "qstat"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-f 7.vm" ] && cat {folder}/answer\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (BEING_DELETED % "ada@login", "terminated by ada@login"),
        (BEING_DELETED % "Scheduler@vm.site.org", "terminated by Scheduler@vm.site.org"),
        (BEING_DELETED.replace("terminated by", "termi\n\tnated by") % "ada@login", "terminated by ada@login"),
        (RUNNING, ""),
        (RUNNING.replace("    comment", "    other"), ""),
        ("", ""),
    ],
)
def test_words_of_a_deletion(record: str, words: str) -> None:
    assert who_deletes(record) == words


@pytest.mark.parametrize(
    ("who", "taken"),
    [("ada@login", "cancelled"), ("Scheduler@vm", "preempted")],
)
def test_deletion_is_told_while_pbs_can_say_who_asked_for_it(tmp_path: Path, who: str, taken: str) -> None:
    a_qstat(tmp_path, BEING_DELETED % who)
    inquiry = inquire({"PBS_JOBID": "7.vm", "PATH": f"{tmp_path}:/bin:/usr/bin"})

    assert inquiry is not None
    assert inquiry.answer() == {"taken": taken, "detail": f"terminated by {who}"}


def test_signal_that_came_otherwise_tells_nothing(tmp_path: Path) -> None:
    a_qstat(tmp_path, RUNNING)
    inquiry = inquire({"PBS_JOBID": "7.vm", "PATH": f"{tmp_path}:/bin:/usr/bin"})

    assert inquiry is not None
    assert inquiry.answer() == {}


def test_qstat_that_cannot_be_run_tells_nothing(tmp_path: Path) -> None:
    a_qstat(tmp_path, "").write_text("#!/no/such/shell\n")
    inquiry = inquire({"PBS_JOBID": "7.vm", "PATH": str(tmp_path)})

    assert inquiry is not None
    assert inquiry.answer() == {}


def test_nobody_is_asked_outside_of_pbs(tmp_path: Path) -> None:
    a_qstat(tmp_path, RUNNING)

    assert inquire({"PATH": str(tmp_path)}) is None
    assert inquire({"PATH": str(tmp_path), "PBS_JOBID": "7", "SLURM_JOB_ID": "7"}) is None


def test_qstat_is_found_by_the_configuration_where_it_is_not_on_the_path(tmp_path: Path) -> None:
    program = a_qstat(tmp_path / "pbs" / "bin", RUNNING)
    conf = tmp_path / "pbs.conf"
    conf.write_text(f"PBS_SERVER=vm\nPBS_EXEC={tmp_path}/pbs\nPBS_HOME=/var/spool/pbs\n")
    nowhere = str(Path(sys.executable).parent / "none")

    assert find_qstat({"PATH": nowhere, "PBS_CONF_FILE": str(conf)}) == str(program)
    assert find_qstat({"PATH": nowhere, "PBS_CONF_FILE": str(tmp_path / "none.conf")}) is None
