"""Where the state folder is."""

from __future__ import annotations

import os
from pathlib import Path

from elisa.model import layout
from elisa.model.errors import UsageError

__all__ = ["existing_home", "state_home"]


def state_home(home: Path | str | None) -> Path:
    """Return the state folder asked for, absolute: `home`, else $ELISA_HOME, else elisa's folder in the XDG data home."""
    chosen = home or os.environ.get("ELISA_HOME")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))  # noqa: PTH100, PTH111 - keep symlinks as they are
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111 - as above
    return Path(os.path.abspath(data)) / "elisa"  # noqa: PTH100 - as above


def existing_home(home: Path | str | None) -> Path:
    """Return the state folder.

    Raises UsageError if nobody has created it.
    """
    path = state_home(home)
    if not (_stands(layout.database(path)) or _stands(layout.database_url(path))):
        raise UsageError(
            f"there is no elisa state in {path}",
            "the folder has no elisa.db",
            "run `elisa init`, or name another folder with --home or ELISA_HOME",
        )
    return path


def _stands(path: Path) -> bool:
    """Tell whether there is such a file. What may not be looked at counts: whoever opens it says why it cannot."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
