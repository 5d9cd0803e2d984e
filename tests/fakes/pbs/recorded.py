"""What a real PBS answered to each command: the recordings in the folder beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RECORDINGS", "Recording"]

FILES = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    name: str
    command: str
    user: str
    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return self.name


def read_recordings() -> Iterator[Recording]:
    for file in sorted(FILES.glob("*.txt")):
        for text in re.split(r"^# name: ", file.read_text(), flags=re.MULTILINE)[1:]:
            name, _, rest = text.partition("\n")
            head, _, rest = rest.partition("=====STDOUT=====\n")
            stdout, _, stderr = rest.partition("=====STDERR=====\n")
            facts = dict(line.removeprefix("# ").split(": ", 1) for line in head.splitlines())
            status = int(facts["exit"])
            yield Recording(
                name=name, command=facts["command"], user=facts["user"], status=status, stdout=stdout, stderr=stderr
            )


RECORDINGS = {recording.name: recording for recording in read_recordings()}
