"""Who may do what: roles that come from a file which only an administrator can change, never from a task's own file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.pipeline import PriorityClass
from elisa.model.site import CLASS_RANK, ProjectPolicy

__all__ = ["Action", "Rights", "check_class", "check_queue", "demand"]


class Action(StrEnum):
    """What needs a right. The owner of a task needs none to hold, release or cancel it."""

    PRIORITIZE = "prioritize"
    CONTROL_OTHERS = "control others' tasks"
    LEND = "lend"
    RECALL = "recall a loan"
    CHANGE_BUDGET = "change a budget"
    CHANGE_RULES = "change the rules of the site"


_MANAGERS_MAY = frozenset({Action.PRIORITIZE, Action.CONTROL_OTHERS, Action.LEND, Action.RECALL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Users by their role. Administrators may do everything, managers of a project what concerns its own means."""

    admins: frozenset[int] = frozenset()
    managers: tuple[tuple[ProjectName, frozenset[int]], ...] = ()

    def may(self, uid: int, action: Action, project: ProjectName) -> bool:
        """Tell whether user `uid` may do this to `project`."""
        if uid in self.admins:
            return True
        return action in _MANAGERS_MAY and uid in dict(self.managers).get(project, frozenset())


def demand(rights: Rights, uid: int, action: Action, project: ProjectName) -> None:
    """Raise PolicyError if user `uid` may not do this to `project`."""
    if not rights.may(uid, action, project):
        who = f"a manager of {project} or an administrator" if action in _MANAGERS_MAY else "an administrator"
        raise PolicyError(f"user {uid} may not {action.value} for {project}", hint=f"ask {who}")


def check_class(policy: ProjectPolicy, wanted: PriorityClass) -> None:
    """Raise PolicyError if the project may not use this class."""
    if CLASS_RANK[wanted] < CLASS_RANK[policy.highest]:
        raise PolicyError(
            f"class {wanted.value} is above what {policy.name or 'this project'} may use",
            f"its highest class is {policy.highest.value}",
            f"set `priority: {policy.highest.value}` or ask an administrator",
        )


def check_queue(policy: ProjectPolicy, unfinished: int, added: int) -> None:
    """Raise PolicyError if `added` tasks would give the project more unfinished ones than its bound."""
    if policy.queue_limit and unfinished + added > policy.queue_limit:
        raise PolicyError(
            f"{added} more tasks would give {policy.name or 'this project'} {unfinished + added} unfinished ones",
            f"at most {policy.queue_limit} may be unfinished at once",
            "wait until some have ended, cancel others, or submit fewer",
        )
