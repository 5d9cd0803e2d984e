"""Random lives on the real code: whatever a seed brings, no invariant breaks and everything comes to an end."""

from __future__ import annotations

import pytest

from tests.reliability.swarm import live
from tests.reliability.tier import SEED_BATCH_SIZE, SEED_BATCHES


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(SEED_BATCHES))
def test_every_seed_comes_to_a_good_end(batch: int) -> None:
    crashes = ticks = 0
    for seed in range(batch * SEED_BATCH_SIZE, (batch + 1) * SEED_BATCH_SIZE):
        life = live(seed)
        crashes += life.crashes
        ticks += life.ticks

    assert crashes > SEED_BATCH_SIZE
    assert ticks > 25 * SEED_BATCH_SIZE


def test_the_same_seed_gives_the_same_life() -> None:
    assert live(7) == live(7)
