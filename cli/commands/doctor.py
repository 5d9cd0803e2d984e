"""`elisa doctor`."""

from __future__ import annotations

from elisa.cli.home import state_home
from elisa.cli.output import print_json, print_plain
from elisa.engine.doctor import examine
from elisa.model.errors import ExitCode

__all__ = ["doctor"]

_MARKS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


def doctor(*, home: str | None, json: bool) -> int:
    """Print every finding with its remedy; exit 1 if one of them keeps elisa from working."""
    findings = examine(state_home(home))
    if json:
        fields = ("name", "level", "what", "hint")
        print_json("doctor", 1, {"findings": [{field: getattr(one, field) for field in fields} for one in findings]})
    else:
        for finding in findings:
            print_plain(f"{_MARKS[finding.level]}  {finding.name}: {finding.what}")
            if finding.hint:
                print_plain(f"      hint: {finding.hint}")
    return int(ExitCode.ERROR if any(finding.level == "bad" for finding in findings) else ExitCode.DONE)
