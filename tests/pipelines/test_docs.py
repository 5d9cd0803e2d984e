"""The reference for users: its examples load, and its tables say what the code says."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from elisa.pipelines.document import DOCUMENT
from elisa.pipelines.load import load
from elisa.pipelines.outputs import FORMATS, OUTPUT
from elisa.pipelines.recovery import CHECKPOINT, RETRY
from elisa.pipelines.references import NEED
from elisa.pipelines.resources import GPU_RANGE, NODE_RANGE, PLACEMENT, RESOURCES
from elisa.pipelines.shapes import Either, Record
from elisa.pipelines.tasks import TASK

PAGE = Path(__file__).parent.parent.parent / "docs" / "pipelines.md"
BLOCKS = re.findall(r"^```(yaml|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TABLES: dict[str, object] = {
    "document": DOCUMENT,
    "task": TASK,
    "need": NEED.forms,
    "resources": RESOURCES,
    "nodes": NODE_RANGE,
    "gpus": GPU_RANGE,
    "placement": PLACEMENT,
    "retry": RETRY,
    "checkpoint": CHECKPOINT,
    "output": OUTPUT,
}


def table_of(kind: object) -> str:
    record = kind.long if isinstance(kind, Either) else kind
    assert isinstance(record, Record)
    rows = [f"| `{name}` | {field.about.replace('|', chr(92) + '|')} |" for name, field in record.fields.items()]
    return "\n".join(["| key | meaning |", "|---|---|", *rows])


def written(page: str) -> str:
    for name, kind in TABLES.items():
        page = re.sub(
            rf"(<!-- keys: {name} -->\n).*?(<!-- end -->)",
            lambda match, kind=kind: f"{match[1]}{table_of(kind)}\n{match[2]}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    formats = " ".join(f"`{name}`" for name in FORMATS)
    return re.sub(r"<!-- formats -->.*?<!-- end -->", f"<!-- formats -->{formats}<!-- end -->", page)


def test_tables_say_what_the_code_says(request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text()
    if request.config.getoption("--bless"):
        PAGE.write_text(written(page))

    assert PAGE.read_text() == written(page)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_on_the_page(name: str) -> None:
    assert f"<!-- keys: {name} -->" in PAGE.read_text()


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_on_the_page_loads(number: int, tmp_path: Path) -> None:
    language, text = BLOCKS[number]
    for _, other in BLOCKS:
        named = re.match(r"# (\w+\.py)\n", other)
        if named:
            (tmp_path / named[1]).write_text(other)
    path = tmp_path / f"example.{'py' if language == 'python' else 'yaml'}"
    if text.startswith("# "):
        return
    is_whole = language == "python" or text.startswith("name:")
    path.write_text(text if is_whole else f"name: example\ntasks:\n{indent(text, '  ')}")

    assert load(path).tasks
