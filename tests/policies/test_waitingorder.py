from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from elisa.model.ids import AttemptId
from elisa.policies.waitingorder import Waiting, new_places


def jobs(*places_and_arrivals: tuple[int, int]) -> list[Waiting]:
    return [Waiting(AttemptId(f"t{arrival}.1"), place, arrival) for place, arrival in places_and_arrivals]


def test_queue_in_order_is_left_alone() -> None:
    assert not new_places(jobs((0, 0), (0, 1), (2, 2), (2, 3)), moves=4)
    assert not new_places([], moves=4)


def test_newcomer_that_comes_first_moves_the_others_back_together() -> None:
    assert new_places(jobs((0, 9), (0, 1), (0, 2), (0, 3)), moves=4) == {"t1.1": 1, "t2.1": 1, "t3.1": 1}


def test_job_that_fell_back_moves_alone() -> None:
    assert new_places(jobs((0, 1), (0, 2), (0, 3), (0, 0)), moves=4) == {"t0.1": 1}


def test_job_moves_forward_between_two_that_stay() -> None:
    assert new_places(jobs((0, 0), (5, 3), (2, 1), (2, 2)), moves=4) == {"t3.1": 0}


def test_front_of_the_queue_is_served_first_when_moves_are_few() -> None:
    backwards = jobs((0, 3), (0, 2), (0, 1), (0, 0))

    assert new_places(backwards, moves=2) == {"t2.1": 1, "t1.1": 2}
    assert new_places(backwards, moves=0) == {}


@given(st.permutations(range(8)), st.lists(st.integers(0, 4), min_size=8, max_size=8))
def test_new_places_bring_any_queue_into_order_and_never_go_below_0(arrivals: list[int], places: list[int]) -> None:
    wanted = jobs(*zip(places, arrivals, strict=True))

    given_out = new_places(wanted, moves=99)

    after = [(given_out.get(job.attempt, job.place), job.arrival) for job in wanted]
    assert all(one < other for one, other in pairwise(after))
    assert min(place for place, _ in after) >= 0
    assert not new_places([job._replace(place=after[n][0]) for n, job in enumerate(wanted)], moves=99)


@given(st.permutations(range(8)), st.integers(1, 3))
def test_few_moves_a_tick_end_in_the_same_order(arrivals: list[int], moves: int) -> None:
    wanted = jobs(*((0, arrival) for arrival in arrivals))

    for _ in range(20):
        given_out = new_places(wanted, moves=moves)
        assert len(set(given_out.values())) <= moves
        wanted = [job._replace(place=given_out.get(job.attempt, job.place)) for job in wanted]

    assert not new_places(wanted, moves=moves)
