"""What a resource manager is asked for when an attempt is handed to it: an agent, and the resources for its program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path

from elisa.engine.release import AGENT_PATH, Release
from elisa.model import layout
from elisa.model.ids import AttemptId
from elisa.model.native import JobRequest
from elisa.model.pipeline import PriorityClass, TaskSpec
from elisa.model.site import CLASS_RANK
from elisa.policies.experience import USUAL_LEAD_S

__all__ = ["agent_argv", "bundle_argv", "job_request", "trial_request"]

_AGENT = f"{AGENT_PATH}/elisa/runtime/__main__.py"
_NO_ATTEMPT = AttemptId("t000000000.1")


def job_request(release: Release, *, account: str = "", reservation: str = "") -> JobRequest:
    """Return the native job for an attempt. `account` and `reservation` are the site's choice where the author made none."""
    spec, attempt = release.task.spec, release.attempt
    folder = layout.spool_dir(release.home, attempt.id)
    log = str(layout.agent_log(release.home, attempt.id))
    return replace(
        trial_request(spec, attempt.partition, account=account),
        attempt=attempt.id,
        argv=_argv(release),
        workdir=str(folder),
        stdout=log,
        stderr=log,
        resources=attempt.request,
        environment=tuple(sorted(_environment(release.environment).items())),
        reservation=spec.placement.reservation or reservation,
        signal_lead_s=_signal_lead_s(release),
        grace_s=release.rules.grace_s,
        after=release.after,
        after_any=release.after_any,
    )


def trial_request(spec: TaskSpec, partition: str = "", gpu_type: str = "", account: str = "") -> JobRequest:
    """Return a native job that asks for what a task asks for and would do nothing: to be looked at, never to be run."""
    placement, resources = spec.placement, spec.resources
    if gpu_type:
        resources = replace(resources, gpus=replace(resources.gpus, types=(gpu_type,)))
    return JobRequest(
        attempt=_NO_ATTEMPT,
        argv=("true",),
        workdir="/",
        stdout="/dev/null",
        stderr="/dev/null",
        resources=resources,
        partition=partition or placement.partition,
        account=placement.account or account,
        qos=placement.qos,
        reservation=placement.reservation,
        extras=placement.extras,
        at_once=placement.at_once,
        priority=CLASS_RANK[PriorityClass.SCAVENGER] - CLASS_RANK[spec.priority],
    )


def _argv(release: Release) -> tuple[str, ...]:
    return agent_argv("run", layout.job_file(release.home, release.attempt.id))


def bundle_argv(path: Path) -> tuple[str, ...]:
    """Return how the agent of a native job is started that several attempts share."""
    return agent_argv("bundle", path)


def agent_argv(verb: str, path: Path) -> tuple[str, ...]:
    """Return how an agent is started: as a file, without the packages of its Python, none of which it needs."""
    return (sys.executable, "-S", _AGENT, verb, "--job", str(path))


def _environment(kept: Mapping[str, str]) -> dict[str, str]:
    """Return what the agent itself needs; what the program gets stands in its sealed instructions, out of sight."""
    return {"PATH": kept.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "PYTHONPATH": AGENT_PATH}


def _signal_lead_s(release: Release) -> int:
    if release.task.spec.checkpoint is None:
        return 0
    lead_s = USUAL_LEAD_S if release.lead_s is None else release.lead_s
    return ceil(min(lead_s, release.attempt.request.walltime_s / 2))
