"""What people changed of the site's rules by command."""

from __future__ import annotations

from elisa.model.ids import ProjectName, RuleId
from elisa.model.rules import Rule, RuleKind
from elisa.store.connection import Connection
from elisa.store.convert import read_facts

__all__ = ["RuleQueries"]

_SET = "SELECT id, kind, project, body, set_by FROM rule WHERE state = 'set' ORDER BY id"


class RuleQueries:
    """Queries for rules."""

    _db: Connection

    def rules(self) -> tuple[Rule, ...]:
        """Return all that hold, by id."""
        return tuple(
            Rule(id=RuleId(id_), kind=RuleKind(kind), project=ProjectName(project), body=read_facts(body), by=by)
            for id_, kind, project, body, by in self._db.rows(_SET)
        )
