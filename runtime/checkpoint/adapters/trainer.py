"""A callback by which the Trainer of Hugging Face's transformers saves into checkpoints of elisa."""

from __future__ import annotations

import os
import tempfile
from importlib import import_module
from typing import TYPE_CHECKING, Any

from elisa.runtime.checkpoint.adapters.files import Folder

if TYPE_CHECKING:
    from elisa.runtime.checkpoint.checkpointer import Checkpointer

__all__ = ["TrainerCheckpoint"]

_base: Any = import_module("transformers").TrainerCallback


class TrainerCheckpoint(_base):  # type: ignore[misc]  # its base is not known before it is imported
    """Let the Trainer save when it is time to, keep what it saved, and leave when the job is to stop.

    with checkpoint.run() as ckpt:
        saver = checkpoint.TrainerCheckpoint(ckpt)
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[saver])
        trainer.train(resume_from_checkpoint=saver.resume_path)

    The Trainer's own `save_strategy` should be "no". What it saves holds the model, the optimizer, the schedule, the
    random generators and its place in the data.
    """

    def __init__(self, ckpt: Checkpointer) -> None:
        super().__init__()
        self._ckpt = ckpt
        state = ckpt.load()
        scratch = tempfile.mkdtemp(prefix="elisa-")
        self.resume_path: str | None = None
        if state is not None:
            self.resume_path = state["trainer"].put_back(os.path.join(scratch, f"checkpoint-{state['step']}"))

    def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ANN401, ARG002
        """Ask the Trainer to save, if it is time to."""
        control.should_save = control.should_save or self._ckpt.is_due(state.global_step)
        return control

    def on_save(self, arguments: Any, state: Any, control: Any, **_: Any) -> Any:  # noqa: ANN401
        """Keep what the Trainer has just saved."""
        path = os.path.join(arguments.output_dir, f"checkpoint-{state.global_step}")
        self._ckpt.save(state.global_step, {"trainer": Folder(path), "step": state.global_step}, force=True)
        return control
