"""What tasks say of one another, looked up: needs, results, conditions, lists to expand, and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from elisa.model.conditions import Condition, ConditionError, parse
from elisa.model.pipeline import (
    Expansion,
    JSONScalar,
    Need,
    NeedKind,
    Output,
    PriorityClass,
    PythonCall,
    ResultOf,
    TaskSpec,
)
from elisa.pipelines.drafts import NeedDraft, TaskDraft
from elisa.pipelines.instances import Instance
from elisa.pipelines.nodes import Mark
from elisa.pipelines.problems import Problems, nearest

__all__ = ["FOLDER", "Linker"]

FOLDER = re.compile(r"\$\{dir\.([^{}]*)\}")
_Values = tuple[tuple[str, JSONScalar], ...]


class Linker:
    """Turns instances into task specs; knows every name of the pipeline, and reports those it does not know."""

    def __init__(
        self, instances: Sequence[Instance], names: Iterable[str], priority: PriorityClass, problems: Problems
    ) -> None:
        self._problems = problems
        self._priority = priority
        self._by_group: dict[str, list[Instance]] = {name: [] for name in names}
        for instance in instances:
            self._by_group.setdefault(instance.group, []).append(instance)
        self._by_name = {instance.name: instance for instance in instances}
        self._everybody: dict[str, tuple[str, ...]] = {
            group: tuple(instance.name for instance in members) for group, members in self._by_group.items()
        }
        self._matching: dict[tuple[str, tuple[str, ...]], dict[_Values, tuple[str, ...]]] = {}
        self._needs: dict[int, tuple[NeedDraft, Need | None]] = {}
        self._conditions: dict[str, Condition | None] = {}

    def spec(self, instance: Instance) -> TaskSpec:
        """Return the finished task."""
        draft = instance.draft
        call = self._call(instance)
        results = call.results if call else ()
        needs = [need for one in draft.needs if (need := self._need(one, instance)) is not None]
        needs += _needs_of_results(needs, results)
        expansion = self._expansion(instance)
        if expansion:
            needs += _missing_needs(needs, [(expansion.source,)], NeedKind.SUCCESS)
        needs += self._needs_of_condition(instance, needs)
        finished = TaskSpec(
            name=instance.name,
            command=(draft.command,) if isinstance(draft.command, str) else draft.command,
            shell=draft.shell,
            call=call,
            workdir=draft.workdir,
            environment=draft.environment,
            pass_environment=draft.pass_environment,
            needs=tuple(needs),
            when=draft.when.strip(),
            parameters=instance.values,
            group=instance.group if instance.values or expansion else "",
            expansion=expansion,
            resources=draft.resources,
            gang=draft.gang,
            retry=draft.retry,
            checkpoint=draft.checkpoint,
            preemptible=draft.preemptible,
            chain=draft.chain,
            fuse=draft.fuse,
            expected_s=draft.expected_s,
            priority=draft.priority or self._priority,
            importance=draft.importance,
            promise=draft.promise,
            placement=draft.placement,
            outputs=draft.outputs,
            labels=draft.labels,
            metadata=draft.metadata,
        )
        return self._with_folders(finished, instance)

    def _tasks(self, name: str, match: tuple[str, ...], instance: Instance, mark: Mark) -> tuple[str, ...]:
        """Return the tasks that a name stands for, empty after reporting why there are none."""
        if name in self._by_name and name not in self._by_group:
            return (name,)
        if name not in self._by_group:
            hint = nearest(name, list(self._by_group))
            self._problems.add(mark, f"there is no task `{name}`", name, hint)
            return ()
        if match:
            return self._matched(name, match, instance, mark)
        return self._everybody[name]

    def _matched(self, group: str, match: tuple[str, ...], instance: Instance, mark: Mark) -> tuple[str, ...]:
        own, members = dict(instance.values), self._by_group[group]
        if not members:  # its matrix is wrong, as was told already
            return ()
        for axis in match:
            for who, values in ((instance.group, own), (group, dict(members[0].values))):
                if axis not in values:
                    self._problems.add(
                        mark, f"`match`: `{who}` has no axis `{axis}`", axis, nearest(axis, list(values))
                    )
                    return ()
        found = self._index(group, match).get(tuple((axis, own[axis]) for axis in match), ())
        if not found:
            values_text = ", ".join(f"{axis}: {own[axis]}" for axis in match)
            self._problems.add(mark, f"no instance of `{group}` has {values_text}", group, "give both the same values")
        return found

    def _index(self, group: str, match: tuple[str, ...]) -> Mapping[_Values, tuple[str, ...]]:
        if (group, match) not in self._matching:
            index: dict[_Values, tuple[str, ...]] = {}
            for member in self._by_group[group]:
                values = dict(member.values)
                key = tuple((axis, values[axis]) for axis in match)
                index[key] = (*index.get(key, ()), member.name)
            self._matching[group, match] = index
        return self._matching[group, match]

    def _need(self, draft: NeedDraft, instance: Instance) -> Need | None:
        if draft.match:
            return self._resolved(draft, instance)
        if id(draft) not in self._needs:
            self._needs[id(draft)] = (draft, self._resolved(draft, instance))
        return self._needs[id(draft)][1]

    def _resolved(self, draft: NeedDraft, instance: Instance) -> Need | None:
        mark = draft.mark
        found = [self._tasks(name, draft.match, instance, mark) for name in draft.tasks]
        tasks = tuple(dict.fromkeys(task for some in found for task in some))
        if not tasks or not all(found):
            return None
        if draft.at_least is not None and draft.at_least > len(tasks) and not self._has_template(tasks):
            self._problems.add(mark, f"a need of {draft.at_least} out of {len(tasks)} tasks", hint="lower `at_least`")
        return Need(
            tasks=tasks,
            kind=draft.kind or _implied_kind(draft),
            at_least=draft.at_least,
            output=draft.output,
            step=draft.step or 0,
            timeout_s=draft.timeout_s,
            on_unmet=draft.on_unmet,
        )

    def _has_template(self, tasks: Iterable[str]) -> bool:
        return any(self._by_name[name].draft.foreach for name in tasks)

    def _call(self, instance: Instance) -> PythonCall | None:
        draft = instance.draft
        if not draft.call:
            return None
        file, _, function = draft.call.rpartition(":")
        results = tuple(self._results(instance))
        return PythonCall(
            file=file.removeprefix("./"),
            function=function,
            arguments=tuple(sorted((name, one.json) for name, one in draft.args if not one.result_of)),
            results=tuple(sorted(results, key=lambda pair: pair[0])),
        )

    def _results(self, instance: Instance) -> Iterator[tuple[str, ResultOf]]:
        for name, argument in instance.draft.args:
            mark = argument.mark
            found = [self._tasks(task, argument.match, instance, mark) for task in argument.result_of]
            tasks = tuple(dict.fromkeys(task for some in found for task in some))
            for task in tasks:
                if not self._by_name[task].draft.call:
                    what = f"`{task}` calls no function: it has no result"
                    self._problems.add(mark, what, task, "use its outputs, with `${dir.TASK}`")
            if tasks:
                many = len(argument.result_of) > 1 or self._stands_for_many(argument.result_of[0], argument.match)
                yield name, ResultOf(tasks=tasks, many=many)

    def _stands_for_many(self, name: str, match: tuple[str, ...]) -> bool:
        """Tell whether a name means a list, even if it should have just one item today."""
        members = self._by_group.get(name, [])
        return any(one.draft.foreach or {axis for axis, _ in one.values} - set(match) for one in members)

    def _expansion(self, instance: Instance) -> Expansion | None:
        draft = instance.draft.foreach
        if draft is None:
            return None
        mark = instance.mark("foreach")
        sources = self._tasks(draft.task, (), instance, mark)
        if len(sources) > 1 or self._has_template(sources):
            self._problems.add(
                mark, f"`{draft.task}` stands for several tasks", draft.task, "the list must come from one"
            )
        elif sources:
            self._check_list(draft.output, self._by_name[sources[0]].draft, sources[0], mark)
            return Expansion(source=sources[0], output=draft.output, limit=draft.limit)
        return None

    def _check_list(self, output: str, source: TaskDraft, name: str, mark: Mark) -> None:
        declared = {one.name: one for one in source.outputs}
        if not output:
            if not source.call:
                what = f"`{name}` calls no function, so `foreach` must say which output holds the list"
                self._problems.add(mark, what, hint=nearest("", list(declared)) or f"declare one in `{name}`")
        elif output not in declared:
            self._problems.add(mark, f"`{name}` declares no output `{output}`", output, nearest(output, list(declared)))
        elif declared[output].format not in {"json", "any"}:
            self._problems.add(mark, f"a list must be JSON, and output `{output}` is {declared[output].format}", output)

    def _condition(self, instance: Instance) -> Condition | None:
        text = instance.draft.when
        if text not in self._conditions:
            try:
                self._conditions[text] = parse(text)
            except ConditionError as err:
                what = f"`when`, column {err.column}: {err.what}"
                self._problems.add(instance.mark("when"), what, text, err.hint)
                self._conditions[text] = None
        return self._conditions[text]

    def _needs_of_condition(self, instance: Instance, needs: Sequence[Need]) -> list[Need]:
        """A condition waits for the end, good or bad, of every task it speaks of and that is not needed anyhow."""
        condition = self._condition(instance) if instance.draft.when else None
        if condition is None:
            return []
        mark = instance.mark("when")
        meant: dict[str, tuple[str, ...]] = {}
        for name in condition.names:
            meant[name] = self._meant(name, needs, self._tasks(name, (), instance, mark))
        self._check_lone(condition, meant, mark)
        return _missing_needs(needs, [tasks for tasks in meant.values() if tasks], NeedKind.COMPLETION)

    def _meant(self, name: str, needs: Sequence[Need], tasks: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of `tasks`, all that `name` stands for, that are needed anyhow, or all if none is."""
        needed = dict.fromkeys(task for need in needs for task in need.tasks)
        return tuple(task for task in needed if name in {task, self._by_name[task].group}) or tasks

    def _check_lone(self, condition: Condition, meant: Mapping[str, tuple[str, ...]], mark: Mark) -> None:
        for name, column in condition.lone:
            if len(meant[name]) > 1 or self._has_template(meant[name]):
                what = f"`when`, column {column}: `{name}` stands for several tasks"
                hint = f"write max({name}.accuracy), or min, mean, count, any, all"
                self._problems.add(mark, what, condition.text, hint)

    def _with_folders(self, spec: TaskSpec, instance: Instance) -> TaskSpec:
        """Turn `${dir.GROUP}` into the one instance that is meant."""
        if not any("${dir." in text for text in _texts(spec)):
            return spec

        def named(text: str, field: str) -> str:
            return FOLDER.sub(lambda match: self._folder(match, spec, instance.mark(field), instance), text)

        return replace(
            spec,
            command=tuple(named(word, "command") for word in spec.command),
            environment=tuple((name, named(value, "environment")) for name, value in spec.environment),
            workdir=named(spec.workdir, "workdir"),
            outputs=tuple(_moved(output, named(output.path, "outputs")) for output in spec.outputs),
        )

    def _folder(self, match: re.Match[str], spec: TaskSpec, mark: Mark, instance: Instance) -> str:
        name = match[1]
        tasks = self._tasks(name, (), instance, mark)
        meant = self._meant(name, spec.needs, tasks)
        if len(meant) == 1 and not self._has_template(meant):
            return f"${{dir.{meant[0]}}}"
        if tasks:
            hint = "need just one of them, with `match`, or use ${pipeline_dir}"
            self._problems.add(mark, f"`{name}` stands for several tasks", match[0], hint)
        return match[0]


