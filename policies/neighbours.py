"""Who is where of those that others are tied to, as work begins and ends while it is played through."""

from __future__ import annotations

from collections.abc import Sequence

from elisa.model.affinity import Bond, Company, Neighbour
from elisa.model.ids import BackendName, TaskId
from elisa.policies.affinity_pledges import shunned_by

__all__ = ["Neighbours"]


class Neighbours:
    """The company of a moment, taken on from there."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._live = {one.task: one for one in company.neighbours if not one.is_over}
        self._over = [one for one in company.neighbours if one.is_over]

    @property
    def company(self) -> Company:
        """Who is where now."""
        return self._company._replace(neighbours=(*self._live.values(), *self._over))

    def enter(self, task: TaskId, bond: Bond, backend: BackendName, nodes: Sequence[str]) -> None:
        """Let a task begin on some nodes."""
        shuns = shunned_by(bond)
        if bond.circles or shuns:
            self._live[task] = Neighbour(backend, tuple(nodes), bond.circles, shuns, task=task)

    def settle(self, task: TaskId, nodes: Sequence[str]) -> None:
        """Note on which nodes a task runs that is known already, as its manager says."""
        if task in self._live and nodes:
            self._live[task] = self._live[task]._replace(nodes=tuple(nodes))

    def leave(self, task: TaskId) -> None:
        """Let a task be gone that is not over: it begins again somewhere, or nowhere."""
        self._live.pop(task, None)

    def end(self, task: TaskId) -> None:
        """Let a task be over. Those that speak of tasks of their pipeline by name remember where it was."""
        one = self._live.pop(task, None)
        if one is not None and one.nodes and any(self._company.circles[number].pipeline for number in one.circles):
            self._over.append(one._replace(shuns=(), is_over=True, task=""))
