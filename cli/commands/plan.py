"""`elisa plan`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from rich.table import Table

from elisa.cli.draw import table_of
from elisa.cli.due_words import judged_data, judged_words
from elisa.cli.home import existing_home
from elisa.cli.order_words import keys_data, places_data
from elisa.cli.output import print_json, show
from elisa.engine.plan import Preview, preview
from elisa.engine.workspace import open_workspace
from elisa.model.decisions import Cancel, Decision, Park, Preempt, Resize, Submit
from elisa.model.ids import PipelineId, TaskId
from elisa.model.reasons import ReasonCode
from elisa.model.text import clean
from elisa.policies.score import weighed
from elisa.report.deadlines import Judged, judged_of
from elisa.report.words import in_words
from elisa.store.reader import Reader

__all__ = ["plan"]


def plan(*, limit: int, home: str | None, json: bool) -> int:
    """Print what the next tick would do, and why the rest waits."""
    with open_workspace(existing_home(home)) as workspace:
        seen = preview(workspace)
        with Reader.open(workspace.home) as reader:
            due = judged_of(reader, seen.due.verdicts)
    if json:
        print_json("plan", 1, _data(seen, due))
        return 0
    if not (seen.plan.decisions or seen.chained or seen.cleared):
        show("the next tick would start and stop nothing")
    else:
        show(_decisions_table(seen))
        show(*_bundle_lines(seen))
    late = [one for one in due.values() if not one.verdict.is_reachable]
    if late:
        show("", *(clean(f"{one.name}: {judged_words(one)}") for one in late))
    waiting = list(islice(seen.plan.passed_over(), limit + 1))
    if waiting:
        table = table_of("waits", "name", "because", whole=("waits",))
        for one in waiting[:limit]:
            table.add_row(one.task, clean(seen.names.get(one.task, "")), clean(in_words(one.reason)))
        show("", table)
    if len(waiting) > limit:
        show("and more; `elisa plan --limit N` shows them")
    return 0


def _bundle_lines(seen: Preview) -> Iterator[str]:
    for bundle in seen.fused.bundles.values():
        beside = f", {bundle.lanes} side by side" if bundle.lanes > 1 else ""
        first = clean(seen.names.get(bundle.leader, bundle.leader))
        yield f"fused: {len(bundle.members)} tasks in one job{beside}, {first} first"


def _decisions_table(seen: Preview) -> Table:
    table = table_of("would", "task", "name", "where", "because", whole=("would", "task"))
    for decision in (*seen.decisions, *seen.chained, *seen.cleared):
        verb, task, where = _parts(decision)
        table.add_row(verb, task, clean(seen.names.get(task, "")), where, clean(in_words(decision.reason)))
    return table


def _parts(decision: Decision) -> tuple[str, TaskId, str]:
    match decision:
        case Submit():
            return (
                "chain" if decision.reason.code is ReasonCode.CHAINED else "submit",
                decision.task,
                f"{decision.backend}{'/' + decision.partition if decision.partition else ''}",
            )
        case Cancel():
            verb = "stop" if decision.reason.code is ReasonCode.CLEARED else "cancel"
            return verb, TaskId(decision.attempt.partition(".")[0]), decision.attempt
        case Preempt():
            return "preempt", TaskId(decision.attempt.partition(".")[0]), decision.attempt
        case Park():
            return "park", TaskId(decision.attempt.partition(".")[0]), decision.attempt
        case Resize():
            verb = "grow" if decision.beneficiary is None else "shrink"
            return verb, TaskId(decision.attempt.partition(".")[0]), decision.attempt


def _data(seen: Preview, due: Mapping[PipelineId, Judged]) -> dict[str, object]:
    return {
        "due": {pipeline: judged_data(judged) for pipeline, judged in due.items()},
        "decisions": [_decision_data(decision, seen) for decision in (*seen.decisions, *seen.chained, *seen.cleared)],
        "fused": [
            {"tasks": [member.task for member in bundle.members], "lanes": bundle.lanes}
            for bundle in seen.fused.bundles.values()
        ],
        "passed_over": [
            {
                "task": one.task,
                "name": seen.names.get(one.task, ""),
                "code": one.reason.code,
                "facts": one.reason.facts,
                "words": in_words(one.reason),
                **_order_data(seen, one.task),
            }
            for one in seen.plan.passed_over()
        ],
    }


def _order_data(seen: Preview, task: TaskId) -> dict[str, object]:
    """Tell a ready task's place in the queue, and its factors, the weightiest first."""
    heir, ageing = seen.plan.snapshot.urged.get(task), seen.plan.ageing(task)
    return {
        "rank": seen.plan.rank(task),
        "keys": keys_data(seen.plan.keys(task)),
        "factors": [line._asdict() for line in seen.plan.factors(task)],
        "urged_by": None if heir is None else heir.by,
        "ageing": None if ageing is None else ageing._asdict(),
    }


def _decision_data(decision: Decision, seen: Preview) -> dict[str, object]:
    verb, task, where = _parts(decision)
    reason = {"code": decision.reason.code, "facts": decision.reason.facts, "words": in_words(decision.reason)}
    told: dict[str, object] = {
        "would": verb,
        "task": task,
        "name": seen.names.get(task, ""),
        "where": where,
        "reason": reason,
    }
    if verb != "submit" or task in seen.fused.ahead:
        return told
    places = [weighed(one, seen.plan.snapshot) for one in seen.plan.places(task)]
    return told | _order_data(seen, task) | {"places": places_data(places)}
