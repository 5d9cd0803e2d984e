"""Whole pipelines on a real PBS: held in its queue, chained in it, and brought to their ends through what befalls them."""

from __future__ import annotations

import pytest

from elisa.engine.commands import hold, release
from elisa.engine.workspace import open_workspace
from elisa.store.reader import Reader
from tests.real.pbs_site import PbsSite

pytestmark = [pytest.mark.real, pytest.mark.slow]

LATER = """
name: later
project: demo
tasks:
  later:
    command: [sh, -c, 'echo ran >> "$ELISA_TASK_DIR/runs"']
    placement: {extras: {begin: "12312359"}}
"""


def test_a_held_task_is_held_in_the_queue_and_released_there(site: PbsSite) -> None:
    elisa = site.elisa()
    elisa.submit(LATER)
    elisa.tick_until(lambda: bool(elisa.attempts("later")) and elisa.attempts("later")[0].native_id is not None)
    (attempt,) = elisa.attempts("later")
    with open_workspace(elisa.home) as ws:
        hold(ws, [attempt.task])
    elisa.tick_until(lambda: "held" in elisa.attempts("later")[0].native_detail.lower())
    with open_workspace(elisa.home) as ws:
        release(ws, [attempt.task])
    elisa.tick_until(lambda: "held" not in elisa.attempts("later")[0].native_detail.lower())

    with Reader.open(elisa.home) as reader:
        kinds = [row.kind for row in reader.audit(subject=attempt.id) if "noted.native" in row.kind]
    assert [one.native_id for one in elisa.attempts("later")] == [attempt.native_id]
    assert kinds == [f"noted.native_{step}" for step in ("holding", "held", "releasing", "released")]
