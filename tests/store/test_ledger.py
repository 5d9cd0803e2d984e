"""What is reserved, spent and given back, and what no attempt may exceed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elisa.model.changes import Change
from elisa.model.charge import Charge
from elisa.model.columns import PastUse, UsageRow
from elisa.model.errors import PolicyError
from elisa.model.ids import ProjectName
from elisa.model.resources import GpuRequest, Resources
from elisa.model.shares import UNITS_A_GPU, booked_kind
from elisa.model.site import Cap, Metered, ProjectPolicy, SitePolicy
from elisa.model.states import AttemptState, TaskState
from elisa.store.convert import CHARGES
from elisa.store.reader import Reader
from elisa.store.writer import Writer
from tests.builders import (
    NOW,
    OWNER_UID,
    AttemptBuilder,
    FakeClock,
    SeededRandom,
    a_pipeline,
    a_task,
    an_attempt,
    ended,
    intended,
    moved,
)

RESERVE = Charge(node_s=100, cpu_s=400, memory_mib_s=1000, gpu_s=200, gpu_type="a100")


def policy(*caps: Cap, user_caps: tuple[Cap, ...] = (), name: str = "nlp") -> SitePolicy:
    return SitePolicy(projects=(ProjectPolicy(name=ProjectName(name), caps=caps, user_caps=user_caps),))


def cap(resource: Metered, limit: int, **details: object) -> Cap:
    return replace(Cap(resource=resource, limit=limit), **details)  # type: ignore[arg-type]  # any field of the cap


@pytest.fixture
def ready(writer: Writer) -> Writer:
    writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(4))).added(),))
    return writer


def end_of(attempt: AttemptBuilder, spend: Charge | None) -> tuple[Change, ...]:
    return ended(attempt, AttemptState.INTENDED, spend=spend), moved(
        attempt.task, TaskState.ACTIVE, TaskState.SUCCEEDED
    )


def test_an_intended_attempt_holds_its_reservation_and_its_share_of_the_machine(ready: Writer) -> None:
    request = Resources(nodes=2, cpus_per_task=4, memory_mib_per_node=512, gpus=GpuRequest(per_node=3))

    ready.apply((intended(an_attempt("t0").having(request=request), RESERVE),))

    nothing = Charge(gpu_type="a100")
    held = {"jobs": 1, "nodes": 2, "cpus": 8, "memory_mib": 1024, "gpus": 6}
    assert ready.usage(NOW).rows == (UsageRow("nlp", OWNER_UID, "a100", RESERVE, nothing, **held),)
    assert [(row.kind, row.charge) for row in ready.ledger(project="nlp")] == [("reserve", RESERVE)]
    assert ready.ledger(project="vision") == ()


def test_an_end_books_what_was_spent_and_gives_the_rest_back(ready: Writer) -> None:
    attempt = an_attempt("t0")
    spend = Charge(node_s=40, cpu_s=160, memory_mib_s=400, gpu_s=80, gpu_type="a100")
    ready.apply((intended(attempt, RESERVE),))

    ready.apply(end_of(attempt, spend))

    refund = Charge(node_s=60, cpu_s=240, memory_mib_s=600, gpu_s=120, gpu_type="a100")
    assert {row.kind: row.charge for row in ready.ledger()} == {"reserve": RESERVE, "spend": spend, "refund": refund}
    (row,) = ready.usage(NOW).rows
    assert (row.reserved, row.spent, row.jobs, row.gpus) == (Charge(gpu_type="a100"), spend, 0, 0)


def test_an_attempt_that_never_ran_costs_nothing(ready: Writer) -> None:
    attempt = an_attempt("t0")
    ready.apply((intended(attempt, RESERVE),))

    ready.apply(end_of(attempt, None))

    assert {row.kind: row.charge.node_s for row in ready.ledger()} == {"reserve": 100, "spend": 0, "refund": 100}


def test_use_beyond_the_reservation_is_booked_as_an_overrun(ready: Writer) -> None:
    attempt = an_attempt("t0")
    ready.apply((intended(attempt, Charge(node_s=100, cpu_s=100)),))

    ready.apply(end_of(attempt, Charge(node_s=130, cpu_s=60)))

    booked = {row.kind: (row.charge.node_s, row.charge.cpu_s) for row in ready.ledger()}
    assert booked == {"reserve": (100, 100), "spend": (100, 60), "refund": (0, 40), "overrun": (30, 0)}
    (row,) = ready.usage(NOW).rows
    assert row.spent == Charge(node_s=130, cpu_s=60)
    assert ready.verify_audit().problems == ()


def test_what_was_spent_is_remembered_by_day(ready: Writer, clock: FakeClock) -> None:
    first, second, third = (an_attempt(f"t{n}") for n in range(3))
    ready.apply([intended(attempt, Charge(node_s=100)) for attempt in (first, second, third)])
    ready.apply(end_of(first, Charge(node_s=10)))
    ready.apply(end_of(second, Charge(node_s=20)))
    clock.forward(days=1)
    ready.apply(end_of(third, Charge(node_s=40)))

    # 9 o'clock: the day before ended nine hours ago, today has not ended.
    assert ready.usage(clock.now()).past == (
        PastUse("nlp", OWNER_UID, 9 * 3600.0, Charge(node_s=30), day=20514),
        PastUse("nlp", OWNER_UID, 0.0, Charge(node_s=40), day=20515),
    )


def test_an_attempt_beyond_a_hard_cap_is_refused_and_nothing_is_changed(ready: Writer) -> None:
    ready.set_policy(policy(cap(Metered.NODE_S, 250)))
    ready.apply([intended(an_attempt(f"t{n}"), RESERVE) for n in range(2)])
    before = (ready.audit(), ready.ledger())

    with pytest.raises(PolicyError) as refusal:
        ready.apply((intended(an_attempt("t2"), RESERVE),))

    assert str(refusal.value) == (
        "project `nlp` would exceed its hard cap on node_s\n"
        "  why: this attempt would bring it to 300, the cap is 250\n"
        "hint: wait for other work to end, ask for less, or have the cap raised in site.yaml"
    )
    assert (ready.audit(), ready.ledger()) == before
    assert ready.task(an_attempt("t2").task).state is TaskState.READY


def test_a_cap_met_exactly_is_no_refusal_and_a_refund_makes_room(ready: Writer) -> None:
    ready.set_policy(policy(cap(Metered.NODE_S, 200)))
    ready.apply([intended(an_attempt(f"t{n}"), RESERVE) for n in range(2)])
    ready.apply(end_of(an_attempt("t0"), None))

    ready.apply((intended(an_attempt("t2"), RESERVE),))

    assert len(ready.live_attempts()) == 2


def test_an_overrun_counts_against_the_next_attempt(ready: Writer) -> None:
    ready.set_policy(policy(cap(Metered.NODE_S, 200)))
    ready.apply((intended(an_attempt("t0"), RESERVE),))
    ready.apply(end_of(an_attempt("t0"), Charge(node_s=150)))

    with pytest.raises(PolicyError, match="hard cap on node_s"):
        ready.apply((intended(an_attempt("t1"), RESERVE),))


@pytest.mark.parametrize(
    ("limit", "is_refused"),
    [
        (cap(Metered.JOBS, 1), True),
        (cap(Metered.JOBS, 2), False),
        (cap(Metered.GPUS, 1), True),
        (cap(Metered.CPUS, 1), True),
        (cap(Metered.MEMORY_MIB, 0), False),  # it asks for none
        (cap(Metered.GPU_S, 399), True),
        (cap(Metered.GPU_S, 399, gpu_type="a100"), True),
        (cap(Metered.GPU_S, 0, gpu_type="h100"), False),
        (cap(Metered.GPU_S, 0, is_hard=False), False),
    ],
)
def test_each_hard_cap_bounds_what_it_names(ready: Writer, limit: Cap, is_refused: bool) -> None:  # noqa: FBT001
    ready.set_policy(policy(limit))
    attempts = [an_attempt(f"t{n}").asking(gpus=1) for n in range(2)]

    if is_refused:
        with pytest.raises(PolicyError):
            ready.apply([intended(attempt, RESERVE) for attempt in attempts])
    else:
        ready.apply([intended(attempt, RESERVE) for attempt in attempts])
        assert len(ready.live_attempts()) == 2


def test_a_cap_for_each_member_counts_their_own_use_only(writer: Writer) -> None:
    mine, theirs = a_task("mine").ready(), a_task("theirs").ready().having(owner_uid=2000)
    writer.apply((a_pipeline(mine, theirs, a_task("more").ready()).added(),))
    writer.set_policy(policy(user_caps=(cap(Metered.JOBS, 1),)))
    writer.apply([intended(an_attempt(task.id)) for task in (mine, theirs)])

    with pytest.raises(PolicyError, match="a member of project `nlp`"):
        writer.apply((intended(an_attempt("more")),))


def test_projects_outside_the_policy_have_the_caps_of_unlisted_ones(ready: Writer) -> None:
    unlisted = ProjectPolicy(name=ProjectName(""), caps=(cap(Metered.JOBS, 0),))

    ready.set_policy(replace(policy(), unlisted=unlisted))
    ready.apply((intended(an_attempt("t0")),))
    ready.set_policy(replace(policy(name="vision"), unlisted=unlisted))

    with pytest.raises(PolicyError):
        ready.apply((intended(an_attempt("t1")),))
    assert [(row.name, row.in_policy) for row in ready.projects()] == [("nlp", False), ("vision", True)]


def test_a_cap_on_everybody_counts_the_work_of_all_projects(writer: Writer) -> None:
    writer.apply((a_pipeline(a_task("t0").ready(), a_task("t1").ready()).added(),))
    writer.apply((a_pipeline(a_task("t2").ready(), name="other").in_project("vision").added(),))
    writer.set_policy(SitePolicy(caps=(cap(Metered.WATTS, 500),)))
    draws = Resources(watts=150, gpu_watts=100)
    of_vision = an_attempt(a_task("t2").in_pipeline("other").id)
    others = of_vision.having(request=replace(draws, watts=151))
    writer.apply((intended(an_attempt("t0").having(request=draws)),))

    with pytest.raises(PolicyError) as refusal:
        writer.apply((intended(others),))

    assert str(refusal.value).startswith("all work together would exceed its hard cap on watts")
    writer.apply((intended(an_attempt("t1").having(request=draws)),))
    assert sum(row.watts for row in writer.usage(NOW).rows) == 500
    writer.apply(end_of(an_attempt("t0"), None))
    assert sum(row.watts for row in writer.usage(NOW).rows) == 250
    writer.apply((intended(of_vision.having(request=draws)),))


def test_a_policy_is_audited_when_it_changes_and_only_then(ready: Writer) -> None:
    site = policy(cap(Metered.JOBS, 9), cap(Metered.JOBS, 5), cap(Metered.GPUS, 3, gpu_type="a100"))

    ready.set_policy(site)
    ready.set_policy(site)

    (row,) = [row for row in ready.audit() if row.kind == "policy.set"]
    assert row.facts == {
        "caps": [["nlp", 0, -1, "gpus", "a100", 3], ["nlp", 0, -1, "jobs", "", 5]],
        "projects": ["nlp"],
    }


amounts = st.builds(Charge, **{name: st.integers(0, 10**9) for name in CHARGES})


@settings(max_examples=60)
@given(data=st.lists(st.tuples(amounts, amounts, st.booleans()), min_size=1, max_size=6))
def test_reserve_is_spend_and_refund_to_the_last_second(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[Charge, Charge, bool]]
) -> None:
    home = tmp_path_factory.mktemp("ledger")
    with Writer.create(home, clock=FakeClock(), random=SeededRandom(), actor="ada") as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(len(data)))).added(),))
        for number, (reserve, spend, ends) in enumerate(data):
            attempt = an_attempt(f"t{number}")
            writer.apply((intended(attempt, reserve),))
            if ends:
                writer.apply(end_of(attempt, spend))

    assert _balance(home) == {
        an_attempt(f"t{n}").id: (reserve, spend if ends else None) for n, (reserve, spend, ends) in enumerate(data)
    }


def _balance(home: Path) -> dict[str, tuple[Charge, Charge | None]]:
    """Return what each attempt reserved and, if it ended, used; both sides of the balance having been compared."""
    with Reader.open(home) as reader:
        assert reader.verify_audit().problems == ()
        booked: dict[str, dict[str, Charge]] = {}
        for row in reader.ledger():
            booked.setdefault(row.attempt, {})[row.kind] = row.charge
    found: dict[str, tuple[Charge, Charge | None]] = {}
    for attempt, kinds in booked.items():
        if "spend" not in kinds:
            found[attempt] = (kinds["reserve"], None)
            continue
        assert kinds["reserve"] == _sum(kinds["spend"], kinds["refund"])
        found[attempt] = (kinds["reserve"], _sum(kinds["spend"], kinds.get("overrun", Charge())))
    return found


def _sum(one: Charge, other: Charge) -> Charge:
    return Charge(**{name: getattr(one, name) + getattr(other, name) for name in CHARGES})


def a_share(task: str, count: int, parts: int, kind: str = "shard") -> tuple[AttemptBuilder, Charge]:
    request = Resources(gpus=GpuRequest(per_node=count, types=(kind,), parts=parts), walltime_s=100)
    return an_attempt(task).having(request=request), Charge(gpu_s=100 * count, gpu_type=booked_kind(kind, parts))


@pytest.mark.parametrize(
    "limit", [cap(Metered.GPU_UNITS, UNITS_A_GPU), cap(Metered.GPU_S, 100)], ids=["held at once", "in GPU seconds"]
)
def test_shares_count_as_what_they_are_of_a_gpu_where_all_types_count_together(ready: Writer, limit: Cap) -> None:
    ready.set_policy(policy(limit))

    for attempt in (a_share("t0", 1, 2), a_share("t1", 1, 3), a_share("t2", 16, 100, "mps")):
        ready.apply((intended(*attempt),))

    with pytest.raises(PolicyError, match="hard cap"):
        ready.apply((intended(*a_share("t3", 1, 100, "mps")),))


def test_shares_of_every_size_count_one_by_one_under_a_cap_on_their_type(ready: Writer) -> None:
    ready.set_policy(policy(cap(Metered.GPUS, 2, gpu_type="shard")))
    for attempt in (a_share("t0", 1, 2), a_share("t1", 1, 4)):
        ready.apply((intended(*attempt),))

    with pytest.raises(PolicyError, match="hard cap on gpus of shard"):
        ready.apply((intended(*a_share("t2", 1, 8)),))


@settings(max_examples=25)
@given(
    asked=st.lists(st.tuples(st.integers(1, 20), st.sampled_from([1, 2, 3, 4, 7, 11, 100])), max_size=4),
    gpus=st.integers(0, 4),
    is_cumulative=st.booleans(),
)
def test_whole_gpus_and_shares_together_never_exceed_a_hard_cap(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[int, int]],
    gpus: int,
    is_cumulative: bool,  # noqa: FBT001
) -> None:
    limit = cap(Metered.GPU_S, 100 * gpus) if is_cumulative else cap(Metered.GPU_UNITS, gpus * UNITS_A_GPU)
    held = Fraction(0)
    with Writer.create(
        tmp_path_factory.mktemp("home"), clock=FakeClock(), random=SeededRandom(), actor="ada"
    ) as writer:
        writer.apply((a_pipeline(*(a_task(f"t{n}").ready() for n in range(4))).added(),))
        writer.set_policy(policy(limit))
        for number, (count, parts) in enumerate(asked):
            try:
                writer.apply((intended(*a_share(f"t{number}", count, parts)),))
            except PolicyError:
                # Of what divides a GPU, or a second of it, evenly only that is refused which really does not fit.
                is_rounded = is_cumulative or 11 in {size for _, size in asked}
                assert is_rounded or held + Fraction(count, parts) > gpus
            else:
                held += Fraction(count, parts)

    assert held <= gpus
