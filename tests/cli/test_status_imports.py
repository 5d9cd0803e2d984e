"""`elisa status`, which is typed often, loads nothing of what changes the state and nothing of the rules of a site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = ("pydantic", "typer", "numpy", "rich", "elisa.model.changes", "elisa.model.native", "elisa.model.site")


def test_status_loads_only_what_it_shows(home: Path) -> None:
    code = (
        "import sys; from elisa.cli.main import run; status = run(sys.argv[1:])\n"
        f"print(status, sorted({set(HEAVY)} & sys.modules.keys()))"
    )

    told = subprocess.run(
        [sys.executable, "-c", code, "status", "--home", str(home)], capture_output=True, text=True, check=True
    )

    assert told.stdout.splitlines()[-1] == "0 []"
