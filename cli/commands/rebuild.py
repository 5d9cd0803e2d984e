"""`elisa rebuild`."""

from __future__ import annotations

from elisa.cli.home import existing_home
from elisa.cli.output import note, print_json, print_plain
from elisa.engine.rebuild import rebuild as rebuild_store

__all__ = ["rebuild"]


def rebuild(*, home: str | None, json: bool) -> int:
    """Put the newest sound copy in the place of a damaged database."""
    done = rebuild_store(existing_home(home))
    if json:
        print_json("rebuild", 1, {"copy": str(done.copy), "damaged": str(done.damaged), "strays": list(done.strays)})
        return 0
    print_plain(f"rebuilt from {done.copy}; the damaged files are kept in {done.damaged}")
    for attempt in done.strays:
        note(f"warning: {attempt} belongs to a task that is younger than the copy; submit its pipeline again")
    print_plain("next: elisa tick, which finds again what happened since")
    return 0
