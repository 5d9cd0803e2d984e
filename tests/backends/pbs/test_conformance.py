from __future__ import annotations

from collections.abc import Callable

import pytest

from elisa.backends.conformance import CHECKS
from elisa.backends.under_test import BackendUnderTest
from tests.backends.pbs.bench import Bench

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, object]] = {
    "openpbs": {},
    "before 18.1": {"express": False},
    "torque": {"express": False, "dialect": "torque"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_pbs_conforms(
    check: Callable[[BackendUnderTest], None], kind: dict[str, object], a_bench: Callable[..., Bench]
) -> None:
    check(a_bench(**kind).world())
