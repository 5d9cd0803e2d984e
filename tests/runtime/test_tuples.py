from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple as Typed

import pytest

import elisa
from elisa.runtime.tuples import NamedTuple

AGENT_PATH = str(Path(elisa.__file__).parent.parent)


class Light(NamedTuple):
    name: str
    number: int = 1
    rest: tuple[str, ...] = ()

    def doubled(self) -> int:
        return 2 * self.number


class Heavy(Typed):
    name: str
    number: int = 1
    rest: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "ask",
    [
        lambda kind: tuple(kind("a")),
        lambda kind: tuple(kind("a", 2, rest=("b",))),
        lambda kind: tuple(kind(number=3, name="a")),
        lambda kind: tuple(kind("a")._replace(number=2, rest=("c",))),
        lambda kind: kind("a")._asdict(),
        lambda kind: kind._fields,
        lambda kind: kind._field_defaults,
        lambda kind: kind.__match_args__,
        lambda kind: repr(kind("a"))[5:],
        lambda kind: [kind("a").name, kind("a").number, kind("a").rest],
        lambda kind: kind("a") == kind("a", 1) == ("a", 1, ()) != kind("b"),
        lambda kind: {kind("a"): 1}[kind("a")],
        lambda kind: type(copy.copy(kind("a"))) is kind,
        lambda kind: hasattr(kind("a"), "__dict__"),
    ],
)
def test_it_is_what_that_of_typing_is(ask: Callable[[type[Light | Heavy]], object]) -> None:
    assert ask(Light) == ask(Heavy)


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(),
        lambda kind: kind("a", 1, (), 4),
        lambda kind: kind("a", name="b"),
        lambda kind: kind("a", other=1),
        lambda kind: setattr(kind("a"), "name", "b"),
        lambda kind: kind("a")._replace(other=1),
    ],
)
@pytest.mark.parametrize("kind", [Light, Heavy])
def test_what_makes_no_sense_is_refused(make: Callable[[type], object], kind: type) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        make(kind)


def test_it_has_methods() -> None:
    assert Light("a", 2).doubled() == 4


def test_an_agent_loads_no_module_that_takes_long() -> None:
    slow = (
        "typing",
        "socket",
        "subprocess",
        "threading",
        "hashlib",
        "selectors",
        "importlib",
        "dataclasses",
        "inspect",
    )
    code = f"import sys; import elisa.runtime.bundle; print([name for name in {slow} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", code], check=False, capture_output=True, env={"PYTHONPATH": AGENT_PATH}, timeout=60
    )

    assert (loaded.stdout.decode(), loaded.stderr.decode()) == ("[]\n", "")
