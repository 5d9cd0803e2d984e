"""Tasks that are planned before their time: nobody submitted them yet, or what they wait for is not done."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from elisa.model.ids import TaskId
from elisa.store.read_company import CompanyRow, TiedRow

__all__ = ["NOTHING_FORESEEN", "Foreseen"]


class Foreseen(NamedTuple):
    """What queries for ready tasks leave out.

    `tied` and `rows` are tasks that the store does not have: their wishes about others, and what these can know them by.
    `saving` are those of all that save when they are asked, and whether they may be preempted. `is_later`: tasks that wait
    are among them.
    """

    tied: tuple[TiedRow, ...] = ()
    rows: tuple[CompanyRow, ...] = ()
    saving: Mapping[TaskId, bool] = MappingProxyType({})
    is_later: bool = False


NOTHING_FORESEEN = Foreseen()
