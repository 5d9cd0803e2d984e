"""What a site's Slurm says of itself: asked once, when elisa is set up or examined.

`scontrol show config`, https://slurm.schedmd.com/slurm.conf.html, and `sacctmgr show user`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from elisa.backends.protocol import Advice, Description, render_partition
from elisa.backends.runner import Runner
from elisa.backends.slurm.inventory import parse_partitions, partitions_argv
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.refusals import unavailable
from elisa.model.native import PartitionView

__all__ = ["SlurmSite", "advice_of", "description_of", "discover", "parse_config"]

_PAIR = re.compile(r"^([A-Za-z_]+)\s*=\s(.*)$", re.MULTILINE)
_GRACE = re.compile(r"\bGraceTime=[1-9]")
# A tick a minute, two of them missed, and a margin.
_SHORT_MEMORY_S = 180
# Under `rl_enable` the programs of 24.11 wait up to 4 s for each of their turns, side by side with others of the same user.
_PATIENCE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSite:
    """A cluster's release, limits and habits. `memory_s` is how long the controller remembers ended jobs (MinJobAge).

    `rations`: it takes so many questions of a user and no more (`rl_enable`, from 23.02 on).
    A job's script hears of its preemption only once its GraceTime is over, unless the site sets `would_warn` ("": it does, or
    preempts nobody).
    """

    cluster: str
    version: str
    partitions: tuple[PartitionView, ...]
    has_accounting: bool = False
    enforces: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    memory_s: int = 300
    message_timeout_s: int = 10
    kill_wait_s: int = 30
    max_array_size: int = 1001
    max_jobs: int = 10000
    rations: bool = False
    would_warn: str = ""


def discover(runner: Runner, user: str, options: SlurmOptions) -> SlurmSite:
    """Return what the cluster says of itself. Raises Unavailable if it does not answer."""
    folder = f"{options.path}/" if options.path else ""
    config = _config(runner, (f"{folder}scontrol", "show", "config"), options)
    shown = _answer(runner, partitions_argv(f"{folder}scontrol", options), options)
    accounts = _accounts(runner, folder, user, options)
    return replace(_site(config, parse_partitions(shown), accounts), would_warn=_would_warn(config, shown))


def _would_warn(config: Mapping[str, str], partitions: str) -> str:
    """Return the setting by which jobs would hear of their GraceTime, whose TERM goes to what srun started alone."""
    preempts = config.get("PreemptType", "").endswith(("/partition_prio", "/qos"))
    # a list of its own in later releases (22.05 has none, 24.11 has)
    name, value = ("SlurmctldParameters", "preempt_send_user_signal")
    if "PreemptParameters" in config:
        name, value = ("PreemptParameters", "send_user_signal")
    if not preempts or value in config.get(name, "") or not _GRACE.search(partitions):
        return ""
    return f"{name}={value}"


def _config(runner: Runner, argv: tuple[str, ...], options: SlurmOptions) -> Mapping[str, str]:
    """Return the settings. They end in a ping, whose failure is the exit status: a backup that is down, a question too many."""
    answer = runner.run(argv, timeout_s=options.query_timeout_s)
    config = parse_config(answer.stdout)
    if not answer.ok and "SLURM_VERSION" not in config:
        raise unavailable(f"{argv[0]} failed", answer)
    return config


def _answer(runner: Runner, argv: tuple[str, ...], options: SlurmOptions) -> str:
    answer = runner.run(argv, timeout_s=options.query_timeout_s)
    if not answer.ok:
        raise unavailable(f"{argv[0]} failed", answer)
    return answer.stdout


def _accounts(runner: Runner, folder: str, user: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the user's accounts, the default one first; none where the site keeps no accounts or does not tell."""
    shape = ("--noheader", "--parsable2")
    argv = (f"{folder}sacctmgr", *shape, "show", "user", user, "withassoc", "format=defaultaccount,account")
    answer = runner.run(argv, timeout_s=options.query_timeout_s)
    rows = [line.partition("|")[::2] for line in answer.stdout.split("\n")] if answer.ok else []
    accounts = sorted({account for _, account in rows if account})
    return tuple(sorted(accounts, key=lambda account: account not in {default for default, _ in rows}))


def parse_config(text: str) -> Mapping[str, str]:
    """Return the settings that `scontrol show config` printed."""
    return {name: value.strip() for name, value in _PAIR.findall(text)}


def _site(config: Mapping[str, str], partitions: tuple[PartitionView, ...], accounts: tuple[str, ...]) -> SlurmSite:
    def number(name: str, default: int) -> int:
        digits = re.match(r"\d+", config.get(name, ""))
        return int(digits[0]) if digits else default

    enforced = config.get("AccountingStorageEnforce", "none")
    return SlurmSite(
        cluster=config.get("ClusterName", ""),
        version=config.get("SLURM_VERSION", ""),
        partitions=partitions,
        has_accounting=config.get("AccountingStorageType", "").endswith("slurmdbd"),
        enforces=() if enforced == "none" else tuple(enforced.split(",")),
        accounts=accounts,
        memory_s=number("MinJobAge", 300),
        message_timeout_s=number("MessageTimeout", 10),
        kill_wait_s=number("KillWait", 30),
        max_array_size=number("MaxArraySize", 1001),
        max_jobs=number("MaxJobCount", 10000),
        rations="rl_enable" in config.get("SlurmctldParameters", "").split(","),
    )


def advice_of(site: SlurmSite, options: SlurmOptions) -> Iterator[Advice]:
    """Yield what of this site's set-up makes elisa's work harder."""
    if not site.has_accounting and site.memory_s < _SHORT_MEMORY_S:
        yield Advice(
            f"Slurm forgets ended jobs after {site.memory_s} s and keeps no accounts: "
            "why a job ended is then known from its own words only",
            "let ticks be at most that far apart",
            is_concern=True,
        )
    if "associations" in site.enforces and not site.accounts:
        what = "this Slurm wants an account for every job, and you have none"
        yield Advice(what, "ask the site for one", is_concern=True)
    if site.would_warn:
        yield Advice(
            "a job that is preempted hears of it only when its GraceTime is over, unless all of it runs under srun",
            f"with {site.would_warn} in slurm.conf programs save and leave at once",
        )
    if not any(partition.is_up for partition in site.partitions):
        yield Advice("no partition takes jobs now", "see `sinfo`", is_concern=True)
    if site.rations and min(options.submit_timeout_s, options.query_timeout_s) < _PATIENCE_S:
        yield Advice(
            "this Slurm limits how often it is asked (rl_enable), and its programs are given up while they wait for their turn",
            f"let `submit_timeout_s` and `query_timeout_s` under `options` be {_PATIENCE_S} or more",
            is_concern=True,
        )


def description_of(site: SlurmSite) -> Description:
    """Return what a new site.yaml says of this cluster."""
    comments = (
        f"Slurm {site.version}, cluster {site.cluster}; ended jobs are remembered for {site.memory_s} s",
        f"accounting: {'yes' if site.has_accounting else 'none'}",
        f"at most {site.max_jobs} jobs of everybody; arrays up to {site.max_array_size - 1} tasks",
        *(f"partition {render_partition(partition)}" for partition in site.partitions),
    )
    return Description(comments, dict(_needed(site)), site.accounts)


def _needed(site: SlurmSite) -> Iterator[tuple[str, str]]:
    """Yield the options that this site needs beside the defaults."""
    if not site.has_accounting:
        yield "accounting", "no"
    if site.max_array_size - 1 < SlurmOptions().array_size:
        yield "array_size", str(max(0, site.max_array_size - 1))
