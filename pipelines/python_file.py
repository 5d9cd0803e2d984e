"""A pipeline written in Python: its file imported, its function run once, and what it recorded made into a tree."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import SourceFileLoader
from inspect import Parameter, signature, unwrap
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from elisa.model.errors import SpecError
from elisa.pipelines.decorators import Each, Handle, Matching, PipelineFunction, Place, Recorded, Recorder, Token
from elisa.pipelines.nodes import Entry, MapNode, Mark, Node, Scalar, from_value, plain
from elisa.pipelines.parameters import parameters_of
from elisa.pipelines.problems import Problems, nearest
from elisa.pipelines.resources import PLACEMENT, RESOURCES

__all__ = ["document_of"]

_MODULE = "elisa_pipeline_file"


def document_of(path: Path, shown: str, name: str, overrides: Mapping[str, str]) -> Node:
    """Return the tree that the pipeline function in `path` describes, all parameters already in place.

    `shown` is the file's name in messages, `name` the function's when there are several. The author's own code runs:
    the file is imported and the function called. Raises SpecError, with the author's line when that code fails.
    """
    problems = Problems(shown)
    files = _Files(path, shown)
    document: Node | None = None
    with _importable(path.parent), _author_errors(files, problems):
        found = _chosen(_imported(path), name, shown, problems)
        document = _recorded(found, files, overrides, problems) if found else None
    problems.raise_any()
    assert document is not None
    return document


class _Files:
    """Turns places in code into marks, with file names as the user gave them."""

    def __init__(self, path: Path, shown: str) -> None:
        self.folder = path.parent
        self._main = str(path)
        self._shown = shown

    def relative(self, file: str) -> str:
        """Return `file` relative to the pipeline's folder."""
        return os.path.relpath(file, self.folder)

    def mark(self, place: Place) -> Mark:
        if place.file == self._main:
            return Mark(self._shown, place.line)
        relative = self.relative(place.file)
        inside = not relative.startswith("..")
        return Mark(str(Path(self._shown).parent / relative) if inside else place.file, place.line)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the file import its neighbours, and forget them afterwards: another pipeline may have some of the same name."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if name == _MODULE or file.startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


@contextmanager
def _author_errors(files: _Files, problems: Problems) -> Iterator[None]:
    """Turn whatever the author's code raises into a problem at the author's line."""
    try:
        yield
    except SpecError:
        raise
    except SyntaxError as err:
        place = Place(err.filename or "", err.lineno or 0)
        problems.add(files.mark(place), f"not Python: {err.msg}", (err.text or "").strip())
    except (Exception, SystemExit) as err:  # noqa: BLE001 - the author's code may raise anything
        frames = [frame for frame in traceback.extract_tb(err.__traceback__) if frame.filename != __file__]
        inside = [frame for frame in frames if not files.relative(frame.filename).startswith("..")]
        frame = (inside or frames)[-1] if frames else None
        place = Place(frame.filename, frame.lineno or 0) if frame else Place("", 0)
        problems.add(files.mark(place), f"{type(err).__name__}: {err}", (frame.line or "") if frame else "")


class _FromSource(SourceFileLoader):
    """Compiles the file as it is now: bytecode kept of it passes for its own if it was changed within the same second."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the signature is Python's
        """Return the code of the file."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE, path, loader=_FromSource(_MODULE, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return module


def _chosen(module: ModuleType, name: str, shown: str, problems: Problems) -> PipelineFunction | None:
    found = {value.name: value for value in vars(module).values() if isinstance(value, PipelineFunction)}
    by_function = {value.function.__name__: value for value in found.values()}
    mark = Mark(shown, 0)
    if name:
        chosen = found.get(name) or by_function.get(name)
        if chosen is None:
            problems.add(mark, f"there is no pipeline `{name}`", name, nearest(name, list(found)))
        return chosen
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        names = ", ".join(sorted(by_function))
        problems.add(mark, f"several pipelines: {names}", hint=f"choose one: {shown}:{min(by_function)}")
    else:
        problems.add(mark, "no pipeline in this file", hint="decorate a function with `@pipeline`")
    return None


def _recorded(found: PipelineFunction, files: _Files, overrides: Mapping[str, str], problems: Problems) -> MapNode:
    at = files.mark(Place(found.at.file, found.at.line))
    parameters = parameters_of(_declared(found, at, problems), overrides, problems)
    problems.raise_any()
    with Recorder() as recorder:
        found.function(**{name: plain(value) for name, value in parameters.items()})
    nodes = _Nodes(files, problems)
    tasks = MapNode(mark=at, entries=tuple(nodes.task(recorded) for recorded in recorder.tasks))
    options = {"name": found.name, **found.options}
    head = nodes.value(options, at)
    assert isinstance(head, MapNode)
    given = MapNode(mark=at, entries=tuple(Entry(_key(name, at), value) for name, value in parameters.items()))
    return MapNode(
        mark=at, entries=(*head.entries, Entry(_key("parameters", at), given), Entry(_key("tasks", at), tasks))
    )


