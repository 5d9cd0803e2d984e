"""A decorator that lets a function go on where it was, or not run again at all, when the program is started anew."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
from types import CodeType
from typing import Any, Callable, Generator, TypeVar, cast

from elisa.runtime.checkpoint.checkpointer import Checkpointer, default_folder, run
from elisa.runtime.checkpoint.codec import Encoder
from elisa.runtime.checkpoint.generations import Generations
from elisa.runtime.checkpoint.manifest import Manifest
from elisa.runtime.checkpoint.restore import clear_loading_marks, restore_newest
from elisa.runtime.program import progress, rank_of_process

__all__ = ["persistent"]

Function = TypeVar("Function", bound=Callable[..., Any])


def persistent(function: Function) -> Function:
    """Make the work of `function` survive the program's end. Nothing else in it has to change.

    What a plain function returned is kept: called again with the same arguments, by a program that was started anew, it
    returns that without running. So a loop over such calls goes on after the last one that was finished.

    A generator function is taken for a run: what it yields is its state, saved now and then; started anew, it gets the
    last state that was saved as its argument `state` (which must have a default, for the first time). What it returns
    is kept as above, and is what the decorated function returns.

    Arguments and results must be savable; the code of the function belongs to the key, so that a changed one runs anew.
    """
    work = _drive(function) if inspect.isgeneratorfunction(function) else _just(function)

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        folder = os.path.join(default_folder(), "calls", _key(function, args, kwargs))
        results = Generations(os.path.join(folder, "result"))
        finished = restore_newest([results])
        if finished is not None:
            clear_loading_marks(results)
            return finished.state["result"]
        result = work(folder, *args, **kwargs)
        pieces = Encoder(allow_pickle=True).encode_state({"result": result})
        results.write(Manifest(results.next_number(), 0, ()), pieces)
        return result

    return cast("Function", call)


def _just(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _folder, *args, **kwargs: function(*args, **kwargs)


def _drive(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs the generator function to its end, saving what it yields."""

    def work(folder: str, *args: object, **kwargs: object) -> object:
        with run(os.path.join(folder, "run"), allow_pickle=True) as ckpt:
            state = ckpt.load()
            if state is not None:
                kwargs = {**kwargs, "state": state}
            return _exhaust(function(*args, **kwargs), ckpt)

    return work


def _exhaust(states: Generator[Any, None, Any], ckpt: Checkpointer) -> Any:  # noqa: ANN401  (what it returns)
    step = -1 if ckpt.step is None else ckpt.step
    while True:
        try:
            state = next(states)
        except StopIteration as end:
            return end.value
        step += 1
        if rank_of_process() == 0:
            progress(step + 1)
        ckpt.save(step, state)


def _key(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the name of the folder of one call: of the function, its code, and what it is given."""
    encoder = Encoder(allow_pickle=True)
    given = encoder.encode([list(args), sorted(kwargs.items())], "arguments")
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for piece in encoder.finish():
        for chunk in piece.chunks():
            digest.update(chunk)
    digest.update(_code(function))
    name = "".join(letter if letter.isalnum() else "_" for letter in function.__qualname__)[:60]
    return f"{name}-{digest.hexdigest()[:24]}"


def _code(function: Callable[..., Any]) -> bytes:
    code = getattr(function, "__code__", None)
    return _describe(code).encode() if code is not None else b""


def _describe(code: CodeType) -> str:
    """Return what the code does, without where it stands: moving a function or a comment changes nothing."""
    constants = [_describe(item) if isinstance(item, CodeType) else _plain(item) for item in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, code.co_varnames, constants))


def _plain(constant: object) -> str:
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
