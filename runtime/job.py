"""The sealed instructions of one attempt, as the engine left them in `job.json`."""

from __future__ import annotations

import os

from elisa.runtime.eventfile import key_of
from elisa.runtime.lean import load_json
from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

__all__ = ["BadGpu", "CheckpointRules", "DataFile", "Job", "JobError", "parse_job", "read_job"]


class JobError(Exception):
    """The instructions cannot be followed; the message says why."""


class DataFile(NamedTuple):
    """A declared input or output."""

    name: str
    path: str
    format: str = "any"
    columns: tuple[str, ...] = ()
    optional: bool = False


class BadGpu(NamedTuple):
    """A GPU that gets no work before `until`, in seconds since the epoch."""

    node: str
    gpu: str
    until: float


class CheckpointRules(NamedTuple):
    """How the program saves. Empty `pattern`: with the library, which speaks for itself."""

    interval_s: float | None = None
    keep: int = 2
    pattern: str = ""
    complete_when: str = ""
    signal: str = "USR2"
    lead_s: float | None = None


class Job(NamedTuple):
    """What to run, where, within which limits. A limit of 0 is no limit; `resume_step` None: from the beginning.

    `behind` are the attempts at other tasks that must have finished these before this one begins; `continues` is the one
    at the same task that must have left its place to be gone on from. `bad_gpus` are not to be used.
    """

    attempt: str
    task: str
    number: int
    home: str
    key: bytes
    path: str = ""
    argv: tuple[str, ...] = ()
    call: dict[str, Any] | None = None
    shell: bool = False
    workdir: str = ""
    env: dict[str, str] = {}  # noqa: RUF012  (never changed)
    pass_env: tuple[str, ...] = ()
    task_dir: str = ""
    checkpoint_dir: str = ""
    pipeline_dir: str = ""
    stdout: str = ""
    stderr: str = ""
    walltime_s: float = 0.0
    memory_mib: float = 0.0
    output_limit_mib: float = 0.0
    grace_s: float = 30.0
    heartbeat_s: float = 30.0
    sample_s: float = 10.0
    self_fence_s: float = 300.0
    checkpoint: CheckpointRules | None = None
    resume_path: str = ""
    resume_step: int | None = None
    is_exact_resume: bool = False
    inputs: tuple[DataFile, ...] = ()
    outputs: tuple[DataFile, ...] = ()
    parameters: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    nodes: int = 1
    tasks_per_node: int = 1
    cpus_per_task: int = 1
    gpus_per_node: int = 0
    bad_gpus: tuple[BadGpu, ...] = ()
    confirmed_ended: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    continues: str = ""

    @property
    def spool_dir(self) -> str:
        """The attempt's own folder in the spool."""
        return os.path.join(self.home, "spool", self.attempt)

    @property
    def event_dir(self) -> str:
        return os.path.join(self.spool_dir, "events")

    @property
    def stop_file(self) -> str:
        """The file whose presence tells the program's library to save and leave."""
        return os.path.join(self.spool_dir, "stop")

    @property
    def leave_file(self) -> str:
        """The file whose presence tells the bundle it is in that the attempt is not wanted any more."""
        return os.path.join(self.spool_dir, "leave")

    @property
    def claim_dir(self) -> str:
        return os.path.join(self.home, "claims", self.task)


_NUMBERS = ("walltime_s", "memory_mib", "output_limit_mib", "grace_s", "heartbeat_s", "sample_s", "self_fence_s")
_COUNTS = ("nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node")
_TEXTS = ("workdir", "task_dir", "checkpoint_dir", "pipeline_dir", "stdout", "stderr", "continues")
_NAMES = ("argv", "pass_env", "confirmed_ended", "behind")


def read_job(path: str) -> Job:
    """Read the instructions at `path`; raises JobError."""
    try:
        return parse_job(load_json(path, "surrogateescape"))._replace(path=os.path.abspath(path))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read: {error}") from error


def parse_job(content: object) -> Job:
    """Return the instructions in `content`; raises JobError naming what is missing or of the wrong kind."""
    if not isinstance(content, dict):
        raise JobError("the instructions are not an object")
    try:
        return _checked(_parse(content))
    except KeyError as error:
        raise JobError(f"the instructions lack {error}") from error
    except (TypeError, ValueError) as error:
        raise JobError(f"the instructions make no sense: {error}") from error


def _parse(content: dict[str, Any]) -> Job:
    given = {name: value for name, value in content.items() if value is not None}
    resume = given.get("resume") or {}
    fields: dict[str, Any] = {name: float(given[name]) for name in _NUMBERS if name in given}
    fields.update({name: int(given[name]) for name in _COUNTS if name in given})
    fields.update({name: _text(given[name]) for name in _TEXTS if name in given})
    fields.update({name: tuple(_text(item) for item in given[name]) for name in _NAMES if name in given})
    return Job(
        attempt=_text(given["attempt"]),
        task=_text(given["task"]),
        number=int(given["number"]),
        home=_text(given["home"]),
        key=key_of(_text(given["key"])),
        call=given.get("call"),
        shell=given.get("shell") is True,
        env={name: _text(value) for name, value in dict(given.get("env", {})).items()},
        checkpoint=_rules(given.get("checkpoint")),
        resume_path=_text(resume.get("path") or ""),
        resume_step=resume.get("step"),
        is_exact_resume=resume.get("exact") is True,
        inputs=_files(given.get("inputs", ())),
        outputs=_files(given.get("outputs", ())),
        parameters=dict(given.get("parameters", {})),
        bad_gpus=tuple(BadGpu(_text(node), _text(gpu), float(until)) for node, gpu, until in given.get("bad_gpus", ())),
        **fields,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if "\0" in value:
        raise ValueError(f"{value!r} has a NUL in it")
    return value


def _rules(content: dict[str, Any] | None) -> CheckpointRules | None:
    if content is None:
        return None
    known = {name: content[name] for name in CheckpointRules._fields if content.get(name) is not None}
    return CheckpointRules(**known)


def _files(content: list[dict[str, Any]]) -> tuple[DataFile, ...]:
    return tuple(
        DataFile(
            _text(item["name"]),
            _text(item["path"]),
            item.get("format") or "any",
            tuple(item.get("columns") or ()),
            bool(item.get("optional")),
        )
        for item in content
    )


def _checked(job: Job) -> Job:
    for name in (job.attempt, job.task, *job.behind, *filter(None, [job.continues])):
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is no id")
    if not job.argv and job.call is None:
        raise ValueError("there is neither a program nor a call")
    return job
