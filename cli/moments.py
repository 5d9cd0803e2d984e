"""Moments as people write them on a command line."""

from __future__ import annotations

from datetime import datetime, timedelta

from elisa.model.errors import UsageError
from elisa.model.units import parse_duration_s

__all__ = ["parse_moment", "show_moment"]


def parse_moment(text: str | None, now: datetime, option: str) -> datetime | None:
    """Return the moment that `2026-12-01 08:00`, `2026-12-01T08:00+01:00` or `2h` (from now) means; None for None.

    Without an offset it is local time. Raises UsageError, naming the option, for anything else.
    """
    if text is None:
        return None
    try:
        return now + timedelta(seconds=parse_duration_s(text))
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as err:
        hint = "write it like 2026-12-01T08:00, or as a time from now like 90m or 2h"
        raise UsageError(f"`{option} {text}` is no moment", "it is neither a date nor a duration", hint) from err


def show_moment(moment: datetime, now: datetime) -> str:
    """Return a moment in local time; of another year, with the year."""
    local = moment.astimezone()
    return f"{local:%m-%d %H:%M}" if local.year == now.astimezone().year else f"{local:%Y-%m-%d %H:%M}"
