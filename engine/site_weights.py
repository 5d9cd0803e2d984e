"""The sections of `site.yaml` about weights: how use is billed, tasks are ordered and places are chosen between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field, model_validator

from elisa.engine.site_kinds import Duration, Section, Weight
from elisa.model.site import Billing, Factors, FairShare, PlacementWeights

__all__ = ["BillingConfig", "FactorsConfig", "FairShareConfig", "PlacementConfig"]

_BILLING, _FACTORS, _PLACEMENT = Billing(), Factors(), PlacementWeights()


class BillingConfig(Section):
    """What an hour of each counts in fair share."""

    node: Weight = Field(default=_BILLING.node, description="A node.")
    cpu: Weight = Field(default=_BILLING.cpu, description="A core.")
    memory_gib: Weight = Field(default=_BILLING.memory_gib, description="A GiB of memory.")
    gpu: Weight = Field(default=_BILLING.gpu, description="A GPU.")
    gpu_types: Mapping[str, Weight] = Field(default={}, description="A GPU of a type, in place of `gpu`.")


class FairShareConfig(Section):
    """How past use counts."""

    half_life: Duration = Field(
        default=int(FairShare().half_life_s), description="After this time use counts half; `0s` never forgets."
    )
    groups: Mapping[str, Weight] = Field(
        default={}, description="Shares of the inner groups of the tree, by path; 1 for those not named."
    )
    billing: BillingConfig = Field(default=BillingConfig(), description="How use becomes one number.")

    def policy(self) -> FairShare:
        """Return it as the rules of a policy."""
        billing = Billing(
            node=self.billing.node,
            cpu=self.billing.cpu,
            memory_gib=self.billing.memory_gib,
            gpu=self.billing.gpu,
            gpu_types=tuple(sorted(self.billing.gpu_types.items())),
        )
        return FairShare(half_life_s=self.half_life, group_shares=tuple(sorted(self.groups.items())), billing=billing)


_Weights = TypeVar("_Weights", bound=Section)


def _with_others(section: _Weights, others: Mapping[str, float]) -> _Weights:
    """Return the section. Raises ValueError if a weight for another package has a name that is built in."""
    for name in sorted(others.keys() & type(section).model_fields.keys()):
        raise ValueError(f"`{name}` is built in: give it its weight beside `others`, not under it")
    return section


class FactorsConfig(Section):
    """Weights of the order key `multifactor`; each factor lies between 0 and 1."""

    age: Weight = Field(default=_FACTORS.age, description="How long the task has been ready, of `full_age`.")
    fair_share: Weight = Field(default=_FACTORS.fair_share, description="The place of its owner in the fair tree.")
    deadline: Weight = Field(
        default=_FACTORS.deadline, description="The part of the time left until the deadline that its work needs."
    )
    importance: Weight = Field(default=_FACTORS.importance, description="Its importance, of `full_importance`.")
    size: float = Field(
        default=_FACTORS.size, description="How little a full run is billed; a negative weight prefers large work."
    )
    progress: Weight = Field(default=_FACTORS.progress, description="The share of its work that is done.")
    promise: Weight = Field(
        default=_FACTORS.promise, description="What its results are hoped to be worth, as its `promise` declares."
    )
    full_age: Duration = Field(default=int(_FACTORS.age_s), description="The wait at which age counts 1.")
    full_importance: Annotated[float, Field(gt=0)] = Field(
        default=_FACTORS.importance_full, description="The importance that counts 1."
    )
    others: Mapping[str, Weight] = Field(
        default={}, description="Weights of factors of other packages (`factor.NAME`), by name."
    )

    @model_validator(mode="after")
    def _others_are_others(self) -> FactorsConfig:
        return _with_others(self, self.others)

    def policy(self) -> Factors:
        """Return it as the rules of a policy."""
        return Factors(
            age=self.age,
            fair_share=self.fair_share,
            deadline=self.deadline,
            importance=self.importance,
            size=self.size,
            progress=self.progress,
            promise=self.promise,
            age_s=self.full_age,
            importance_full=self.full_importance,
            others=tuple(sorted(self.others.items())),
        )


class PlacementConfig(Section):
    """Weights of the terms that choose between places a task may run in; each term lies between 0 and 1."""

    wish: Weight = Field(default=_PLACEMENT.wish, description="The author's first choice of GPU.")
    default: Weight = Field(default=_PLACEMENT.default, description="The resource manager's own default partition.")
    finish: Weight = Field(default=_PLACEMENT.finish, description="Ends soonest, wait and speed together.")
    cost: Weight = Field(default=_PLACEMENT.cost, description="Is billed least.")
    load: Weight = Field(default=_PLACEMENT.load, description="Is least full.")
    energy: Weight = Field(default=_PLACEMENT.energy, description="Draws least.")
    near: Weight = Field(default=_PLACEMENT.near, description="Has the data that it reads.")
    fit: Weight = Field(default=_PLACEMENT.fit, description="Leaves the fewest GPUs idle beside it.")
    affinity: Weight = Field(
        default=_PLACEMENT.affinity, description="Has nodes beside, and apart from, the tasks that it prefers."
    )
    switches: Weight = Field(
        default=_PLACEMENT.switches, description="Spreads work on several nodes over the fewest switches."
    )
    others: Mapping[str, Weight] = Field(
        default={}, description="Weights of terms of other packages (`score.NAME`), by name."
    )

    @model_validator(mode="after")
    def _others_are_others(self) -> PlacementConfig:
        return _with_others(self, self.others)

    def policy(self) -> PlacementWeights:
        """Return it as the rules of a policy."""
        return PlacementWeights(**self.model_dump() | {"others": tuple(sorted(self.others.items()))})
