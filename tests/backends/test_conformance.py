from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS
from elisa.backends.under_test import BackendUnderTest
from tests.backends.worlds import local_world, simulated_world

WORLDS = {"local": local_world, "simulated": simulated_world}
Check = Callable[[BackendUnderTest], None]


@pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_backend_conforms(check: Check, make: Callable[[Path], BackendUnderTest], tmp_path: Path) -> None:
    check(make(tmp_path))
