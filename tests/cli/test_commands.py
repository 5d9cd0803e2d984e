"""Every command, typed as a user would, over a state folder with real processes behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Elisa

PAIR = """\
  first: {command: [echo, "hello there"]}
  second: {command: [echo, done], needs: [first]}
"""
FAILS = '  first: {command: ["false"], retry: 0}\n  second: {command: [echo, never], needs: [first]}\n'
SLEEPS = "  nap: {command: [sleep, '600']}\n"


def names_and_states(answer: Answer) -> dict[str, str]:
    return {task["name"]: task["state"] for task in answer.data["tasks"]}


def test_init_twice_keeps_what_is_there(elisa: Elisa, home: Path) -> None:
    again = elisa("init", "--json")

    assert (again.code, again.data["created"]) == (0, False)


def test_a_pipeline_is_submitted_waited_for_and_shown(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    submitted = elisa("submit", write(PAIR), "--wait")
    status = elisa("status", "--all", "--json")

    assert submitted.code == 0
    assert names_and_states(status) == {"first": "succeeded", "second": "succeeded"}
    assert status.data["schema"] == "elisa.status/1"
    assert "2 succeeded" in elisa("status", "--all").out


def test_waiting_for_work_that_fails_exits_3_and_says_what_became_of_the_rest(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    answer = elisa("submit", write(FAILS), "--wait")

    assert answer.code == 3
    assert names_and_states(elisa("status", "--all", "--json")) == {"first": "failed", "second": "skipped"}
    assert "first, which it needs, is failed" in " ".join(elisa("explain", "study/second").out.split())


def test_a_dry_run_shows_the_tasks_and_stores_nothing(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    answer = elisa("submit", write(PAIR), "--dry-run")

    assert answer.code == 0
    assert "hello there" in answer.out
    assert elisa("status", "--all", "--json").data["pipelines"] == []


def test_a_bad_pipeline_exits_2_with_every_problem_and_stores_nothing(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    answer = elisa("submit", write("  a: {comand: [x]}\n  b: {command: [x], needs: [c]}\n"))

    assert answer.code == 2
    assert answer.err.count("error:") == 2
    assert "nothing was changed" in answer.err
    assert elisa("status", "--all", "--json").data["pipelines"] == []


def test_validate_tells_a_good_pipeline_from_a_bad_one(elisa: Elisa, write: Callable[[str], str]) -> None:
    good = elisa("validate", write(PAIR))
    bad = elisa("validate", write("  a: {command: 7}\n"), "--json")

    assert (good.code, bad.code) == (0, 2)
    assert bad.data["error"]["problems"][0]["line"] == 4


@pytest.mark.parametrize("words", [("validate",), ("submit", "--dry-run"), ("submit",)])
def test_what_no_backend_of_the_site_would_take_is_refused_before_anything_is_stored(
    elisa: Elisa, home: Path, write: Callable[[str], str], words: tuple[str, ...]
) -> None:
    (home / "site.yaml").write_text("backends:\n  dream: {kind: simulated}\n", encoding="utf-8")
    path = write("  a: {command: [x], metadata: {sim_save: often}}\n")

    answer = elisa(*words, path)

    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines() == [
        "error: a: its simulation is described wrongly",
        f'  why: {path}: `sim_save: "often"`: `often` is no duration: write it like 90s, 45m, 2h30m, 3d or 3-12:00:00',
        "hint: what a task's `metadata` can tell it stands in docs/simulated.md",
    ]
    assert elisa("status", "--json").data["pipelines"] == []


def test_validate_needs_no_state_folder_but_looks_at_the_one_that_is_named(
    elisa: Elisa, tmp_path: Path, write: Callable[[str], str]
) -> None:
    path = write("  a: {command: [x], metadata: {sim_save: often}}\n")

    assert elisa("validate", path).code == 0
    assert elisa("validate", path, "--home", str(tmp_path / "none")).code == 2


def test_validate_prints_the_schema_for_editors(elisa: Elisa) -> None:
    answer = elisa("validate", "--schema")

    assert answer.code == 0
    assert "properties" in answer.data


def test_validate_without_a_file_says_so(elisa: Elisa) -> None:
    assert elisa("validate").code == 2


def test_plan_shows_what_the_next_tick_would_do_and_changes_nothing(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write(PAIR))

    first, second = elisa("plan", "--json").data, elisa("plan", "--json").data
    for seen in (first, second):
        for one in seen["decisions"]:
            del one["factors"]  # its age has grown

    assert [(one["would"], one["name"]) for one in first["decisions"]] == [("submit", "first")]
    assert first == second
    assert names_and_states(elisa("status", "--json"))["first"] == "ready"
    assert "submit" in elisa("plan").out


def test_status_warns_before_the_first_tick(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))

    assert "no tick has run yet" in elisa("status").err


def test_status_of_one_project_leaves_out_the_others(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))

    assert elisa("status", "--project", "nlp", "--json").data["pipelines"] == []
    assert len(elisa("status", "--project", "vision", "--json").data["pipelines"]) == 1


def test_logs_print_what_a_task_wrote(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR), "--wait")

    assert elisa("logs", "study/first").out == "hello there\n"
    assert elisa("logs", "study/first", "--json").data["lines"] == ["hello there"]
    assert elisa("logs", "study/first", "--stream", "nonsense").code == 2
    assert elisa("logs", "study/first", "--attempt", "7").code == 2


def test_control_characters_in_a_log_do_not_reach_the_terminal(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write('  evil: {command: [printf, "\\\\033[31mred\\\\033[0m"]}\n'), "--wait")

    assert "\x1b" not in elisa("logs", "study/evil").out


def test_a_running_task_is_cancelled_by_the_next_tick(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(SLEEPS))
    elisa("tick")

    wished = elisa("cancel", "study/nap")
    ticked = elisa("tick", "--until-idle")

    assert "the next tick stops it" in wished.out
    assert ticked.code == 3
    assert names_and_states(elisa("status", "--all", "--json")) == {"nap": "cancelled"}


def test_a_held_task_does_not_start_until_it_is_released(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))

    elisa("hold", "study/first")
    elisa("tick", "--until-idle")
    held = names_and_states(elisa("status", "--json"))
    elisa("release", "study/first")
    elisa("tick", "--until-idle")

    assert held == {"first": "held", "second": "waiting"}
    assert names_and_states(elisa("status", "--all", "--json")) == {"first": "succeeded", "second": "succeeded"}


def test_a_failed_task_is_retried_with_what_was_skipped_on_its_account(
    elisa: Elisa, home: Path, write: Callable[[str], str], tmp_path: Path
) -> None:
    flag = tmp_path / "mended"
    tasks = f"  first: {{command: [test, -e, '{flag}'], retry: 0}}\n  second: {{command: [echo, ok], needs: [first]}}\n"
    elisa("submit", write(tasks), "--wait")

    flag.touch()
    elisa("retry", "study/first")
    elisa("tick", "--until-idle")

    assert names_and_states(elisa("status", "--all", "--json")) == {"first": "succeeded", "second": "succeeded"}


def test_a_wish_that_changes_nothing_says_why(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR), "--wait")

    answer = elisa("cancel", "study/first")

    assert (answer.code, "it is succeeded" in answer.out) == (0, True)


def test_explain_tells_the_history_in_words(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR), "--wait")

    answer = elisa("explain", "study/second", "--json")

    assert answer.data["state"] == "succeeded"
    words = [one["words"] for one in answer.data["history"]]
    assert words[0] == "it was submitted"
    assert "all that it needs has come" in words
    assert words[-1] == "it finished"


def test_explain_says_what_a_task_waits_for(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))
    elisa("tick")

    assert "waiting: it waits for first" in elisa("explain", "study/second").out


def test_report_shows_the_timeline_and_the_cost(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    pipeline = elisa("submit", write(PAIR), "--json").data["pipeline"]
    elisa("tick", "--until-idle")

    answer = elisa("report", pipeline, "--json")

    assert [bar["task"] for bar in answer.data["timeline"]["bars"]] == ["first", "second"]
    assert [(cost["project"], cost["attempts"]) for cost in answer.data["costs"]] == [("vision", 2)]
    assert "completed" in elisa("report", pipeline).out
    assert elisa("report", "study/first").code == 2


def test_an_unknown_id_exits_2_and_changes_nothing(elisa: Elisa, home: Path) -> None:
    for command in ("explain", "logs", "cancel", "hold", "release", "retry", "report", "status"):
        answer = elisa(command, "tzzzzzzzzz")
        assert (command, answer.code) == (command, 2)
        assert answer.err.startswith("error:")
        assert "a task goes by its id, or as PIPELINE/TASK" in answer.err


def test_a_unique_beginning_of_an_id_is_enough(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    tasks = elisa("submit", write("  only: {command: [echo, hi]}\n"), "--json").data["tasks"]

    assert elisa("explain", tasks["only"][:4], "--json").data["task"] == tasks["only"]


def test_a_damaged_database_is_refused_and_told(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(PAIR))
    database = home / "elisa.db"
    data = bytearray(database.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    database.write_bytes(data)

    answer = elisa("tick")

    assert answer.code == 1
    assert "hint:" in answer.err


def test_a_store_of_a_newer_elisa_is_left_alone(elisa: Elisa, home: Path) -> None:
    with sqlite3.connect(home / "elisa.db") as database:
        database.execute("PRAGMA user_version = 9999")

    answer = elisa("tick")

    assert answer.code == 1
    assert "newer" in answer.err


def test_doctor_finds_nothing_wrong_with_a_fresh_folder(elisa: Elisa, home: Path) -> None:
    answer = elisa("doctor", "--json")

    assert [one for one in answer.data["findings"] if one["level"] == "bad"] == []
    assert answer.code == 0


@pytest.mark.parametrize("words", [("--set", "nonsense"), ("--set", "a=1", "--set", "a=2")])
def test_settings_that_cannot_be_read_exit_2(
    elisa: Elisa, home: Path, write: Callable[[str], str], words: tuple[str, ...]
) -> None:
    assert elisa("submit", write(PAIR), *words).code == 2


def test_a_damaged_database_is_rebuilt_from_its_newest_copy(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write(PAIR))
    elisa("tick", "--until-idle")
    refused = elisa("rebuild")
    (home / "elisa.db").write_bytes(b"")

    told = elisa("tick")
    rebuilt = elisa("rebuild", "--json")
    elisa("tick", "--until-idle")

    assert (refused.code, "is sound" in refused.err) == (2, True)
    assert (told.code, "elisa rebuild" in told.err) == (1, True)
    assert (rebuilt.code, rebuilt.data["strays"]) == (0, [])
    assert names_and_states(elisa("status", "--all", "--json")) == {"first": "succeeded", "second": "succeeded"}


def test_a_tick_in_json_names_the_attempts_it_is_about(elisa: Elisa, home: Path, write: Callable[[str], str]) -> None:
    elisa("submit", write(SLEEPS))

    begun = elisa("tick", "--json").data
    elisa("cancel", "study/nap")
    stopped = elisa("tick", "--json").data
    elisa("tick", "--until-idle")

    [attempt] = begun["ids"]["submitted"]
    assert (begun["submitted"], stopped["ids"]["stopped"]) == (1, [attempt])
    assert stopped["ids"]["submitted"] == []


def test_a_plan_in_json_tells_rank_and_factors_of_every_ready_task(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    elisa("submit", write('  a: {command: ["true"]}\n  b: {command: ["true"], resources: {nodes: 9}}\n'))

    seen = elisa("plan", "--json").data
    told = [*seen["decisions"], *seen["passed_over"]]

    assert sorted(one["rank"] for one in told) == [1, 2]
    assert [len(seen["decisions"]), len(seen["passed_over"])] == [1, 1]
    for one in told:
        assert all(line["points"] == line["value"] * line["weight"] for line in one["factors"])
        assert {line["name"] for line in one["factors"]} >= {"age", "fair_share", "deadline", "size"}
    assert seen["passed_over"][0]["words"].startswith("it can never start")
