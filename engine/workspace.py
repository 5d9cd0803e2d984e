"""A state folder, opened: its configuration, its resource managers and the ports through which the engine acts."""

from __future__ import annotations

import getpass
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from elisa.backends.protocol import Backend
from elisa.backends.registry import choose_clock, open_backend
from elisa.engine.config import Site, load_site
from elisa.engine.discover import found_backends
from elisa.engine.files import Files, OsFiles
from elisa.engine.ports import RepeatableRandom, SystemClock, SystemRandom, crash_point_from
from elisa.engine.seals import create_secret
from elisa.engine.spool import make_spool
from elisa.engine.threads import Background, in_background
from elisa.model import layout
from elisa.model.errors import StoreError, StoreTooOld, UsageError
from elisa.model.ids import BackendName
from elisa.model.ports import Clock, CrashPoint, RandomSource
from elisa.store.database import exists
from elisa.store.reader import Reader
from elisa.store.writer import Writer

__all__ = ["Made", "Workspace", "check_ancestors", "init_workspace", "open_workspace", "system_ports"]

_SITE_TEMPLATE = """\
# What elisa may use. All of it may be left out: then this machine is the only backend.
# `elisa doctor` checks this file; every setting is described in docs/reference/site.md.

backends:
{found}

# projects:
#   my-project:
#     shares: 1
#     budget: {gpu_hours: 1000}
#     at_once: {gpus: 8}
#
# aged: 3d  # normal work that waits three times as long goes ahead, one task of a project at a time; `off` is never
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """All that a command needs; nothing in the engine reaches the world but through what stands here."""

    home: Path
    site: Site
    clock: Clock
    random: RandomSource
    crash: CrashPoint
    files: Files
    backends: Mapping[BackendName, Backend]
    actor: str
    uid: int
    environment: Mapping[str, str]
    background: Background = in_background

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for backend in self.backends.values():
            close: Callable[[], None] | None = getattr(backend, "close", None)
            if close is not None:
                close()

    def writer(self) -> Writer:
        """Open the store for changes; a context manager."""
        return Writer.open(self.home, clock=self.clock, actor=self.actor, crash=self.crash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `init_workspace` did."""

    home: Path
    created: bool
    backends: tuple[str, ...]


def init_workspace(home: Path) -> Made:
    """Create a state folder, or add what is missing of one; doing it twice changes nothing.

    Raises StoreError if others could tamper with it.
    """
    check_ancestors(home, os.geteuid())
    files, clock, random, crash = system_ports()
    created = not exists(home)
    for folder in (home, layout.claims(home), layout.runs(home)):
        files.make_folder(folder)
    create_secret(files, home, random)
    make_spool(files, home)
    if not files.exists(layout.site_file(home)):
        files.write(layout.site_file(home), _SITE_TEMPLATE.replace("{found}", found_backends()).encode())
    if created:
        Writer.create(home, clock=clock, random=random, actor=_actor(), crash=crash).close()
    return Made(home=home, created=created, backends=tuple(load_site(files, home).backends))


def system_ports() -> tuple[Files, Clock, RandomSource, CrashPoint]:
    """Return the real world: its filesystem, time and chance, and the crash point that the environment asks for."""
    crash = crash_point_from(os.environ)
    return OsFiles(crash), SystemClock(), SystemRandom(), crash


def open_workspace(home: Path) -> Workspace:
    """Open a state folder with the real world behind its ports.

    Raises UsageError if there is none, SpecError if its configuration is wrong, StoreError if it is not safe to use.
    """
    if not exists(home):
        raise UsageError(f"there is no elisa state in {home}", hint="run `elisa init`")
    check_ancestors(home, os.geteuid())
    files, clock, random, crash = system_ports()
    site = load_site(files, home)
    instance, revision = _identity(home, clock, crash)
    if _is_simulated(site):
        clock, random = choose_clock(["simulated"], _Start()), RepeatableRandom(f"{_seeds(site)} {revision}")
    backends = {}
    for name, config in site.backends.items():
        with _named(home, name):
            backends[BackendName(name)] = open_backend(
                name, config.kind, config.options, home=home, instance=instance, clock=clock, random=random, crash=crash
            )
    return Workspace(
        home=home,
        site=site,
        clock=clock,
        random=random,
        crash=crash,
        files=files,
        backends=backends,
        actor=_actor(),
        uid=os.geteuid(),
        environment=dict(os.environ),
    )


class _Start:
    """When the time of a simulated site begins: the same moment whenever it is run, so that its course repeats itself."""

    def now(self) -> datetime:
        return datetime(2001, 1, 1, tzinfo=UTC)


def _is_simulated(site: Site) -> bool:
    """Tell whether nothing real is in it: then neither the hour nor chance may be."""
    return bool(site.backends) and all(config.kind == "simulated" for config in site.backends.values())


def _seeds(site: Site) -> str:
    return " ".join(f"{name}={config.options.get('seed', 0)}" for name, config in sorted(site.backends.items()))


@contextmanager
def _named(home: Path, backend: str) -> Iterator[None]:
    """Say where a wrong option stands."""
    try:
        yield
    except UsageError as err:
        where = f"{layout.site_file(home)}: backends.{backend}.options"
        raise UsageError(err.what, f"{where}: {err.why}" if err.why else where, err.hint) from err


def _identity(home: Path, clock: Clock, crash: CrashPoint) -> tuple[str, int]:
    """Return the store's name and how often it changed, after bringing one of an older elisa up to date."""
    try:
        with Reader.open(home) as reader:
            return reader.meta().instance, reader.revision()
    except StoreTooOld:
        with Writer.open(home, clock=clock, actor=_actor(), crash=crash) as writer:
            return writer.meta().instance, writer.revision()


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def check_ancestors(home: Path, uid: int) -> None:
    """Make sure that nobody else can put another folder in the place of `home`; raises StoreError.

    Every folder above must belong to root or to `uid`; others may write in it only if it is sticky, as /tmp is.
    """
    for folder in (home, *home.parents):
        with suppress(FileNotFoundError):
            status = folder.stat()
            others_write = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
            if others_write or status.st_uid not in {0, uid}:
                raise StoreError(
                    f"{folder} is not safe above a state folder",
                    "everybody may write in it" if others_write else f"it belongs to user {status.st_uid}",
                    f"choose another folder with --home or ELISA_HOME, or `chmod o-w {folder}`",
                )
