"""How the ranks of a distributed job find each other, and agree, by files in the folder of their checkpoints.

No framework is needed, nothing listens on a port, and a rank that has died is noticed: whoever waits for it gives up, at
once where both are on one host.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from typing import Any, Callable, Mapping, NamedTuple, cast

from elisa.runtime.crash import crash
from elisa.runtime.durable import create_file, replace_file
from elisa.runtime.evidence import Identity, has_ended, own_identity

__all__ = ["Group", "GroupError", "Plan", "World", "world_of"]

_SIZES = {
    "RANK": "WORLD_SIZE",
    "HOROVOD_RANK": "HOROVOD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMIX_RANK": "PMIX_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "SLURM_PROCID": "SLURM_STEP_NUM_TASKS",
}
_LAUNCH = ("ELISA_ATTEMPT", "ELISA_INCARNATION", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.25
_LONGEST_GOODBYE_S = 2.0


class GroupError(Exception):
    """The ranks could not come together; the message says who was missing."""


class World(NamedTuple):
    """This process's place among all of one launch. `key` tells one launch from another."""

    rank: int
    size: int
    key: str


class Plan(NamedTuple):
    """What the first rank has announced: save number `seq` is to be made of the state after `step`."""

    seq: int
    step: int
    is_stop: bool


def world_of(env: Mapping[str, str]) -> World:
    """Return the world that a launcher (torchrun, mpirun, srun, horovodrun) has described in `env`; alone, of one."""
    for rank, size in _SIZES.items():
        if env.get(rank, "").isdigit() and env.get(size, "").isdigit():
            launch = [env.get(name, "") for name in _LAUNCH] + [env[size]]
            key = hashlib.sha256("\0".join(launch).encode()).hexdigest()[:12]
            return World(int(env[rank]), int(env[size]), key)
    return World(0, 1, "")


