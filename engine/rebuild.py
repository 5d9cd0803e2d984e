"""A state folder brought back to life after its database was damaged: from the newest sound copy, and what jobs said since.

The copy knows less than the spool. What it does not know is found again by the ordinary tick: events are read from where
the copy left off; an attempt whose instructions lie in the spool already is taken for a submission whose answer was lost,
so that its job is found by its tag instead of being submitted again. Only tasks that are younger than the copy are lost:
their jobs are shut out, and their pipelines must be submitted again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from elisa.engine.fence import raise_fence
from elisa.engine.files import Files
from elisa.engine.lock import tick_lock
from elisa.engine.seals import create_secret
from elisa.engine.spool import make_spool
from elisa.engine.workspace import system_ports
from elisa.model import layout
from elisa.model.changes import Noted
from elisa.model.errors import StoreError, UsageError
from elisa.model.ids import AttemptId, attempt_number, is_attempt_id, task_of
from elisa.model.ports import Clock, CrashPoint, RandomSource
from elisa.model.reasons import Fact
from elisa.store.backups import kept
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["Ports", "Rebuilt", "rebuild"]

_COMPANIONS = ("-journal", "-wal", "-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was done: the copy that was taken, where the damaged files lie now, and attempts of tasks it does not know."""

    copy: Path
    damaged: Path
    strays: tuple[AttemptId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a rebuild works through; a damaged folder cannot be opened as a workspace."""

    files: Files
    clock: Clock
    random: RandomSource
    crash: CrashPoint
    actor: str


def rebuild(home: Path, ports: Ports | None = None) -> Rebuilt:
    """Put the newest sound copy in the place of a damaged database.

    Raises UsageError if the database is sound, StoreError if there is no sound copy; killed anywhere, it can be run again.
    """
    ports = ports or _system()
    with tick_lock(home, ports.clock.now()):
        if _is_sound(home) and not ports.files.exists(_unfinished(home)):
            raise UsageError(f"the database in {home} is sound", "there is nothing to rebuild", "see `elisa doctor`")
        copy = _newest_sound(ports.files, home)
        damaged = _keep_damaged(ports, home, ports.clock.now())
        ports.files.write(_unfinished(home), b"")
        ports.files.write(layout.database(home), ports.files.read(copy) or b"")
        ports.crash("rebuild.placed")
        create_secret(ports.files, home, ports.random)
        make_spool(ports.files, home)
        strays = _reconcile(ports, home, copy)
        ports.files.remove(_unfinished(home))
        return Rebuilt(copy=copy, damaged=damaged, strays=strays)


def _unfinished(home: Path) -> Path:
    """Return the file that shows, from before the copy is put in place, that a rebuild has not come to its end."""
    return home / ".rebuild" / "unfinished"


def _system() -> Ports:
    files, clock, random, crash = system_ports()
    return Ports(files=files, clock=clock, random=random, crash=crash, actor="rebuild")


def _is_sound(home: Path) -> bool:
    with suppress(StoreError), Reader.open(home) as reader:
        reader.verify_audit()
        return True
    return False


def _newest_sound(files: Files, home: Path) -> Path:
    """Return the newest copy that can be read from end to end."""
    trial = home / ".rebuild"
    files.make_folder(trial)
    for copy in reversed(kept(layout.backups(home))):
        files.write(layout.database(trial), files.read(copy) or b"")
        sound = _is_sound(trial)
        for suffix in ("", *_COMPANIONS):
            files.remove(Path(f"{layout.database(trial)}{suffix}"))
        if sound:
            return copy
    raise StoreError(
        f"there is no sound copy of the database in {layout.backups(home)}",
        "a copy is kept for each day of the last three on which elisa ticked",
        "restore the state folder from a backup of your own, or move it away and begin anew with `elisa init`",
    )


def _keep_damaged(ports: Ports, home: Path, now: datetime) -> Path:
    """Copy what is left of the database aside, then remove its journals: they would be played into the new one."""
    aside = home / "damaged" / now.strftime("%Y%m%dT%H%M%S")
    ports.files.make_folder(aside)
    database = layout.database(home)
    for path in (database, *(Path(f"{database}{suffix}") for suffix in _COMPANIONS)):
        content = ports.files.read(path)
        if content is not None:
            ports.files.write(aside / path.name, content)
    for suffix in _COMPANIONS:
        ports.files.remove(Path(f"{database}{suffix}"))
    ports.crash("rebuild.kept")
    return aside


def _reconcile(ports: Ports, home: Path, copy: Path) -> tuple[AttemptId, ...]:
    """Shut out the jobs of tasks that nobody knows any more; the tick finds everything else."""
    with Writer.open(home, clock=ports.clock, actor=ports.actor, crash=ports.crash) as writer:
        strays = tuple(_strays(ports.files, home, writer))
        for attempt in strays:
            raise_fence(ports.files, home, task_of(attempt), attempt_number(attempt) + 1)
        facts: dict[str, Fact] = {"copy": copy.name, "strays": len(strays)}
        writer.apply([Noted(subject="store", what="rebuilt", facts=facts)])
    return strays


def _strays(files: Files, home: Path, reader: Reader) -> Iterator[AttemptId]:
    attempts = [AttemptId(name) for name in files.folders(layout.spool(home)) if is_attempt_id(name)]
    known = reader.tasks({task_of(attempt) for attempt in attempts})
    yield from (attempt for attempt in attempts if task_of(attempt) not in known)
