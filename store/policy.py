"""The hard caps of a site's rules, kept where every commit can be checked against them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from elisa.model.site import EVERYBODY, Cap, ProjectPolicy, SitePolicy
from elisa.store import tables
from elisa.store.batch import ANYBODY, Batch, CapRow
from elisa.store.connection import Connection

__all__ = ["is_stored", "store_policy"]


def is_stored(connection: Connection, site: SitePolicy) -> bool:
    """Tell whether the database has just these caps and projects."""
    caps = {
        CapRow(*row)
        for row in connection.rows("SELECT project, per_user, owner_uid, resource, gpu_type, cap FROM budget")
    }
    named = {row[0] for row in connection.rows("SELECT name FROM project WHERE in_policy = 1")}
    return caps == set(_caps(site)) and named == _named(site)


def store_policy(connection: Connection, batch: Batch, site: SitePolicy) -> None:
    """Replace all caps; projects are named in the policy or not, and none is forgotten."""
    known = {row[0]: row[1] for row in connection.rows("SELECT name, created_at FROM project")}
    named = _named(site)
    for name in sorted(known.keys() | named):
        row = {"name": name, "created_at": known.get(name, batch.now_us), "in_policy": int(name in named)}
        batch.upserts[tables.PROJECT][name] = row
    caps = sorted(_caps(site))
    batch.clears.add(tables.BUDGET)
    batch.inserts[tables.BUDGET] = [cap._asdict() for cap in caps]
    batch.audit.add("policy.set", "site", {"caps": [list(cap) for cap in caps], "projects": sorted(named)})


def _named(site: SitePolicy) -> set[str]:
    return {str(project.name) for project in site.projects}


def _caps(site: SitePolicy) -> Iterator[CapRow]:
    for project in (*site.projects, site.unlisted):
        yield from _caps_of(project)
    yield from _rows(EVERYBODY, 0, ANYBODY, site.caps)


def _caps_of(project: ProjectPolicy) -> Iterator[CapRow]:
    bearers = [(0, ANYBODY, project.caps), (1, ANYBODY, project.user_caps)]
    bearers += [(1, uid, caps) for uid, caps in project.member_caps]
    for per_user, uid, caps in bearers:
        yield from _rows(project.name, per_user, uid, caps)


def _rows(project: str, per_user: int, uid: int, caps: Iterable[Cap]) -> Iterator[CapRow]:
    for cap in _lowest(caps):
        yield CapRow(project, per_user, uid, cap.resource.value, cap.gpu_type, cap.limit)


def _lowest(caps: Iterable[Cap]) -> Iterable[Cap]:
    """Return the tightest hard cap on each thing."""
    lowest: dict[tuple[str, str], Cap] = {}
    for cap in caps:
        if cap.is_hard:
            key = (cap.resource.value, cap.gpu_type)
            lowest[key] = min(lowest.get(key, cap), cap, key=lambda one: one.limit)
    return lowest.values()
