"""Make pytest's JSON report fit to be committed: no path, host or user of the machine, and a stable order."""

from __future__ import annotations

import getpass
import platform
import re
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Masks", "fit_to_commit", "masks_of_this_machine"]

Masks = Sequence[tuple[re.Pattern[str], str]]

KEPT_STAGE_KEYS = ("outcome", "duration", "crash", "longrepr")


def masks_of_this_machine(root: Path) -> Masks:
    """Return (pattern, replacement) pairs, longest first, for everything here that tells which machine this is."""
    words = {
        str(root): ".",
        str(root.resolve()): ".",
        sys.prefix: "<python>",
        sys.base_prefix: "<python>",
        str(Path.home()): "~",
        tempfile.gettempdir(): "<tmp>",
        socket.gethostname(): "<host>",
        socket.getfqdn(): "<host>",
        f"pytest-of-{getpass.getuser()}": "pytest-of-user",
    }
    telling = sorted((text for text in words if text not in ("", "/", "localhost")), key=len, reverse=True)
    return [(_whole(text), words[text]) for text in telling]


def _whole(text: str) -> re.Pattern[str]:
    # A host may be called `vm`: only the whole word is masked.
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def fit_to_commit(report: dict[str, Any], masks: Masks) -> None:
    """Change a pytest-json-report document in place: paths masked, durations in milliseconds, tests by name."""
    report["root"] = "."
    report["environment"] = {"python": platform.python_version(), "system": platform.system()}
    report["created"] = int(report["created"])
    report.pop("warnings", None)
    report["tests"] = sorted(map(_short, report.get("tests", [])), key=lambda test: str(test["nodeid"]))
    report.update(_mask(report, masks))


def _short(test: Mapping[str, Any]) -> dict[str, Any]:
    stages = {name: _stage(test[name]) for name in ("setup", "call", "teardown") if name in test}
    telling = {name: stage for name, stage in stages.items() if name == "call" or stage["outcome"] != "passed"}
    # pytest-xdist appends @group to the name of a test that it keeps together with others
    name = re.sub(r"@[\w-]+$", "", str(test["nodeid"]))
    return {"nodeid": name, "outcome": test["outcome"], **telling}


def _stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    keys = KEPT_STAGE_KEYS[:2] if stage["outcome"] == "passed" else KEPT_STAGE_KEYS
    kept = {key: stage[key] for key in keys if key in stage}
    return {**kept, "duration": round(float(stage["duration"]), 3)}


def _mask(value: Any, masks: Masks) -> Any:
    match value:
        case str():
            for pattern, word in masks:
                value = pattern.sub(word, value)
            return value
        case dict():
            return {key: _mask(item, masks) for key, item in value.items()}
        case list() | tuple():
            return [_mask(item, masks) for item in value]
        case _:
            return value
