"""What the results of ready tasks are hoped to be worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from elisa.forecast.promise import promise_of
from elisa.model.columns import ReadyColumns
from elisa.model.ids import TaskId
from elisa.model.needs import ResolvedNeed
from elisa.model.site import SitePolicy
from elisa.model.task import Task
from elisa.store.reader import Reader

__all__ = ["with_promise"]


def with_promise(ready: ReadyColumns, reader: Reader, policy: SitePolicy) -> ReadyColumns:
    """Return the columns with the promise of each task that declares one, where the site gives promise a weight.

    A task that reported nothing yet promises what those that it needed did: a trial's second stage goes on from the first.
    """
    promising = reader.promising() if ready.task and policy.factors.promise else ()
    if not promising:
        return ready
    tasks, needs = reader.tasks(promising), reader.upstream(promising)
    known = {name: _promise(task, needs.get(name, ())) for name, task in tasks.items()}
    return ready._replace(promise=[known.get(TaskId(task), 0.0) for task in ready.task])


def _promise(task: Task, needs: tuple[ResolvedNeed, ...]) -> float:
    if task.spec.promise is None:
        return 0.0
    return promise_of(task.spec.promise, _values(task.spec.promise.metric, task.metrics, needs))


def _values(metric: str, own: Mapping[str, float], needs: tuple[ResolvedNeed, ...]) -> Iterator[float | None]:
    yield own.get(metric)
    yield from (target.metrics.get(metric) for need in needs for target in need.targets)
