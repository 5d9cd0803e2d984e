"""Users by the names that people know."""

from __future__ import annotations

import pwd

__all__ = ["user_name"]


def user_name(uid: int) -> str:
    """Return the login name of a user; the number where this machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
