"""Every example of a site.yaml, a roles.yaml or a pipeline in the guides is one that elisa takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from elisa.backends.local.opening import read_slots
from elisa.backends.pbs.options import PbsOptions
from elisa.backends.simulated.parse import parse_cluster
from elisa.backends.slurm.options import SlurmOptions
from elisa.engine.config import Site, parse_site
from elisa.engine.roles import Roles
from elisa.pipelines.load import load
from elisa.pipelines.nodes import plain
from elisa.pipelines.strict_yaml import load as load_yaml
from elisa.policies.registry import ORDER

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ("checkpoints.md", "site.md", "slurm.md", "pbs.md", "simulated.md", "how-it-decides.md")
READERS = {"local": read_slots, "pbs": PbsOptions.read, "simulated": parse_cluster, "slurm": SlurmOptions.read}
EXAMPLES = [
    pytest.param(text, id=f"{page}:{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL), 1
    )
]


def is_pipeline(text: str) -> bool:
    return text.startswith("name:")


def read_options(site: Site) -> Mapping[str, object]:
    return {name: READERS[config.kind](config.options) for name, config in site.backends.items()}


@pytest.mark.parametrize("text", EXAMPLES)
def test_example_is_taken(text: str, tmp_path: Path) -> None:
    if is_pipeline(text):
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)

        assert load(path).tasks
    elif text.startswith("admins:"):
        assert Roles.model_validate(plain(load_yaml(text, "roles.yaml"))).managers
    else:
        site = parse_site(text, "site.yaml")

        assert set(site.order) <= set(ORDER)
        assert read_options(site).keys() == site.backends.keys()
        assert site.policy().windows is not None
