"""A callback by which Lightning's trainer saves into checkpoints of elisa."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

from elisa.runtime.checkpoint.adapters.files import File
from elisa.runtime.checkpoint.adapters.training import generator_states, set_generator_states

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.checkpointer import Checkpointer

__all__ = ["LightningCheckpoint"]


def _callback() -> Any:  # noqa: ANN401  (the class of whichever package is installed)
    try:
        return import_module("lightning.pytorch").Callback
    except ImportError:
        return import_module("pytorch_lightning").Callback


class LightningCheckpoint(_callback()):  # type: ignore[misc]  # its base is not known before it is imported
    """Save when it is time to, at the ends of epochs, and leave when the job is to stop.

    with checkpoint.run() as ckpt:
        saver = checkpoint.LightningCheckpoint(ckpt)
        trainer = Trainer(callbacks=[saver], enable_checkpointing=False, ...)
        trainer.fit(model, data, ckpt_path=saver.resume_path)
    """

    def __init__(self, ckpt: Checkpointer) -> None:
        super().__init__()
        self._ckpt = ckpt
        self._scratch = tempfile.mkdtemp(prefix="elisa-")
        self._generators: dict[str, Any] | None = None
        self.resume_path: str | None = None
        state = ckpt.load()
        if state is not None:
            self._generators = state["generators"]
            self.resume_path = state["trainer"].put_back(os.path.join(self._scratch, "resume.ckpt"))

    def on_fit_start(self, trainer: Any, module: Any) -> None:  # noqa: ANN401, ARG002  (Lightning's)
        """Set the random generators: right after this the epoch's order of batches is drawn."""
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:  # noqa: ANN401, ARG002  (Lightning's)
        """Save, if it is time to."""
        self._ckpt.save(trainer.current_epoch, lambda: self._state(trainer))

    def _state(self, trainer: Any) -> dict[str, Any]:  # noqa: ANN401  (Lightning's)
        path = os.path.join(self._scratch, "save.ckpt")
        trainer.save_checkpoint(path)
        return {"trainer": File(path), "generators": generator_states()}

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:  # noqa: ANN401, ARG002  (Lightning's)
        """Clear away what was handed over."""
        shutil.rmtree(self._scratch, ignore_errors=True)
