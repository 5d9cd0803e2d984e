"""Every statement that writes, put together once from the names in `tables.py`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from elisa.store.tables import Table

__all__ = ["insert_into", "update_where", "upsert_into"]

# PostgreSQL is told the type of each value but a double's, which it cannot mistake.
_CASTS: Mapping[str, str] = {"TEXT": "::VARCHAR", "BIGINT": "::BIGINT", "INTEGER": "::INTEGER", "DOUBLE": ""}


@cache
def insert_into(table: Table, dialect: str) -> str:
    """Return an INSERT that names each column's value like the column."""
    values = ", ".join(_value(name, kind, dialect) for name, kind in table.columns.items())
    return f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({values})"


@cache
def upsert_into(table: Table, dialect: str) -> str:
    """Return an INSERT that overwrites the row with the same primary key."""
    others = ", ".join(f"{name} = excluded.{name}" for name in table.columns if name not in table.keys)
    return f"{insert_into(table, dialect)} ON CONFLICT ({', '.join(table.keys)}) DO UPDATE SET {others}"


@cache
def update_where(table: Table, columns: tuple[str, ...], keys: tuple[str, ...], dialect: str) -> str:
    """Return an UPDATE of `columns` where each of `keys` has the value called `old_<key>`."""
    values = ", ".join(f"{name}={_value(name, table.columns[name], dialect)}" for name in columns)
    same = " AND ".join(f"{table.name}.{key} = {_value(f'old_{key}', table.columns[key], dialect)}" for key in keys)
    return f"UPDATE {table.name} SET {values} WHERE {same}"


def _value(name: str, kind: str, dialect: str) -> str:
    return f":{name}" if dialect == "sqlite" else f"%({name})s{_CASTS[kind]}"
