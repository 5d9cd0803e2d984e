from __future__ import annotations

import pytest

from elisa.runtime.limits import Limits, OverLimit, Seen, first_over, next_look_s


@pytest.mark.parametrize(
    ("limits", "seen", "over"),
    [
        (Limits(), Seen(1e9, 1e9, 1e9), None),
        (Limits(memory_mib=100), Seen(memory_mib=100), None),
        (Limits(memory_mib=100), Seen(memory_mib=101), OverLimit("memory", 100, 101, "out_of_memory")),
        (
            Limits(memory_mib=100),
            Seen(memory_mib=126),
            OverLimit("memory", 100, 126, "out_of_memory", is_emergency=True),
        ),
        (Limits(output_mib=1), Seen(output_mib=2), OverLimit("output", 1, 2, "output_limit", is_emergency=True)),
        (Limits(walltime_s=60), Seen(run_s=60), OverLimit("walltime", 60, 60, "timeout")),
    ],
)
def test_a_limit_that_is_passed_is_named(limits: Limits, seen: Seen, over: OverLimit | None) -> None:
    assert first_over(limits, seen) == over


@pytest.mark.parametrize(
    ("before", "now", "look_s"),
    [
        (Seen(), Seen(run_s=1.0), 1.0),  # as long as it ran
        (Seen(run_s=90), Seen(run_s=100), 10.0),  # the longest
        (
            Seen(memory_mib=10, run_s=90),
            Seen(memory_mib=60, run_s=100),
            4.0,
        ),  # 5 MiB a second, 40 MiB left: half of 8 s
        (Seen(memory_mib=10, run_s=99), Seen(memory_mib=99.9, run_s=100), 0.1),  # the shortest
        (Seen(output_mib=0, run_s=90), Seen(output_mib=5, run_s=100), 5.0),
    ],
)
def test_what_grows_towards_its_limit_is_looked_at_sooner(before: Seen, now: Seen, look_s: float) -> None:
    limits = Limits(memory_mib=100, output_mib=10)

    assert next_look_s(limits, before, now, 10.0) == pytest.approx(look_s)
