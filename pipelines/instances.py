"""Tasks read one by one: defaults merged in, matrices multiplied out, parameters filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from elisa.model.pipeline import JSONScalar
from elisa.pipelines.drafts import TaskDraft
from elisa.pipelines.kinds import BAD, Kind, Value, wanted
from elisa.pipelines.matrix import MAX_TASKS, Combination, combinations
from elisa.pipelines.naming import instance_name
from elisa.pipelines.nodes import Entry, MapNode, Mark, Node, Scalar, walk
from elisa.pipelines.problems import Problems
from elisa.pipelines.tasks import TASK
from elisa.pipelines.template import Filling, fill
from elisa.pipelines.words import TASK_NAME

__all__ = ["Instance", "instances_of"]

_WITH_FOLDERS = frozenset({"command", "environment", "workdir", "outputs"})
_WITH_ITEM = _WITH_FOLDERS | {"args"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One task to be. `group` is the name its author wrote; `values` its place in the matrix."""

    name: str
    group: str
    values: tuple[tuple[str, JSONScalar], ...]
    draft: TaskDraft
    node: MapNode

    def mark(self, field: str) -> Mark:
        """Return where one of its fields stands, or the task itself."""
        return (self.node.get(field) or self.node).mark


def instances_of(
    tasks: MapNode, defaults: MapNode | None, parameters: Mapping[str, Node], problems: Problems
) -> tuple[Instance, ...]:
    """Return every task of the document, in its order; those that could not be read at all are left out."""
    reader = _Reader(parameters, problems)
    found: list[Instance] = []
    for key, node in tasks.entries:
        as_text = Scalar(mark=key.mark, text=key.text, value=key.text)
        with problems.about("tasks"):
            name = TASK_NAME.read(as_text, problems)
        with problems.about(key.text):
            is_map = isinstance(node, MapNode) or wanted(node, problems, "a map that says what to run") is not BAD
        if name is BAD or not is_map:
            continue
        assert isinstance(node, MapNode)
        whole = MapNode(mark=key.mark, entries=_merged(defaults, node).entries)
        found.extend(reader.instances(key.text, whole))
        if len(found) > MAX_TASKS:
            problems.add(key.mark, f"more than {MAX_TASKS} tasks", hint="split the pipeline")
            break
    return tuple(found)


def _merged(under: MapNode | None, over: MapNode) -> MapNode:
    """Return `over` with what `under` adds; maps are merged key by key, everything else is replaced."""
    if under is None:
        return over
    own = {key.text for key, _ in over.entries}
    entries = []
    for key, value in over.entries:
        below = under.get(key.text)
        both_maps = isinstance(value, MapNode) and isinstance(below, MapNode)
        entries.append(Entry(key, _merged(below, value)) if both_maps else Entry(key, value))  # type: ignore[arg-type]
    entries += [entry for entry in under.entries if entry.key.text not in own]
    return MapNode(mark=over.mark, entries=tuple(entries))


class _Reader:
    """Reads instances; what does not differ between those of a matrix is read once."""

    def __init__(self, parameters: Mapping[str, Node], problems: Problems) -> None:
        self.parameters = parameters
        self.problems = problems
        self._memo: dict[tuple[int, int], tuple[Node, Value]] = {}

    def instances(self, group: str, node: MapNode) -> Iterator[Instance]:
        matrix = node.find("matrix")
        if matrix is None:
            yield self._instance(group, node, None)
            return
        filled = fill(matrix.value, Filling(values=self.parameters), self.problems)
        with self.problems.about("matrix"):
            found = combinations(filled, self.parameters, self.problems)
        for combination in found:
            yield self._instance(group, node, combination)
        if not found:
            self._read_what_can_be(node)

    def _read_what_can_be(self, node: MapNode) -> None:
        """Report what is wrong with a task beside its matrix."""
        entries = tuple(entry for entry in node.entries if not any("${" in one.text for one in walk(entry.value)))
        TASK.read(MapNode(mark=node.mark, entries=entries), self.problems, self._read)

    def _instance(self, group: str, node: MapNode, combination: Combination | None) -> Instance:
        values = tuple((name, value.value) for name, value in (combination or {}).items())
        filled = self._filled(node, combination or {})
        draft = TASK.read(filled, self.problems, self._read)
        name = group if combination is None else instance_name(group, values)
        return Instance(name=name, group=group, values=values, draft=draft, node=filled)

    def _filled(self, node: MapNode, combination: Combination) -> MapNode:
        values = {**self.parameters, **combination}
        is_template = node.find("foreach") is not None
        entries = []
        for key, value in node.entries:
            if key.text == "matrix":
                continue
            filling = Filling(
                values=values, runtime=key.text in _WITH_FOLDERS, item=is_template and key.text in _WITH_ITEM
            )
            entries.append(Entry(key, fill(value, filling, self.problems)))
        return MapNode(mark=node.mark, entries=tuple(entries))

    def _read(self, kind: Kind, node: Node, problems: Problems) -> Value:
        known = self._memo.get((id(kind), id(node)))
        if known is None:
            known = self._memo[id(kind), id(node)] = (node, kind.read(node, problems))
        return known[1]
