"""Save and load checkpoints that survive a kill at any moment; adapters for frameworks.

    from elisa import checkpoint

    with checkpoint.run() as ckpt:
        state = ckpt.load() or begin()
        for step in ckpt.steps(1000):
            state = compute(state)
            ckpt.save(step, state)

Works with and without elisa: started again, the program goes on from its newest sound checkpoint.
"""

from __future__ import annotations

from elisa.runtime.checkpoint.codec import NotSavableError
from elisa.runtime.checkpoint.manifest import DamagedError
from elisa.runtime.checkpoint.persistent import persistent
from elisa.runtime.checkpoint.run import STOPPED_STATUS, Checkpointer, run
from elisa.runtime.program import metric, progress, should_stop, time_left

__all__ = [
    "STOPPED_STATUS",
    "Checkpointer",
    "DamagedError",
    "NotSavableError",
    "metric",
    "persistent",
    "progress",
    "run",
    "should_stop",
    "time_left",
]
