"""Text from outside made safe for a terminal, a log line and a file name, and jobs named for a person."""

from __future__ import annotations

import re

from .ids import NativeId

__all__ = ["clean", "job_words"]

# C0 and C1 controls, and the bidirectional overrides that can make a line read otherwise than it is (CVE-2021-42574).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """Return `text` with every control character and direction mark shown as its escape."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)


def job_words(task: str, native_id: NativeId | None) -> str:
    """Name a task's job for a person: by its number alone, where it has one yet."""
    return f"{task}'s job {native_id.partition('.')[0]}" if native_id else f"{task}'s job"
