from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

TELLS_LITTLE = 5  # characters; a host called `vm` or `node` would be found in ordinary prose


def tracked_files(root: Path) -> list[Path]:
    got = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    return [root / name for name in got.stdout.split("\0") if name and (root / name).is_file()]


def telling_words(root: Path) -> re.Pattern[str]:
    host = socket.gethostname()
    hosts = [re.escape(host)] if len(host) > TELLS_LITTLE and host != "localhost" else []
    places = [re.escape(str(root)), re.escape(str(Path.home())), "/" + "Users"]
    return re.compile(
        "|".join([*(rf"(?<![\w.]){place}(?=/)" for place in places), *(rf"\b{name}\b" for name in hosts)])
    )


def test_no_tracked_file_names_a_place_on_the_machine_it_was_written_on(project_root: Path) -> None:
    words = telling_words(project_root)

    got = [
        f"{path.relative_to(project_root)}:{number}: {line.strip()[:80]}"
        for path in tracked_files(project_root)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if words.search(line)
    ]

    assert got == []
