from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"\d+\.(added|changed|fixed|removed)(\.[a-z0-9-]+)?\.md")


def fragments(root: Path) -> list[Path]:
    return [path for path in sorted((root / "changes.d").iterdir()) if path.name != "README.md"]


def test_each_fragment_names_its_issue_and_its_kind(project_root: Path) -> None:
    assert [path.name for path in fragments(project_root) if not NAME.fullmatch(path.name)] == []


def test_each_fragment_is_one_sentence_that_says_now(project_root: Path) -> None:
    texts = {path.name: path.read_text() for path in fragments(project_root)}

    assert [name for name, text in texts.items() if not re.fullmatch(r"[^\n]*\bnow\b[^\n]*\.\n", text)] == []
