"""Functions named in a `call`, looked up in their file without running it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from elisa.pipelines.nodes import Mark
from elisa.pipelines.problems import Problems, nearest

__all__ = ["Functions", "Signature"]

_MAX_BYTES = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a function may and must be given by keyword."""

    names: tuple[str, ...]
    required: frozenset[str]
    takes_any: bool


class Functions:
    """Knows the functions of the Python files below a folder; every file is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Mapping[str, Signature] | str] = {}

    def check(self, call: str, arguments: Collection[str], mark: Mark, problems: Problems) -> None:
        """Report a file or function that is not there, and arguments that do not fit."""
        file, _, name = call.rpartition(":")
        if ".." in PurePosixPath(file).parts:
            problems.add(
                mark, "`call` leads out of the pipeline's folder", call, "put the function's file beside the pipeline"
            )
            return
        functions = self._functions(file)
        if isinstance(functions, str):
            problems.add(mark, f"`{file}` {functions}", call)
        elif name not in functions:
            problems.add(mark, f"`{file}` has no function `{name}`", call, nearest(name, functions))
        else:
            _check_arguments(name, functions[name], arguments, mark, problems)

    def _functions(self, file: str) -> Mapping[str, Signature] | str:
        if file not in self._files:
            self._files[file] = _read(self._folder / file)
        return self._files[file]


def _read(path: Path) -> Mapping[str, Signature] | str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return "is too large to be a program"
        tree = ast.parse(path.read_bytes())
    except OSError as err:
        return f"cannot be read: {err.strerror}"
    except SyntaxError as err:
        return f"is no Python that can be read: {err.msg}, line {err.lineno}"
    except (RecursionError, MemoryError):
        return "is no Python that can be read"
    return {node.name: _signature(node.args) for node in tree.body if isinstance(node, ast.FunctionDef)}


def _signature(args: ast.arguments) -> Signature:
    by_position = [arg.arg for arg in args.args]
    without_default = by_position[: len(by_position) - len(args.defaults)] if args.defaults else by_position
    keyword_only = [arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
    return Signature(
        names=(*by_position, *(arg.arg for arg in args.kwonlyargs)),
        required=frozenset([*without_default, *keyword_only, *(arg.arg for arg in args.posonlyargs)]),
        takes_any=args.kwarg is not None,
    )


def _check_arguments(
    name: str, signature: Signature, arguments: Collection[str], mark: Mark, problems: Problems
) -> None:
    for argument in arguments:
        if argument not in signature.names and not signature.takes_any:
            hint = nearest(argument, signature.names)
            problems.add(mark, f"`{name}` takes no argument `{argument}`", argument, hint)
    for argument in sorted(signature.required - set(arguments)):
        problems.add(mark, f"`{name}` needs an argument `{argument}`", hint=f"give it under `args`: `{argument}: ...`")
