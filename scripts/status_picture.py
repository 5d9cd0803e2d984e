"""Draw `elisa status` of a state folder as an SVG file: python -m scripts.status_picture STATE_FOLDER OUT.svg."""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from elisa.cli.status_table import status_parts
from elisa.report.status import read_status
from elisa.store.reader import Reader

_WIDTH = 96


def picture(home: Path) -> str:
    """Return the drawing. It asks no other server for a font."""
    screen = Console(record=True, width=_WIDTH, file=io.StringIO(), highlight=False, markup=False)
    with Reader.open(home) as reader:
        found = read_status(reader, datetime.now(UTC))
    screen.print("$ elisa status", style="bold")
    for part in status_parts(found, native=False):
        screen.print(part)
    drawn = screen.export_svg(title="elisa status", theme=MONOKAI, unique_id="elisa")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture(Path(sys.argv[1])), encoding="utf-8")
