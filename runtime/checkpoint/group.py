"""How the ranks of a distributed job find each other, and agree, by files in the folder of their checkpoints.

No framework is needed, nothing listens on a port, and a rank that has died is noticed: whoever waits for it gives up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from typing import Any, Callable, Mapping, NamedTuple

from elisa.runtime.crash import crash
from elisa.runtime.durable import create_file, replace_file

__all__ = ["Group", "GroupError", "Plan", "World", "world_of"]

_SIZES = {
    "RANK": "WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMIX_RANK": "PMIX_SIZE",
    "PMI_RANK": "PMI_SIZE",
    "SLURM_PROCID": "SLURM_STEP_NUM_TASKS",
}
_LAUNCH = ("ELISA_ATTEMPT", "ELISA_INCARNATION", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT")
_SHORTEST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.25


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

    @property
    def is_first(self) -> bool:
        """Whether this rank decides."""
        return self.world.rank == 0

    def join(self, decide: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Come together, and return what the first rank decides, there, once all have come. Raises GroupError."""
        hello = os.path.join(self._folder, f"hello-{self.world.rank}")
        if self.is_first:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            self._forget_drafts()
            tokens = self._gather()
            self._write("word", {"tokens": tokens, "decision": decide()})
        return self._listen(hello)

    def _gather(self) -> list[str]:
        """Return the tokens of all ranks."""
        tokens = [self._token]
        for rank in range(1, self.world.size):
            found = self._wait(lambda rank=rank: self._read(f"hello-{rank}"))  # type: ignore[misc]  # bound at once
            if found is None:
                raise GroupError(f"rank {rank} of {self.world.size} did not come within {self._patience_s:.0f} s")
            tokens.append(found["token"])
        return tokens

    def _listen(self, hello: str) -> Mapping[str, Any]:
        """Say hello until the first rank's word holds this rank's token: an older word is of an earlier life."""

        def word() -> Mapping[str, Any] | None:
            with contextlib.suppress(OSError):
                if not self.is_first and not os.path.exists(hello):
                    replace_file(hello, json.dumps({"token": self._token}).encode())
            said = self._read("word")
            is_mine = said is not None and self._token in said["tokens"]
            return said["decision"] if said is not None and is_mine else None

        found = self._wait(word)
        if found is None:
            raise GroupError(f"the first rank did not answer rank {self.world.rank} within {self._patience_s:.0f} s")
        return found

    def _forget_drafts(self) -> None:
        for name in os.listdir(self._root):
            if name.startswith(".tmp-group_"):
                shutil.rmtree(os.path.join(self._root, name), ignore_errors=True)

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
            path = os.path.join(self.draft(seq), self._part(rank))
            found = self._wait(lambda path=path: _load(path))  # type: ignore[misc]  # bound at once
            if found is None:
                raise GroupError(f"rank {rank} did not save within {self._patience_s:.0f} s")
            if found["why"]:
                raise GroupError(f"rank {rank} could not save: {found['why']}")
            parts.append(found)
        return parts

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
        found = self._wait(lambda: self._read(f"outcome-{seq}"))
        return "" if found is None else str(found["path"])

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):
            replace_file(os.path.join(self._folder, name), json.dumps(content).encode())

    def _read(self, name: str) -> Mapping[str, Any] | None:
        return _load(os.path.join(self._folder, name))

    def _wait(self, look: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
        deadline = time.monotonic() + self._patience_s
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
