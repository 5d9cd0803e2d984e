from __future__ import annotations

import re
from pathlib import Path


def test_every_example_is_listed_with_a_link_and_every_link_leads_to_one(project_root: Path) -> None:
    examples = project_root / "examples"
    folders = {path.name for path in examples.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}

    assert set(re.findall(r"\]\(([\w-]+)/", (examples / "README.md").read_text())) == folders