def _declared(found: PipelineFunction, at: Mark, problems: Problems) -> MapNode:
    values: dict[str, object] = {}
    for name, parameter in signature(found.function).parameters.items():
        if parameter.default is Parameter.empty:
            problems.add(at, f"parameter `{name}` of `{found.name}` has no default", name, f"write {name}=...")
        else:
            values[name] = parameter.default
    entries = (Entry(_key("parameters", at), from_value(values, at)),)
    return MapNode(mark=at, entries=entries)


def _key(name: str, mark: Mark) -> Scalar:
    return Scalar(mark=mark, text=name, value=name)


_GROUPS = (("resources", RESOURCES), ("placement", PLACEMENT))


class _Nodes:
    """Makes trees of recorded tasks."""

    def __init__(self, files: _Files, problems: Problems) -> None:
        self._files = files
        self._problems = problems

    def task(self, recorded: Recorded) -> Entry:
        at, options_at = self._files.mark(recorded.at), self._files.mark(recorded.options_at)
        entries = [Entry(_key(name, at), self._field(name, value, at)) for name, value in recorded.body.items()]
        if recorded.function is not None:
            entries.insert(0, Entry(_key("call", at), self._call(recorded.function, at)))
        entries += self._options(recorded.options, options_at)
        return Entry(_key(recorded.name, at), MapNode(mark=at, entries=tuple(entries)))

    def value(self, value: object, mark: Mark) -> Node:
        """Return a tree; a handle in it becomes the task's name. What fits no tree is reported and becomes nothing."""
        try:
            return from_value(_named(value), mark)
        except TypeError as err:
            self._problems.add(mark, str(err), repr(value))
            return Scalar(mark=mark, text="", value=None)

    def _field(self, name: str, value: object, mark: Mark) -> Node:
        if name == "args" and isinstance(value, dict):
            entries = tuple(Entry(_key(key, mark), self._argument(item, mark)) for key, item in value.items())
            return MapNode(mark=mark, entries=entries)
        return self.value(_escaped(value) if name == "matrix" else value, mark)

    def _argument(self, value: object, mark: Mark) -> Node:
        match value:
            case Token(name=name):
                return Scalar(mark=mark, text=f"${{{name}}}", value=f"${{{name}}}")
            case Handle():
                return self.value({"result_of": value}, mark)
            case Matching(handle=handle, axes=axes):
                return self.value({"result_of": handle, "match": list(axes)}, mark)
            case Each(handle=handle):
                self._problems.add(
                    mark, f"`task.each({handle.name})` outside of `.map`", handle.name, "call `.map(...)`"
                )
                return self.value(None, mark)
            case list() | tuple() if value and all(isinstance(item, Handle) for item in value):
                return self.value({"result_of": list(value)}, mark)
            case _:
                for handle in _handles_in(value):
                    what = f"the result of `{handle.name}` inside another value"
                    self._problems.add(mark, what, handle.name, "make it an argument of its own")
                return self.value(_escaped(value), mark)

    def _call(self, function: Callable[..., Any], mark: Mark) -> Node:
        inner = unwrap(function)
        file = self._files.relative(inner.__code__.co_filename)
        if "<locals>" in inner.__qualname__ or "." in inner.__qualname__:
            what = f"`{function.__name__}` is no function at the top level of its file"
            self._problems.add(mark, what, inner.__qualname__, "a job must be able to import it: move it out")
        return self.value(f"{Path(file).as_posix()}:{function.__name__}", mark)

    def _options(self, options: Mapping[str, object], mark: Mark) -> list[Entry]:
        """Return a task's options; those of resources and placement are gathered under their own keys."""
        entries = []
        grouped: set[str] = set()
        for name, record in _GROUPS:
            inside = {key: value for key, value in options.items() if key in record.fields}
            grouped |= set(inside)
            whole = options.get(name)
            if isinstance(whole, Mapping):
                inside = {**whole, **inside}
                grouped.add(name)
            if inside:
                entries.append(Entry(_key(name, mark), self.value(inside, mark)))
        rest = {key: value for key, value in options.items() if key not in grouped}
        return entries + [Entry(_key(key, mark), self.value(value, mark)) for key, value in rest.items()]


def _handles_in(value: object) -> Iterator[Handle]:
    if isinstance(value, Handle):
        yield value
    elif isinstance(value, (list, tuple, Mapping)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _handles_in(inner)


def _named(value: object) -> object:
    if isinstance(value, Handle):
        return value.name
    if isinstance(value, Mapping):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, Matching):
        return {"task": value.handle.name, "match": list(value.axes)}
    if isinstance(value, (list, tuple)):
        return [_named(item) for item in value]
    return value


def _escaped(value: object) -> object:
    """Return a value in which `${` is just text: Python needs no templates."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not isinstance(value, (Each, Matching, Token)):
        return [_escaped(item) for item in value]
    return value
