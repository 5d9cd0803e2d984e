"""Which ready tasks could use room that is lent: they save and leave as soon as its holder needs it."""

from __future__ import annotations

from elisa.engine.foreseen import NOTHING_FORESEEN, Foreseen
from elisa.model.columns import ReadyColumns
from elisa.model.site import SitePolicy
from elisa.store.reader import Reader

__all__ = ["with_leaving"]


def with_leaving(
    ready: ReadyColumns, reader: Reader, policy: SitePolicy, foreseen: Foreseen = NOTHING_FORESEEN
) -> ReadyColumns:
    """Return the columns with shapes of their own for such tasks, where any room is lent."""
    if not any(one.is_lent for one in policy.reservations):
        return ready
    able = {*reader.may_leave(), *(task for task, is_preemptible in foreseen.saving.items() if is_preemptible)}
    keys = [(shape, task in able) for task, shape in zip(ready.task, ready.shape, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    shapes = [ready.shapes[shape]._replace(may_leave=may_leave) for shape, may_leave in numbers]
    return ready._replace(shape=[numbers[key] for key in keys], shapes=shapes)
