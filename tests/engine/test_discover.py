"""What a new site.yaml says of the resource managers that are there."""

from __future__ import annotations

import pytest

from elisa.engine.config import parse_site
from elisa.engine.discover import found_backends

NOTHING: dict[str, str] = {}
BOTH = {"sbatch": "/usr/bin/sbatch", "qsub": "/opt/pbs/bin/qsub"}


@pytest.mark.parametrize(("programs", "told"), [(NOTHING, []), (BOTH, sorted(BOTH.values()))])
def test_what_is_found_is_told_with_its_place(programs: dict[str, str], told: list[str]) -> None:
    lines = found_backends(programs.get)

    assert sorted(path for line in lines for path in BOTH.values() if path in line) == told


@pytest.mark.parametrize("programs", [NOTHING, BOTH], ids=["nothing", "both"])
def test_the_lines_are_good_settings_once_their_first_mark_is_gone(programs: dict[str, str]) -> None:
    lines = [line.replace("# ", "", 1) for line in found_backends(programs.get)]

    site = parse_site("\n".join(["backends:", *lines]), "site.yaml")

    assert {name: config.kind for name, config in site.backends.items()} == {"slurm": "slurm", "pbs": "pbs"}
