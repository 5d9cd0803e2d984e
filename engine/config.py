"""The site's configuration, `site.yaml`: which resource managers there are, and what everybody may use of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from elisa.engine.files import Files
from elisa.engine.site_budgets import AtOnce, LoanConfig, PartCount, ProjectConfig, ReservationConfig
from elisa.engine.site_jobs import JobsConfig, RecoveryConfig
from elisa.engine.site_kinds import Count, Duration, DurationOrOff, Section, Weight, told_problems
from elisa.engine.site_sections import (
    BackendConfig,
    ClosureConfig,
    DataConfig,
    ExplorationConfig,
    FusionConfig,
    PowerConfig,
    PreemptionConfig,
)
from elisa.engine.site_weights import FactorsConfig, FairShareConfig, PlacementConfig
from elisa.model import layout
from elisa.model.errors import SpecError
from elisa.model.site import BackfillTimes, SitePolicy
from elisa.pipelines.nodes import plain
from elisa.pipelines.strict_yaml import load

__all__ = ["Site", "load_site", "parse_site"]

_POLICY = SitePolicy()
# Two defaults are not those of SitePolicy, which plans that were kept by an older elisa leave out.
# Longer than a weekend for the best class, a fortnight and a day for the worst.
_AGED_S = 3 * 86_400
# Importance behind fair share: whoever calls his own work important puts the rest of his project behind it, and nobody else.
_ORDER = ("class", "deadline", "fair_share", "importance", "age", "size")


class Site(Section):
    """The whole configuration. All of it may be left out: then this machine is the only backend."""

    backends: Mapping[str, BackendConfig] = Field(
        default={"local": BackendConfig(kind="local")}, description="The resource managers, by the names tasks use."
    )
    projects: Mapping[str, ProjectConfig] = Field(default={}, description="The projects, by name.")
    unlisted: ProjectConfig = Field(default=ProjectConfig(), description="The rules of every project not named above.")
    at_once: AtOnce = Field(
        default=AtOnce(), description="What all of elisa's work together may hold at one moment: never exceeded."
    )
    loans: tuple[LoanConfig, ...] = Field(default=(), description="Budget that moves from one project to another.")
    reservations: tuple[ReservationConfig, ...] = Field(
        default=(), description="Room of backends that is kept for a project for a time."
    )
    fair_share: FairShareConfig = Field(default=FairShareConfig(), description="How past use counts.")
    order: tuple[str, ...] = Field(
        default=_ORDER,
        description="The keys that order the queue, the most important first; ties end in the id.",
    )
    planner: str = Field(
        default="", description="A planner that an installed package brings, in place of the built-in plan."
    )
    factors: FactorsConfig = Field(default=FactorsConfig(), description="Weights of the order key `multifactor`.")
    preemption: PreemptionConfig = Field(default=PreemptionConfig(), description="Who may be asked to leave.")
    placement: PlacementConfig = Field(
        default=PlacementConfig(), description="Weights of the terms that choose between places."
    )
    fusion: FusionConfig = Field(default=FusionConfig(), description="Which short tasks share a native job.")
    closures: tuple[ClosureConfig, ...] = Field(default=(), description="Times in which nodes must be empty.")
    data: Mapping[str, DataConfig] = Field(default={}, description="Which data sets lie where, by name.")
    default_window: Count = Field(
        default=_POLICY.default_window, description="How many of elisa's jobs may wait in one native queue."
    )
    submits_per_tick: Count = Field(
        default=_POLICY.submits_per_tick, description="How many jobs a tick submits to one backend at most."
    )
    aged: DurationOrOff = Field(
        default=_AGED_S,
        description="Who waited so long for each class from the best down to its own comes of age; `off` or `0s` is never.",
    )
    backfill_depth: Count = Field(
        default=_POLICY.backfill_depth,
        description="For how many blocked tasks room is kept free on backends without a queue of their own.",
    )
    backfill_due: Count = Field(
        default=_POLICY.backfill_due,
        description="For how many more blocked tasks that have a deadline room is kept there.",
    )
    backfill_times: BackfillTimes = Field(
        default=_POLICY.backfill_times,
        description="How long a job is expected to keep its room there: its walltime, `requested`, or as past runs of the same"
        " work let one expect, `predicted`.",
    )
    backfill_lookahead: Duration = Field(
        default=int(_POLICY.backfill_lookahead_s),
        description="How far ahead: for who could begin only later no room is kept yet; `0s` is however far.",
    )
    kept_plans: Count = Field(
        default=1000, description="Of how many ticks what was looked at and decided is kept, for `elisa replay`."
    )
    power: PowerConfig = Field(default=PowerConfig(), description="What nodes and cores draw, for budgets of energy.")
    shortened_run: Duration = Field(
        default=int(_POLICY.shortened_run_s),
        description="Work that saves when asked may begin before its backend closes with less time than it asks for, but no"
        " less than this; `0s` is never.",
    )
    gpu_watts: Mapping[str, Weight] = Field(
        default={}, description="What one GPU of a type draws, in watts, by type: see `energy` in `placement`."
    )
    gpu_shares: Mapping[str, PartCount] = Field(
        default={},
        description="How many shares make one GPU, by their type, such as `shard: 4`. Where nothing is said a share counts as a"
        " whole GPU.",
    )
    gpu_speeds: Mapping[str, Weight] = Field(
        default={}, description="How fast types of GPU are against one another, where nothing was measured, by type."
    )
    exploration: ExplorationConfig = Field(
        default=ExplorationConfig(), description="Which work is sent to types of GPU that it was never measured on."
    )
    jobs: JobsConfig = Field(default=JobsConfig(), description="What the agent of every job does.")
    recovery: RecoveryConfig = Field(default=RecoveryConfig(), description="How much silence is proof.")

    def policy(self) -> SitePolicy:
        """Return the rules that a plan follows."""
        return SitePolicy(
            projects=tuple(config.policy(name) for name, config in sorted(self.projects.items())),
            caps=self.at_once.caps(),
            unlisted=self.unlisted.policy(""),
            windows=tuple(window for name, config in sorted(self.backends.items()) for window in config.limits(name)),
            default_window=self.default_window,
            submits_per_tick=self.submits_per_tick,
            order=self.order,
            fair_share=self.fair_share.policy(),
            factors=self.factors.policy(),
            preemption=self.preemption.policy(),
            placement=self.placement.policy(),
            fusion=self.fusion.policy(),
            taints=tuple(taint for name, config in sorted(self.backends.items()) for taint in config.marks(name)),
            data=tuple(config.policy(name) for name, config in sorted(self.data.items())),
            closures=tuple(config.policy() for config in self.closures),
            loans=tuple(loan for config in self.loans for loan in config.loans()),
            reservations=tuple(one for config in self.reservations for one in config.reservations()),
            aged_s=self.aged,
            backfill_depth=self.backfill_depth,
            backfill_due=self.backfill_due,
            backfill_lookahead_s=self.backfill_lookahead,
            backfill_times=self.backfill_times,
            power=self.power.policy(self.gpu_watts),
            gpu_watts=tuple(sorted(self.gpu_watts.items())),
            shortened_run_s=self.shortened_run,
            gpu_speeds=tuple(sorted((kind, speed) for kind, speed in self.gpu_speeds.items() if speed)),
            exploration=self.exploration.policy(),
            gpu_shares=tuple(sorted(self.gpu_shares.items())),
        )


def load_site(files: Files, home: Path) -> Site:
    """Return the configuration of a state folder, the defaults if it has none; raises SpecError with all problems."""
    path = layout.site_file(home)
    text = files.read(path)
    return parse_site(text, str(path)) if text and text.strip() else Site()


def parse_site(text: bytes | str, file: str) -> Site:
    """Return the configuration that `text` describes; raises SpecError with every problem, each with its line."""
    node = load(text, file)
    try:
        return Site.model_validate(plain(node))
    except ValidationError as err:
        raise SpecError(told_problems(err, node, file)) from err
