"""What people change of a site's rules by command: settings of projects, grants, loans and their ends, reservations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from .ids import ProjectName, RuleId

__all__ = ["Rule", "RuleKind", "recall_id", "setting_id"]


class RuleKind(StrEnum):
    """What a rule is; the `body` of each is written as the same thing is in `site.yaml`."""

    SETTING = "setting"  # of a project: {path: such as budget.gpu_hours, value}
    GRANT = "grant"  # to a project: {amount, from, until, carry_over}
    LOAN = "loan"  # of a lender: {borrower, amount, from, until, recallable}
    RECALL = "recall"  # of a loan before it is due: {loan, at}
    RESERVATION = "reservation"  # for a project: {backend, amount, from, until, users, native, why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, laid over `site.yaml` until it is dropped. A setting takes the place of the one with the same id."""

    id: RuleId
    kind: RuleKind
    project: ProjectName
    body: Mapping[str, object]
    by: str = ""


def setting_id(project: ProjectName, path: str) -> RuleId:
    """Return the id of the one rule that may set this."""
    return RuleId(f"{project}/{path}")


def recall_id(loan: RuleId) -> RuleId:
    """Return the id of the one rule that may call a loan back."""
    return RuleId(f"{loan}/recall")
