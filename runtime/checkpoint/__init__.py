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

from importlib import import_module
from typing import TYPE_CHECKING

from elisa.runtime.checkpoint.adapters.files import File, Folder
from elisa.runtime.checkpoint.checkpointer import STOPPED_STATUS, Checkpointer, run
from elisa.runtime.checkpoint.codec import NotSavableError
from elisa.runtime.checkpoint.group import GroupError
from elisa.runtime.checkpoint.manifest import DamagedError
from elisa.runtime.checkpoint.persistent import persistent
from elisa.runtime.program import metric, progress, should_stop, time_left

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.adapters.keras import KerasCheckpoint
    from elisa.runtime.checkpoint.adapters.lightning import LightningCheckpoint
    from elisa.runtime.checkpoint.adapters.sharded import Sharded
    from elisa.runtime.checkpoint.adapters.trainer import TrainerCheckpoint
    from elisa.runtime.checkpoint.adapters.training import Training

__all__ = [
    "STOPPED_STATUS",
    "Checkpointer",
    "DamagedError",
    "File",
    "Folder",
    "GroupError",
    "KerasCheckpoint",
    "LightningCheckpoint",
    "NotSavableError",
    "Sharded",
    "TrainerCheckpoint",
    "Training",
    "metric",
    "persistent",
    "progress",
    "run",
    "should_stop",
    "time_left",
]

# What needs a framework is loaded when it is first used.
_FRAMEWORKS = {
    "KerasCheckpoint": "keras",
    "LightningCheckpoint": "lightning",
    "Sharded": "sharded",
    "TrainerCheckpoint": "trainer",
    "Training": "training",
}


def __getattr__(name: str) -> object:
    if name in _FRAMEWORKS:
        return getattr(import_module(f"elisa.runtime.checkpoint.adapters.{_FRAMEWORKS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
