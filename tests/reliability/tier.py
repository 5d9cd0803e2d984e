"""How much is searched: a few minutes of it with every change, hours of it in `make soak`."""

from __future__ import annotations

import os

__all__ = ["ALIKE_STRIDE", "PAIRS", "SEED_BATCHES", "SEED_BATCH_SIZE", "SOAK"]

SOAK = os.environ.get("ELISA_HYPOTHESIS_PROFILE") == "soak"

SEED_BATCH_SIZE = 25
SEED_BATCHES = int(os.environ.get("ELISA_SOAK_SEEDS", "5000")) // SEED_BATCH_SIZE if SOAK else 3

ALIKE_STRIDE = 8
"""Of crash points that leave much the same behind, every so many are tried in the short search."""

PAIRS = 20 if SOAK else 1
"""Second crashes, during the recovery from each first one that is tried."""
