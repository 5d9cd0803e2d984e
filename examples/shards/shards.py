"""How many functions does the standard library of this Python have? Packages are counted apart, each by a task."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

from elisa import task


@task
def find(most: int) -> list[str]:
    """Return the names of some packages of the standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = sorted(path.parent.name for path in library.glob("*/__init__.py"))
    return [name for name in packages if name not in {"test", "idlelib", "lib2to3", "site-packages"}][:most]


@task
def count(package: str) -> dict[str, int | str]:
    """Return how many functions the files of one package define."""
    folder = Path(sysconfig.get_path("stdlib"), package)
    functions = 0
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        functions += sum(isinstance(node, ast.FunctionDef) for node in ast.walk(tree))
    return {"package": package, "functions": functions}


@task
def add(counts: list[dict[str, int]]) -> int:
    """Return the sum over all packages."""
    total = sum(one["functions"] for one in counts)
    print(f"{total} functions in {len(counts)} packages")
    return total
