"""What a task's author tells a simulated cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest

from elisa.backends.simulated.dice import Distribution
from elisa.backends.simulated.told import Fails, Told, check_told, read_told


def metadata(**values: Any) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items()}


def test_everything_that_may_be_told_is_read_and_the_authors_own_keys_are_left_alone() -> None:
    told = read_told(
        metadata(
            sim_duration="2h", sim_nodes=4, sim_gpus=2, sim_steps=10, sim_save="10m", sim_memory="2GiB",
            sim_metrics={"loss": [3, 1], "seed": 7}, sim_fail={"signal": 9, "times": 2, "at": 0.25},
            sim_outputs={"list": [1, 2]}, sim_result=5, whose="ada",
        )
    )  # fmt: skip

    assert told == Told(
        duration=Distribution(kind="constant", numbers=(7200.0,)),
        nodes=4.0,
        gpus=2.0,
        steps=10,
        save_s=600.0,
        memory_mib=2048,
        metrics={"loss": (3.0, 1.0), "seed": Distribution(kind="constant", numbers=(7.0,))},
        fails=Fails(signal=9, at=0.25, times=2),
        outputs={"list": [1, 2]},
        result=5,
    )


def test_nothing_told_is_nothing_set() -> None:
    assert read_told(metadata(sim_metrics=None, sim_fail=None, sim_outputs=None, sim_duration=None)) == Told()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"sim_save": "often"}, '`sim_save: "often"`'),
        ({"sim_save": -1}, "`sim_save: -1`: it must be a number from 0 on"),
        ({"sim_duration": [1]}, "`sim_duration: [1]`"),
        ({"sim_steps": 1.5}, "`sim_steps: 1.5`: it must be a whole number from 0 on"),
        ({"sim_memory": "much"}, '`sim_memory: "much"`'),
        ({"sim_metrics": 3}, "`sim_metrics: 3`: it needs keys and values"),
        ({"sim_metrics": {"loss": ["a", 1]}}, "`sim_metrics"),
        ({"sim_fail": {"after": 1}}, "`after` means nothing: known are exit_code, signal, at, times, probability"),
        ({"sim_fail": {"probability": 2}}, "it must be a number from 0 to 1"),
        ({"sim_fail": {"exit_code": True}}, "it must be a whole number from 0 on"),
        ({"sim_duratoin": 3}, "`sim_duratoin` means nothing: did you mean `sim_duration`?"),
        ({"sim_zzz": 3}, "`sim_zzz` means nothing"),
        ({"sim_outputs": {"b": 1}}, "`sim_outputs` fills `b`, which is none of the task's outputs"),
    ],
)
def test_what_cannot_be_followed_is_named(told: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="`sim_") as caught:
        check_told(metadata(**told), {"a"})

    assert words in str(caught.value)


def test_what_can_be_followed_is_let_pass() -> None:
    check_told(metadata(sim_outputs={"a": 1}, sim_save=60, note="fast"), {"a"})
