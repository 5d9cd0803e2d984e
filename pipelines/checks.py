"""What only shows when all tasks are seen together: circles, gangs that cannot start, outputs that nobody declares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from elisa.model.affinity import Affinity, Over
from elisa.model.pipeline import Need, NeedKind, TaskSpec
from elisa.pipelines.instances import Instance
from elisa.pipelines.links import FOLDER
from elisa.pipelines.nodes import Mark
from elisa.pipelines.problems import Problems, nearest

__all__ = ["MAX_EDGES", "check_graph"]

# Every need of every task is a row in the store: a full bipartite sweep of 2,000 by 2,000 is surely a missing `match`.
MAX_EDGES = 2_000_000


def check_graph(specs: Sequence[TaskSpec], instances: Sequence[Instance], problems: Problems) -> None:
    """Report every fault in how tasks depend on one another."""
    at = {instance.name: instance for instance in instances}
    by_name = {spec.name: spec for spec in specs}
    edges = sum(len(need.tasks) for spec in specs for need in spec.needs)
    if edges > MAX_EDGES:
        hint = "pair instances with `match`, or put one task between the two groups"
        problems.add(instances[0].node.mark, f"{edges} dependencies; {MAX_EDGES} is the most", hint=hint)
        return
    for spec in specs:
        for need in spec.needs:
            _check_need(spec, need, by_name, at[spec.name], problems)
    _check_circles(by_name, at, problems)
    _check_gangs(specs, at, problems)
    _check_affinity(specs, at, problems)
    _check_shared_outputs(specs, at, problems)
    if not problems:
        _check_folders(specs, by_name, at, problems)


def _check_need(
    spec: TaskSpec, need: Need, by_name: Mapping[str, TaskSpec], instance: Instance, problems: Problems
) -> None:
    mark = instance.mark("needs")
    if spec.name in need.tasks:
        problems.add(mark, f"`{spec.group or spec.name}` needs itself", spec.name, "remove that need")
    for name in need.tasks:
        target = by_name[name]
        outputs = [output.name for output in target.outputs]
        if need.kind is NeedKind.DATA and need.output and need.output not in outputs:
            what = f"`{target.group or name}` declares no output `{need.output}`"
            problems.add(mark, what, need.output, nearest(need.output, outputs) or f"declare it in `{name}`")
        if need.kind is NeedKind.CHECKPOINT and target.checkpoint is None:
            what = f"`{target.group or name}` saves no checkpoints, so this need is never met"
            problems.add(mark, what, name, f"add `checkpoint: true` to `{target.group or name}`")


def _check_circles(by_name: Mapping[str, TaskSpec], at: Mapping[str, Instance], problems: Problems) -> None:
    """Report one circle at a time until the rest is free of them; a task that needs itself is reported elsewhere."""
    before = {
        name: [task for need in spec.needs for task in need.tasks if task != name] for name, spec in by_name.items()
    }
    after: dict[str, list[str]] = defaultdict(list)
    open_needs = {}
    for name, tasks in before.items():
        open_needs[name] = len(tasks)
        for task in tasks:
            after[task].append(name)
    ready = [name for name, count in open_needs.items() if count == 0]
    while ready:
        done = ready.pop()
        del open_needs[done]
        for name in after[done]:
            open_needs[name] -= 1
            if open_needs[name] == 0:
                ready.append(name)
    for circle in _circles(before, set(open_needs)):
        shown = " -> ".join(by_name[name].group or name for name in circle)
        problems.add(
            _where(at[circle[0]]),
            f"tasks need one another in a circle: {shown}",
            shown,
            "remove one of these needs",
        )


def _where(instance: Instance) -> Mark:
    return instance.mark("needs" if instance.node.find("needs") else "when")


def _circles(before: Mapping[str, Sequence[str]], stuck: set[str]) -> list[tuple[str, ...]]:
    found = []
    seen: set[str] = set()
    for start in before:
        if start not in stuck or start in seen:
            continue
        path: list[str] = []
        place: dict[str, int] = {}
        name = start
        while name not in place and name not in seen:
            place[name] = len(path)
            path.append(name)
            name = next(task for task in before[name] if task in stuck)
        seen.update(path)
        if name in place:
            circle = path[place[name] :]
            first = min(range(len(circle)), key=lambda index: _position(before, circle[index]))
            turned = circle[first:] + circle[:first]
            found.append((*turned, turned[0]))
    return found


def _position(before: Mapping[str, Sequence[str]], name: str) -> int:
    return next(index for index, other in enumerate(before) if other == name)


def _check_gangs(specs: Sequence[TaskSpec], at: Mapping[str, Instance], problems: Problems) -> None:
    gangs: dict[str, list[TaskSpec]] = defaultdict(list)
    for spec in specs:
        if spec.gang:
            gangs[spec.gang.name].append(spec)
    for name, members in gangs.items():
        inside = {member.name for member in members}
        for member in members:
            assert member.gang is not None
            mark = at[member.name].mark("gang")
            if member.gang.minimum > len(members) and not any(one.expansion for one in members):
                what = f"gang `{name}` wants at least {member.gang.minimum} of its {len(members)} tasks"
                problems.add(mark, what, name, "lower `minimum`")
            if member.gang != members[0].gang:
                problems.add(mark, f"gang `{name}` is described in two ways", name, "write the same everywhere")
            if any(task in inside for need in member.needs for task in need.tasks):
                what = f"gang `{name}` must start together, yet `{member.group or member.name}` waits for another of it"
                problems.add(mark, what, name, "take one of them out of the gang")


def _check_affinity(specs: Sequence[TaskSpec], at: Mapping[str, Instance], problems: Problems) -> None:
    names = {name: None for spec in specs for name in (spec.name, spec.group) if name}
    for spec in specs:
        mark = at[spec.name].mark("placement")
        must = [wish for wish in spec.placement.affinity if not wish.weight]
        for name in (name for wish in spec.placement.affinity for name in wish.tasks if name not in names):
            problems.add(
                mark, f"there is no task `{name}` to be beside or apart from", name, nearest(name, list(names))
            )
        for wish in must:
            if any(opposite in must for opposite in _opposites(wish)):
                what = f"`{spec.group or spec.name}` must be beside and apart from the same tasks"
                problems.add(mark, what, ", ".join(wish.tasks), "leave one of them out, or give it a `weight`")
        if must and spec.resources.components:
            what = f"`{spec.group or spec.name}` has components, whose nodes elisa cannot choose"
            problems.add(mark, what, hint="give its affinity a `weight`, or leave it out")


def _opposites(wish: Affinity) -> Iterator[Affinity]:
    """Yield what cannot hold together with a wish; to be on one switch but not on one node is no contradiction."""
    yield replace(wish, apart=not wish.apart)
    if wish.apart and wish.over is Over.SWITCH:
        yield replace(wish, apart=False, over=Over.NODE)


def _check_shared_outputs(specs: Sequence[TaskSpec], at: Mapping[str, Instance], problems: Problems) -> None:
    writers: dict[str, str] = {}
    for spec in specs:
        for output in spec.outputs:
            if not output.path.startswith("${pipeline_dir}"):
                continue
            other = writers.setdefault(output.path, spec.name)
            if other != spec.name:
                what = f"`{other}` and `{spec.name}` write the same file"
                problems.add(at[spec.name].mark("outputs"), what, output.path, "give each a file of its own")


def _check_folders(
    specs: Sequence[TaskSpec], by_name: Mapping[str, TaskSpec], at: Mapping[str, Instance], problems: Problems
) -> None:
    """Report folders of tasks that need not be over when they are looked into."""
    for spec in specs:
        for field, texts in _texts(spec):
            for name in {match for text in texts for match in FOLDER.findall(text)}:
                if name != spec.name and not _comes_before(name, spec, by_name):
                    what = f"`{spec.group or spec.name}` looks into the folder of `{name}` without waiting for it"
                    problems.add(at[spec.name].mark(field), what, f"${{dir.{name}}}", f"add `{name}` to its `needs`")


def _texts(spec: TaskSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "command", spec.command
    yield "environment", tuple(value for _, value in spec.environment)
    yield "workdir", (spec.workdir,)
    yield "outputs", tuple(output.path for output in spec.outputs)


def _comes_before(name: str, spec: TaskSpec, by_name: Mapping[str, TaskSpec]) -> bool:
    seen: set[str] = set()
    level = {task for need in spec.needs for task in need.tasks}
    while level:
        if name in level:
            return True
        seen |= level
        level = {task for one in level for need in by_name[one].needs for task in need.tasks} - seen
    return False
