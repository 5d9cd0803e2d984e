"""Who may do what: roles that come from a file which only an administrator can change, never from a task's own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy, SitePolicy

__all__ = ["Action", "Rights", "best_rank", "check_class", "check_member", "check_queue", "demand"]


class Action(StrEnum):
    """What needs a right. The owner of a task needs none to hold, release or cancel it, or to rank it lower."""

    PRIORITIZE = "prioritize the work of"
    CONTROL = "control what others do in"
    LEND = "lend for"
    RECALL = "call back a loan of"
    GIVE_BACK = "give back a loan of"
    DIVIDE = "divide the budget of"  # between its members
    RESERVE = "reserve room for"
    RELEASE = "give back room reserved for"
    CHANGE_RULES = "change the rules of"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Users by their role. Administrators may do everything, managers of a project what concerns its own means.

    Reserving takes room from everybody else, so that is for `reservers` alone; giving it back is for managers, too. Work of a
    project is submitted by its `members`, by whomever where none are named; those of `*` are of all others.
    """

    admins: frozenset[int] = frozenset()
    managers: tuple[tuple[ProjectName, frozenset[int]], ...] = ()
    reservers: frozenset[int] = frozenset()
    members: tuple[tuple[ProjectName, frozenset[int]], ...] = ()

    def may(self, uid: int, action: Action, project: ProjectName) -> bool:
        """Tell whether user `uid` may do this to `project`."""
        if uid in self.admins:
            return True
        if action in {Action.RESERVE, Action.RELEASE} and uid in self.reservers:
            return True
        is_own = action not in {Action.CHANGE_RULES, Action.RESERVE}
        return is_own and uid in dict(self.managers).get(project, frozenset())

    def may_submit(self, uid: int, project: ProjectName) -> bool:
        """Tell whether user `uid` may submit work of `project`, and so use up what is its own."""
        members = dict(self.members)
        own = members.get(project, members.get(_ALL_OTHERS))
        return own is None or uid in own | self.admins | dict(self.managers).get(project, frozenset())


_ALL_OTHERS = ProjectName("*")


def demand(rights: Rights, uid: int, action: Action, project: ProjectName) -> None:
    """Raise PolicyError if user `uid` may not do this to `project`."""
    if rights.may(uid, action, project):
        return
    if action is Action.CHANGE_RULES:
        who = "an administrator may: the owner of the state folder, or one whom roles.yaml names"
        raise PolicyError(f"user {uid} may not {action.value} project {project}", f"only {who}", "ask one of them")
    if action is Action.RESERVE:
        who = "administrators and those whom roles.yaml names as `reservers` may"
        raise PolicyError(f"user {uid} may not {action.value} project {project}", f"only {who}", "ask one of them")
    raise PolicyError(
        f"user {uid} may not {action.value} project {project}",
        "only its managers, whom roles.yaml names, and administrators may",
        f"ask a manager of {project}",
    )


def best_rank(reserved: Sequence[tuple[PriorityClass, Sequence[int]]], uid: int) -> int:
    """Return the rank of the best class that a user may use anywhere, where some classes are for certain users only.

    Who is named for a class may use it and all below it. All others may use what is below every class that is named.
    """
    own = [CLASS_RANK[name] for name, users in reserved if uid in users]
    below = max((CLASS_RANK[name] for name, _ in reserved), default=-1) + 1
    return min(*own, below) if own else min(below, max(CLASS_RANK.values()))


def check_class(site: SitePolicy, project: ProjectName, uid: int, wanted: PriorityClass) -> None:
    """Raise PolicyError if the project, or this member of it, may not use a class."""
    highest = site.project(project).highest
    if CLASS_RANK[wanted] < CLASS_RANK[highest]:
        raise PolicyError(
            f"project {project} may not submit work of class {wanted.value}",
            f"its highest class is {highest.value}",
            "lower `priority`, or ask the site's administrator",
        )
    best = best_rank(site.reserved_classes, uid)
    if CLASS_RANK[wanted] < best:
        raise PolicyError(
            f"user {uid} may not use class {wanted.value}",
            f"roles.yaml keeps it for others; {list(CLASS_RANK)[best].value} is the best that is left",
            "lower `priority`, or ask the site's administrator",
        )


def check_member(rights: Rights, uid: int, project: ProjectName) -> None:
    """Raise PolicyError if a user may not submit work of a project."""
    if not rights.may_submit(uid, project):
        raise PolicyError(
            f"user {uid} may not submit work of project {project}",
            "only its members, whom roles.yaml names, its managers and administrators may",
            f"submit it for a project of your own, or ask a manager of {project}",
        )


def check_queue(policy: ProjectPolicy, project: ProjectName, unfinished: int, added: int) -> None:
    """Raise PolicyError if `added` tasks would give the project more unfinished ones than its bound."""
    if policy.queue_limit and unfinished + added > policy.queue_limit:
        raise PolicyError(
            f"project {project} may have {policy.queue_limit} unfinished tasks",
            f"it has {unfinished}, and this pipeline would add {added}",
            "wait for some to finish, or cancel some",
        )
