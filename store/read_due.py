"""What pipelines with a deadline still have to do."""

from __future__ import annotations

from collections import defaultdict

from elisa.model.columns import UnfinishedRow
from elisa.store.connection import Connection
from elisa.store.convert import resources_from

__all__ = ["DueQueries"]

# Where nothing waits for anything, no chain is longer than its one task.
_OF_DUE = (
    " FROM task t JOIN pipeline p ON p.id = t.pipeline WHERE p.deadline IS NOT NULL"
    " AND t.state IN ('waiting', 'ready', 'active', 'held')"
    " AND EXISTS (SELECT 1 FROM task w WHERE w.pipeline = p.id AND w.state = 'waiting')"
)
_TASKS = f"SELECT t.id, t.request, t.parent{_OF_DUE} ORDER BY t.id"
_EDGES = f"SELECT e.task, e.target FROM need_edge e WHERE e.task IN (SELECT t.id{_OF_DUE}) ORDER BY e.task, e.target"


class DueQueries:
    """Queries for what is due."""

    _db: Connection

    def unfinished_due(self) -> tuple[UnfinishedRow, ...]:
        """Return the unfinished tasks of every pipeline that has a deadline and tasks that wait, by id.

        Who needs a template needs the tasks made from it as well.
        """
        rows = self._db.rows(_TASKS)
        if not rows:
            return ()
        made: defaultdict[str, list[str]] = defaultdict(list)
        for task, _, parent in rows:
            if parent is not None:
                made[parent].append(task)
        needs: defaultdict[str, list[str]] = defaultdict(list)
        for task, target in self._db.rows(_EDGES):
            needs[task] += [target, *made.get(target, ())]
        walltime_s = {request: resources_from(request).walltime_s for request in {row[1] for row in rows}}
        return tuple(UnfinishedRow(task, walltime_s[request], tuple(needs[task])) for task, request, _ in rows)
