"""The keys with which jobs sign their events: made from one secret of the state folder, so that none has to be stored."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from elisa.engine.files import Files
from elisa.model import layout
from elisa.model.errors import StoreError
from elisa.model.ids import AttemptId
from elisa.model.ports import RandomSource

__all__ = ["create_secret", "event_key", "read_secret"]

_BITS = 256


def create_secret(files: Files, home: Path, random: RandomSource) -> None:
    """Make the secret of a new state folder, unless it has one."""
    path = layout.event_secret(home)
    if not files.exists(path):
        files.write(path, random.bits(_BITS).to_bytes(_BITS // 8, "big"))


def read_secret(files: Files, home: Path) -> bytes:
    """Return the secret; raises StoreError if it is missing: no event could be believed then."""
    secret = files.read(layout.event_secret(home))
    if secret is None or len(secret) != _BITS // 8:
        raise StoreError(
            f"the key file {layout.event_secret(home)} is missing or cut off",
            "without it no job's events can be told from forged ones",
            "restore it from a backup; `elisa rebuild` makes a new one, and jobs that run now will count as silent",
        )
    return secret


def event_key(secret: bytes, attempt: AttemptId) -> bytes:
    """Return the key with which this attempt's agent signs its events."""
    return hmac.new(secret, attempt.encode(), hashlib.sha256).digest()
