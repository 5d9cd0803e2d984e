"""Speeds on types of GPU, measured from whole runs."""

from __future__ import annotations

from elisa.forecast.speeds import Speeds, kind_of
from elisa.model.rows import FinishedWork, StepRate, WorkName

NAME = WorkName("vision", "sweep", "train-lr=1", "train")
KIND = kind_of(NAME)


def ran(gpu_type: str, *work_s: float, walltime_s: int = 3600, is_resumed: bool = False) -> list[FinishedWork]:
    return [FinishedWork(NAME, walltime_s, one, gpu_type, is_resumed) for one in work_s]


def test_the_slowest_type_is_one_and_the_others_as_much_faster_as_their_middle_run_was() -> None:
    speeds = Speeds([*ran("v100", 1000, 1200, 5000), *ran("h100", 100, 300, 300), *ran("a100", 600, 600, 600)])

    assert speeds.of(KIND) == {"v100": 1.0, "h100": 4.0, "a100": 2.0}


def test_instances_that_ask_for_more_time_compare_by_the_part_of_it_that_they_took() -> None:
    speeds = Speeds([*ran("a100", *[3600] * 3, walltime_s=7200), *ran("h100", *[900] * 3)])

    assert speeds.of(KIND) == {"a100": 1.0, "h100": 2.0}


def test_a_type_with_fewer_than_three_whole_runs_is_not_compared() -> None:
    few = [*ran("a100", 10, 10), *ran("a100", 10, is_resumed=True)]

    assert Speeds([*ran("h100", 1, 1, 1), *few]).of(KIND) == {}


def test_tasks_without_a_group_are_kinds_of_their_own() -> None:
    assert kind_of(NAME._replace(group="")) != kind_of(NAME._replace(task="other", group=""))


def test_work_without_gpus_and_kinds_never_seen_have_no_speeds() -> None:
    assert Speeds([*ran("", 1, 1, 1), *ran("a100", 1, 1, 1)]).of(KIND) == {}
    assert Speeds([]).of(("other", "", "")) == {}


def test_only_the_newest_runs_count() -> None:
    speeds = Speeds([*ran("a100", *[100] * 20), *ran("a100", *[900] * 20), *ran("h100", *[50] * 3)])

    assert speeds.of(KIND) == {"a100": 1.0, "h100": 2.0}


def stepped(gpu_type: str, *steps_per_s: float) -> list[StepRate]:
    return [StepRate(NAME, gpu_type, one) for one in steps_per_s]


def test_steps_a_second_count_before_how_long_whole_runs_took() -> None:
    speeds = Speeds(
        [*ran("v100", 900, 900, 900), *ran("h100", 900, 900, 900)], [*stepped("h100", 6), *stepped("v100", 2)]
    )

    assert speeds.of(KIND) == {"h100": 3.0, "v100": 1.0}
    assert speeds.measured(KIND) == {"h100", "v100"}


def test_one_type_that_was_stepped_on_and_whole_runs_on_two_compare_by_the_runs() -> None:
    speeds = Speeds([*ran("v100", 900, 900, 900), *ran("a100", 450, 450, 450)], stepped("h100", 6))

    assert speeds.of(KIND) == {"a100": 2.0, "v100": 1.0}
    assert speeds.measured(KIND) == {"a100", "h100", "v100"}


def test_where_nothing_was_measured_what_the_site_says_counts_and_else_on_the_scale_of_what_was() -> None:
    said = {"v100": 1.0, "a100": 2.0, "h100": 4.0}

    assert Speeds([], said=said).of(KIND) == said
    assert Speeds([], stepped("h100", 30), said).of(KIND) == said
    both = [*stepped("v100", 10), *stepped("a100", 30)]
    assert Speeds([], both, said).of(KIND) == {"v100": 1.0, "a100": 3.0, "h100": 5.0}
    assert Speeds([], both, {"h100": 4.0}).of(KIND) == {"v100": 1.0, "a100": 3.0}


def test_runs_that_took_no_time_tell_nothing() -> None:
    assert Speeds([*ran("v100", 0, 0, 0), *ran("h100", 10, 10, 10)]).of(KIND) == {}
