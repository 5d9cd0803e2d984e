"""`elisa budget` as it is typed, and what it says would be different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

SITE = """\
backends:
  dream: {kind: simulated, options: {nodes: {gpu: {count: 1, cpus: 16, memory: 128GiB, gpus: {a100: 4}}}}}
projects:
  vision: {budget: {gpu_hours: 10}, may_lend: true}
  nlp: {budget: {gpu_hours: 2}, soft_budget: {cpu_hours: 5}}
"""
TASKS = """\
  train:
    command: [run]
    matrix: {hours: [4, 5, 6]}
    resources: {gpus: 1, walltime: "${hours}h"}
    metadata: {sim_duration: 3h}
"""


@pytest.fixture
def home(home: Path, elisa: Elisa, write: Callable[[str], str]) -> Path:
    """Two of three trainings run: nine of ten GPU hours are held."""
    (home / "site.yaml").write_text(SITE, encoding="utf-8")
    assert elisa("submit", write(TASKS)).code == 0
    assert elisa("tick").code == 0
    return home


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_limits_and_ledger_are_shown_and_balance(elisa: Elisa, home: Path) -> None:
    answer = elisa("budget")

    assert answer.code == 0
    assert ["vision", "all", "gpu-h", "10", "9", "1", "0", "0"] in rows(answer.out)
    assert ["vision", "gpu-h", "of", "a100", "9", "0", "0", "9", "0"] in rows(answer.out)
    assert "core-h (soft)" in answer.out
    assert answer.out.endswith("the ledger balances: reserved = spent + refunded + held, to the second\n")


def test_the_json_form_counts_in_whole_seconds(elisa: Elisa, home: Path) -> None:
    data = elisa("budget", "vision", "--by", "user", "--json").data

    assert (data["schema"], data["balanced"], data["problems"]) == ("elisa.budget/1", True, [])
    (limit,) = data["limits"]
    assert (limit["limit"], limit["used"], limit["left"]) == (36000, 32400, 3600)
    (gpus,) = [one for one in data["ledger"] if one["resource"] == "gpu_s"]
    assert (gpus["reserved"], gpus["held"], gpus["gpu_type"]) == (32400, 32400, "a100")
    assert gpus["part"]


def test_only_what_was_booked_in_a_time_is_added_up(elisa: Elisa, home: Path) -> None:
    assert elisa("budget", "--since", "2001-06-01", "--json").data["ledger"] == []
    assert len(elisa("budget", "--until", "2001-06-01", "--by", "month", "--json").data["ledger"]) == 3


def waiting(elisa: Elisa) -> str:
    (task,) = [one for one in elisa("status", "--json").data["tasks"] if one["state"] == "ready"]
    return str(task["id"])


def test_another_limit_is_supposed_and_nothing_is_changed(elisa: Elisa, home: Path) -> None:
    told = elisa("budget", "vision", "--what-if", "budget.gpu_hours=20", "--json").data

    assert (told["schema"], told["starts"]) == ("elisa.budget-what-if/2", [waiting(elisa)])
    shown = elisa("budget", "vision", "--what-if", "budget.gpu_hours=12")
    assert "project vision has 3 gpu-h left of 12, this asks for 6 (now: project vision has 1 gpu-h left" in " ".join(
        shown.out.split()
    )
    assert ["vision", "all", "gpu-h", "10", "9", "1", "0", "0"] in rows(elisa("budget").out)


def test_a_cut_limit_shows_who_would_leave(elisa: Elisa, home: Path) -> None:
    told = elisa("budget", "vision", "--what-if", "at_once.gpus=1", "--json").data

    assert len(told["leave"]) <= 1
    assert all("it saves and parks" in words for words in told["leave"].values())


def test_work_that_is_not_submitted_yet_is_supposed(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    path = Path(write(TASKS.replace("[4, 5, 6]", "[1, 9]")))
    path.write_text(path.read_text(encoding="utf-8").replace("vision", "nlp"), encoding="utf-8")

    told = elisa("budget", "nlp", "--what-if", f"submit:{path}", "--json").data

    assert told["starts"] == ["study/train-hours=1"]
    assert told["refused"] == {"study/train-hours=9": "project nlp has 1 gpu-h left of 2, this asks for 9"}
    assert len(elisa("status", "--all", "--json").data["pipelines"]) == 1


def test_new_work_is_played_through_to_the_end_of_its_budget(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    tasks = """\
  first: {command: [x], resources: {gpus: 1, walltime: 1h}}
  second: {command: [x], needs: [first], expected: 15m, resources: {gpus: 1, walltime: 1h}}
  third: {command: [x], needs: [second], resources: {gpus: 1, walltime: 1h}}
