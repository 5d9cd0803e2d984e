"""Running one function of a Python file as a task, with what other tasks returned as arguments."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from types import ModuleType
from typing import Any, Callable

from elisa.runtime.checkpoint.codec import Decoder, Encoder
from elisa.runtime.durable import replace_file, sync_folder
from elisa.runtime.job import Job, JobError, read_job

__all__ = ["load_result", "run_call", "save_result"]

_CANNOT = 73


def run_call(path: str) -> int:
    """Run the call in the instructions at `path`; an exception of the function is Python's to print."""
    try:
        job = read_job(path)
        function = _function(job)
    except JobError as error:
        sys.stderr.write(f"elisa: {error}\n")
        return _CANNOT
    call = job.call or {}
    arguments = {name: json.loads(text) for name, text in dict(call.get("arguments") or {}).items()}
    for name, wanted in dict(call.get("results") or {}).items():
        values = [load_result(item) for item in wanted["paths"]]
        arguments[name] = values if wanted.get("many") else values[0]
    save_result(str(call["result_path"]), function(**arguments))
    return 0


def _function(job: Job) -> Callable[..., Any]:
    call = job.call or {}
    path = os.path.join(job.workdir, str(call.get("file")))
    found = getattr(_load_module(path), str(call.get("function")), None)
    # A decorator of elisa's leaves the function it decorates where functools puts it.
    found = getattr(found, "__wrapped__", found)
    if not callable(found):
        raise JobError(f"{path} has no function {call.get('function')!r}")
    return found  # type: ignore[no-any-return]  # callable, and nothing more is known of it


def _load_module(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not os.path.isfile(path):
        raise JobError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def save_result(path: str, value: object) -> None:
    """Write what a function returned to `path`, arrays and other large parts as files beside it; whole or not at all.

    JSON values, arrays, bytes and paths have safe formats; anything else is pickled, to be loaded by jobs only.
    """
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    encoder = Encoder(allow_pickle=True, prefix=f"{name.partition('.')[0]}-{os.getpid()}-", absolute_paths=True)
    node = encoder.encode(value, "result")
    for piece in encoder.finish():
        with open(os.path.join(folder, piece.name), "wb") as stream:
            stream.writelines(piece.chunks())
            stream.flush()
            os.fsync(stream.fileno())
    sync_folder(folder)
    replace_file(path, json.dumps({"v": 1, "value": node}).encode())


def load_result(path: str) -> Any:  # noqa: ANN401  (whatever was returned)
    """Return what `save_result` wrote to `path`."""
    with open(path, "rb") as stream:
        return Decoder(os.path.dirname(os.path.abspath(path))).decode(json.loads(stream.read())["value"])
