from __future__ import annotations

from collections.abc import Callable

import pytest

from elisa.backends.conformance import (
    CHECKS,
    a_job_is_found_by_its_tag_from_anywhere,
    arguments_variables_and_paths_arrive_unchanged,
    the_cluster_is_described_consistently,
)
from elisa.backends.under_test import BackendUnderTest
from tests.backends.pbs.bench import Bench

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, object]] = {
    "openpbs": {},
    "before 18.1": {"express": False},
    "torque": {"express": False, "dialect": "torque"},
}
# Between them they call each program that the others call.
BY_PROCESSES = (
    arguments_variables_and_paths_arrive_unchanged,
    a_job_is_found_by_its_tag_from_anywhere,
    the_cluster_is_described_consistently,
)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_pbs_conforms(
    check: Callable[[BackendUnderTest], None], kind: dict[str, object], a_bench: Callable[..., Bench]
) -> None:
    check(a_bench(**kind).world())


@pytest.mark.parametrize("check", BY_PROCESSES, ids=lambda check: check.__name__)
def test_pbs_conforms_through_processes(
    check: Callable[[BackendUnderTest], None], a_bench: Callable[..., Bench]
) -> None:
    check(a_bench(near=False).world())
