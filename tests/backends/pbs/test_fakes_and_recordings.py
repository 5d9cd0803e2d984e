"""The pretended PBS programs say what a real PBS said, word for word and status for status: every recorded command again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.backends.pbs.bench import recorded
from tests.fakes.pbs.fake_pbs import FakePbs
from tests.fakes.pbs.programs import PROGRAMS
from tests.fakes.pbs.recorded import RECORDINGS, Recording

pytestmark = pytest.mark.slow

STATES = {
    "R": (
        "16",
        "17",
        "18",
        "19",
        "20",
        "21",
        "226",
        "232",
        "233",
        "234",
        "235",
        "236",
        "297",
        "298",
        "215[1]",
        "215[4]",
        "215[5]",
    ),
    "H": ("5", "219", "220", "221", "222", "223"),
    "Q": ("14", *(f"215[{index}]" for index in (0, 2, 3, 6, 7, 8, 9))),
    "F": ("2", "6", *["22", "23", "24", "25", "26"], "224", "225", "4[]", *(f"4[{index}]" for index in range(4))),
    "B": ("215[]", "218[]"),
}
OTHER_STATES = {
    "qdel_twice1": {"232": "F"},
    "qrls_ok": {"14": "H"},
    "qmove_unknown_queue": {"5": "F"},
}
QUEUES = {
    "workq": {},
    "short": {"resources_max.walltime": "00:10:00"},
    "small": {"max_run": "[u:PBS_GENERIC=1]"},
    "closed": {"enabled": "False"},
    "stopped": {"started": "False"},
    "private": {"acl_user_enable": "True", "acl_users": "pbsuser2"},
}
# The text that was recorded in the same second, of the same things.
TEXTS = {
    "qstat_two_json": "qstat_two_text",
    "qstat_two_dsv": "qstat_two_text",
    "qstat_xf_json_1": "qstat_xf_text_1",
    "qstat_x_1": "qstat_xf_text_1",
    "qstat_Q_json_active": "qstat_Q_f_active",
    "qstat_B_json_active": "qstat_B_f_active",
    "pbsnodes_a_json": "pbsnodes_a",
    "pbsnodes_a_json_busy": "pbsnodes_a_busy",
}


@pytest.fixture(scope="module")
def pbs(tmp_path_factory: pytest.TempPathFactory) -> FakePbs:
    folder = tmp_path_factory.mktemp("recorded")
    for name in ("jobs", "out", "dir with space,comma"):
        (folder / name).mkdir()
    for name in ("env.sh", "sig.sh", "sigexit.sh"):
        (folder / "jobs" / name).write_text("exit 0\n")
    return FakePbs(folder / "pbs")


@pytest.mark.parametrize("recording", RECORDINGS.values(), ids=str)
def test_recorded_command_is_answered_as_it_was(
    recording: Recording, pbs: FakePbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pbs.become(the_server(recording))
    if recording.name == "qdel_while_momdown":
        pbs.fault("qdel", "mom_down")
    monkeypatch.chdir(pbs.home.parent)
    monkeypatch.setenv("TZ", "UTC")
    status, stdout, stderr = run_here(recording.command, pbs) or run_in_shell(recording.command, pbs)

    assert (status, timeless(stdout), stderr) == (recording.status, timeless(recording.stdout), recording.stderr)


def run_here(command: str, pbs: FakePbs) -> tuple[int, str, str] | None:
    """Return what one program does with its arguments and standard input; None for what only a shell can run."""
    words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
    before, after = (
        words[: words.index("|")] if "|" in words else [],
        words[words.index("|") + 1 :] if "|" in words else words,
    )
    text = " ".join(before[1:]) + "\n" if before[:1] == ["echo"] else ""
    bare = re.sub(r"'[^']*'", "", command)
    if after[0] not in PROGRAMS or set(bare) & set("<>;&$(\\") or (before and not text):
        return None
    return pbs.run(after[0], shlex.split(command.rpartition(" | ")[2])[1:], text)


def run_in_shell(command: str, pbs: FakePbs) -> tuple[int, str, str]:
    environment = {"PATH": f"{pbs.bin}:/usr/bin:/bin", "TZ": "UTC"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False, input=""
    )
    return done.returncode, done.stdout, done.stderr


def timeless(text: str) -> str:
    return re.sub(r'"timestamp":\t\d+', '"timestamp":\t0', text)


def the_server(recording: Recording) -> dict[str, Any]:
    """Return the state in which the recorded server was, as far as the command is about it."""
    own = jobs_shown(recording)
    states = {number: state for state, numbers in STATES.items() for number in numbers}
    states.update(OTHER_STATES.get(recording.name, {}))
    is_listing = recording.name.startswith("qselect") or (
        own and re.fullmatch(r"qstat( -\S+| json| dsv)*", recording.command)
    )
    jobs = {} if is_listing or "empty" in recording.name else {n: a_job(n, state) for n, state in states.items()}
    jobs.update({number: a_job(number, pairs["job_state"], pairs) for number, pairs in own.items()})
    if recording.name == "qstat_after_qdel_x":
        del jobs["6"]
    first = recording.stdout.partition("\n")[0].partition(".")[0].rstrip("[]")
    return {
        "user": recording.user,
        "jobs": jobs,
        "next": int(first) if first.isdecimal() else 1,
        "paused": True,
        "down": recording.name.startswith("serverdown"),
        "history": recording.name != "qstat_history_disabled",
        "roots": recording.name != "qsub_unauthorized_root",
        **things_shown(recording),
    }


def a_job(number: str, state: str, recorded: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "name": "job",
        "owner": "pbsuser",
        "queue": "workq",
        "state": state,
        "substate": 10,
        "holds": "u" if state == "H" else "n",
        "depend": "",
        "wishes": {},
        "options": {"r": "n"} if number == "21" else {},
        "program": [],
        "path": "",
        "ctime": 0,
        "runs": 0,
        **({"recorded": dict(recorded)} if recorded else {}),
    }


def shown(recording: Recording) -> str:
    """Return the listing from which the server's things are read: its own, or that of the same second in another form."""
    text = TEXTS.get(recording.name, "")
    if not text:
        return recording.stdout
    return RECORDINGS[text].stdout if text in RECORDINGS else recorded(text).stdout


