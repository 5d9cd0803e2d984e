"""What running jobs say of themselves as time passes over them: heartbeats and checkpoints, each at its moment."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from elisa.backends.simulated.agent import Agent
from elisa.backends.simulated.job import SimJob

__all__ = ["Chronicle"]

_SECOND = 1_000_000


class Chronicle:
    """Remembers when each running job speaks next. `find` gives a job by its order while it lives."""

    def __init__(self, agent: Agent, heartbeat_s: float, find: Callable[[int], SimJob | None]) -> None:
        self._agent = agent
        self._heartbeat_us = round(heartbeat_s * _SECOND)
        self._find = find
        self._due: list[tuple[int, int, int]] = []  # when, whose, planned in which version

    def follow(self, job: SimJob) -> None:
        """Note when the job will next say something."""
        moments = [self._next_beat_us(job), job.next_save_us()]
        at_us = min((at for at in moments if at is not None), default=None)
        if at_us is not None and job.program.voice is not None:
            heapq.heappush(self._due, (at_us, job.order, job.version))

    def _next_beat_us(self, job: SimJob) -> int | None:
        return job.started_us + (job.beats + 1) * self._heartbeat_us if self._heartbeat_us else None

    def speak(self, until_us: int) -> list[SimJob]:
        """Let all jobs say what they have to say until a moment; return those that did."""
        spoke = []
        while self._due and self._due[0][0] <= until_us:
            _, order, version = heapq.heappop(self._due)
            job = self._find(order)
            if job is not None and job.version == version:
                self.speak_for(job, until_us)
                self.follow(job)
                spoke.append(job)
        return spoke

    def speak_for(self, job: SimJob, until_us: int) -> None:
        """Say everything one job has to say up to a moment, in the order in which it happened."""
        if job.program.voice is None:
            self._count_saves(job, until_us)
            return
        while True:
            save_us, beat_us = job.next_save_us(), self._next_beat_us(job)
            at_us = min((at for at in (save_us, beat_us) if at is not None), default=until_us + 1)
            if at_us > until_us:
                break
            if at_us == save_us:
                job.saves += 1
                self.save(job, at_us)
            else:
                job.beats += 1
                self._agent.beat(job, at_us)

    def _count_saves(self, job: SimJob, until_us: int) -> None:
        if job.cycle_us:
            job.saves = (min(until_us, job.end_us) - job.started_us) // job.cycle_us
            job.saved = max(job.saved, job.program.step_at(job.work_at(job.started_us + job.saves * job.cycle_us)))

    def save(self, job: SimJob, at_us: int) -> None:
        """Write a checkpoint of the work done so far, if there is any since the last."""
        step = job.program.step_at(job.work_at(at_us))
        if step > job.saved:
            job.saved = step
            self._agent.save(job, at_us, step)
