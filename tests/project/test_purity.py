"""Rules on imports and calls that import-linter cannot express."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

OLDEST_PYTHON_OF_A_JOB = (3, 8)
PURE_ROOMS = ("forecast", "model", "policies")
# What adapters inside a job may import, and only when they are asked to work.
LAZY_IN_RUNTIME = {"horovod", "joblib", "keras", "numpy", "psutil", "pynvml", "sklearn", "tensorflow", "torch"}
PATH_TO_ELISA = f"import sys; sys.path.append({str(Path(__file__).resolve().parents[2] / 'src')!r})"
# Calls that ask the clock, chance or the outside world.
IMPURE_CALLS = {"input", "monotonic", "now", "open", "perf_counter", "print", "today", "utcnow"}


def files_of(root: Path, *rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from sorted((root / room).rglob("*.py"))


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


STANDARD = sys.stdlib_module_names | {"_sha256", "_sha2"}  # the former until Python 3.11, the latter since 3.12


def outside_the_standard_library(nodes: Iterator[ast.AST]) -> set[str]:
    names = {name for node in nodes for name in imported(node) if not f"{name}.".startswith("elisa.runtime.")}
    return {name.partition(".")[0] for name in names} - STANDARD


def on_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Give the statements that run when the module is imported, also those inside `if` and `try`."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_type_checking(node):
            todo.extend(ast.iter_child_nodes(node))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_runtime_imports_only_the_standard_library_outside_adapters(project_root: Path) -> None:
    got = {
        str(path.relative_to(project_root)): names
        for path in files_of(project_root, "runtime")
        if "adapters" not in path.parts
        if (names := outside_the_standard_library(on_import(ast.parse(path.read_text()))))
    }

    assert got == {}


def test_what_a_job_loads_first_loads_nothing_but_the_standard_library() -> None:
    code = "import sys, elisa.runtime, elisa.checkpoint; print(*{name.partition('.')[0] for name in sys.modules})"

    got = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{PATH_TO_ELISA}; {code}"], capture_output=True, check=True
    )

    assert set(got.stdout.decode().split()) - sys.stdlib_module_names == {"__main__", "elisa"}


def test_adapters_import_only_known_frameworks(project_root: Path) -> None:
    got = {
        str(path.relative_to(project_root)): names
        for path in files_of(project_root, "runtime")
        if (names := outside_the_standard_library(ast.walk(ast.parse(path.read_text()))) - LAZY_IN_RUNTIME)
    }

    assert got == {}


def test_files_a_job_loads_parse_on_its_oldest_python(project_root: Path) -> None:
    for path in [*files_of(project_root, "runtime"), *(project_root / "src/elisa").glob("*.py")]:
        ast.parse(path.read_text(), filename=str(path), feature_version=OLDEST_PYTHON_OF_A_JOB)


@pytest.mark.slow
def test_files_a_job_loads_use_nothing_newer_than_its_oldest_python(project_root: Path) -> None:
    target = ".".join(map(str, OLDEST_PYTHON_OF_A_JOB))
    argv = [str(Path(sys.executable).with_name("vermin")), f"-t={target}-", "--no-tips", "--violations", "-q"]

    got = subprocess.run(
        [*argv, "runtime", "src/elisa/__init__.py", "src/elisa/checkpoint.py"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (got.returncode, got.stdout) == (0, ""), got.stdout + got.stderr


def test_pure_rooms_ask_neither_clock_nor_chance_nor_the_world(project_root: Path) -> None:
    got = [
        f"{path.relative_to(project_root)}:{node.lineno} {called(node)}"
        for path in files_of(project_root, *PURE_ROOMS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and is_impure(called(node))
    ]

    assert got == []


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def is_impure(name: str) -> bool:
    return name.rpartition(".")[2] in IMPURE_CALLS or name.startswith(("np.random.", "numpy.random."))
