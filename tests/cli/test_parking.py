"""A budget cut while work runs: what `plan`, `status` and `explain` tell, and that the work comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Elisa

SITE = """\
backends:
  dream: {{kind: simulated, options: {{nodes: {{n: {{count: 2, cpus: 4}}}}}}}}
projects:
  vision: {{budget: {{cpu_hours: {hours}}}}}
"""
# The short one is there for time to stop while the long one runs: a simulated site goes from event to event.
TASKS = """\
  long:
    command: [run]
    resources: {cpus: 4, walltime: 10h}
    checkpoint: {}
    metadata: {sim_duration: 8h}
  short:
    command: [run]
    resources: {cpus: 1, walltime: 1h}
    metadata: {sim_duration: 1h}
"""


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_work_parks_when_its_budget_is_cut_and_goes_on_when_it_is_raised(
    elisa: Elisa, home: Path, write: Callable[[str], str]
) -> None:
    (home / "site.yaml").write_text(SITE.format(hours=50), encoding="utf-8")
    elisa("submit", write(TASKS))
    elisa("tick")
    elisa("tick")
    (home / "site.yaml").write_text(SITE.format(hours=3), encoding="utf-8")

    would = elisa("plan", "--json").data["decisions"]
    ticked = elisa("tick", "--until-idle")
    status, explained = elisa("status").out, unwrapped(elisa("explain", "study/long").out)
    (home / "site.yaml").write_text(SITE.format(hours=60), encoding="utf-8")
    woken = elisa("tick", "--until-idle")

    assert [(one["would"], one["name"]) for one in would] == [("park", "long")]
    assert "project vision holds 41 core-h, and may have 3" in would[0]["reason"]["words"]
    assert (ticked.code, woken.code) == (3, 0)
    assert "parked at step 36" in status
    assert "it saves and parks: project vision holds 41 core-h, and may have 3" in explained
    assert "ready: parked at step 36" in explained
    assert "the resource manager was asked to stop it" in explained
    assert "it goes on after being stopped, which cost it no retry" in explained
    assert "it resumes from step 36" in unwrapped(elisa("explain", "study/long").out)
