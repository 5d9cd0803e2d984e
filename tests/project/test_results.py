from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

from tests.results import fit_to_commit, masks_of_this_machine


def a_report(root: Path, home: Path) -> dict[str, Any]:
    return {
        "created": 1750000000.25,
        "duration": 1.5,
        "exitcode": 0,
        "root": str(root),
        "environment": {"Platform": f"Linux-{socket.gethostname()}"},
        "summary": {"passed": 1, "failed": 1, "total": 2, "collected": 2},
        "warnings": [{"filename": str(home / "x.py")}],
        "tests": [
            {
                "nodeid": "tests/b.py::test_b",
                "outcome": "failed",
                "lineno": 3,
                "setup": {"outcome": "passed", "duration": 0.1},
                "call": {
                    "outcome": "failed",
                    "duration": 0.12345,
                    "crash": {"path": str(root / "tests/b.py"), "lineno": 4, "message": f"on {socket.gethostname()}"},
                    "longrepr": f"{home}/thing and {root}/tests",
                    "stdout": "secret",
                },
                "teardown": {"outcome": "passed", "duration": 0.1},
            },
            {
                "nodeid": "tests/a.py::test_a@real",
                "outcome": "passed",
                "setup": {"outcome": "passed", "duration": 0.0},
                "call": {"outcome": "passed", "duration": 0.0004, "longrepr": "[gw1] linux"},
                "teardown": {"outcome": "passed", "duration": 0.0},
            },
        ],
    }


def test_report_names_no_path_and_no_host_of_the_machine(project_root: Path) -> None:
    report = a_report(project_root, Path.home())

    fit_to_commit(report, masks_of_this_machine(project_root))

    words = re.split(r"[^\w/.-]+", json.dumps(report))
    telling = (str(project_root), str(Path.home()), socket.gethostname())
    assert [word for word in words if word.startswith(telling[:2]) or word == telling[2]] == []


def test_report_keeps_outcomes_and_crashes_in_the_order_of_the_names(project_root: Path) -> None:
    report = a_report(project_root, Path.home())

    fit_to_commit(report, masks_of_this_machine(project_root))

    assert report["tests"] == [
        {
            "nodeid": "tests/a.py::test_a",
            "outcome": "passed",
            "call": {"outcome": "passed", "duration": 0.0},
        },
        {
            "nodeid": "tests/b.py::test_b",
            "outcome": "failed",
            "call": {
                "outcome": "failed",
                "duration": 0.123,
                "crash": {"path": "./tests/b.py", "lineno": 4, "message": "on <host>"},
                "longrepr": "~/thing and ./tests",
            },
        },
    ]
    assert report["summary"] == {"passed": 1, "failed": 1, "total": 2, "collected": 2}
