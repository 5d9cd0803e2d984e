from __future__ import annotations

import pytest

from elisa.model.errors import Problem, SpecError
from elisa.pipelines.nodes import Mark
from elisa.pipelines.problems import Problems, nearest, render
from tests.pipelines.documents import problems_of


def test_problems_come_out_in_file_order_each_once_and_safe_to_print() -> None:
    problems = Problems("main.py")
    problems.add(Mark("other.py", 1), "far")
    problems.add(Mark("main.py", 9), "late", "x" * 100)
    problems.add(Mark("main.py", 2), "early\x1b[2J", "te\nxt", "hi\u202ent")
    problems.add(Mark("main.py", 2), "early\x1b[2J", "told twice")

    with pytest.raises(SpecError) as caught:
        problems.raise_any()

    assert caught.value.problems == (
        Problem(file="main.py", line=2, what="early\\x1b[2J", text="te\\nxt", hint="hi\\u202ent"),
        Problem(file="main.py", line=9, what="late", text="x" * 77 + "..."),
        Problem(file="other.py", line=1, what="far"),
    )


def test_no_problem_raises_nothing() -> None:
    problems = Problems("main.py")
    problems.raise_any()

    assert not problems


def test_a_person_reads_place_trouble_text_and_the_way_out() -> None:
    whole = Problem(file="p.yaml", line=3, what="wrong", text="x", hint="mend it")
    short = Problem(file="p.yaml", line=0, what="empty")

    assert render([whole, short]) == "p.yaml:3: wrong\n    x\n  hint: mend it\np.yaml: empty\n"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("trian", ["train", "test"], "did you mean `train`?"),
        ("Depends-On", ["needs"], "did you mean `needs`?"),
        ("zzz", ["b", "a"], "known are: a, b"),
        ("zzz", [], ""),
        ("zzz", [f"n{number}" for number in range(31)], ""),
    ],
)
def test_the_nearest_valid_name_is_offered(word: str, known: list[str], hint: str) -> None:
    assert nearest(word, known, aliases=(("depends_on", "needs"),)) == hint


def whats(text: str) -> list[str]:
    return [problem.what for problem in problems_of(text)]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("{command: [x], workdir: %s}" % ("x" * 5000), ["`workdir` wants a path"]),
        ("{command: [null]}", ["`command` wants a word of the command, not nothing"]),
        ("{command: [x], needs: [[a]]}", ["`needs` wants a task's name, not a list"]),
        ("{command: [x], resources: {memory: true}}", ["`memory` wants an amount of memory"]),
        ("{command: [x], resources: {walltime: [1h]}}", ["`walltime` wants a duration, not a list"]),
        ("{command: [x], pass_environment: [A, B, A]}", ["`A` stands in the list twice"]),
        ("{command: [x], outputs: {o: [a]}}", ["`o` wants a path, not a list"]),
        ("{command: [x], outputs: {o: {path: [a]}}}", ["`path` wants a path, not a list"]),
        ("{command: [x], matrix: {i: [1], exclude: {i: 1}}}", ["`exclude` wants a list, not a map"]),
        (
            "{command: [x], matrix: {i: [1], include: [{i: [2]}]}}",
            ["`i` wants a plain value, not a list", "`include` lacks a value for `i`"],
        ),
        ("{command: [x], outputs: {o: {path: x, format: csv, columns: a}}}", ["`columns` wants a list"]),
        (
            "{command: [x], matrix: {include: [{i: 1}, {i: 2, j: 3}]}}",
            ["`include` has other names than the ones before"],
        ),
        ("{command: [x, '$${task_dir}']}", ["`${task_dir}` cannot stand for itself here"]),
        ("{command: [x], when: '${item}.loss < 1'}", ["`${item}` is not known here"]),
    ],
)  # fmt: skip
def test_each_detail_is_told(task: str, expected: list[str]) -> None:
    assert whats(f"name: x\ntasks:\n  a: {task}\n") == expected


def test_a_broken_matrix_is_no_reason_to_complain_about_those_who_need_it() -> None:
    text = """\
        name: x
        tasks:
          a: {command: [x], matrix: {i: 3}}
          b: {command: [x], matrix: {i: [3]}, needs: {task: a, match: i}}
          c: {command: [x, "${dir.a}"], needs: [a], when: a.loss < 1}
          d: {command: [x], matrix: {i: [1]}, resources: {cpus: 0}}
    """

    assert whats(text) == ["`i` wants a list of values", "`cpus` wants a whole number from 1 to 100000"]


def test_without_a_name_the_tasks_are_checked_all_the_same() -> None:
    assert whats("tasks:\n  a: {command: [x], resources: {cpus: 0}}\n") == [
        "a pipeline lacks `name`",
        "`cpus` wants a whole number from 1 to 100000",
    ]
