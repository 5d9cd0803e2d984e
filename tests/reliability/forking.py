"""Crashes enumerated by forking: at each crash point a child takes the place of the process that died there.

The child gets the state folder as it is on the disk at that moment, and the cluster and the clock as they are in memory;
nothing that elisa itself held in memory. The parent goes on to the next point as if nothing had happened.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from posix import _exit  # which coverage leaves alone: what thousands of children ran need not be written down

from elisa.model.ports import no_crash
from tests.reliability.world import World, scratch_folder

__all__ = ["Crashes", "Step", "enumerate_crashes", "world_behind_a_link"]

Step = Callable[[World], object]


@contextmanager
def world_behind_a_link(make: Callable[[Path], World] = World.make) -> Iterator[World]:
    """Give a world whose state folder is a link, so that children can put a copy in its place."""
    with scratch_folder() as folder:
        (Path(folder) / "real").mkdir(mode=0o700)
        (Path(folder) / "home").symlink_to("real")
        yield make(Path(folder) / "home")


@dataclass(slots=True, kw_only=True)
class Crashes:
    """Dies, in a child, at every point that `picks` says yes to, and has the child `recover`."""

    world: World
    recover: Step
    picks: Callable[[int, str], bool] = lambda _count, _point: True
    points: list[str] = field(default_factory=list)
    died: int = 0
    failures: list[str] = field(default_factory=list)

    def __call__(self, point: str) -> None:
        self.points.append(point)
        if self.picks(len(self.points), point):
            self.died += 1
            self._die(f"{len(self.points)}: {point}")

    def _die(self, name: str) -> None:
        link = self.world.home
        before = str(link.readlink())
        with tempfile.TemporaryFile("w+") as words:
            gc.freeze()  # a collection in the child would copy every page of ours
            child = os.fork()
            if child == 0:
                self._live_on(words.fileno())
            _, status = os.waitpid(child, 0)
            if status:
                words.seek(0)
                self.failures.append(f"{name}\n{words.read()}")
        _point_to(link, before)

    def _live_on(self, words: int) -> None:
        status = 1
        gc.disable()
        try:
            copy = f"{self.world.home.readlink()}.{os.getpid()}"
            place = self.world.home.parent / copy
            shutil.copytree(self.world.home, place, symlinks=True)
            _point_to(self.world.home, copy)
            self.world.crash = no_crash
            self.recover(self.world)
            shutil.rmtree(place)
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent tells
            os.write(words, traceback.format_exc().encode())
        finally:
            _exit(status)


def _point_to(link: Path, target: str) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(link)


def enumerate_crashes(
    scenario: Step,
    recover: Step,
    *,
    make: Callable[[Path], World] = World.make,
    prepare: Step | None = None,
    picks: Callable[[int, str], bool] | None = None,
) -> Crashes:
    """Run `scenario`, dying at every point of it that is picked; raises AssertionError with the first failures."""
    with world_behind_a_link(make) as world:
        if prepare is not None:
            prepare(world)
        crashes = Crashes(world=world, recover=recover)
        if picks is not None:
            crashes.picks = picks
        world.crash = crashes
        scenario(world)
        world.crash = no_crash
    sys.stderr.flush()
    count = len(crashes.failures)
    assert not count, f"{count} of {crashes.died} crashes were not survived; the first:\n" + "\n".join(
        crashes.failures[:3]
    )
    return crashes
