"""Find the module that carries a command out; only that one is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

__all__ = ["invoke"]

_MODULES: Mapping[str, str] = {
    "cancel": "wishes",
    "checkpoints_explain": "checkpoints",
    "checkpoints_list": "checkpoints",
    "checkpoints_prune": "checkpoints",
    "checkpoints_restore": "checkpoints",
    "checkpoints_verify": "checkpoints",
    "hold": "wishes",
    "release": "wishes",
    "retry": "wishes",
    "undrain": "drain",
    "cron_install": "cron",
    "cron_remove": "cron",
    "cron_show": "cron",
    "project_grant": "project",
    "project_lend": "project",
    "project_list": "project",
    "project_reclaim": "project",
    "project_release": "project",
    "project_reserve": "project",
    "project_reset": "project",
    "project_return": "project",
    "project_set": "project",
    "project_show": "project",
}


def invoke(command: str, parameters: Mapping[str, object]) -> int:
    """Run `command` with its parameters by name; return its exit status.

    A command lives in `cli/commands/<command>.py`, in a function of its name, unless the table says otherwise.
    """
    module = import_module(f"{__package__}.commands.{_MODULES.get(command, command)}")
    return int(getattr(module, command)(**parameters))
