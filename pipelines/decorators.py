"""Pipelines in Python: `@task` on functions, `@pipeline` on the function that puts them together.

    @task(cpus=2, walltime="10m")
    def train(data, seed): ...

    @pipeline(project="vision")
    def digits(epochs: int = 20):
        data = prepare(epochs)
        models = train.map(seed=[1, 2, 3], data=data)
        report(models)

While a pipeline is loaded, calling a task records it and gives a `Handle`; at any other time it just calls the function.
This file runs inside jobs too, when a task's own file imports it: it needs the standard library only, and reads on
Python 3.8.
"""

from __future__ import annotations

import sys
from functools import update_wrapper
from inspect import signature
from itertools import product
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

__all__ = [
    "Each",
    "Handle",
    "Matching",
    "PipelineFunction",
    "Place",
    "Recorded",
    "Recorder",
    "Results",
    "Task",
    "Token",
    "pipeline",
    "task",
]

Options = Dict[str, Any]
Value = Any
"""What the author's own functions take and return."""


class Place(NamedTuple):
    """Where in the author's own code something was written."""

    file: str
    line: int


def _caller() -> Place:
    """Return the place in the author's code that called into this file."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to know the line; CPython and PyPy have it
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


class Recorded(NamedTuple):
    """One task as written: its options from the decorator, and what the call itself says."""

    name: str
    options: Options
    options_at: Place
    body: Options
    at: Place
    function: Callable[..., Any] | None


class Handle:
    """A task of the pipeline being put together; as an argument of another, what its function will return.

    In text it is the task's name, so that `when=f"{handle}.accuracy > 0.9"` works.
    """

    def __init__(self, name: str, axes: Options | None = None) -> None:
        self.name = name
        self.axes = dict(axes or {})

    @property
    def dir(self) -> str:
        """The folder of the task, as far as commands, environments and outputs are concerned."""
        return "${dir." + self.name + "}"

    def matching(self, *axes: str) -> Matching:
        """Return, of a mapped task, only the instances with the same values of `axes`."""
        return Matching(self, axes)

    def __str__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        raise TypeError(self._too_early("tested"))

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(self._too_early(f"iterated over; use `.map(...=task.each({self.name}))`"))

    def __getitem__(self, key: object) -> Value:
        raise TypeError(self._too_early("taken apart"))

    def _too_early(self, what: str) -> str:
        return f"the result of `{self.name}` does not exist yet: it cannot be {what}"


class Each(NamedTuple):
    """Every item of the list that a task will return."""

    handle: Handle


class Matching(NamedTuple):
    """The instances of a mapped task that agree with the one that asks."""

    handle: Handle
    axes: tuple[str, ...]


class Recorder:
    """Gathers the tasks of one pipeline while its function runs."""

    current: Recorder | None = None

    def __init__(self) -> None:
        self.tasks: list[Recorded] = []

    def __enter__(self) -> Recorder:  # noqa: PYI034 - typing.Self is newer than the oldest Python of a job
        if Recorder.current is not None:
            raise RuntimeError("a pipeline is being loaded already")
        Recorder.current = self
        return self

    def __exit__(self, *_error: object) -> None:
        Recorder.current = None

    def free_name(self, wished: str) -> str:
        """Return `wished`, or with `_2`, `_3` ... if it is taken."""
        taken = {recorded.name for recorded in self.tasks}
        number = 1
        name = wished
        while name in taken:
            number += 1
            name = f"{wished}_{number}"
        return name


class Task:
    """A function with what its job asks for. Called outside of a pipeline, it is just the function."""

    def __init__(self, function: Callable[..., Any], options: Options, at: Place) -> None:
        update_wrapper(self, function)
        self.function = function
        self._options = options
        self._at = at
        self._bound: Options = {}

    def options(self, **options: Value) -> Task:
        """Return the same task with other options for this use: `name`, `when`, `needs`, `cpus` ..."""
        return self._copy({**self._options, **options}, _caller(), self._bound)

    def bind(self, **arguments: Value) -> Task:
        """Return the same task with some arguments given; in a later `.map` they stay as they are, lists too."""
        return self._copy(self._options, self._at, {**self._bound, **arguments})

    def _copy(self, options: Options, at: Place, bound: Options) -> Task:
        copy = Task(self.function, options, at)
        copy._bound = bound
        return copy

    def __call__(self, *args: Value, **kwargs: Value) -> Value:
        recorder = Recorder.current
        if recorder is None:
            return self.function(*args, **{**self._bound, **kwargs})
        given = signature(self.function).bind_partial(*args, **{**self._bound, **kwargs})
        return self._record(recorder, {"args": dict(given.arguments)}, {})

    def map(self, **kwargs: Value) -> Value:
        """Call the task once for each combination of the lists among the arguments.

        A list is an axis; a mapped handle is taken instance by instance; `task.each(handle)` is taken item by item when
        the pipeline runs; anything else is the same for all.
        """
        axes, paired = _axes_of(kwargs)
        recorder = Recorder.current
        if recorder is None:
            return _run_all(self, axes, paired, kwargs)
        args = {name: _in_map(name, value, axes) for name, value in kwargs.items()}
        body: Options = {"args": {**self._bound, **args}}
        lists = [value.handle for value in kwargs.values() if isinstance(value, Each)]
        if lists:
            body["foreach"] = {"task": lists[0], **self._options.get("foreach", {})}
        if len(lists) > 1:
            raise TypeError("only one list at a time can be taken item by item")
        if axes:
            body["matrix"] = axes
        return self._record(recorder, body, axes)

    def _record(self, recorder: Recorder, body: Options, axes: Options) -> Handle:
        options = {name: value for name, value in self._options.items() if name not in body}
        name = recorder.free_name(str(options.pop("name", self.function.__name__)))
        recorder.tasks.append(Recorded(name, options, self._at, body, _caller(), self.function))
        return Handle(name, axes)


class Token(NamedTuple):
    """The place of a matrix value or of a list's item in an argument."""

    name: str


