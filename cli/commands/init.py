"""`elisa init`."""

from __future__ import annotations

from elisa.cli.home import state_home
from elisa.cli.output import print_json, print_plain
from elisa.engine.workspace import init_workspace

__all__ = ["init"]


def init(*, home: str | None, json: bool) -> int:
    """Create the state folder, or say that it is there already."""
    made = init_workspace(state_home(home))
    if json:
        print_json("init", 1, {"home": str(made.home), "created": made.created, "backends": list(made.backends)})
        return 0
    print_plain(f"{'created' if made.created else 'already there'}: {made.home}")
    print_plain(f"backends: {', '.join(made.backends)} (in {made.home / 'site.yaml'})")
    print_plain("next: elisa submit pipeline.yaml, then elisa tick --until-idle, or elisa cron install")
    return 0
