from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa import checkpoint
from elisa.runtime import program


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELISA_CHECKPOINT_DIR", str(tmp_path))
    program.forget()
    return tmp_path


def test_a_call_that_was_finished_does_not_run_again() -> None:
    ran = []

    @checkpoint.persistent
    def square(x: int, *, scale: float = 1.0) -> Any:
        ran.append(x)
        return {"y": np.full(3, x * x * scale)}

    results = [square(2)["y"].tolist(), square(3)["y"].tolist(), square(2, scale=2.0)["y"].tolist()]
    again = [square(2)["y"].tolist(), square(3)["y"].tolist(), square(2, scale=2.0)["y"].tolist()]

    assert results == again == [[4.0] * 3, [9.0] * 3, [8.0] * 3]
    assert ran == [2, 3, 2]
    assert square.__name__ == "square"


def test_large_arguments_belong_to_the_key() -> None:
    ran = []

    @checkpoint.persistent
    def total(x: Any) -> float:
        ran.append(1)
        return float(x.sum())

    large = np.ones(5000)
    assert [total(large), total(large), total(large * 2)] == [5000.0, 5000.0, 10000.0]
    assert len(ran) == 2


def test_many_times_over() -> None:
    ran = []

    @checkpoint.persistent
    def once() -> int:
        ran.append(1)
        return 7

    assert ([once() for _ in range(6)], ran) == ([7] * 6, [1])


def test_a_call_that_failed_runs_again() -> None:
    ran = []

    @checkpoint.persistent
    def fails_once() -> int:
        ran.append(1)
        if len(ran) == 1:
            raise ZeroDivisionError
        return 1

    with pytest.raises(ZeroDivisionError):
        fails_once()
    assert (fails_once(), fails_once(), len(ran)) == (1, 1, 2)


def test_a_changed_function_runs_anew() -> None:
    def make(number: int) -> Callable[[], int]:
        namespace: dict[str, Any] = {}
        exec(f"def f():\n    inner = lambda: {number} in {{1, 2}}\n    return {number}", namespace)
        return checkpoint.persistent(namespace["f"])  # type: ignore[no-any-return]  # made of text

    assert [make(1)(), make(2)(), make(1)()] == [1, 2, 1]


def test_what_has_no_code_of_its_own_is_known_by_its_name() -> None:
    assert checkpoint.persistent(functools.wraps(len)(functools.partial(max, 3)))(5) == 5


def test_a_damaged_result_is_made_again(folder: Path) -> None:
    ran = []

    @checkpoint.persistent
    def work() -> int:
        ran.append(1)
        return 7

    work()
    next(folder.glob("calls/*/result/g*/state.json")).write_text("{}")

    assert (work(), len(ran)) == (7, 2)


def test_a_generators_states_are_saved_and_it_goes_on_from_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[Any] = []

    @checkpoint.persistent
    def train(steps: int, fail_at: int | None = None, state: Any = None) -> Generator[Any, None, int]:
        began.append(state)
        state = state or {"step": 0, "w": np.zeros(2)}
        while state["step"] < steps:
            if state["step"] == 3 and len(began) == 1:
                raise KeyboardInterrupt
            state = {"step": state["step"] + 1, "w": state["w"] + 1}
            yield state
        return int(state["w"][0])

    with monkeypatch.context() as patch:
        patch.setattr("elisa.runtime.checkpoint.pace.Pace.is_due", lambda _pace: True)
        with pytest.raises(KeyboardInterrupt):
            train(5)
        assert train(5) == 5

    assert [state and state["step"] for state in began] == [None, 3]
    assert train(5) == 5
    assert len(began) == 2


SCRIPT = """
from elisa import checkpoint
@checkpoint.persistent
def work(names):
    print("ran")
    known = {"a", "b"}
    return sorted(n for n in names if n in {"a", "c"})
print(work({"a", "b", "c", "d"}))
"""


def test_the_key_is_the_same_in_every_process(folder: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"ELISA_CHECKPOINT_DIR": str(folder), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert said == ["ran\n['a', 'c']\n", "['a', 'c']\n"]
