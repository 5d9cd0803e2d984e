"""What settings of `site.yaml` are made of: sections that refuse what they do not know, and values with their units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from elisa.model.units import parse_duration_s, parse_memory_mib

__all__ = ["Count", "Duration", "Memory", "Moment", "Section", "Weight", "known_settings"]


def _duration_s(value: object) -> int:
    return parse_duration_s(value if isinstance(value, str) else str(value))


def _memory_mib(value: object) -> int:
    return parse_memory_mib(value if isinstance(value, str) else str(value))


# Units stand in the text; a bare number is refused, because nobody knows whether it meant seconds or minutes.
Duration = Annotated[
    int, BeforeValidator(_duration_s), Field(json_schema_extra={"type": "string", "format": "duration"})
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
