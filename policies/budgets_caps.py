"""The caps on all owners of ready tasks, in columns, and who may be admitted under them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, compress
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from elisa.model.columns import UsageRow
from elisa.model.reasons import Reason, because
from elisa.model.resources import Resources
from elisa.model.site import EVERYBODY, Cap, Metered, SitePolicy
from elisa.policies.budgets import CapRow, Meter, Owner, demand_of, refusal_of, uses

__all__ = ["Admission", "Caps", "cap_rows"]

# numpy compares 64-bit integers; no budget of a real site comes near (2**62 node-seconds: a million nodes for ages).
_UNLIMITED = 2**62


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Caps:
    """Caps as they stand, in columns: a plan compares thousands of them, and speaks of a few.

    `bearers` are everybody together, then the projects and then the members that caps may bind; the caps of bearer number
    n are those from `first[n]` until before `first[n + 1]`. `project` is the number of each member's project among the
    projects, `meter` that of what each cap counts.
    """

    bearers: Sequence[Owner]
    project: Sequence[int]
    first: Sequence[int]
    cap: Sequence[Cap]
    used: Sequence[int]
    meter: Sequence[int]
    meters: Sequence[Meter]

    def __len__(self) -> int:
        return len(self.cap)

    def __iter__(self) -> Iterator[CapRow]:
        return map(self.row, range(len(self)))

    def row(self, place: int) -> CapRow:
        """Return one cap."""
        return CapRow(self.bearers[bisect_right(self.first, place) - 1], self.cap[place], self.used[place])

    @property
    def projects(self) -> Sequence[Owner]:
        """The bearers that are projects, in the order of their numbers."""
        return self.bearers[1 : len(self.bearers) - len(self.project)]

    def of(self, member: int) -> tuple[tuple[int, int], ...]:
        """Return which caps bind one member, each with its meter: those of the project, of their own, of everybody."""
        first, meter, project = self.first, self.meter, self.project[member] + 1
        own = len(self.bearers) - len(self.project) + member
        of_project, of_member = meter[first[project] : first[project + 1]], meter[first[own] : first[own + 1]]
        of_all = enumerate(meter[: first[1]])
        return (*enumerate(of_project, first[project]), *enumerate(of_member, first[own]), *of_all)

    def hard(self) -> Caps:
        """Return those that are never exceeded."""
        return self._where([cap.is_hard for cap in self.cap])

    def soft(self) -> Caps:
        """Return those that are exceeded with what nobody else asks for."""
        return self._where([not cap.is_hard for cap in self.cap])

    def _where(self, keep: Sequence[bool]) -> Caps:
        if all(keep):
            return self
        before = [0, *accumulate(keep)]
        return replace(
            self,
            first=[before[row] for row in self.first],
            cap=list(compress(self.cap, keep)),
            used=list(compress(self.used, keep)),
            meter=list(compress(self.meter, keep)),
        )


def cap_rows(site: SitePolicy, owners: Sequence[Owner], usage: Sequence[UsageRow]) -> Caps:
    """Return every cap, hard and soft, that binds one of `owners` (members of projects), with what is used of it."""
    policies = {policy.name: policy for policy in site.projects}
    number = {name: place for place, name in enumerate(dict.fromkeys(owner.project for owner in owners))}
    ruled = [policies.get(name, site.unlisted) for name in number]
    project = [number[owner.project] for owner in owners]
    bearers = (Owner(EVERYBODY), *map(Owner, number), *owners)
    own = [dict(policy.member_caps) for policy in ruled]
    caps = [
        site.caps,
        *(policy.caps for policy in ruled),
        *[
            own[place].get(owner.uid, ruled[place].user_caps) if own[place] else ruled[place].user_caps
            for place, owner in zip(project, owners, strict=True)
        ],
    ]
    first = [0, *accumulate(map(len, caps))]
    meters: dict[tuple[Metered, str], int] = {}
    # By project: caps on all its members count the same things.
    of_project, of_member = ([_numbered(of(policy), meters) for policy in ruled] for of in (_CAPS, _USER_CAPS))
    of_all = _numbered(site.caps, meters)
    meter = [*of_all, *chain.from_iterable(of_project), *chain.from_iterable([of_member[place] for place in project])]
    totals = _Totals(usage, bearers).on(tuple(Meter(*key) for key in meters))
    bearer = np.repeat(np.arange(len(caps)), np.diff(first))
    return Caps(
        bearers=bearers,
        project=project,
        first=first,
        cap=list(chain.from_iterable(caps)),
        used=totals[np.array(meter, dtype=np.int64), bearer].tolist(),
        meter=meter,
        meters=tuple(Meter(*key) for key in meters),
    )


_CAPS, _USER_CAPS = attrgetter("caps"), attrgetter("user_caps")


def _numbered(caps: Sequence[Cap], meters: dict[tuple[Metered, str], int]) -> list[int]:
    return [meters.setdefault((cap.resource, cap.gpu_type), len(meters)) for cap in caps]


class _Totals:
    """Use by bearers of caps, added up once for each meter."""

    def __init__(self, usage: Sequence[UsageRow], bearers: Sequence[Owner]) -> None:
        self._usage = usage
        self._count = len(bearers)
        place: dict[tuple[str, int], int] = {owner: number for number, owner in enumerate(bearers)}
        # One more place, for all of whom no cap binds.
        members = [place.get((row.project, row.owner_uid), self._count) for row in usage]
        projects = [place.get((row.project, -1), self._count) for row in usage]
        self._members, self._projects = np.array(members, dtype=np.int64), np.array(projects, dtype=np.int64)

    def on(self, meters: Sequence[Meter]) -> npt.NDArray[Any]:
        """Return what each bearer uses, a row for each meter."""
        kinds = {(meter.resource, not meter.gpu_type) for meter in meters}
        used = {kind: _exact(uses(self._usage, kind[0], as_gpus=kind[1])) for kind in kinds}
        rows = [self._added_up(meter, used[meter.resource, not meter.gpu_type]) for meter in meters]
        return np.array(rows).reshape(len(meters), self._count + 1)

    def _added_up(self, meter: Meter, used: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if meter.gpu_type:
            used = used * [meter.counts(row.gpu_type) for row in self._usage]
        totals = np.zeros(self._count + 1, dtype=used.dtype)
        np.add.at(totals, self._members, used)
        np.add.at(totals, self._projects, used)
        totals[0] = used.sum()
        return totals


def _exact(amounts: Sequence[int]) -> npt.NDArray[Any]:
    """Return amounts so that they are added up without rounding: as they are where 64 bits might not hold their sum."""
    return np.array(amounts, dtype=np.int64 if sum(map(abs, amounts)) < _UNLIMITED else object)


@dataclass(slots=True)
class Admission:
    """The hard caps during one plan: every admission lowers what is left, so that a refusal stays a refusal.

    Owners are numbered as the members that `caps` may bind, variants (a request with a type of GPU) as in `variants`.
    """

    caps: Caps
    variants: Sequence[tuple[Resources, str]]
    left: list[int] = field(init=False)
    _rows: dict[int, Sequence[tuple[int, int]]] = field(init=False)
    _saved: Counter[int] = field(init=False)
    _after: list[int] = field(init=False)
    _demand: list[tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.caps = self.caps.hard()
        self.left = [cap.limit - used for cap, used in zip(self.caps.cap, self.caps.used, strict=True)]
        self._rows = {}
        self._saved = Counter()
        self._after = self.left
        self._demand = [self._demands(request, gpu_type) for request, gpu_type in self.variants]

    def _demands(self, request: Resources, gpu_type: str) -> tuple[int, ...]:
        return tuple([demand_of(request, gpu_type, meter) for meter in self.caps.meters])

    def _rows_of(self, owner: int) -> Sequence[tuple[int, int]]:
        rows = self._rows.get(owner)
        if rows is None:
            rows = self._rows[owner] = self.caps.of(owner)
        return rows

    def refused_at_start(self) -> npt.NDArray[np.bool_]:
        """Return, for each variant and owner, whether a cap refuses it before anything is admitted."""
        refused = np.zeros((len(self.variants), len(self.caps.project)), dtype=np.bool_)
        demand = np.array(self._demand, dtype=np.int64).reshape(len(self.variants), len(self.caps.meters))
        for meter, left in enumerate(self._least()):
            counted = np.flatnonzero(demand[:, meter] > 0)
            refused[counted] |= demand[counted, meter, None] > left
        return refused

    def _least(self) -> npt.NDArray[np.int64]:
        """Return, for each meter and owner, what the tightest of its caps leaves."""
        caps = self.caps
        least = np.full((len(caps.meters), len(caps.bearers)), _UNLIMITED, dtype=np.int64)
        bearer = np.repeat(np.arange(len(caps.bearers)), np.diff(caps.first))
        np.minimum.at(least, (np.array(caps.meter, dtype=np.int64), bearer), np.array(self.left, dtype=np.int64))
        members = least[:, len(caps.projects) + 1 :]
        of_project = least[:, np.array(caps.project, dtype=np.int64) + 1]
        return np.minimum(np.minimum(of_project, members), least[:, :1])

    def refusing_row(self, owner: int, variant: int) -> int | None:
        """Return the first cap that refuses one more of `variant`, None if all admit it. What asks for nothing is admitted."""
        demand, left = self._demand[variant], self.left
        for row, meter in self._rows_of(owner):
            asked = demand[meter]
            if asked > left[row] and asked > 0:
                return row
        return None

    def take(self, owner: int, variant: int, times: int = 1) -> None:
        """Book `times` of `variant`; negative `times` give it back."""
        demand, left = self._demand[variant], self.left
        for row, meter in self._rows_of(owner):
            left[row] -= times * demand[meter]

    def save_for(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Let nobody use what all of `wanted` (owners with variants) will take together, as far as it is left.

        Where another cap than one on use at once refuses it, or one that is too small for it, saving would not help.
        """
        asked = Counter[int]()
        for owner, variant in wanted:
            demand = self._demand[variant]
            asked.update({row: demand[meter] for row, meter in self._rows_of(owner) if demand[meter] > 0})
        refusing = [(self.caps.cap[row], amount) for row, amount in asked.items() if amount > self.left[row]]
        if all(not cap.resource.is_cumulative and amount <= cap.limit for cap, amount in refusing):
            self._saved.update(asked)
            for row, amount in asked.items():
                self.left[row] -= amount

    def close(self) -> None:
        """Keep what is left now: whoever was refused from the start is told of that, whatever is admitted later."""
        self._after = [left + self._saved[row] for row, left in enumerate(self.left)]

    def refusal(self, row: int, variant: int) -> Reason:
        """Return the words for a refusal by cap number `row`, as things stand now."""
        asked, left = self._demand[variant][self.caps.meter[row]], self.left[row] + self._saved[row]
        reason = refusal_of(self.caps.row(row), asked, left)
        return because(reason.code, **reason.facts, kept=left) if asked <= left else reason

    def first_refusal(self, owner: int, variant: int) -> Reason:
        """Return why `variant` was refused at the start, before anything was admitted, and what is left after all that was."""
        demand = self._demand[variant]
        rows = ((row, self.caps.row(row), demand[meter]) for row, meter in self._rows_of(owner))
        number, row, asked = next(one for one in rows if one[2] > one[1].left and one[2] > 0)
        return refusal_of(row, asked, self._after[number])
