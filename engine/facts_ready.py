"""What is known of tasks to be planned beside what the store has in columns: for a tick, and for what is supposed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from elisa.engine.facts_affinity import with_company
from elisa.engine.facts_due import with_paths
from elisa.engine.facts_lending import with_leaving
from elisa.engine.facts_places import by_kind
from elisa.engine.facts_promise import with_promise
from elisa.engine.facts_windows import shortened
from elisa.engine.facts_work import WorkLeft
from elisa.engine.foreseen import NOTHING_FORESEEN, Foreseen
from elisa.forecast.speeds import Kind
from elisa.model.affinity import Company
from elisa.model.columns import ReadyColumns
from elisa.model.ids import BackendName
from elisa.model.site import BackfillTimes, SitePolicy
from elisa.policies.deadlines import Due
from elisa.policies.power import priced
from elisa.store.reader import Reader

__all__ = ["ReadyFacts"]


class ReadyFacts(NamedTuple):
    """Where it is read, and under which rules."""

    reader: Reader
    left: WorkLeft
    policy: SitePolicy
    backends: Collection[BackendName]
    now: datetime
    foreseen: Foreseen = NOTHING_FORESEEN

    def told(self, ready: ReadyColumns) -> tuple[ReadyColumns, Company]:
        """Return the columns with what tasks are expected to take, draw and promise, and who is where of those tied to them."""
        ready = with_promise(self.left.fill(ready), self.reader, self.policy)
        ready = with_leaving(ready, self.reader, self.policy, self.foreseen)
        ready = shortened(ready, self.reader, self.policy, self.backends, self.now, self.foreseen)
        ready = priced(ready, self.policy.power, self.policy.gpu_shares)
        return with_company(ready, self.reader, self.foreseen)

    def placed(self, ready: ReadyColumns, due: Due) -> tuple[ReadyColumns, Sequence[Kind]]:
        """Return the columns with what is behind each task, and how long room is kept for it; and each shape's kind."""
        is_predicting = self.policy.backfill_times is BackfillTimes.PREDICTED
        return by_kind(with_paths(self.left.split(ready) if is_predicting else ready, due), self.left)
