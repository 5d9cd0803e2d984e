"""What attempts hold at once where one begins only after another has ended, and takes over its place."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.model.errors import StaleChange
from elisa.model.ids import AttemptId
from elisa.model.resources import Resources
from elisa.model.states import AttemptState, EndReason
from elisa.store.writer import Writer
from tests.builders import (
    NOW,
    AttemptBuilder,
    FakeClock,
    SeededRandom,
    a_pipeline,
    a_task,
    an_attempt,
    ended,
    intended,
    submitted,
)

SUBMITTED = AttemptState.SUBMITTED
NAMES = ("a", "b", "c", "d", "e", "f")


def holding(writer: Writer) -> tuple[int, int]:
    """Return the jobs and cores that are held."""
    rows = writer.usage(NOW).rows
    return sum(row.jobs for row in rows), sum(row.cpus for row in rows)


def of(name: str, cpus: int, *behind: str, inherits: str = "") -> AttemptBuilder:
    return an_attempt(name).having(
        request=Resources(cpus_per_task=cpus),
        behind=tuple(an_attempt(other).id for other in behind),
        inherits=an_attempt(inherits).id if inherits else None,
    )


@pytest.fixture
def chain(writer: Writer) -> Writer:
    """Return a store in which `a` holds four cores, and `b`, which needs three, is queued behind it."""
    tasks = [a_task("a").ready(), *(a_task(name) for name in NAMES[1:])]
    writer.apply((a_pipeline(*tasks).added(),))
    writer.apply((intended(of("a", 4)), submitted(of("a", 4))))
    writer.apply((intended(of("b", 3, "a", inherits="a")), submitted(of("b", 3))))
    return writer


def end(writer: Writer, *names: str) -> None:
    writer.apply(tuple(ended(an_attempt(name), SUBMITTED, EndReason.COMPLETED) for name in names))


def heir_of(writer: Writer, name: str) -> AttemptId | None:
    return writer.attempts_of(an_attempt(name).task)[0].inherits


def test_heir_holds_nothing_beside_the_one_in_front_and_its_own_after_that(chain: Writer) -> None:
    before = holding(chain)

    end(chain, "a")

    assert (before, holding(chain), heir_of(chain, "b")) == ((1, 4), (1, 3), None)
    end(chain, "b")
    assert holding(chain) == (0, 0)


def test_heir_that_is_taken_back_leaves_everything_as_it_was(chain: Writer) -> None:
    end(chain, "b")

    assert holding(chain) == (1, 4)
    chain.apply((intended(of("c", 4, "a", inherits="a")),))
    assert holding(chain) == (1, 4)


def test_heirs_heir_takes_the_place_of_one_that_goes(chain: Writer) -> None:
    chain.apply((intended(of("c", 2, "b", inherits="b")), submitted(of("c", 2))))

    end(chain, "b")

    assert (holding(chain), heir_of(chain, "c")) == ((1, 4), an_attempt("a").id)
    end(chain, "a")
    assert holding(chain) == (1, 2)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
def test_all_of_a_chain_may_end_in_one_transaction_in_any_order(chain: Writer, names: tuple[str, ...]) -> None:
    chain.apply((intended(of("c", 2, "b", inherits="b")), submitted(of("c", 2))))

    end(chain, *names)

    assert holding(chain) == (0, 0)
    assert chain.verify_audit().problems == ()


@pytest.mark.parametrize(
    "heir", [of("c", 1, "a", inherits="a"), of("c", 4, "b", inherits="b")], ids=["a second heir", "asks for more"]
)
def test_place_is_taken_over_once_and_by_nobody_who_needs_more(chain: Writer, heir: AttemptBuilder) -> None:
    with pytest.raises(StaleChange, match="cannot take over"):
        chain.apply((intended(heir),))

    assert holding(chain) == (1, 4)


@pytest.mark.slow
@settings(max_examples=max(12, settings().max_examples // 8))
@given(data=st.data())
def test_what_runs_never_exceeds_what_is_held(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    home = Path(tmp_path_factory.mktemp("heirs"))
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        front = {name: data.draw(st.sampled_from(("", *NAMES[:at]))) for at, name in enumerate(NAMES)}
        cpus = {name: data.draw(st.integers(1, 3)) for name in NAMES}
        tasks = [a_task(name) if front[name] else a_task(name).ready() for name in NAMES]
        writer.apply((a_pipeline(*tasks).added(),))
        for name in NAMES:
            plain = of(name, cpus[name], *filter(None, [front[name]]))
            wish = of(name, cpus[name], front[name], inherits=front[name]) if front[name] else plain
            with suppress(StaleChange):
                writer.apply((intended(wish), submitted(wish)))
                continue
            writer.apply((intended(plain), submitted(plain)))

        live, done, running = set(NAMES), set[str](), set[str]()
        while live:
            running |= {name for name in live if not front[name] or front[name] in done}
            jobs, held = holding(writer)
            assert (len(running) <= jobs, sum(cpus[name] for name in running) <= held) == (True, True)
            name = data.draw(st.sampled_from(sorted(live)))
            if data.draw(st.booleans()) and name in running:
                done.add(name)
            end(writer, name)
            live.discard(name)
            running.discard(name)

        assert holding(writer) == (0, 0)
        assert writer.verify_audit().problems == ()
