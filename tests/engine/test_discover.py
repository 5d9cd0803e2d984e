"""What a new site.yaml says of the resource managers that are there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from elisa.backends.protocol import Description
from elisa.engine.config import Site, parse_site
from elisa.engine.discover import found_backends
from elisa.model.errors import Unavailable

NOTHING: dict[str, str] = {}
BOTH = {"sbatch": "/usr/bin/sbatch", "qsub": "/opt/p b:s/bin/qsub"}


def silent(kind: str, _options: Mapping[str, str]) -> Description:
    raise Unavailable(f"{kind} failed", "Unable to contact\nits controller")


def talkative(kind: str, _options: Mapping[str, str]) -> Description:
    return Description((f"queue of {kind}: up to 60 min",), accounts=("science", "root"))


def site_of(text: str) -> Site:
    return parse_site(f"backends:\n{text}\n", "site.yaml")


def test_where_nothing_is_found_this_machine_is_used_and_the_others_are_comments() -> None:
    site = site_of(found_backends(NOTHING.get, silent))

    assert {name: config.kind for name, config in site.backends.items()} == {"local": "local"}


@pytest.mark.parametrize("programs", [NOTHING, BOTH], ids=["nothing", "both"])
def test_comments_are_good_settings_once_their_first_mark_is_gone(programs: dict[str, str]) -> None:
    lines = found_backends(programs.get, silent).split("\n")

    site = site_of("\n".join(line.replace("# ", "", 1) for line in lines if "kind:" in line))

    assert {name: config.kind for name, config in site.backends.items()} == {
        "local": "local",
        "slurm": "slurm",
        "pbs": "pbs",
    }


def test_a_manager_that_does_not_answer_is_told_with_its_words_and_not_used() -> None:
    text = found_backends(BOTH.get, silent)

    assert "/usr/bin/sbatch is here, but does not answer: slurm failed: Unable to contact its controller" in text
    assert list(site_of(text).backends) == ["local"]


def test_managers_that_answer_are_used_in_place_of_the_login_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/other/slurm.conf")

    text = found_backends(BOTH.get, talkative)

    assert "  # queue of slurm: up to 60 min\n  slurm:\n" in text
    assert "account: science  # or root" in text
    site = site_of(text)
    assert {name: dict(config.options) for name, config in site.backends.items()} == {
        "slurm": {"path": "/usr/bin", "conf": "/etc/other/slurm.conf"},
        "pbs": {"path": "/opt/p b:s/bin"},
    }
