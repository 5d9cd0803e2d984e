"""What a site's Slurm says of itself: asked once, when elisa is set up or examined.

`scontrol show config`, https://slurm.schedmd.com/slurm.conf.html, and `sacctmgr show associations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from elisa.backends.runner import Runner
from elisa.backends.slurm.inventory import parse_partitions, partitions_argv
from elisa.backends.slurm.options import SlurmOptions
from elisa.backends.slurm.refusals import unavailable
from elisa.model.native import PartitionView

__all__ = ["SlurmSite", "concerns", "discover", "parse_config", "render_site"]

_PAIR = re.compile(r"^([A-Za-z_]+)\s*=\s(.*)$", re.MULTILINE)
# A tick a minute, two of them missed, and a margin.
_SHORT_MEMORY_S = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmSite:
    """A cluster's release, limits and habits. `memory_s` is how long the controller remembers ended jobs (MinJobAge)."""

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


def discover(runner: Runner, user: str, options: SlurmOptions) -> SlurmSite:
    """Return what the cluster says of itself. Raises Unavailable if it does not answer."""
    folder = f"{options.path}/" if options.path else ""
    config = parse_config(_answer(runner, (f"{folder}scontrol", "show", "config"), options))
    partitions = parse_partitions(_answer(runner, partitions_argv(f"{folder}scontrol", options), options))
    return _site(config, partitions, _accounts(runner, folder, user, options))


def _answer(runner: Runner, argv: tuple[str, ...], options: SlurmOptions) -> str:
    answer = runner.run(argv, timeout_s=options.query_timeout_s)
    if not answer.ok:
        raise unavailable(f"{argv[0]} failed", answer)
    return answer.stdout


def _accounts(runner: Runner, folder: str, user: str, options: SlurmOptions) -> tuple[str, ...]:
    """Return the user's accounts; none where the site keeps no accounts or does not tell."""
    shape = ("--noheader", "--parsable2", "format=account")
    argv = (f"{folder}sacctmgr", *shape[:2], "show", "associations", f"user={user}", shape[2])
    answer = runner.run(argv, timeout_s=options.query_timeout_s)
    return tuple(sorted(set(answer.stdout.split()))) if answer.ok else ()


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
    )


def concerns(site: SlurmSite) -> Iterator[str]:
    """Yield what of this site's set-up makes elisa's work harder, in sentences for `elisa doctor`."""
    if not site.has_accounting and site.memory_s < _SHORT_MEMORY_S:
        yield (
            f"Slurm forgets ended jobs after {site.memory_s} s and keeps no accounts: "
            "why a job ended is then known from its own words only, so let ticks be at most that far apart"
        )
    if "associations" in site.enforces and not site.accounts:
        yield "this Slurm wants an account for every job, and you have none: ask the site for one"
    if not any(partition.is_up for partition in site.partitions):
        yield "no partition takes jobs now"


def render_site(name: str, site: SlurmSite) -> str:
    """Return the lines of site.yaml that describe this cluster, to be put under `backends:`."""
    lines = [
        f"  # Slurm {site.version}, cluster {site.cluster}; ended jobs are remembered for {site.memory_s} s",
        f"  # accounting: {'yes' if site.has_accounting else 'none'}; arrays up to {site.max_array_size - 1} tasks",
        *(f"  # partition {_described(partition)}" for partition in site.partitions),
        f"  {name}:",
        "    kind: slurm",
    ]
    if site.accounts:
        others = f"  # or {', '.join(site.accounts[1:])}" if site.accounts[1:] else ""
        lines.append(f"    account: {site.accounts[0]}{others}")
    if not site.has_accounting:
        lines.append("    options: {accounting: no}")
    return "\n".join(lines) + "\n"


def _described(partition: PartitionView) -> str:
    limit = f"up to {partition.max_walltime_s // 60} min" if partition.max_walltime_s else "no time limit"
    marks = [limit]
    marks += ["default"] if partition.is_default else []
    marks += ["jobs may be preempted"] if partition.preemptible else []
    marks += [] if partition.is_up else ["down"]
    return f"{partition.name}: {', '.join(marks)}"
