"""The questions a backend puts to a PBS server, and what was learned of how to put them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from elisa.backends.pbs.dialect import dialect_argv, parse_dialect
from elisa.backends.pbs.identity import number_of
from elisa.backends.pbs.listing import (
    Listing,
    Way,
    has_no_express,
    has_no_history,
    parse_listing,
    poll_argv,
    strange_hosts,
)
from elisa.backends.pbs.options import Dialect, History, PbsOptions
from elisa.backends.pbs.refusals import unavailable
from elisa.backends.pbs.search import parse_search, search_argv
from elisa.backends.runner import Completed, Runner

__all__ = ["PbsServer", "batches"]

T = TypeVar("T")

# PBS's programs print times in the zone of whoever asks.
_QUERY_ENV = {"TZ": "UTC"}
# An id has up to 80 characters, and a command line holds 128 KiB at the least.
_BATCH = 1000
# Each id is a connection: from here on all live jobs of everybody cost the server less.
_MANY = 20


@dataclass(slots=True, kw_only=True)
class PbsServer:
    """Asks as `user`. What the server's answers taught about it is kept as long as this object lives."""

    options: PbsOptions
    runner: Runner
    user: str
    _dialect: Dialect = field(init=False)
    _has_history: bool = field(init=False)
    _has_express: bool = field(init=False, default=True)
    _strange: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        """Begin with what the configuration says."""
        self._dialect = self.options.dialect
        self._has_history = self.options.history is not History.NO

    def program(self, name: str) -> str:
        """Return how a program of PBS is called."""
        return f"{self.options.path}/{name}" if self.options.path else name

    def run(self, argv: Sequence[str]) -> Completed:
        """Run a query."""
        return self.runner.run(argv, timeout_s=self.options.query_timeout_s, env=_QUERY_ENV)

    def answer(self, argv: Sequence[str]) -> str:
        """Return what a query printed. Raises Unavailable if it failed."""
        answer = self.run(argv)
        if not answer.ok:
            raise unavailable(f"{argv[0]} failed", answer)
        return answer.stdout

    def dialect(self) -> Dialect:
        """Return whose PBS it is. Raises Unavailable where there is no qstat."""
        if self._dialect is Dialect.AUTO:
            self._dialect = parse_dialect(self.run(dialect_argv(self.program("qstat"))))
        return self._dialect

    def address(self, pbs_id: str) -> str:
        """Return how a job is named to PBS: without its server where that is not to be found any more."""
        number = number_of(pbs_id)
        return number if pbs_id.removeprefix(f"{number}.") in self._strange else pbs_id

    def list_jobs(self, pbs_ids: Collection[str]) -> Listing:
        """Return what the server says of these jobs. Raises Unavailable unless it spoke about all of them."""
        ids = sorted(set(pbs_ids), key=lambda pbs_id: (int(number_of(pbs_id).partition("[")[0]), pbs_id))
        if not ids:
            return Listing(records={})
        if self._may_name_all():
            listing = self._list(ids, Way.EXPRESS)
            if listing is not None:
                return listing
            self._has_express = False
        return self._list_among_all(ids) if len(ids) > _MANY else self._list_each(ids)

    def search(self, name: str = "") -> tuple[str, ...]:
        """Return PBS's ids of the user's jobs of this name, or of all of them. Raises Unavailable."""
        return parse_search(self._ask_with_history(lambda history: self._search_argv(name, with_history=history)))

    def _may_name_all(self) -> bool:
        return self._has_express and self.dialect() is Dialect.OPENPBS

    def _keeps_history(self) -> bool:
        return self._has_history and self.dialect() is Dialect.OPENPBS

    def _list(self, ids: Sequence[str], way: Way) -> Listing | None:
        """Return what was said, asked this way; None if this qstat does not know the way."""
        listing = Listing(records={})
        for some in batches(ids, len(ids) if way is Way.ALL else _BATCH):
            answer = self._ask_about(some, way)
            if has_no_express(answer):
                return None
            listing = listing.joined(parse_listing(answer, [number_of(pbs_id) for pbs_id in some], way))
        return listing

    def _list_each(self, ids: Sequence[str]) -> Listing:
        return self._list(ids, Way.EACH) or Listing(records={})

    def _list_among_all(self, ids: Sequence[str]) -> Listing:
        """Look for jobs among all live ones, and only for the rest one by one among the finished."""
        alive = self._list(ids, Way.ALL) or Listing(records={})
        rest = [pbs_id for pbs_id in ids if number_of(pbs_id) not in alive.records]
        if not rest or not self._keeps_history():
            return alive
        return Listing(records=alive.records).joined(self._list_each(rest))

    def _ask_about(self, ids: Sequence[str], way: Way) -> Completed:
        answer = self._ask_by_address(ids, way)
        strange = strange_hosts(answer)
        if not strange:
            return answer
        self._strange |= strange
        return self._ask_by_address(ids, way)

    def _ask_by_address(self, ids: Sequence[str], way: Way) -> Completed:
        qstat, known = self.program("qstat"), [self.address(pbs_id) for pbs_id in ids]
        return self._ask_with_history(lambda history: poll_argv(qstat, known, way, with_history=history))

    def _search_argv(self, name: str, *, with_history: bool) -> tuple[str, ...]:
        return search_argv(self.program("qselect"), self.user, name, with_history=with_history)

    def _ask_with_history(self, argv: Callable[[bool], tuple[str, ...]]) -> Completed:
        """Ask about finished jobs too; a server that keeps no history says nothing at all then, and is asked again."""
        answer = self.run(argv(self._keeps_history()))
        if not has_no_history(answer):
            return answer
        self._has_history = False
        return self.run(argv(self._has_history))


def batches(items: Sequence[T], size: int = _BATCH) -> list[Sequence[T]]:
    """Return `items` in parts of at most `size`."""
    return [items[at : at + size] for at in range(0, len(items), size)]