def _moved(output: Output, path: str) -> Output:
    return replace(output, path=path)


def _texts(spec: TaskSpec) -> Iterator[str]:
    yield from spec.command
    yield from (value for _, value in spec.environment)
    yield spec.workdir
    yield from (output.path for output in spec.outputs)


def _implied_kind(draft: NeedDraft) -> NeedKind:
    if draft.output:
        return NeedKind.DATA
    return NeedKind.SUCCESS if draft.step is None else NeedKind.CHECKPOINT


def _needs_of_results(needs: Sequence[Need], results: Iterable[tuple[str, ResultOf]]) -> list[Need]:
    """A result is waited for; where a list is wanted, the author may settle for the results of those that succeed."""
    added: list[Need] = []
    for _, result in results:
        added += _missing_needs([*needs, *added], [result.tasks], NeedKind.SUCCESS, is_partial_enough=result.many)
    return added


def _missing_needs(
    needs: Sequence[Need], wanted: Iterable[tuple[str, ...]], kind: NeedKind, *, is_partial_enough: bool = False
) -> list[Need]:
    """Return needs for the tasks in `wanted` that no need in `needs` waits for strongly enough."""
    covered = {task for need in needs if _is_enough(need, kind, is_partial_enough) for task in need.tasks}
    added: list[Need] = []
    for tasks in wanted:
        open_tasks = tuple(task for task in tasks if task not in covered)
        if open_tasks:
            covered |= set(open_tasks)
            added.append(Need(tasks=open_tasks, kind=kind))
    return added


def _is_enough(need: Need, kind: NeedKind, is_partial_enough: bool) -> bool:  # noqa: FBT001 - private
    if kind is NeedKind.COMPLETION:
        return True
    if is_partial_enough:
        return need.kind in {NeedKind.SUCCESS, NeedKind.COMPLETION}
    return need.kind is NeedKind.SUCCESS and need.at_least is None
