from __future__ import annotations

from pathlib import Path

import pytest

from elisa.engine.config import Site, load_site, parse_site
from elisa.engine.files import OsFiles
from elisa.model.errors import SpecError
from elisa.model.ids import BackendName, ProjectName
from elisa.model.site import Cap, Metered, SitePolicy, Window

ORDER = ("class", "deadline", "fair_share", "importance", "age", "size")
FULL = """
backends:
  cluster:
    kind: slurm
    account: chem
    window: 50
    windows: {a100: 5}
    options: {partition: a100}
projects:
  nlp:
    shares: 2
    budget: {gpu_hours: 10, gpu_hours_by_type: {a100: 4}}
    at_once: {memory: 16GiB, gpus: 2}
    per_user: {at_once: {jobs: 3}}
    grants:
      - {from: 2026-01-01T00:00:00Z, until: 2027-01-01T00:00:00Z, amount: {node_hours: 5}}
loans:
  - {lender: nlp, borrower: vision, from: 2026-01-01T00:00:00Z, until: 2026-02-01T00:00:00Z, amount: {gpu_hours: 1}}
jobs: {heartbeat: 10s, output_limit: 1GiB}
recovery: {grace: 5m}
preemption: {enabled: true, grace: 1m}
fair_share: {half_life: 2d, groups: {physics: 3}}
"""


def test_without_a_file_this_machine_is_the_only_backend(tmp_path: Path) -> None:
    site = load_site(OsFiles(), tmp_path)

    assert {name: config.kind for name, config in site.backends.items()} == {"local": "local"}
    assert site.policy() == SitePolicy(aged_s=3 * 86400.0, order=ORDER)


def test_an_empty_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("\n")

    assert load_site(OsFiles(), tmp_path) == Site()


def test_every_section_becomes_a_rule() -> None:
    site = parse_site(FULL, "site.yaml")
    policy = site.policy()

    nlp = policy.project(ProjectName("nlp"))
    assert nlp.caps == (
        Cap(resource=Metered.GPU_S, limit=36000),
        Cap(resource=Metered.GPU_S, limit=14400, gpu_type="a100"),
        Cap(resource=Metered.GPUS, limit=2),
        Cap(resource=Metered.MEMORY_MIB, limit=16384),
    )
    assert nlp.user_caps == (Cap(resource=Metered.JOBS, limit=3),)
    assert [(grant.resource, grant.amount) for grant in nlp.grants] == [(Metered.NODE_S, 18000)]
    assert [(loan.borrower, loan.amount) for loan in policy.loans] == [("vision", 3600)]
    assert policy.windows == (
        Window(backend=BackendName("cluster"), size=50),
        Window(backend=BackendName("cluster"), partition="a100", size=5),
    )
    assert (policy.fair_share.half_life_s, policy.fair_share.group_shares) == (172800, (("physics", 3.0),))
    assert (policy.preemption.enabled, policy.preemption.grace_s) == (True, 60)
    assert (site.jobs.rules().heartbeat_s, site.jobs.rules().output_limit_mib) == (10, 1024)
    assert site.recovery.rules().grace_s == 300


@pytest.mark.parametrize(
    ("text", "aged_s"), [("{}", 3 * 86400), ("aged: 12h", 43200), ("aged: off", 0), ("aged: 0s", 0)]
)
def test_a_site_has_ageing_unless_it_says_otherwise(text: str, aged_s: int) -> None:
    assert parse_site(text, "site.yaml").policy().aged_s == aged_s


def test_all_problems_are_told_at_once_with_their_lines() -> None:
    text = "backends:\n  c: {kind: slurm, windo: 5}\njobs:\n  heartbeat: 10\n  grace: 12:30\nordre: [age]\n"

    with pytest.raises(SpecError) as caught:
        parse_site(text, "site.yaml")

    assert [(problem.line, problem.what, problem.hint) for problem in caught.value.problems] == [
        (2, "backends.c.windo: there is no such setting here", "did you mean `window`?"),
        (4, "jobs.heartbeat: `10` is no duration: write it like 90s, 45m, 2h30m, 3d or 3-12:00:00", ""),
        (5, "jobs.grace: `12:30` is no duration: write it like 90s, 45m, 2h30m, 3d or 3-12:00:00", ""),
        (6, "ordre: there is no such setting here", "did you mean `order`?"),
    ]


@pytest.mark.parametrize("value", ["-1", "nan", "2.5", "yes"])
def test_a_number_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(SpecError):
        parse_site(f"default_window: {value}\n", "site.yaml")


def test_a_setting_in_the_wrong_place_is_told_where_to_look() -> None:
    with pytest.raises(SpecError) as caught:
        parse_site("budget: 3\n", "site.yaml")

    assert [problem.hint for problem in caught.value.problems] == [
        "`budget` belongs elsewhere: see docs/reference/site.md"
    ]