class Results(List[Any]):
    """What `.map` gives when the functions just run: a list that knows which values each result belongs to."""

    def __init__(self, results: Sequence[Any], combinations: Sequence[Options]) -> None:
        super().__init__(results)
        self.combinations = list(combinations)
        self.axes = {name: None for combination in combinations for name in combination}

    def matching(self, *axes: str) -> Results:
        """Return a list of results for each combination of `axes`; of all axes, each result itself."""
        if set(axes) == set(self.axes):
            return self
        groups: list[tuple[Options, list[Value]]] = []
        for result, combination in zip(self, self.combinations):
            key = {name: combination[name] for name in axes}
            known = next((results for other, results in groups if other == key), None)
            if known is None:
                groups.append((key, [result]))
            else:
                known.append(result)
        return Results([results for _, results in groups], [key for key, _ in groups])


def _axes_of(kwargs: Options) -> tuple[Options, Options]:
    """Return the axes written as lists or taken over from mapped handles, and the arguments paired by them."""
    paired = {name: value for name, value in kwargs.items() if getattr(value, "axes", None)}
    axes: Options = {}
    for value in paired.values():
        if isinstance(value, Handle):
            axes.update(value.axes)
        elif isinstance(value, Matching):
            axes.update({name: value.handle.axes[name] for name in value.axes if name in value.handle.axes})
    for name, value in kwargs.items():
        if isinstance(value, (list, tuple)) and name not in paired and not isinstance(value, (Each, Matching)):
            axes[name] = list(value)
    return axes, paired


def _in_map(name: str, value: Value, axes: Options) -> Value:
    if isinstance(value, Each):
        return Token("item")
    if isinstance(value, Handle) and value.axes:
        return Matching(value, tuple(value.axes))
    return Token(name) if name in axes else value


def _run_all(mapped: Task, axes: Options, paired: Options, kwargs: Options) -> Results:
    results = []
    combinations = []
    rows = [dict(zip(axes, values)) for values in product(*axes.values())]
    for row in rows:
        for combination in _joined(row, paired):
            chosen = {name: _chosen(value, combination) for name, value in paired.items()}
            results.append(mapped(**{**kwargs, **row, **chosen}))
            combinations.append(combination)
    return Results(results, combinations)


def _joined(row: Options, paired: Options) -> list[Options]:
    rows = [row]
    for value in paired.values():
        rows = [{**one, **other} for one in rows for other in value.combinations if _agree(one, other)]
    return rows


def _agree(one: Options, other: Options) -> bool:
    return all(one[name] == other[name] for name in set(one) & set(other))


def _chosen(results: Results, combination: Options) -> Value:
    return next(r for r, other in zip(results, results.combinations) if _agree(combination, other))


class _TaskDecorator:
    """`@task`, `@task(cpus=2)`, and `task.command(...)` for programs that are no Python."""

    def __call__(self, function: Callable[..., Any] | None = None, **options: Value) -> Value:
        """Make a function a task.

        Options are those of a task in YAML; those of `resources` and `placement` stand beside them.
        """
        at = _caller()
        if function is not None:
            return Task(function, {}, at)
        return lambda decorated: Task(decorated, options, at)

    def each(self, listed: Value) -> Value:
        """Mark a list that a task returns, to be mapped over item by item once it is there."""
        return Each(listed) if isinstance(listed, Handle) else list(listed)

    def command(self, name: str, command: Value, **options: Value) -> Handle:
        """Record a task that runs a program: a list of words, or with `shell=True` one string.

        A handle among the words stands for that task's folder, and is waited for.
        """
        recorder = Recorder.current
        if recorder is None:
            raise RuntimeError("task.command has a meaning only inside a pipeline")
        at = _caller()
        words = command if isinstance(command, (list, tuple)) else [command]
        needed = [word for word in words if isinstance(word, Handle)]
        if needed:
            options["needs"] = [*needed, *_as_list(options.get("needs", []))]
        filled = [word.dir if isinstance(word, Handle) else word for word in words]
        body = {"command": filled if isinstance(command, (list, tuple)) else command}
        matrix = options.get("matrix", {})
        axes = {axis: values for axis, values in matrix.items() if axis not in {"include", "exclude"}}
        name = recorder.free_name(name)
        recorder.tasks.append(Recorded(name, options, at, body, at, None))
        return Handle(name, axes)


def _as_list(value: Value) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class PipelineFunction:
    """A function that puts a pipeline together; its parameters, all with defaults, are the pipeline's."""

    def __init__(self, function: Callable[..., Any], options: Options, at: Place) -> None:
        update_wrapper(self, function)
        self.function = function
        self.options = options
        self.at = at

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.options.get("name", self.function.__name__))

    def __call__(self, *args: Value, **kwargs: Value) -> Value:
        """Run every task here and now, as plain functions: for tests."""
        return self.function(*args, **kwargs)


def pipeline(function: Callable[..., Any] | None = None, **options: Value) -> Value:
    """Make a function a pipeline: `@pipeline` or `@pipeline(project="vision", deadline="+3d")`."""
    at = _caller()
    if function is not None:
        return PipelineFunction(function, {}, at)
    return lambda decorated: PipelineFunction(decorated, options, at)


task = _TaskDecorator()
