"""The threads in which a tick waits for several disks or programs at a time: few, started when first needed, then kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

__all__ = ["THREADS", "Background", "in_background", "threads"]

THREADS = 16
# Begins a piece of work beside the tick; returns how to wait for its end.
Background = Callable[[Callable[[], None]], Callable[[], None]]


@cache
def threads() -> Executor:
    """Return the process's threads, of which there are `THREADS` at most."""
    from concurrent.futures import ThreadPoolExecutor  # 8 ms that a command which needs none need not pay

    return ThreadPoolExecutor(THREADS, thread_name_prefix="elisa")


def in_background(work: Callable[[], None]) -> Callable[[], None]:
    """Begin to work in a thread; return how to wait until it is done."""
    return threads().submit(work).result


# A child of a fork has none of them.
os.register_at_fork(after_in_child=threads.cache_clear)
