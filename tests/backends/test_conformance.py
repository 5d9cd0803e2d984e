from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from elisa.backends.conformance import CHECKS, check_backend
from elisa.backends.under_test import BackendUnderTest
from elisa.model.ids import NativeId
from elisa.model.native import Answered, NativeState, Poll, Seen
from elisa.model.states import EndReason
from tests.backends.worlds import local_world, simulated_world

WORLDS = {"local": local_world, "simulated": simulated_world}
Check = Callable[[BackendUnderTest], None]


@pytest.mark.slow
@pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_backend_conforms(check: Check, make: Callable[[Path], BackendUnderTest], tmp_path: Path) -> None:
    check(make(tmp_path))


class MiscountingBackend:
    """A backend that takes silence for the end of a job."""

    def __init__(self, world: BackendUnderTest) -> None:
        self._backend = world.backend
        self.name = world.backend.name

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def poll(self, ids: Collection[NativeId]) -> Poll:
        poll = self._backend.poll(ids)
        assert isinstance(poll, Answered)
        ended = {id_: Seen(native_id=id_, state=NativeState.ENDED, end_reason=EndReason.COMPLETED) for id_ in ids}
        return Answered(observations={**ended, **{k: v for k, v in poll.observations.items() if isinstance(v, Seen)}})


def test_the_suite_names_the_check_that_a_bad_backend_fails(tmp_path: Path) -> None:
    def make() -> BackendUnderTest:
        world = simulated_world(tmp_path)
        return replace(world, backend=MiscountingBackend(world))  # type: ignore[arg-type]

    with pytest.raises(AssertionError) as caught:
        check_backend(make)

    assert caught.value.__notes__ == ["the backend fails the check `one_poll_describes_many_jobs`"]
