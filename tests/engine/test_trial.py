"""What managers would refuse is told when a pipeline is submitted, and what has no words is not taken at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from elisa.backends.local.opening import open_local
from elisa.backends.simulated.spec import ClusterSpec, NodeType, PartitionSpec
from elisa.engine.hopeless import hopeless_tasks
from elisa.engine.submit import submit
from elisa.model.errors import Rejected, SpecError, Unavailable
from elisa.model.ids import ProjectName
from elisa.model.native import JobRequest
from elisa.model.pipeline import Pipeline, SitePlacement, TaskSpec
from elisa.model.reasons import ReasonCode, because
from tests.reliability.specs import job
from tests.reliability.world import World

TWO_PARTITIONS = ClusterSpec(
    nodes=(NodeType(name="n", count=2, cpus=4),), partitions=(PartitionSpec(name="day"), PartitionSpec(name="night"))
)


@dataclass
class Picky:
    """The simulated cluster, but one that knows the words `fine` and `later`, and refuses accounts in its partitions."""

    inner: Any
    refuses: dict[str, frozenset[str]] = field(default_factory=dict)
    silent: bool = False
    asked: list[JobRequest] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def check(self, request: JobRequest) -> None:
        unknown = [name for name, _ in request.extras if name != "fine"]
        if unknown:
            raise Rejected(f"no word for {unknown[0]}", "it knows `fine`", "leave it out")

    def rehearse(self, request: JobRequest) -> None:
        self.asked.append(request)
        if self.silent:
            raise Unavailable("no answer")
        if request.account in self.refuses.get(request.partition, frozenset()):
            raise Rejected("refused", f"no account {request.account}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "home", spec=TWO_PARTITIONS)


def picky(world: World, **facts: Any) -> Picky:
    return Picky(world.cluster, **facts)


def placed(name: str, **placement: Any) -> TaskSpec:
    return replace(job(name), placement=SitePlacement(**placement))


def pipeline(tasks: Sequence[TaskSpec]) -> Pipeline:
    return Pipeline(name="study", project=ProjectName("nlp"), tasks=tuple(tasks))


def told(world: World, backend: Picky, *tasks: TaskSpec) -> Iterator[tuple[str, object]]:
    ws = replace(world.workspace(), backends={"sim": backend})  # type: ignore[dict-item]  # the name of a backend
    return hopeless_tasks(ws, pipeline(tasks))


def test_a_word_that_no_backend_knows_is_refused_with_all_tasks_that_use_it_and_nothing_is_stored(world: World) -> None:
    ws = replace(world.workspace(), backends={"sim": picky(world)})  # type: ignore[dict-item]  # the name of a backend
    bad = [placed(f"b{number}", extras=(("x", "1"),)) for number in range(7)]

    with pytest.raises(SpecError) as caught:
        submit(ws, pipeline([placed("a", extras=(("fine", ""),)), *bad]), source="/here/study.yaml")

    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("/here/study.yaml", 0)
    assert problem.what == "b0, b1, b2, b3, b4 and 2 others: no word for x"
    assert (problem.text, problem.hint) == ("it knows `fine`", "leave it out")
    assert world.tasks() == {}


def test_a_word_that_one_of_the_backends_knows_is_taken_unless_the_task_names_the_other(world: World) -> None:
    backends = {"sim": picky(world), "other": world.cluster}
    ws = replace(world.workspace(), backends=backends)  # type: ignore[arg-type]  # the names of backends

    submit(ws, pipeline([placed("a", extras=(("x", "1"),))]))

    with pytest.raises(SpecError):
        submit(ws, pipeline([placed("a", extras=(("x", "1"),), backend="sim")]))


def test_what_is_refused_wherever_it_may_run_is_told_in_the_managers_words(world: World) -> None:
    backend = picky(world, refuses={"day": frozenset({"x", "y"}), "night": frozenset({"x"})})

    found = dict(told(world, backend, placed("a", account="x"), placed("b", account="y"), placed("c")))

    assert found == {"a": because(ReasonCode.WOULD_BE_REFUSED, backend="sim", words="no account x")}


def test_only_the_partition_that_the_task_names_is_asked_about(world: World) -> None:
    backend = picky(world, refuses={"day": frozenset({"y"})})

    assert [name for name, _ in told(world, backend, placed("b", account="y", partition="day"))] == ["b"]
    assert [request.partition for request in backend.asked] == ["day"]


def test_tasks_that_ask_for_the_same_cost_one_question_and_a_pipeline_ten_at_most(world: World) -> None:
    backend = picky(world, refuses={"day": frozenset({"x"}), "night": frozenset({"x"})})
    same = [placed(f"s{number}", account="x") for number in range(20)]
    distinct = [placed(f"d{number}", account=f"a{number}") for number in range(20)]

    found = dict(told(world, backend, *same, *distinct))

    assert list(found) == [f"s{number}" for number in range(20)]
    assert len(backend.asked) == 10


def test_a_manager_that_does_not_answer_says_nothing_against_a_task(world: World) -> None:
    assert list(told(world, picky(world, silent=True), placed("a", account="x"))) == []


def test_metadata_that_cannot_be_followed_is_refused_where_no_other_backend_is(world: World) -> None:
    bad = replace(job("a"), metadata=(("sim_save", '"often"'),))
    well = replace(job("b"), metadata=(("sim_save", '"10m"'),))

    with pytest.raises(SpecError) as caught:
        submit(world.workspace(), pipeline([bad, well]))

    (problem,) = caught.value.problems
    assert problem.what == "a: its simulation is described wrongly"
    assert problem.text.startswith('`sim_save: "often"`: ')
    here = open_local("here", {"cpus": 1}, home=world.home, instance="ab12", clock=world.clock)
    submit(replace(world.workspace(), backends={**world.workspace().backends, here.name: here}), pipeline([bad, well]))
