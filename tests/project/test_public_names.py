from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import elisa
import elisa.checkpoint
import elisa.runtime.checkpoint

ROOMS = sorted(path.name for path in (Path(__file__).resolve().parents[2] / "src/elisa").iterdir() if path.is_dir())


def listed_names(tree: ast.Module) -> set[str] | None:
    """Return the literal names of `__all__`, or None where there is none."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return set(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return None


def defined_names(tree: ast.Module) -> set[str]:
    definitions = (
        node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    )
    return {node.name for node in definitions if not node.name.startswith("_") and not is_command(node)}


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Say whether a function is a command: typer calls it by its name on the command line, nobody imports it."""
    called = [decorator.func for decorator in node.decorator_list if isinstance(decorator, ast.Call)]
    return any(isinstance(name, ast.Attribute) and name.attr in {"callback", "command"} for name in called)


def bound_names(tree: ast.Module) -> set[str]:
    """Return every name that a module's own statements bind at its top level."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imports = (node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))
    return names | defined_names(tree) | {alias.asname or alias.name for node in imports for alias in node.names}


def modules(root: Path) -> list[tuple[str, ast.Module]]:
    files = sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
    return [(str(path.relative_to(root)), ast.parse(path.read_text())) for path in files]


def test_every_public_function_and_class_is_listed_in_all(project_root: Path) -> None:
    left_out = {name: missing for name, tree in modules(project_root) if (missing := unlisted(tree))}

    assert left_out == {}


def unlisted(tree: ast.Module) -> set[str]:
    return defined_names(tree) - (listed_names(tree) or set())


def test_every_name_listed_in_all_exists(project_root: Path) -> None:
    lost = {name: missing for name, tree in modules(project_root) if (missing := dangling(tree))}

    assert lost == {}


def dangling(tree: ast.Module) -> set[str]:
    has_getattr = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)
    return set() if has_getattr else (listed_names(tree) or set()) - bound_names(tree)


def test_every_public_name_of_the_package_resolves() -> None:
    assert [name for name in elisa.__all__ if not hasattr(elisa, name)] == []
    assert dir(elisa) == sorted(elisa.__all__)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    assert not hasattr(elisa, "no_such_name")


def test_checkpoint_has_the_names_of_the_library_inside_a_job() -> None:
    shown, real = importlib.import_module("elisa.checkpoint"), elisa.runtime.checkpoint

    assert elisa.checkpoint is shown
    assert shown.__all__ == real.__all__


def test_importing_the_package_imports_no_room() -> None:
    code = "import sys, elisa; print(*sorted(m for m in sys.modules if m.startswith('elisa.')))"

    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert got.stdout.split() == []
