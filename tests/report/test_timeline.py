"""A timeline places every attempt; a cost adds up the ledger exactly."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from elisa.model.changes import Charge
from elisa.model.ids import AttemptId, ProjectName
from elisa.model.rows import LedgerRow
from elisa.report.cost import ProjectCost, costs
from elisa.report.timeline import Bar, Timeline, timeline
from tests.builders import NOW, a_task, an_attempt


def seconds(count: float) -> datetime:
    return NOW + timedelta(seconds=count)


def test_attempts_are_laid_out_in_the_order_they_were_asked_for() -> None:
    train = a_task("train").build()
    first = (
        an_attempt("train", 1)
        .running()
        .ended()
        .having(intended_at=seconds(5), started_at=seconds(10), ended_at=seconds(30))
    )
    second = an_attempt("train", 2).running().having(intended_at=seconds(40), started_at=seconds(41))

    line = timeline([train], {train.id: [second.build(), first.build()]}, NOW, seconds(60))

    assert line == Timeline(
        origin=NOW,
        span_s=60.0,
        bars=(
            Bar(
                task="train",
                attempt=AttemptId(f"{train.id}.1"),
                asked_s=5.0,
                started_s=10.0,
                ended_s=30.0,
                end="completed",
                resumed_step=None,
            ),
            Bar(
                task="train",
                attempt=AttemptId(f"{train.id}.2"),
                asked_s=40.0,
                started_s=41.0,
                ended_s=None,
                end="running",
                resumed_step=None,
            ),
        ),
    )


def test_a_pipeline_without_attempts_has_an_empty_timeline() -> None:
    assert timeline([a_task("train").build()], {}, NOW, seconds(9)) == Timeline(origin=NOW, span_s=0.0, bars=())


def booked(kind: str, project: str = "nlp", attempt: str = "t000000000.1", **amounts: Any) -> LedgerRow:
    return LedgerRow(AttemptId(attempt), 0, kind, ProjectName(project), 1000, NOW, Charge(**amounts))


def test_costs_count_what_was_spent_and_hold_what_is_reserved() -> None:
    ledger = [
        booked("reserve", node_s=100, cpu_s=400, gpu_s=100, gpu_type="a100"),
        booked("spend", node_s=60, cpu_s=240, gpu_s=60, gpu_type="a100"),
        booked("refund", node_s=40, cpu_s=160, gpu_s=40, gpu_type="a100"),
        booked("overrun", node_s=3, cpu_s=12, gpu_s=3),
        booked("reserve", attempt="t000000001.1", cpu_s=50, gpu_s=7),
        booked("reserve", project="aaa", attempt="t000000002.1", cpu_s=7200),
        booked("spend", project="aaa", attempt="t000000002.1", cpu_s=7200),
    ]

    assert costs(ledger) == (
        ProjectCost(project="aaa", attempts=1, node_s=0, cpu_s=7200, gpu_s=(), held_cpu_s=0, held_gpu_s=0),
        ProjectCost(
            project="nlp",
            attempts=2,
            node_s=63,
            cpu_s=252,
            gpu_s=(("a100", 60), ("any", 3)),
            held_cpu_s=50,
            held_gpu_s=7,
        ),
    )
    assert costs(ledger)[0].cpu_h == 2.0
    assert costs(ledger)[1].gpu_h == 63 / 3600
