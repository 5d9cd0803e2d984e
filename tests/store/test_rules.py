"""Rules that people set: written down, replaced, dropped, and what the audit adds up to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elisa.model.changes import RuleDropped, RuleSet
from elisa.model.errors import StaleChange
from elisa.model.ids import ProjectName, RuleId, new_rule_id
from elisa.model.rules import Rule, RuleKind, recall_id, setting_id
from elisa.store.writer import Writer
from tests.builders import SeededRandom

VISION = ProjectName("vision")
SHARES = Rule(
    id=setting_id(VISION, "shares"),
    kind=RuleKind.SETTING,
    project=VISION,
    body={"path": "shares", "value": 2},
    by="ada",
)
LOAN = Rule(
    id=RuleId("r000000001"),
    kind=RuleKind.LOAN,
    project=VISION,
    body={"borrower": "nlp", "amount": {"gpu_hours": 5}},
    by="ada",
)


def test_rules_are_listed_as_they_were_set_and_a_setting_takes_the_place_of_its_like(writer: Writer) -> None:
    writer.apply((RuleSet(rule=SHARES), RuleSet(rule=LOAN)))
    other = replace(SHARES, body={"path": "shares", "value": None}, by="eve")

    assert writer.rules() == (LOAN, SHARES)
    writer.apply((RuleSet(rule=other),))
    assert writer.rules() == (LOAN, other)


def test_a_dropped_rule_holds_no_longer_and_may_be_set_again(writer: Writer) -> None:
    writer.apply((RuleSet(rule=SHARES),))

    writer.apply((RuleDropped(rule=SHARES.id, by="ada"),))
    assert writer.rules() == ()

    writer.apply((RuleSet(rule=SHARES),))
    assert writer.rules() == (SHARES,)


def test_one_that_does_not_hold_cannot_be_dropped_and_nothing_of_the_batch_is_done(writer: Writer) -> None:
    writer.apply((RuleSet(rule=SHARES),))
    drop = RuleDropped(rule=SHARES.id, by="ada")
    writer.apply((drop,))

    with pytest.raises(StaleChange, match="dropped already"):
        writer.apply((RuleSet(rule=LOAN), drop))
    with pytest.raises(StaleChange, match="there is none"):
        writer.apply((RuleDropped(rule=RuleId("nobody/shares"), by="ada"),))

    assert writer.rules() == ()


def test_one_without_an_id_is_refused(writer: Writer) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        writer.apply((RuleSet(rule=replace(SHARES, id=RuleId(""))),))


def test_the_audit_tells_who_set_what_and_adds_up_to_what_is_stored(writer: Writer) -> None:
    writer.apply((RuleSet(rule=SHARES), RuleSet(rule=LOAN)))
    writer.apply((RuleDropped(rule=SHARES.id, by="eve"),))

    told = [(row.kind, row.facts["set_by"], row.facts.get("by")) for row in writer.audit(subject=SHARES.id)]

    assert told == [("rule.set", "ada", None), ("rule.dropped", "ada", "eve")]
    assert writer.verify_audit().problems == ()


def test_a_rule_changed_behind_the_audits_back_is_found(writer: Writer) -> None:
    writer.apply((RuleSet(rule=SHARES),))

    writer._db.run("UPDATE rule SET body = '{}'")

    (problem,) = writer.verify_audit().problems
    assert problem.startswith("rule vision/shares is (setting, vision, {}")


def test_ids_of_rules_look_like_the_others_and_a_recall_is_named_after_its_loan() -> None:
    fresh = new_rule_id(SeededRandom(1))

    assert (fresh[0], len(fresh)) == ("r", 10)
    assert recall_id(fresh) == f"{fresh}/recall"
