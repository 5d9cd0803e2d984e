"""Search for a bad seed at length: `python -m tests.reliability.soak --seeds 100000 --from 0`. Prints those that fail."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback

from tests.reliability.swarm import live

__all__ = ["main"]


def main() -> int:
    """Return 1 if a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, bad = time.monotonic(), 0
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            live(seed)
        except Exception:  # noqa: BLE001 - the search goes on behind a failure
            bad += 1
            sys.stderr.write(f"seed {seed}\n{traceback.format_exc()}")
    print(f"{asked.seeds} seeds, {bad} bad, {time.monotonic() - began:.0f} s")  # noqa: T201 - its result
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
