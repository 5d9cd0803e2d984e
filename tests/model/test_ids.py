from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import (
    TaskId,
    attempt_id,
    attempt_number,
    is_attempt_id,
    new_pipeline_id,
    new_task_id,
    task_of,
)


@dataclass
class FixedRandom:
    number: int

    def bits(self, count: int) -> int:
        return self.number % (1 << count)

    def uniform(self) -> float:
        return 0.5


@given(st.integers(min_value=0, max_value=2**45 - 1))
def test_ids_are_ten_safe_characters(number: int) -> None:
    pipeline, task = new_pipeline_id(FixedRandom(number)), new_task_id(FixedRandom(number))

    assert len(pipeline) == len(task) == 10
    assert pipeline[1:] == task[1:]
    assert (pipeline[0], task[0]) == ("p", "t")
    assert set(task[1:]) <= set("0123456789abcdefghjkmnpqrstvwxyz")


@given(st.integers(min_value=0, max_value=2**45 - 1), st.integers(min_value=1, max_value=9999))
def test_attempt_id_holds_its_task_and_number_in_fifteen_characters(number: int, attempt: int) -> None:
    task = new_task_id(FixedRandom(number))
    name = attempt_id(task, attempt)

    assert len(name) <= 15
    assert is_attempt_id(name)
    assert (task_of(name), attempt_number(name)) == (task, attempt)


def test_different_numbers_give_different_ids() -> None:
    assert len({new_task_id(FixedRandom(number)) for number in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "", "t7k2m9qx4t", "t7k2m9qx4t.", "t7k2m9qx4t.0", "t7k2m9qx4t.01", "t7k2m9qx4t.10000", "p7k2m9qx4t.1",
        "t7k2m9qx4.1", "t7k2m9qx4i.1", "T7K2M9QX4T.1", "t7k2m9qx4t.1 ", "t7k2m9qx4t.1\n", " t7k2m9qx4t.1",
        "t7k2m9qx4t.1|RUNNING", "t7k2m9qx4t.\u0661",
    ],
)  # fmt: skip
def test_what_only_resembles_an_attempt_id_is_not_trusted(text: str) -> None:
    assert not is_attempt_id(text)


def test_attempt_of_a_task_is_written_with_a_dot() -> None:
    assert attempt_id(TaskId("t7k2m9qx4t"), 3) == "t7k2m9qx4t.3"
