"""Everything an attempt needs on disk, written before its resource manager hears of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from elisa.engine.experience import Experience
from elisa.engine.fence import fences_to_raise
from elisa.engine.outcomes import Item
from elisa.engine.release import Habits, Release, job_document, sources_of
from elisa.engine.request import bundle_argv, job_request
from elisa.engine.reserving import Bound
from elisa.engine.results import result_of
from elisa.engine.seals import event_key, read_secret
from elisa.engine.settle import forget_finish
from elisa.engine.submit import own_environment, read_environment
from elisa.engine.workspace import Workspace
from elisa.model import layout
from elisa.model.ids import AttemptId, BackendName, NativeId, PipelineId, TaskId, task_of
from elisa.model.native import JobRequest
from elisa.model.needs import ResolvedNeed
from elisa.model.task import Attempt, PipelineRecord, Task
from elisa.policies.badgpus import BadGpu, still_refused
from elisa.policies.fusion import Bundle
from elisa.store.reader import Reader

__all__ = ["Handover"]

_NO_GPUS: Mapping[BackendName, Sequence[BadGpu]] = MappingProxyType({})


class Handover:
    """Prepares attempts of one tick; what several of them share is read once."""

    def __init__(
        self, ws: Workspace, reader: Reader, bad_gpus: Mapping[BackendName, Sequence[BadGpu]] = _NO_GPUS
    ) -> None:
        self._ws = ws
        self._reader = reader
        self._secret = read_secret(ws.files, ws.home)
        self._records: dict[PipelineId, PipelineRecord] = {}
        self._environments: dict[PipelineId, Mapping[str, str]] = {}
        self._experience = Experience(reader, ws.clock.now())
        self._bundles: dict[Path, bytes] = {}
        self._bound = Bound(ws, reader)
        self._bad_gpus = bad_gpus

    def is_used(self, attempt: AttemptId) -> bool:
        """Tell whether an attempt of this id was released before: by a life of this database that was lost."""
        return self._ws.files.exists(layout.job_file(self._ws.home, attempt))

    def prepare(self, pairs: Sequence[tuple[Task, Attempt]]) -> Mapping[AttemptId, JobRequest]:
        """Write the instructions of these attempts and raise their fences; return what to ask the managers for."""
        needs = self._reader.upstream([task.id for task, _ in pairs])
        targets = self._targets(needs)
        releases = [self._release(task, attempt, needs.get(task.id, ()), targets) for task, attempt in pairs]
        self._write(releases)
        return {release.attempt.id: self._request(release) for release in releases}

    def bundle(self, alone: JobRequest, items: Sequence[Item], bundle: Bundle) -> JobRequest:
        """Return what to ask for where attempts share a native job, the first of which would ask for `alone`.

        Its instructions are written by `write_bundles`.
        """
        home = self._ws.home
        resources = bundle.resources(alone.resources)
        path = layout.bundle_file(home, alone.attempt)
        jobs = [str(layout.job_file(home, item.attempt.id)) for item in items]
        self._bundles[path] = _json({"v": 1, "jobs": jobs, "walltime_s": resources.walltime_s, "lanes": bundle.lanes})
        return replace(alone, argv=bundle_argv(path), resources=resources)

    def write_bundles(self) -> None:
        """Write the instructions of all bundles since the last call."""
        self._ws.files.write_all(self._bundles)
        self._bundles = {}
        self._ws.crash("release.bundles")

    def describe(self, task: Task, attempt: Attempt) -> JobRequest:
        """Return what a manager would be asked for, and write nothing."""
        needs = self._reader.upstream([task.id])
        return self._request(self._release(task, attempt, needs.get(task.id, ()), self._targets(needs)))

    def _targets(self, needs: Mapping[TaskId, Sequence[ResolvedNeed]]) -> Mapping[TaskId, Task]:
        ids = {target.id for resolved in needs.values() for need in resolved for target in need.targets}
        return self._reader.tasks(sorted(ids))

    def _release(
        self, task: Task, attempt: Attempt, needs: Sequence[ResolvedNeed], targets: Mapping[TaskId, Task]
    ) -> Release:
        ws = self._ws
        expected = {task_of(other): other for other in attempt.behind}
        earlier = self._reader.attempts_of(task.id) if attempt.number > 1 else ()
        bad = self._bad_gpus.get(attempt.backend, ())
        return Release(
            home=ws.home,
            record=self._record(task.pipeline),
            task=task,
            attempt=attempt,
            key=event_key(self._secret, attempt.id),
            sources=sources_of(needs, targets, self._results(task, needs, targets, expected), expected),
            environment=own_environment(self._environment(task.pipeline), task.spec),
            rules=ws.site.jobs.rules(),
            earlier=earlier,
            bad_gpus=still_refused(earlier, bad) if attempt.request.gpus.per_node else (),
            habits=self._habits(task, attempt),
            after=self._native_ids(attempt.behind),
            after_any=self._native_ids(() if attempt.continues is None else (attempt.continues,)),
        )

    def _request(self, release: Release) -> JobRequest:
        account = self._ws.site.backends[release.attempt.backend].account
        return job_request(release, account=account, reservation=self._bound.take(release.task, release.attempt))

    def _habits(self, task: Task, attempt: Attempt) -> Habits:
        """Return what was learnt, looked up only where the author left it to elisa."""
        policy = task.spec.checkpoint
        if policy is None:
            return Habits()
        lead = self._experience.lead(task) if policy.lead_s is None else None
        lead_s = lead.lead_s if lead is not None and lead.whose else None
        if policy.interval_s is not None:
            return Habits(lead_s=lead_s)
        rate = self._experience.interruptions(attempt.backend, attempt.partition, attempt.request.nodes)
        return Habits(lead_s=lead_s, mtbf_s=rate.mtbf_s if rate is not None else None)

    def _record(self, pipeline: PipelineId) -> PipelineRecord:
        if pipeline not in self._records:
            self._records[pipeline] = self._reader.pipeline(pipeline)
        return self._records[pipeline]

    def _environment(self, pipeline: PipelineId) -> Mapping[str, str]:
        if pipeline not in self._environments:
            self._environments[pipeline] = read_environment(self._ws, pipeline)
        return self._environments[pipeline]

    def _native_ids(self, attempts: Sequence[AttemptId]) -> tuple[NativeId, ...]:
        found = self._reader.attempts(attempts) if attempts else {}
        return tuple(native_id for one in attempts if (native_id := found[one].native_id) is not None)

    def _results(
        self,
        task: Task,
        needs: Sequence[ResolvedNeed],
        targets: Mapping[TaskId, Task],
        expected: Mapping[TaskId, AttemptId],
    ) -> Mapping[TaskId, Path]:
        """Return the files with return values that the task's call takes arguments from.

        Those of `expected` attempts, which the task is queued behind, will be there when it begins.
        """
        if task.spec.call is None or not task.spec.call.results:
            return {}
        ids = {target.id for need in needs for target in need.targets}
        found = {
            target: result_of(self._ws.home, self._reader, targets[target], expected.get(target))
            for target in sorted(ids)
        }
        return {target: path for target, path in found.items() if path is not None}

    def _write(self, releases: Sequence[Release]) -> None:
        files, home = self._ws.files, self._ws.home
        # All that must be there before the job is asked for: its agent makes what only it and its program use.
        for release in releases:
            files.make_folder(layout.spool_dir(home, release.attempt.id))
        self._ws.crash("release.folders")
        # What is queued ahead takes nothing from the attempt that runs: neither its right nor the mark that it may leave.
        own = [release for release in releases if release.attempt.continues is None]
        for release in own:
            forget_finish(files, home, release.task, release.earlier)
        instructions = {layout.job_file(home, release.attempt.id): _document(release) for release in releases}
        fences = fences_to_raise(files, home, {release.task.id: release.attempt.number for release in own})
        # Each attempt's instructions come before its fence, and all of them wait for the disk together.
        files.write_all({**instructions, **fences})
        self._ws.crash("release.written")


def _document(release: Release) -> bytes:
    return _json(job_document(release))


def _json(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, ensure_ascii=True).encode()