def jobs_shown(recording: Recording) -> dict[str, Mapping[str, str]]:
    """Return the jobs of a listing with their attributes."""
    text = shown(recording)
    if not recording.name.startswith(("qstat", "qselect")) or re.search(r" -[QB]", recording.command):
        return {}
    if text.startswith("{"):
        things = json_things(text, "Jobs")
    elif text.startswith("Job id "):
        things = dict(row(line) for line in text.splitlines()[2:])
    elif recording.name.startswith("qselect"):
        states = dict.fromkeys(("20", "21"), "R") | {"14": "Q", "13": "W"}
        things = {
            number: {"job_state": states.get(number, "F")} for number in re.findall(r"^(.*)\.vm$", text, re.MULTILINE)
        }
    else:
        things = text_things(text, "Job Id: ")
    return {name.partition(".")[0]: pairs for name, pairs in things.items()}


def things_shown(recording: Recording) -> dict[str, Any]:
    """Return the queues, the server or the nodes of a listing."""
    text = shown(recording)
    if "Queue" in text[:100]:
        return {"queues": json_things(text, "Queue") if text.startswith("{") else text_things(text, "Queue: ")}
    if "Server" in text[:100]:
        servers = json_things(text, "Server") if text.startswith("{") else text_things(text, "Server: ")
        return {"server_pairs": servers["vm"]}
    if not recording.name.startswith("pbsnodes") or not text:
        return {"queues": QUEUES}
    nodes = json_things(text, "nodes") if text.startswith("{") else text_things(text.replace("\n     ", "\n    "), "")
    return {"nodes": nodes}


def text_things(text: str, header: str) -> dict[str, dict[str, str]]:
    things: dict[str, dict[str, str]] = {}
    for part in text.replace("\n\t", "").split("\n\n"):
        head, *lines = part.splitlines() or [""]
        if head:
            pairs = (re.fullmatch(r" +(\S+) = (.*)", line) for line in lines)
            things[head.removeprefix(header)] = {pair[1]: pair[2] for pair in pairs if pair}
    return things


def json_things(text: str, kind: str) -> dict[str, dict[str, str]]:
    """Return what JSON shows as the flat texts from which it was made."""
    things = json.loads(text, parse_int=str, parse_float=str).get(kind, {})
    return {name: dict(flat(pairs)) for name, pairs in things.items()}


def flat(pairs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in pairs.items():
        if name == "Variable_List":
            yield name, ",".join(f"{key}={escaped(text)}" for key, text in value.items())
        elif isinstance(value, dict):
            yield from ((f"{name}.{resource}", str(text)) for resource, text in value.items() or [("none", "")])
        elif name.endswith("_time") and str(value).isdecimal() and name.startswith("last_"):
            yield name, datetime.fromtimestamp(int(value), UTC).strftime("%a %b %e %H:%M:%S %Y")
        else:
            yield name, ", ".join(value) if isinstance(value, list) else str(value)


def escaped(text: object) -> str:
    return str(text).replace(",", "\\,")


def row(line: str) -> tuple[str, dict[str, str]]:
    job, name, owner, used, state, queue = line.split()
    times = {} if used == "0" else {"resources_used.cput": used}
    return job, {"Job_Name": name, "Job_Owner": f"{owner}@vm", **times, "job_state": state, "queue": queue}
