from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from elisa import pipeline, task
from elisa.pipelines.decorators import Recorder, Results

ROOM = Path(__file__).parent.parent.parent / "pipelines"


@task(cpus=2, memory="1GiB")
def add(one: int, other: int = 10) -> int:
    """Add two numbers."""
    return one + other


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def numbers(count: int) -> list[int]:
    return list(range(count))


@pipeline(project="maths")
def study(count: int = 3) -> int:
    sums = add.map(one=[1, 2], other=[10, 20])
    doubled = add.map(one=sums, other=0)
    listed = add.map(one=task.each(numbers(count)), other=100)
    return total(doubled) + total(listed)


def test_outside_of_a_pipeline_a_task_is_its_function() -> None:
    assert add(1, 2) == 3
    assert add(1) == 11
    assert add.options(cpus=4)(one=1, other=1) == 2
    assert add.bind(other=5)(1) == 6


def test_a_task_keeps_the_name_and_words_of_its_function() -> None:
    assert (add.__name__, add.__doc__, add.__wrapped__(2, 3)) == ("add", "Add two numbers.", 5)


def test_a_whole_pipeline_runs_as_plain_functions() -> None:
    assert study() == (11 + 21 + 12 + 22) + (100 + 101 + 102)
    assert study(count=1) == 66 + 100
    assert (study.name, study.__name__) == ("study", "study")


def test_map_runs_every_combination_and_remembers_which_is_which() -> None:
    sums = add.map(one=[1, 2], other=[10, 20])

    assert isinstance(sums, Results)
    assert list(sums) == [11, 21, 12, 22]
    assert sums.combinations[2] == {"one": 2, "other": 10}


def test_mapped_results_are_paired_by_the_values_they_share() -> None:
    first = add.map(one=[1, 2], other=100)
    second = add.map(one=[1, 2, 3], other=200)

    paired = add.map(one=first, other=second)

    assert list(paired) == [101 + 201, 102 + 202]


def test_results_that_match_in_all_values_come_one_by_one() -> None:
    first = add.map(one=[1, 2], other=[5])

    assert list(add.map(one=first.matching("one", "other"), other=[10, 20])) == []
    assert list(add.map(one=first.matching("one", "other"))) == [16, 17]


def test_results_that_match_in_some_values_come_as_lists() -> None:
    sums = add.map(one=[1, 2], other=[10, 20])

    assert list(total.map(numbers=sums.matching("one"))) == [11 + 21, 12 + 22]
    assert list(total.map(numbers=sums.matching("other"))) == [11 + 12, 21 + 22]


def test_a_bound_list_is_no_axis() -> None:
    assert list(total.bind(numbers=[1, 2, 3]).map()) == [6]


def test_a_recorded_task_knows_its_place_and_its_name() -> None:
    with Recorder() as recorder:
        first = add(1)
        second = add.options(name="add")(2)
        third = add.options(name="sum")(3)

    assert [str(handle) for handle in (first, second, third)] == ["add", "add_2", "sum"]
    assert [recorded.name for recorded in recorder.tasks] == ["add", "add_2", "sum"]
    assert recorder.tasks[0].at.file == __file__
    assert recorder.tasks[1].at.line == recorder.tasks[0].at.line + 1
    assert Path(__file__).read_text().splitlines()[recorder.tasks[0].options_at.line - 1].startswith("@task(cpus=2")


def test_a_handle_has_a_folder_and_reads_as_its_name_in_text() -> None:
    with Recorder():
        handle = add(1)

    assert (f"{handle}.loss < 1", handle.dir) == ("add.loss < 1", "${dir.add}")


@pytest.mark.parametrize("use", [bool, list, lambda handle: handle[0]])
def test_a_handle_cannot_be_used_before_it_is_there(use: object) -> None:
    with Recorder():
        handle = add(1)

    with pytest.raises(TypeError, match="does not exist yet"):
        use(handle)  # type: ignore[operator]


def test_two_lists_cannot_be_taken_item_by_item_at_once() -> None:
    with Recorder(), pytest.raises(TypeError, match="only one list"):
        add.map(one=task.each(numbers(2)), other=task.each(numbers(3)))


def test_one_pipeline_is_put_together_at_a_time() -> None:
    with Recorder(), pytest.raises(RuntimeError, match="being loaded already"), Recorder():
        pass

    assert add(1, 1) == 2


def test_a_program_has_a_meaning_only_inside_a_pipeline() -> None:
    with pytest.raises(RuntimeError, match="inside a pipeline"):
        task.command("simulate", ["./model"])


def test_a_wrong_argument_is_told_at_the_call() -> None:
    with Recorder(), pytest.raises(TypeError, match="another"):
        add(another=1)


def test_decorators_without_parentheses_have_the_ordinary_options() -> None:
    @pipeline
    def plain() -> None:
        pass

    assert (plain.name, plain.options) == ("plain", {})


@pytest.mark.parametrize("file", ["__init__.py", "decorators.py"])
def test_what_a_job_imports_reads_on_the_oldest_python(file: str) -> None:
    ast.parse((ROOM / file).read_text(), feature_version=(3, 8))


def test_what_a_job_imports_needs_the_standard_library_only() -> None:
    code = (
        "import sys\n"
        "from elisa import pipeline, task\n"
        "foreign = {'yaml', 'pydantic', 'numpy', 'sqlmodel', 'typer', 'rich', 'elisa.model', 'elisa.pipelines.load'}\n"
        "print(sorted(foreign & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_room_has_just_these_public_names() -> None:
    import elisa.pipelines as room

    assert room.task is task
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing
