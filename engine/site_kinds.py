"""What settings of `site.yaml` are made of: sections that refuse what they do not know, and values with their units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from elisa.model.errors import Problem
from elisa.model.units import parse_duration_s, parse_memory_mib
from elisa.pipelines.nodes import Node, at
from elisa.pipelines.problems import Problems, nearest

__all__ = [
    "Count",
    "Duration",
    "DurationOrOff",
    "Memory",
    "Moment",
    "Section",
    "Weight",
    "known_settings",
    "told_problems",
]


def _duration_s(value: object) -> int:
    return parse_duration_s(value if isinstance(value, str) else str(value))


def _duration_s_or_off(value: object) -> int:
    return 0 if value == "off" else _duration_s(value)


def _memory_mib(value: object) -> int:
    return parse_memory_mib(value if isinstance(value, str) else str(value))


# Units stand in the text; a bare number is refused, because nobody knows whether it meant seconds or minutes.
Duration = Annotated[
    int, BeforeValidator(_duration_s), Field(json_schema_extra={"type": "string", "format": "duration"})
]
DurationOrOff = Annotated[
    int, BeforeValidator(_duration_s_or_off), Field(json_schema_extra={"type": "string", "format": "duration"})
]
Memory = Annotated[int, BeforeValidator(_memory_mib), Field(json_schema_extra={"type": "string", "format": "memory"})]
Count = Annotated[int, Field(strict=True, ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Moment = AwareDatetime


class Section(BaseModel):
    """A mapping of settings. The `description` of each is what docs/reference/site.md says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def known_settings() -> frozenset[str]:
    """Return the name of every setting of every section, for a hint at what a wrong one was meant to be."""
    return frozenset(info.alias or name for section in _below(Section) for name, info in section.model_fields.items())


def _below(section: type[Section]) -> Iterator[type[Section]]:
    for kind in section.__subclasses__():
        yield kind
        yield from _below(kind)


def told_problems(err: ValidationError, node: Node, file: str) -> tuple[Problem, ...]:
    """Return all that is wrong with a configuration, each with its line."""
    problems = Problems(file)
    for found in err.errors(include_url=False):
        path = found["loc"]
        where = ".".join(map(str, path)) or file
        if found["type"] == "extra_forbidden":
            problems.add(at(node, path), f"{where}: there is no such setting here", hint=_hint(str(path[-1])))
        else:
            problems.add(at(node, path), f"{where}: {found['msg'].removeprefix('Value error, ')}", str(found["input"]))
    return problems.sorted()


def _hint(name: str) -> str:
    """Name the nearest setting; one that is right elsewhere is told so."""
    known = known_settings()
    return f"`{name}` belongs elsewhere: see docs/reference/site.md" if name in known else nearest(name, known)
