"""The sections of `site.yaml` about jobs: what their agents do, how much silence is an end, and what failures cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from elisa.engine.release import JobRules
from elisa.engine.site_kinds import Count, Duration, DurationOrOff, Memory, Section
from elisa.model.states import INFRASTRUCTURE_ENDS, EndReason
from elisa.policies.lifecycle import LifecycleRules
from elisa.policies.refunds import RefundRules
from elisa.policies.unheard import UnheardRules

__all__ = ["JobsConfig", "RecoveryConfig", "RefundsConfig"]

_JOBS, _LIFECYCLE = JobRules(), LifecycleRules()


class RefundsConfig(Section):
    """What is given back of a project's budget for work that was lost through no fault of its own."""

    part: Annotated[float, Field(ge=0, le=1)] = Field(default=1.0, description="How much of what was lost.")
    whole_run: bool = Field(
        default=False,
        description="Whether all of the run counts as lost, not only what came after its last checkpoint.",
    )
    ends: tuple[EndReason, ...] = Field(
        default=tuple(sorted(INFRASTRUCTURE_ENDS)), description="After which ends of an attempt."
    )

    def rules(self) -> RefundRules:
        """Return it as the rules of a policy."""
        return RefundRules(ends=frozenset(self.ends), share=self.part, whole_run=self.whole_run)


class JobsConfig(Section):
    """What the agent of every job does."""

    heartbeat: Duration = Field(default=int(_JOBS.heartbeat_s), description="How often it says that it lives.")
    sample: Duration = Field(default=int(_JOBS.sample_s), description="How often it looks at what the program uses.")
    grace: Duration = Field(
        default=int(_JOBS.grace_s), description="How long a program that is asked to end may take before it is killed."
    )
    self_fence: Duration = Field(
        default=int(_JOBS.self_fence_s),
        description="An agent that cannot reach the state folder for so long kills its program; a successor waits a quarter"
        " longer after the last sign of life, unless something proves sooner that nothing runs any more.",
    )
    output_limit: Memory = Field(
        default=_JOBS.output_limit_mib, description="What a program may print before it is stopped."
    )
    local_checkpoints: str = Field(
        default=_JOBS.local_checkpoints,
        description="A folder on each node's own fast disk, where `elisa.checkpoint` saves first; may name `$VARIABLES` of the"
        " job. Empty: there is none.",
    )

    def rules(self) -> JobRules:
        """Return it in the units of an agent's instructions."""
        return JobRules(
            heartbeat_s=self.heartbeat,
            sample_s=self.sample,
            grace_s=self.grace,
            self_fence_s=self.self_fence,
            output_limit_mib=self.output_limit,
            local_checkpoints=self.local_checkpoints,
        )


class RecoveryConfig(Section):
    """How much silence proves that a job never was, or is no more. All conditions must hold together."""

    grace: Duration = Field(
        default=int(_LIFECYCLE.grace_s),
        description="A job that cannot be found is given up after this time at the earliest.",
    )
    absences: Annotated[int, Field(ge=1)] = Field(
        default=_LIFECYCLE.absences,
        description="So many complete listings must lack it, while the job itself is silent.",
    )
    linger_ticks: Count = Field(
        default=_LIFECYCLE.linger_ticks,
        description="How many ticks an unexplained end waits for the other word, the job's or the manager's.",
    )
    unheard: DurationOrOff = Field(
        default=int(_LIFECYCLE.unheard.bound_s),
        description="A job that its manager calls running, and whose agent has given no sign for so long, is shut out and"
        " deleted, and its task tried again. Longer than any prolog and launch takes; `off`: never.",
    )

    refunds: RefundsConfig | None = Field(
        default=None, description="What is given back for work that failures lost; nothing if left out."
    )

    def rules(self) -> LifecycleRules:
        """Return it as the rules of a policy."""
        return LifecycleRules(
            grace_s=self.grace,
            absences=self.absences,
            linger_ticks=self.linger_ticks,
            refunds=None if self.refunds is None else self.refunds.rules(),
            unheard=UnheardRules(bound_s=self.unheard),
        )
