"""The state folder and everything it leans on, examined; each finding says how to mend what is wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from elisa.backends.protocol import Advises
from elisa.backends.runner import Runner, SubprocessRunner
from elisa.engine.avoidance import learnt
from elisa.engine.clearing import with_closures
from elisa.engine.config import load_site
from elisa.engine.files import OsFiles
from elisa.engine.health import HealthBook
from elisa.engine.managers import words_of
from elisa.engine.plugins import whole_name
from elisa.engine.ports import SystemClock
from elisa.engine.release import AGENT_PATH
from elisa.engine.roles import read_roles
from elisa.engine.seals import read_secret
from elisa.engine.workspace import check_ancestors, open_workspace
from elisa.model import layout
from elisa.model.errors import BackendError, ElisaError
from elisa.model.native import NodeState
from elisa.policies.registry import Plugins, load_plugins, named_by
from elisa.store.filesystem import probe
from elisa.store.reader import Reader

__all__ = ["Finding", "Level", "examine"]

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `bad` keeps elisa from working; `warn` may, some day."""

    name: str
    level: Level
    what: str
    hint: str = ""


_LONG_WITHOUT_TICK = timedelta(minutes=15)
_LARGEST_SKEW_S = 5.0
_LEAST_FREE_MIB = 500
_NOT_YOURS = "its owner must give you the right, or name a folder of your own with --home or ELISA_HOME"
_HINTS = {
    errno.EACCES: _NOT_YOURS,
    errno.EPERM: _NOT_YOURS,
    errno.ENAMETOOLONG: "name another folder with --home or ELISA_HOME",
}
_AGENT_TIMEOUT_S = 30.0
# The first SQLite with the fix for the bug that can corrupt a write-ahead log: sqlite.org/wal.html, "The WAL-reset bug".
_WAL_FIXED = (3, 51, 3)


def examine(home: Path, runner: Runner | None = None) -> tuple[Finding, ...]:
    """Return all findings, in the order in which to mend them."""
    return tuple(replace(one, hint=_but_not_here(one.hint)) for one in _findings(home, runner or SubprocessRunner()))


def _but_not_here(hint: str) -> str:
    """Return an error's advice without what only sends whoever reads it to where he is."""
    return "; ".join(part for part in hint.split("; ") if "`elisa doctor`" not in part)


def _findings(home: Path, runner: Runner) -> Iterator[Finding]:
    if missing := tuple(_guarded(_state_folder, home)):
        yield from missing
        return
    checks: tuple[Callable[[Path], Iterator[Finding]], ...] = (
        _folder,
        _space,
        _filesystem,
        _writing,
        _database,
        _spool,
        _secret,
        _configuration,
        _roles,
        _plugins,
        _last_tick,
        _backends,
        _places,
    )
    for check in checks:
        yield from _guarded(check, home)
    yield from _agent(runner)
    yield _versions()


def _ok(name: str, what: str) -> Finding:
    return Finding(name=name, level="ok", what=what)


def _warn(name: str, what: str, hint: str) -> Finding:
    return Finding(name=name, level="warn", what=what, hint=hint)


def _bad(name: str, what: str, hint: str) -> Finding:
    return Finding(name=name, level="bad", what=what, hint=hint)


def _guarded(check: Callable[[Path], Iterator[Finding]], home: Path) -> Iterator[Finding]:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(home)
    except ElisaError as err:
        yield _bad(name, f"{err.what}: {err.why}" if err.why else err.what, err.hint)
    except OSError as err:
        hint = _HINTS.get(err.errno or 0, "check that the filesystem is mounted and not full")
        yield _bad(name, f"{err.filename or home}: {err.strerror}", hint)


def _state_folder(home: Path) -> Iterator[Finding]:
    """Tell if there is none: then nothing else can be looked at."""
    if home.exists() and not home.is_dir():
        yield _bad("state folder", f"{home} is a file, not a folder", "name another folder with --home or ELISA_HOME")
    elif not home.is_dir():
        yield _bad("state folder", f"{home} does not exist", "run `elisa init`")


def _folder(home: Path) -> Iterator[Finding]:
    check_ancestors(home, os.geteuid())
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        yield _warn("state folder", f"{home} has mode {mode:o}: others can look inside", f"chmod 700 {home}")
    else:
        yield _ok("state folder", f"{home} is yours alone")


