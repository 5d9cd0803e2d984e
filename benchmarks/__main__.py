"""Run the benchmarks: `python -m benchmarks [--only NAME] [--list]`; JSON lines on stdout, all else on stderr.

A benchmark is a file `bench_<name>.py` here with `FIGURES`, the names of its figures, and `measure()`, which yields them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.figure import Figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every chosen benchmark ran, whether or not it met its goals; 1 if one broke; 2 if none has the name."""
    options = _parse(arguments)
    chosen = [module for module in _benchmarks() if not options.only or _answers_to(module, options.only)]
    if not chosen:
        print(f"error: no benchmark or figure is called {options.only}\n hint: see --list", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{_name(module)}: {', '.join(module.FIGURES)}" for module in chosen))
        return 0
    outcomes = [_run(module, options.only) for module in chosen]
    return 0 if all(outcomes) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure elisa.")
    parser.add_argument("--only", metavar="NAME", default="", help="one benchmark, or the one with this figure")
    parser.add_argument("--list", action="store_true", help="show the benchmarks and their figures")
    return parser.parse_args(arguments)


def _benchmarks() -> Iterator[ModuleType]:
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        yield importlib.import_module(f"benchmarks.{path.stem}")


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition("bench_")[2]


def _answers_to(module: ModuleType, name: str) -> bool:
    return name == _name(module) or name in module.FIGURES


def _run(module: ModuleType, only: str) -> bool:
    print(f"# {_name(module)}", file=sys.stderr)
    try:
        for figure in module.measure():
            # A figure comes with its peers': `name` with `name/peer`.
            if only in {"", _name(module), figure.figure, figure.figure.partition("/")[0]}:
                _show(figure)
    except Exception:  # noqa: BLE001  (one broken benchmark must not hide the figures of the others)
        traceback.print_exc()
        return False
    return True


def _show(figure: Figure) -> None:
    print(figure.line(), flush=True)
    print(f"  {figure.figure}: {figure.value:.4g} {figure.unit} ({figure.verdict()} {figure.goal})", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