class Group:
    """One rank's view of all. Every rank calls the same methods in the same order.

    `patience_s` is how long one rank waits for another before it gives up.
    """

    def __init__(self, world: World, root: str, patience_s: float = 600.0) -> None:
        self.world = world
        self._root = root
        self._folder = os.path.join(root, f".group-{world.key}")
        self._patience_s = patience_s
        self._token = os.urandom(8).hex()
        self._tokens: list[str] = []  # of all ranks, once they have come together
        self._who: list[Identity] = []  # likewise

    @property
    def is_first(self) -> bool:
        """Whether this rank decides."""
        return self.world.rank == 0

    def join(self, decide: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Come together, and return what the first rank decides, there, once all have come. Raises GroupError."""
        hello = os.path.join(self._folder, f"hello-{self.world.rank}")
        if self.is_first:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            self._forget_earlier()
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            there = self._gather()
            tokens, who = [one["token"] for one in there], [one["who"] for one in there]
            self._write("word", {"tokens": tokens, "who": who, "decision": decide()})
        return self._listen(hello)

    def _gather(self) -> list[Mapping[str, Any]]:
        """Return what all ranks say of themselves."""
        there = [self._about_me()]
        for rank in range(1, self.world.size):
            found = self._wait(lambda rank=rank: self._read(f"hello-{rank}"))  # type: ignore[misc]  # bound at once
            if found is None:
                raise GroupError(f"rank {rank} of {self.world.size} did not come within {self._patience_s:.0f} s")
            there.append(found)
        return there

    def _about_me(self) -> Mapping[str, Any]:
        return {"token": self._token, "who": own_identity()}

    def _listen(self, hello: str) -> Mapping[str, Any]:
        """Say hello until the first rank's word holds this rank's token: an older word is of an earlier life."""

        def word() -> Mapping[str, Any] | None:
            with contextlib.suppress(OSError):
                if not self.is_first and not os.path.exists(hello):
                    replace_file(hello, json.dumps(self._about_me()).encode())
            said = self._read("word")
            return said if said is not None and self._token in said["tokens"] else None

        found = self._wait(word)
        if found is None:
            raise GroupError(f"the first rank did not answer rank {self.world.rank} within {self._patience_s:.0f} s")
        self._tokens, self._who = found["tokens"], [Identity(*who) for who in found["who"]]
        return cast("Mapping[str, Any]", found["decision"])

    def _forget_earlier(self) -> None:
        """Delete what earlier launches left: of one task only one runs at a time."""
        for name in os.listdir(self._root):
            if name.startswith((".group-", ".tmp-group_")):
                shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)

    def leave(self, *, is_well: bool) -> None:
        """Say that this rank saves no more. The first one clears up, once all have said so or are not worth waiting for."""
        self._write(f"bye-{self.world.rank}", {"token": self._token})
        if self.is_first and is_well and self._tokens:
            others = range(1, self.world.size)
            if self._wait(lambda: {} if all(map(self._gone, others)) else None, _LONGEST_GOODBYE_S) is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _has_left(self, rank: int) -> bool:
        said = self._read(f"bye-{rank}")
        return said is not None and said["token"] in self._tokens

    def is_broken(self) -> bool:
        """Tell whether some rank is known to have died: then nothing is saved together any more."""
        return any(map(self._has_died, range(self.world.size)))

    def _has_died(self, rank: int) -> bool:
        """Tell whether a rank is known to have died. Of one on another host nobody here can say so."""
        if not self._who:
            return False
        who, me = self._who[rank], self._who[self.world.rank]
        return who.boot_id == me.boot_id and has_ended(who, me)

    def announce(self, plan: Plan) -> None:
        """Let every rank know which state is to be saved next."""
        self._write("plan", plan._asdict())

    def plan(self) -> Plan | None:
        """Return what was announced last."""
        found = self._read("plan")
        return None if found is None else Plan(found["seq"], found["step"], found["is_stop"])

    def draft(self, seq: int) -> str:
        """Return the folder that the ranks write save number `seq` to."""
        return os.path.join(self._root, f".tmp-group_{self.world.key}-0-{seq}")

    def contribute(self, seq: int, content: Mapping[str, Any]) -> None:
        """Say what this rank has written for save number `seq`, or why it has not."""
        crash("group.contribute")
        with contextlib.suppress(OSError):  # then the first rank waits in vain, and gives this save up
            create_file(os.path.join(self.draft(seq), self._part(self.world.rank)), json.dumps(content).encode())
        crash("group.contributed")

    def collect(self, seq: int) -> list[Mapping[str, Any]]:
        """Return what all ranks have said of save number `seq`. Raises GroupError if one did not, or could not save."""
        parts = []
        for rank in range(self.world.size):
            found = self._wait(lambda rank=rank: self._part_of(seq, rank))  # type: ignore[misc]  # bound at once
            if found is None:
                raise GroupError(f"rank {rank} did not save within {self._patience_s:.0f} s")
            if found["why"]:
                raise GroupError(f"rank {rank} could not save: {found['why']}")
            parts.append(found)
        return parts

    def _part_of(self, seq: int, rank: int) -> Mapping[str, Any] | None:
        """Return what a rank has said of a save; that it left or died without a word, if it did."""
        gone = self._gone(rank)  # asked first: what it said, it said before it left
        said = _load(os.path.join(self.draft(seq), self._part(rank)))
        return {"why": gone} if said is None and gone else said

    def _gone(self, rank: int) -> str:
        """Say that a rank will say no more; nothing while it may."""
        if self._has_left(rank):
            return "it has left"
        return "it has died" if self._has_died(rank) else ""

    @staticmethod
    def _part(rank: int) -> str:
        return f"part-{rank:05d}.json"

    def tell_outcome(self, seq: int, path: str) -> None:
        """Tell every rank where save number `seq` is; an empty `path` says that it failed."""
        self._write(f"outcome-{seq}", {"path": path})
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._folder, f"outcome-{seq - 2}"))

    def outcome(self, seq: int) -> str:
        """Return where save number `seq` is, once that is known; empty if it failed, or nobody can tell."""

        def told() -> Mapping[str, Any] | None:
            gone = self._gone(0)
            said = self._read(f"outcome-{seq}")
            return {"path": ""} if said is None and gone else said

        found = self._wait(told)
        return "" if found is None else str(found["path"])

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            replace_file(os.path.join(self._folder, name), json.dumps(content).encode())

    def _read(self, name: str) -> Mapping[str, Any] | None:
        return _load(os.path.join(self._folder, name))

    def _wait(
        self, look: Callable[[], Mapping[str, Any] | None], longest_s: float = float("inf")
    ) -> Mapping[str, Any] | None:
        deadline = time.monotonic() + min(self._patience_s, longest_s)
        pause_s = _SHORTEST_WAIT_S
        while True:
            found = look()
            if found is not None or time.monotonic() > deadline:
                return found
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)


def _load(path: str) -> Mapping[str, Any] | None:
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read())
    except (OSError, ValueError):  # not there yet, or not whole yet
        return None
    return found if isinstance(found, dict) else None