def _space(home: Path) -> Iterator[Finding]:
    free_mib, folder = min((_free_mib(folder), folder) for folder in _written(home))
    where = "" if folder == home else f" in {folder}"
    hint = "free space or quota: a full disk stops every submission"
    if not free_mib:
        yield _bad("space", f"nothing is free{where}", hint)
    elif free_mib < _LEAST_FREE_MIB:
        yield _warn("space", f"{free_mib} MiB are free{where}", hint)
    else:
        yield _ok("space", f"{free_mib // 1024} GiB are free")


def _free_mib(folder: Path) -> int:
    status = os.statvfs(folder)
    return int(status.f_bavail * status.f_frsize // 2**20)


def _written(home: Path) -> list[Path]:
    """Return the folders that must be writable, each of which may be mounted by itself."""
    return [home, *filter(Path.is_dir, (layout.spool(home), layout.claims(home), layout.runs(home)))]


def _filesystem(home: Path) -> Iterator[Finding]:
    found = probe(home)
    if found.is_local:
        yield _ok("filesystem", f"{found.name}, of this machine")
        return
    yield _warn(
        "filesystem",
        f"{found.name} ({found.mount_point}) may be shared between hosts: only the host that made the state may tick",
        "run elisa on one login node, or keep its state in PostgreSQL",
    )


def _writing(home: Path) -> Iterator[Finding]:
    """Tell once that nothing can be written, instead of once for each thing that is tried."""
    for folder in _written(home):
        path = folder / ".write-test"
        try:
            path.write_bytes(b"")
        except OSError as err:
            hint = "check that it is mounted for writing, is yours and is not full"
            yield _bad("writing", f"nothing can be written to {folder}: {err.strerror}", hint)
            return
        path.unlink()
    yield from _guarded(_locks, home)
    yield from _guarded(_clock, home)


def _locks(home: Path) -> Iterator[Finding]:
    """See whether a lock taken through one descriptor keeps out another."""
    path = home / ".lock-test"
    one, other = (os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for _ in range(2))
    try:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield _ok("locks", "they work, between processes of this host")
    else:
        yield _bad("locks", "this filesystem grants one lock twice", "move the state folder to another filesystem")
    finally:
        os.close(one)
        os.close(other)
        path.unlink(missing_ok=True)


def _clock(home: Path) -> Iterator[Finding]:
    """Compare our clock with that of whoever stamps the files."""
    path = home / ".clock-test"
    path.write_bytes(b"")
    skew_s = abs(path.stat().st_mtime - SystemClock().now().timestamp())
    path.unlink()
    if skew_s > _LARGEST_SKEW_S:
        yield _warn("clock", f"it differs by {skew_s:.0f} s from the file server's", "ask the site to synchronise it")
    else:
        yield _ok("clock", "it agrees with the file server's")


def _database(home: Path) -> Iterator[Finding]:
    with Reader.open(home) as reader:
        meta, check = reader.meta(), reader.verify_audit()
    for problem in check.problems:
        yield _bad("audit", problem, "keep a copy of the state folder; somebody or something changed its history")
    yield _ok("database", f"schema {meta.schema_version}, {check.rows} rows of audit, made on {meta.host}")


def _spool(home: Path) -> Iterator[Finding]:
    if not layout.spool_sentinel(home).exists():
        hint = "mount it again; if it was wiped for good, `elisa init` makes a new one"
        yield _bad("spool", f"{layout.spool_sentinel(home)} is missing: nothing is concluded or submitted", hint)
    else:
        yield _ok("spool", "it is there")


def _secret(home: Path) -> Iterator[Finding]:
    read_secret(OsFiles(), home)
    path = layout.event_secret(home)
    if path.stat().st_mode & 0o077:
        yield _bad("events key", f"others can read {path} and forge what jobs say", f"chmod 600 {path}")
    else:
        yield _ok("events key", "only you can read it")


def _configuration(home: Path) -> Iterator[Finding]:
    site = load_site(OsFiles(), home)
    yield _ok("site.yaml", f"backends {', '.join(site.backends)}; {len(site.projects)} projects")


def _roles(home: Path) -> Iterator[Finding]:
    roles, owner = read_roles(OsFiles(), home)
    admins, managers = len(roles.rights(owner).admins), len(roles.managers)
    yield _ok(
        "roles", f"{admins} administrators, managers of {managers} projects, {len(roles.classes)} reserved classes"
    )


def _plugins(home: Path) -> Iterator[Finding]:
    """Tell what other packages bring, if the site names any of it, and what of that cannot be had."""
    site = load_site(OsFiles(), home)
    named = [*named_by(site.policy()), *([f"planner.{site.planner}"] if site.planner else [])]
    found = load_plugins() if named else Plugins({}, ())
    present = {*map(whole_name, found.calls), *(f"planner.{name}" for name in found.planners)}
    for problem in found.problems:
        yield _warn("plug-ins", problem, "mend or remove the package that brings it")
    for name in named:
        if name in present:
            yield _ok(f"plug-in {name}", "it is installed")
        else:
            yield _warn(
                f"plug-in {name}", "no package brings it: it is left out", "install the package, or change site.yaml"
            )


def _last_tick(home: Path) -> Iterator[Finding]:
    with Reader.open(home) as reader:
        meta = reader.meta()
    at = meta.last_tick_at
    age = None if at is None else meta.present(datetime.now(UTC)) - at
    hint = "run `elisa cron install`, or `elisa tick --loop 60` in a terminal that stays open"
    if age is None:
        yield _warn("ticks", "there was none yet", hint)
    elif age > _LONG_WITHOUT_TICK:
        yield _warn("ticks", f"the last one was {age // timedelta(minutes=1)} minutes ago", hint)
    else:
        yield _ok("ticks", f"the last one was {age // timedelta(seconds=1)} s ago")


def _backends(home: Path) -> Iterator[Finding]:
    with open_workspace(home) as ws:
        resting = HealthBook(ws.files, home).sick
        for name, backend in sorted(ws.backends.items()):
            try:
                view = backend.cluster()
                advice = backend.advice() if isinstance(backend, Advises) else ()
            except BackendError as err:
                yield _bad(f"backend {name}", words_of(err), err.hint)
                continue
            up = sum(node.state is NodeState.UP for node in view.nodes)
            yield _ok(f"backend {name}", f"{up} of {len(view.nodes)} nodes are up, {len(view.partitions)} partitions")
            for told in advice:
                level: Level = "warn" if told.is_concern else "ok"
                yield Finding(name=f"backend {name}", level=level, what=told.what, hint=told.hint)
        for sick, health in sorted(resting.items()):
            what = f"failed {health.failures} times since {health.since:%Y-%m-%d %H:%M}: {health.what}"
            kind = "plug-in" if sick.startswith(("order.", "planner.")) else "backend"
            yield _warn(f"{kind} {sick}", what, "it is asked again by itself")


def _places(home: Path) -> Iterator[Finding]:
    """Tell which places get no work, and why."""
    with open_workspace(home) as ws, Reader.open(home) as reader:
        now = ws.clock.now()
        closures = with_closures(ws.site.policy(), reader, now).closures
        for one in closures:
            if one.starts_at <= now < one.ends_at:
                hint = f"`elisa undrain {one.backend}` opens it" if one.id else "`closures` in site.yaml says so"
                yield _warn("closed", f"{one.place} gets no work{f': {one.why}' if one.why else ''}", hint)
        for bad in learnt(reader, now):
            what = f"{bad.place}: {bad.broken} of its last {bad.runs} runs broke there"
            yield _warn("avoided", what, f"it gets work again at {bad.until:%Y-%m-%d %H:%M} UTC; have it looked at")


def _agent(runner: Runner) -> Iterator[Finding]:
    argv = [sys.executable, "-S", "-c", "import elisa.runtime.agent"]
    answer = runner.run(argv, timeout_s=_AGENT_TIMEOUT_S, env={"PYTHONPATH": AGENT_PATH})
    if answer.ok:
        yield _ok("agent", f"it starts with {sys.executable}")
    else:
        words = answer.stderr.strip().rpartition("\n")[2]
        yield _bad("agent", f"it does not start with {sys.executable}: {words}", "install elisa again")


def _versions() -> Finding:
    sqlite = sqlite3.sqlite_version_info
    journal = "" if sqlite >= _WAL_FIXED else " (its write-ahead log has a known bug and is not used)"
    python = ".".join(map(str, sys.version_info[:3]))
    return _ok("versions", f"Python {python}, SQLite {sqlite3.sqlite_version}{journal}")
