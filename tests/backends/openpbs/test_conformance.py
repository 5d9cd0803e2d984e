from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS, a_stubborn_job_is_killed_after_its_grace
from elisa.backends.under_test import BackendUnderTest
from tests.backends.openpbs.parts import a_world
from tests.fakes.openpbs.fake_openpbs import FakeOpenPbs


@pytest.fixture(params=["openpbs", "torque"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeOpenPbs]:
    fake = FakeOpenPbs(tmp_path / "pbs", dialect=request.param)
    yield fake
    fake.stop()


# Torque says of a job that was killed only the signal: whether somebody had asked for its end is not to be learnt.
BEYOND_TORQUE = {"a_stubborn_job_is_killed_after_its_grace"}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_pbs_conforms(check: Callable[[BackendUnderTest], None], fake: FakeOpenPbs, tmp_path: Path) -> None:
    if fake.dialect == "torque" and check.__name__ in BEYOND_TORQUE:
        check = a_killed_job_has_failed
    check(a_world(tmp_path, fake))


def a_killed_job_has_failed(world: BackendUnderTest) -> None:
    with pytest.raises(AssertionError, match="FAILED"):
        a_stubborn_job_is_killed_after_its_grace(world)
