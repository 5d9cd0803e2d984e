"""A document's tree, from YAML or from decorators, made into one `Pipeline`, or into all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from elisa.model.ids import ProjectName
from elisa.model.pipeline import Pipeline
from elisa.model.units import parse_duration_s
from elisa.pipelines.calls import Functions
from elisa.pipelines.checks import check_graph
from elisa.pipelines.document import DOCUMENT
from elisa.pipelines.drafts import DocumentDraft
from elisa.pipelines.instances import Instance, instances_of
from elisa.pipelines.kinds import BAD
from elisa.pipelines.links import Linker
from elisa.pipelines.nodes import Entry, MapNode, Node, Scalar
from elisa.pipelines.parameters import parameters_of
from elisa.pipelines.problems import Problems
from elisa.pipelines.template import Filling, fill

__all__ = ["Origin", "assemble"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a document came from. `now` is what a relative deadline counts from."""

    file: str
    folder: Path
    now: datetime


def assemble(document: Node, origin: Origin, overrides: Mapping[str, str]) -> Pipeline:
    """Return the pipeline that `document` describes.

    Raises SpecError with every problem, in file order.
    """
    problems = Problems(origin.file)
    pipeline = _assembled(document, origin, overrides, problems)
    problems.raise_any()
    assert pipeline is not None
    return pipeline


def _assembled(document: Node, origin: Origin, overrides: Mapping[str, str], problems: Problems) -> Pipeline | None:
    if not isinstance(document, MapNode):
        problems.add(document.mark, "a pipeline is a map", hint="start with `name:` and `tasks:`")
        return None
    parameters = parameters_of(document, overrides, problems)
    head = _head(document, parameters, problems)
    draft = DOCUMENT.read(head, problems)
    if draft is BAD:
        tasks = document.get("tasks")
        if isinstance(tasks, MapNode):
            instances_of(tasks, None, parameters, problems)
        return None
    deadline = _deadline(head.get("deadline"), origin.now, problems)
    return replace(_pipeline(draft, parameters, origin, problems), deadline=deadline)


def _head(document: MapNode, parameters: Mapping[str, Node], problems: Problems) -> MapNode:
    """Return the document with everything but its tasks filled in: those are filled one by one."""
    filling = Filling(values=parameters)
    later = {"tasks", "defaults", "parameters"}
    entries = tuple(
        Entry(key, value if key.text in later else fill(value, filling, problems)) for key, value in document.entries
    )
    return MapNode(mark=document.mark, entries=entries)


def _pipeline(draft: DocumentDraft, parameters: Mapping[str, Node], origin: Origin, problems: Problems) -> Pipeline:
    instances = instances_of(draft.tasks, draft.defaults, parameters, problems)
    functions = Functions(origin.folder)
    for instance in instances:
        _check_call(instance, functions, problems)
    linker = Linker(instances, (key.text for key, _ in draft.tasks.entries), draft.priority, problems)
    specs = tuple(linker.spec(instance) for instance in instances)
    check_graph(specs, instances, problems)
    return Pipeline(
        name=draft.name,
        project=ProjectName(draft.project),
        tasks=specs,
        folder=str(origin.folder),
        importance=draft.importance,
        priority=draft.priority,
        labels=draft.labels,
        metadata=draft.metadata,
    )


def _check_call(instance: Instance, functions: Functions, problems: Problems) -> None:
    if instance.draft.call:
        names = [name for name, _ in instance.draft.args]
        functions.check(instance.draft.call, names, instance.mark("call"), problems)


def _deadline(node: Node | None, now: datetime, problems: Problems) -> datetime | None:
    if not isinstance(node, Scalar) or not node.text:
        return None
    try:
        return _moment(node.text.strip(), now)
    except (ValueError, OverflowError):
        hint = "write a date with its zone, 2026-12-24T18:00+01:00, or a time after the submission, +3d"
        problems.add(node.mark, f"`{node.text}` is no deadline", node.text, hint)
        return None


def _moment(text: str, now: datetime) -> datetime:
    if text.startswith("+"):
        return now + timedelta(seconds=parse_duration_s(text[1:]))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment.astimezone(UTC)