"""
    path = Path(write(tasks))
    path.write_text(path.read_text(encoding="utf-8").replace("vision", "nlp"), encoding="utf-8")

    played = elisa("budget", "nlp", "--what-if", f"submit:{path}", "--json").data["played"]
    shown = " ".join(elisa("budget", "nlp", "--what-if", f"submit:{path}").out.split())

    after, why = played["after"], "project nlp has 0.75 gpu-h left of 2, this asks for 1"
    first, second = (after["tasks"][f"study/{name}"] for name in ("first", "second"))
    assert first["ends_at"] == second["begins_at"]
    assert after["never"]["study/third"] == {"name": "third", "pipeline": "study", "because": why}
    (short,) = [one for one in after["short"] if one["project"] == "nlp"]
    assert short == {"project": "nlp", "resource": "gpu_s", "from": second["ends_at"], "because": why}
    assert not {*played["before"]["tasks"], *played["before"]["never"]} & {"study/first", "study/third"}
    assert "3 of 6 tasks would run otherwise" in shown
    assert "supposed: all of them succeed" in shown


def test_of_many_tasks_that_would_run_otherwise_some_are_shown_and_all_are_told(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    hours = ", ".join(map(str, range(1, 61)))
    path = Path(write(f"  train: {{command: [x], matrix: {{n: [{hours}]}}, resources: {{gpus: 9, walltime: 1h}}}}\n"))

    told = elisa("budget", "vision", "--what-if", f"submit:{path}", "--json").data["played"]["after"]
    shown = elisa("budget", "vision", "--what-if", f"submit:{path}").out

    assert sum(task.startswith("study/") for task in told["never"]) == 60
    assert "and 10 more: `--json` has every one" in shown


def test_a_loan_is_supposed_if_it_could_be_made(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    path = Path(write(TASKS.replace("[4, 5, 6]", "[3]")))
    path.write_text(path.read_text(encoding="utf-8").replace("vision", "nlp"), encoding="utf-8")
    submit = f"submit:{path}"

    assert elisa("budget", "vision", "--what-if", submit, "--json").data["starts"] == []
    words = ("--what-if", submit, "--what-if", "lend:nlp:gpu_hours=1")
    assert elisa("budget", "vision", *words, "--json").data["starts"] == ["study/train-hours=3"]
    refused = elisa("budget", "vision", "--what-if", "lend:nlp:gpu_hours=5")
    assert (refused.code, refused.err.splitlines()[0]) == (5, "error: vision has 1 gpu-h left to lend, not 5 gpu-h")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--by", "moon"), "there is no --by moon"),
        (("--what-if", "shares=2"), "--what-if needs a project"),
        (("vision", "--what-if", "shares"), "`--what-if shares` sets nothing"),
        (("vision", "--what-if", "colour=2"), "a project has no setting colour"),
        (("--since", "once"), "`--since once` is no moment"),
    ],
)
def test_what_cannot_be_is_told_in_three_lines(elisa: Elisa, home: Path, words: tuple[str, ...], what: str) -> None:
    answer = elisa("budget", *words)

    assert (answer.code, answer.err.splitlines()[0]) == (2, f"error: {what}")
    assert len(answer.err.splitlines()) == 3


def test_watts_at_once_are_shown_for_a_project_and_for_all_together(
    home: Path, elisa: Elisa, write: Callable[[str], str]
) -> None:
    power = "power: {gpu: 300}\nat_once: {watts: 1000}\n"
    (home / "site.yaml").write_text(SITE + "  lab: {at_once: {watts: 500}}\n" + power, encoding="utf-8")
    path = Path(write(TASKS.replace("[4, 5, 6]", "[1]")))
    path.write_text(path.read_text(encoding="utf-8").replace("project: vision", "project: lab"), encoding="utf-8")
    assert elisa("submit", str(path)).code == 0
    assert elisa("tick").code == 0

    shown, data = elisa("budget", "lab"), elisa("budget", "lab", "--json").data

    assert ["all", "projects", "all", "W", "1000", "300", "700", "0", "0"] in rows(shown.out)
    assert ["lab", "all", "W", "500", "300", "200", "0", "0"] in rows(shown.out)
    limits = {one["project"]: (one["resource"], one["limit"], one["used"]) for one in data["limits"]}
    assert limits == {"/": ("watts", 1000, 300), "lab": ("watts", 500, 300)}
