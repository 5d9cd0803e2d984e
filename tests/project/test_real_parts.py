from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_parts import PARTS, RealPart, require_real


@pytest.fixture(autouse=True)
def nothing_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELISA_REQUIRE_REAL", raising=False)


def test_missing_part_is_skipped_with_the_way_to_get_it() -> None:
    with pytest.raises(pytest.skip.Exception, match="teapot is not here; get it with: brew tea"):
        require_real("teapot", how="brew tea", found=False)


def test_missing_part_fails_where_it_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELISA_REQUIRE_REAL", "1")

    with pytest.raises(pytest.fail.Exception, match="teapot is not here; get it with: brew tea"):
        require_real("teapot", how="brew tea", found=False)


@pytest.mark.parametrize(("part", "how"), [("pyslurm", r"elisa-scheduler\[slurm\]"), ("pbs", "login node of a PBS")])
def test_what_debian_does_not_have_is_skipped_even_there(part: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELISA_REQUIRE_REAL", "1")

    with pytest.raises(pytest.skip.Exception, match=how):
        require_real(part, found=False)


def test_part_is_there_if_all_its_programs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "shell", RealPart(programs=("sh", "no-such-program"), how="a miracle"))

    with pytest.raises(
        pytest.skip.Exception, match=r"shell is not here \(no no-such-program\); get it with: a miracle"
    ):
        require_real("shell")

    require_real("shell", found=True)


def test_part_that_is_a_module_is_there_if_it_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "framework", RealPart(module="no_such_framework", how="make frameworks"))

    with pytest.raises(pytest.skip.Exception, match=r"framework is not here \(no module no_such_framework\)"):
        require_real("framework")

    monkeypatch.setitem(PARTS, "framework", RealPart(module="json", how="make frameworks"))
    require_real("framework")


def test_no_test_skips_for_want_of_a_module_where_it_must_be_there(project_root: Path) -> None:
    """`importorskip` knows nothing of `ELISA_REQUIRE_REAL`."""
    asked = "pytest.importor" + "skip("
    found = [path.name for path in (project_root / "tests").rglob("*.py") if asked in path.read_text(encoding="utf-8")]

    assert found == []
