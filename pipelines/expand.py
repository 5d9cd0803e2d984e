"""Tasks made while a pipeline runs: one of each item of a list that another task wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from elisa.model.pipeline import JSONScalar, PythonCall, TaskSpec
from elisa.pipelines.naming import instance_name
from elisa.pipelines.nodes import INVISIBLE

__all__ = ["instances"]

_TOKEN = re.compile(r"\$\{item(?:\.([A-Za-z_]\w*))?\}")
_LONGEST_VALUE = 4096


def instances(template: TaskSpec, items: object) -> tuple[TaskSpec, ...]:
    """Return one task for each item, in order, with `${item}` and `${item.KEY}` filled in.

    An item is a plain value, or a map whose plain values become the task's parameters. Raises ValueError, with words for
    the author, if `items` is no list, is longer than the template allows, or does not fit the template.
    """
    if template.expansion is None:
        raise ValueError(f"`{template.name}` is no template")
    if not isinstance(items, list):
        raise ValueError(f"expected a JSON list, not {type(items).__name__}")
    if len(items) > template.expansion.limit:
        raise ValueError(f"{len(items)} items; the limit is {template.expansion.limit}")
    made: dict[str, TaskSpec] = {}
    for index, item in enumerate(items):
        spec = _instance(template, item, index)
        if spec.name in made:
            spec = replace(spec, name=f"{spec.name}-index={index}")
        made[spec.name] = spec
    return tuple(made.values())


def _instance(template: TaskSpec, item: object, index: int) -> TaskSpec:
    values = _values(item)
    _check_item(values, index)
    own = tuple(("item" if name == "" else name, value) for name, value in values.items())
    taken = {name for name, _ in template.parameters}
    return replace(
        template,
        name=instance_name(template.name, own or (("index", index),)),
        group=template.group or template.name,
        expansion=None,
        parameters=(*template.parameters, *((name, value) for name, value in own if name not in taken)),
        command=tuple(_filled(word, values, index) for word in template.command),
        call=_call(template.call, item, values, index),
        workdir=_filled(template.workdir, values, index),
        environment=tuple((name, _filled(text, values, index)) for name, text in template.environment),
        outputs=tuple(replace(one, path=_path(one.path, values, index)) for one in template.outputs),
    )


def _values(item: object) -> Mapping[str, JSONScalar]:
    """Return the plain values of an item; a plain item itself has the name ``""``."""
    if isinstance(item, dict):
        plain = (str, int, float, bool, type(None))
        return {str(name): value for name, value in item.items() if isinstance(value, plain)}
    if item is None or isinstance(item, (str, int, float, bool)):
        return {"": item}
    return {}


def _check_item(values: Mapping[str, JSONScalar], index: int) -> None:
    for name, value in values.items():
        if not re.fullmatch(r"|[A-Za-z_]\w{0,62}", name):
            raise ValueError(f"item {index} has a key that is no name: {name!r}")
        if isinstance(value, str) and (len(value) > _LONGEST_VALUE or INVISIBLE.search(value)):
            raise ValueError(
                f"item {index} has a character that cannot be seen or is over {_LONGEST_VALUE} characters long"
            )


def _filled(text: str, values: Mapping[str, JSONScalar], index: int) -> str:
    return _TOKEN.sub(lambda match: _written(_value(match[1] or "", values, index)), text)


def _value(name: str, values: Mapping[str, JSONScalar], index: int) -> JSONScalar:
    if name not in values:
        raise ValueError(f"item {index} has no plain value for `${{item{'.' + name if name else ''}}}`")
    return values[name]


def _written(value: JSONScalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _path(path: str, values: Mapping[str, JSONScalar], index: int) -> str:
    filled = _filled(path, values, index)
    escapes = ".." in filled.split("/") or (filled.startswith("/") and not path.startswith("/"))
    if filled != path and escapes:
        raise ValueError(f"item {index} leads output `{path}` out of the task's folder")
    return filled


def _call(call: PythonCall | None, item: object, values: Mapping[str, JSONScalar], index: int) -> PythonCall | None:
    if call is None:
        return None
    arguments = tuple((name, _argument(text, item, values, index)) for name, text in call.arguments)
    return replace(call, arguments=arguments)


def _argument(text: str, item: object, values: Mapping[str, JSONScalar], index: int) -> str:
    if "${item" not in text:
        return text
    value = _deep(json.loads(text), item, values, index)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _deep(value: object, item: object, values: Mapping[str, JSONScalar], index: int) -> object:
    """A text that is `${item}` alone becomes the item itself, of whatever type."""
    if isinstance(value, dict):
        return {name: _deep(inner, item, values, index) for name, inner in value.items()}
    if isinstance(value, list):
        return [_deep(inner, item, values, index) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _TOKEN.fullmatch(value)
    if whole is None:
        return _filled(value, values, index)
    return item if whole[1] is None else _member(item, whole[1], index)


def _member(item: object, name: str, index: int) -> object:
    if not isinstance(item, dict) or name not in item:
        raise ValueError(f"item {index} has no `{name}`")
    return item[name]
