"""What is written without SQLAlchemy is what SQLAlchemy would write for the declared tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Dialect, bindparam, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from elisa.store import tables
from elisa.store.schema import METADATA
from elisa.store.statements import insert_into, update_where, upsert_into
from elisa.store.tables import Table
from elisa.store.tables_generate import tables_text

DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}
TABLES = [table for table in vars(tables).values() if isinstance(table, Table)]
# Where a row is all key, there is nothing to change.
CHANGING = [table for table in TABLES if len(table.keys) < len(table.columns)]


def compiled(statement: ClauseElement, dialect: str) -> str:
    return str(statement.compile(dialect=DIALECTS[dialect]))


def test_the_tables_are_in_step_with_the_schema() -> None:
    assert Path(tables.__file__).read_text(encoding="utf-8") == tables_text()


def test_writing_loads_no_orm() -> None:
    heavy = "{'sqlalchemy', 'sqlmodel', 'pydantic', 'numpy'}"
    code = f"import sys, elisa.store.writer; print(sorted({heavy} & sys.modules.keys()))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_row_is_added_as_sqlalchemy_adds_it(table: Table, dialect: str) -> None:
    assert insert_into(table, dialect) == compiled(insert(METADATA.tables[table.name]), dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("table", CHANGING, ids=lambda table: table.name)
def test_a_row_is_overwritten_and_changed_as_sqlalchemy_does_it(table: Table, dialect: str) -> None:
    declared = METADATA.tables[table.name]
    adding = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(declared)
    others = {name: adding.excluded[name] for name in table.columns if name not in table.keys}
    overwriting = adding.on_conflict_do_update(index_elements=table.keys, set_=others)
    same = [declared.c[key] == bindparam(f"old_{key}") for key in table.keys]
    changing = update(declared).where(*same).values({name: bindparam(name) for name in others})

    assert upsert_into(table, dialect) == compiled(overwriting, dialect)
    assert update_where(table, tuple(others), table.keys, dialect) == compiled(changing, dialect)
