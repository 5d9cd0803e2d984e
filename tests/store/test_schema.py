"""The tables that the migrations make are those that the schema declares, on every kind of database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import create_engine, inspect
from sqlmodel import SQLModel

from elisa.store import schema
from elisa.store.migrations import MIGRATIONS
from elisa.store.schema import METADATA


def described(make: Any) -> dict[str, Any]:
    """Return the columns, keys and indexes of every table that `make` puts into an empty database."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        make(connection)
        inspector = inspect(connection)
        return {
            table: {
                "columns": [
                    (column["name"], str(column["type"]).replace("REAL", "DOUBLE"), column["nullable"])
                    for column in inspector.get_columns(table)
                ],
                "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
                "foreign keys": sorted(
                    (key["constrained_columns"], key["referred_table"]) for key in inspector.get_foreign_keys(table)
                ),
                "indexes": sorted(
                    (index["name"], index["column_names"], bool(index["unique"]), _condition(index))
                    for index in inspector.get_indexes(table)
                ),
            }
            for table in inspector.get_table_names()
        }


def _condition(index: Any) -> str:
    return str(index["dialect_options"].get("sqlite_where", ""))


def test_the_migrations_make_the_declared_tables() -> None:
    def migrated(connection: Any) -> None:
        for migration in MIGRATIONS:
            migration.run(connection.exec_driver_sql)

    assert described(migrated) == described(METADATA.create_all)


def test_versions_follow_one_another() -> None:
    assert [migration.version for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert len({migration.name for migration in MIGRATIONS}) == len(MIGRATIONS)


def test_every_table_is_a_public_name() -> None:
    declared = {model.__name__ for model in vars(schema).values() if _is_table(model)}

    assert declared == {name for name in schema.__all__ if name.endswith("Table")}


def _is_table(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, SQLModel) and hasattr(model, "__table__")


def test_only_types_that_every_database_has_are_used() -> None:
    types = {str(column.type) for table in METADATA.tables.values() for column in table.columns}

    assert types == {"BIGINT", "DOUBLE", "INTEGER", "TEXT"}
