"""Every statement that writes, compiled once from the tables of the schema."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from sqlalchemy import BindParameter, ColumnElement, Dialect, bindparam, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement
from sqlmodel import SQLModel

from elisa.store.schema import table_of

__all__ = ["insert_into", "update_where", "upsert_into"]


@cache
def insert_into(model: type[SQLModel], dialect: str) -> str:
    """Return an INSERT that names each column's value like the column."""
    return _compiled(insert(table_of(model)), dialect)


@cache
def upsert_into(model: type[SQLModel], dialect: str) -> str:
    """Return an INSERT that overwrites the row with the same primary key."""
    table = table_of(model)
    statement = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
    keys = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return _compiled(statement.on_conflict_do_update(index_elements=keys, set_=others), dialect)


@cache
def update_where(model: type[SQLModel], columns: tuple[str, ...], keys: tuple[str, ...], dialect: str) -> str:
    """Return an UPDATE of `columns` where each of `keys` has the value called `old_<key>`."""
    table = table_of(model)
    conditions: Sequence[ColumnElement[bool]] = [table.c[key] == bindparam(f"old_{key}") for key in keys]
    values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
    return _compiled(update(table).where(*conditions).values(values), dialect)


def _compiled(statement: ClauseElement, dialect: str) -> str:
    return str(statement.compile(dialect=_DIALECTS[dialect]))


_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}
