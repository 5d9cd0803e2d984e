"""Named tuples without `typing`: to load that takes an agent longer than to claim a task, and each class a third of a ms.

`from elisa.runtime.tuples import TYPE_CHECKING, NamedTuple` is read by type checkers as if it came from `typing`.
"""

from __future__ import annotations

from _operator import itemgetter  # what `operator` is made of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _Fields(type):
        """Makes the annotated names of a class its fields, in their order; what they are set to are their defaults."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            body.update({field: property(itemgetter(place)) for place, field in enumerate(fields)})
            body.update(__slots__=(), __match_args__=fields, _fields=fields, _field_defaults=defaults)
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Fields):  # noqa: SLOT001  (the metaclass does)
        """A tuple whose items have names."""

        def __new__(cls, *values: object, **named: object) -> NamedTuple:  # noqa: PYI034  (`Self` is of `typing`)
            """Return one of these values and names; raises TypeError where one is missing or not known."""
            for field in cls._fields[len(values) :]:
                if field in named:
                    values += (named.pop(field),)
                elif field in cls._field_defaults:
                    values += (cls._field_defaults[field],)
            if named or len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}: not {values} and {named}")
            return tuple.__new__(cls, values)

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            fields = ", ".join(f"{field}={value!r}" for field, value in zip(self._fields, self))
            return f"{type(self).__name__}({fields})"

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self))

        def _replace(self, **changes: object) -> NamedTuple:
            return type(self)(**{**self._asdict(), **changes})


__all__ = ["TYPE_CHECKING", "NamedTuple"]
