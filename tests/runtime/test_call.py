from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elisa.runtime.call import load_result, run_call, save_result
from tests.runtime.agent_cases import Case


class Custom:
    """Something no safe format can carry."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom)

    __hash__ = None  # type: ignore[assignment]  # only compared


@pytest.mark.parametrize(
    "value",
    [None, 1, "a", [1, {"b": 2.5}], (1, (2,)), b"x" * 10_000, {1: {2, 3}}, Custom(), float("inf")],
    ids=lambda value: type(value).__name__,
)
def test_a_result_comes_back_as_it_was(tmp_path: Path, value: object) -> None:
    path = str(tmp_path / "attempt" / "result.json")
    save_result(path, value)

    assert load_result(path) == value


def test_arrays_are_files_beside_the_result(tmp_path: Path) -> None:
    path = str(tmp_path / "result.json")
    value = {"x": np.arange(10_000), "y": np.float32(1.5)}
    save_result(path, value)

    loaded = load_result(path)

    assert np.array_equal(loaded["x"], value["x"])
    assert loaded["y"].dtype == np.float32
    assert [name.suffix for name in sorted(tmp_path.iterdir())] == [".npy", ".json"]


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_result("result.json", [Path("data.csv")])

    assert load_result("result.json") == [tmp_path / "data.csv"]


def test_a_decorated_function_is_called_itself(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "import functools\n"
        "class Task:\n"
        "    def __init__(self, function): functools.update_wrapper(self, function)\n"
        "    def __call__(self, **arguments): raise RuntimeError('only records')\n"
        "@Task\n"
        "def double(x): return 2 * x\n"
    )
    call: dict[str, Any] = {
        "file": "steps.py",
        "function": "double",
        "arguments": {"x": "4"},
        "result_path": str(tmp_path / "r.json"),
    }
    job = Case(tmp_path).job(argv=None, call=call, workdir=str(tmp_path))

    assert run_call(str(job)) == 0
    assert load_result(str(tmp_path / "r.json")) == 8


@pytest.mark.parametrize("call", [{"file": "none.py", "function": "f"}, {"file": "job.json", "function": "f"}])
def test_a_call_that_is_not_possible_is_refused(tmp_path: Path, call: dict[str, Any]) -> None:
    assert run_call(str(Case(tmp_path).job(argv=None, call=call, workdir=str(tmp_path)))) == 73


def test_a_result_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_result(str(path), 1)
    save_result(str(path), 2)

    assert json.loads(path.read_text()) == {"v": 1, "value": 2}
