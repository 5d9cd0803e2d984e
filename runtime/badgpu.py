"""GPUs on which work breaks: what the agent does where its resource manager, which cannot be told of them, gave it one."""

from __future__ import annotations

import socket
import time
from typing import Mapping, NamedTuple, Sequence

from elisa.runtime.gpu import given_gpus
from elisa.runtime.job import BadGpu

__all__ = ["Look", "look_at_gpus"]

# What tells a program which GPUs are its own: they name the same ones in the same order, by whatever numbers.
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")


class Look(NamedTuple):
    """The GPUs that the program gets, and the variables to change so that it sees no others.

    With `refusal` it is not to be run on what was given on `node`, for that reason.
    """

    gpus: tuple[str, ...] = ()
    changes: dict[str, str] = {}  # noqa: RUF012  (never changed)
    refusal: str = ""
    node: str = ""


def look_at_gpus(
    env: Mapping[str, str], bad: Sequence[BadGpu], wanted: int, now: float, *, is_managed: bool, host: str = ""
) -> Look:
    """Return what becomes of the GPUs that `env` gives to a job which asked for `wanted` on each node.

    A bad one is hidden from the program where enough others remain; else the job is given back.
    """
    if not wanted:
        return Look()
    host = host or socket.gethostname()
    given = given_gpus(env, is_managed=is_managed, host=host)
    until = {one.gpu: one for one in bad if one.until > now and one.node in _names(env, host)}
    unfit = [gpu for gpu in given if gpu in until]
    if not unfit:
        return Look(given)
    changes = _hidden(env, [gpu not in until for gpu in given])
    if len(given) - len(unfit) >= wanted and changes:
        return Look(tuple(gpu for gpu in given if gpu not in until), changes)
    return Look(given, refusal=", ".join(_words(until[gpu]) for gpu in unfit), node=until[unfit[0]].node)


def _names(env: Mapping[str, str], host: str) -> tuple[str, ...]:
    """Return the names by which a resource manager may know this node: Slurm tells which it is."""
    name = env.get("SLURMD_NODENAME")
    return (name,) if name else (host, host.partition(".")[0])


def _hidden(env: Mapping[str, str], keep: Sequence[bool]) -> dict[str, str]:
    """Return the variables that name the GPUs, without those not to `keep`."""
    changes = {}
    for name in _VISIBLE:
        seen = env.get(name, "").split(",")
        if len(seen) == len(keep):
            changes[name] = ",".join(one for one, is_kept in zip(seen, keep) if is_kept)
    return changes if any(name in changes for name in _VISIBLE[:3]) else {}


def _words(bad: BadGpu) -> str:
    until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(bad.until))
    return f"given GPU {bad.gpu} of node {bad.node}, which is excluded until {until} UTC"
