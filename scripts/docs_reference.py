"""Write the pages of docs/reference that are made from code, or check that they are in step (`--check`).

Usage: python -m scripts.docs_reference [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from elisa.model.errors import ElisaError

__all__ = ["PAGES", "main", "stale_pages"]

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
WIDTH = 100
NOTE = "<!-- Made from the code by `make docs-reference`; changes made here are lost. -->"


def stale_pages(folder: Path, pages: Mapping[str, Callable[[], str]]) -> Iterator[tuple[Path, str]]:
    """Yield (path, wanted text) for each page that is missing or differs from what its maker gives now."""
    for name, make in pages.items():
        path, wanted = folder / name, make()
        if not path.is_file() or path.read_text() != wanted:
            yield path, wanted


def cli_page() -> str:
    """Render the help of every command, exactly as `--help` prints it."""
    import typer.main

    from elisa.cli.app import app

    parts = ["# Commands", NOTE, *_help_parts(typer.main.get_command(app), ())]
    return "\n\n".join(parts) + "\n"


def _help_parts(command: object, path: tuple[str, ...]) -> Iterator[str]:
    yield f"## `{' '.join(('elisa', *path))}`"
    yield f"```text\n{_help(path)}\n```"
    for name, below in sorted(getattr(command, "commands", {}).items()):
        if not below.hidden:
            yield from _help_parts(below, (*path, name))


def _help(path: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from elisa.cli.app import app

    result = CliRunner().invoke(app, [*path, "--help"], prog_name="elisa", terminal_width=WIDTH, color=False)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def exit_statuses_page() -> str:
    """Render what an exit status says, and which error gives it."""
    from elisa.model.errors import ExitCode

    head = ["| Exit status | What it says | Errors |", "| --- | --- | --- |"]
    rows = [f"| {code.value} | {code.name.lower().replace('_', ' ')} | {_raised_with(code)} |" for code in ExitCode]
    parts = ["# Exit statuses", NOTE, "They mean the same for every command.", "\n".join(head + rows)]
    return "\n\n".join(parts) + "\n"


def _raised_with(code: int) -> str:
    from elisa.model import errors

    family = [kind for name in errors.__all__ if _is_error(kind := getattr(errors, name))]
    return ", ".join(f"`{kind.__name__}`" for kind in family if kind.exit_code == code)


def _is_error(kind: object) -> TypeGuard[type[ElisaError]]:
    from elisa.model.errors import ElisaError

    return isinstance(kind, type) and issubclass(kind, ElisaError)


def schema_page() -> str:
    """Render the JSON Schema of pipelines, which editors use to complete and check them."""
    from elisa.pipelines.schema import json_schema

    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def site_page() -> str:
    """Render every setting of site.yaml."""
    from scripts.site_reference import page

    head, _, rest = page().partition("\n")
    return f"{head}\n\n{NOTE}\n{rest}"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "exit-statuses.md": exit_statuses_page,
    "pipeline.schema.json": schema_page,
    "site.md": site_page,
}


def main(arguments: Sequence[str]) -> int:
    stale = list(stale_pages(REFERENCE, PAGES))
    if "--check" in arguments:
        for path, _ in stale:
            print(f"error: docs/reference/{path.name} is out of step with the code\n hint: make docs-reference")
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for path, wanted in stale:
        path.write_text(wanted)
        print(f"wrote docs/reference/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
