from __future__ import annotations

from pathlib import Path

import pytest

from elisa.pipelines.calls import Functions
from elisa.pipelines.nodes import Mark
from elisa.pipelines.problems import Problems

HERE = Mark("p.yaml", 3)


def told(folder: Path, call: str, *arguments: str) -> list[tuple[str, str]]:
    problems = Problems("p.yaml")
    Functions(folder).check(call, arguments, HERE, problems)
    return [(problem.what, problem.hint) for problem in problems.sorted()]


@pytest.mark.parametrize(
    ("parameters", "arguments", "whats"),
    [
        ("", (), []),
        ("a", ("a",), []),
        ("a", (), ["`f` needs an argument `a`"]),
        ("a, b=1", ("a",), []),
        ("a=1, *, b, c=2", ("b",), []),
        ("a=1, *, b, c=2", (), ["`f` needs an argument `b`"]),
        ("a", ("a", "b"), ["`f` takes no argument `b`"]),
        ("**more", ("anything",), []),
        ("*more", ("anything",), ["`f` takes no argument `anything`"]),
        ("a, /, b", ("b",), ["`f` needs an argument `a`"]),
        ("a, /, b", ("a", "b"), ["`f` takes no argument `a`"]),
    ],
)
def test_arguments_are_held_against_the_signature(
    parameters: str, arguments: tuple[str, ...], whats: list[str], tmp_path: Path
) -> None:
    (tmp_path / "f.py").write_text(f"def f({parameters}):\n    pass\n")

    assert [what for what, _ in told(tmp_path, "f.py:f", *arguments)] == whats


def test_the_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("raise SystemExit('ran')\ndef f():\n    pass\n")

    assert told(tmp_path, "f.py:f") == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def f(:\n", "is no Python that can be read: invalid syntax, line 1"),
        (b"def f():\0\n", "is no Python that can be read"),
        (b"f = " + b"-" * 500_000 + b"1\n", "is no Python that can be read"),
        (b"# -*- coding: nonsense -*-\n", "is no Python that can be read"),
        (b"#" * (2**22 + 1), "is too large to be a program"),
    ],
)
def test_a_file_that_is_no_program_is_told(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_bytes(content)

    ((what, _),) = told(tmp_path, "f.py:f")

    assert what.startswith(f"`f.py` {words}")


def test_every_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("def f():\n    pass\n")
    functions, problems = Functions(tmp_path), Problems("p.yaml")
    functions.check("f.py:f", (), HERE, problems)
    (tmp_path / "f.py").unlink()

    functions.check("f.py:f", (), HERE, problems)

    assert not problems


def test_a_file_in_a_folder_below_is_fine_and_one_above_is_not(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.py").write_text("def f():\n    pass\n")

    assert told(tmp_path, "sub/f.py:f") == []
    assert [what for what, _ in told(tmp_path / "sub", "../sub/f.py:f")] == [
        "`call` leads out of the pipeline's folder"
    ]
