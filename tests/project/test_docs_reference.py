from __future__ import annotations

from pathlib import Path

from scripts.docs_reference import exit_statuses_page, stale_pages


def test_page_is_stale_if_it_is_missing_or_differs(tmp_path: Path) -> None:
    (tmp_path / "same.md").write_text("now\n")
    (tmp_path / "old.md").write_text("then\n")
    pages = dict.fromkeys(("same.md", "old.md", "new.md"), lambda: "now\n")

    assert list(stale_pages(tmp_path, pages)) == [(tmp_path / "old.md", "now\n"), (tmp_path / "new.md", "now\n")]


def test_page_of_exit_statuses_names_the_errors_that_give_them() -> None:
    assert "| 75 | try again | `StaleChange`, `StoreBusy` |" in exit_statuses_page().splitlines()
